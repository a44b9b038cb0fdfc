/**
 * What the CSI services need from the rest: stores (over proto/store.proto in production), the mounter and the block
 * devices of this node. Errors are StoreErrors; src/csi/status.ts alone turns them into gRPC codes.
 */

export type VolumeId = string; // "<pool id>.<object id>", each 26 characters of base32
export type SnapshotId = string; // the same form

export interface StoreVolume {
  readonly id: VolumeId;
  readonly name: string;
  readonly sizeBytes: number;
  readonly createdAtMs: number;
  readonly source: { readonly kind: 'volume' | 'snapshot'; readonly id: string } | null;
  readonly attributes: Readonly<Record<string, string>>;
  /** A front-end has it open, or a loop device is set up over it. */
  readonly attached: boolean;
}

export interface StoreSnapshot {
  readonly id: SnapshotId;
  readonly name: string;
  readonly sizeBytes: number;
  readonly createdAtMs: number;
  readonly sourceVolumeId: VolumeId;
  readonly attributes: Readonly<Record<string, string>>;
}

export interface StorePool {
  readonly id: string;
  /** The topology value: which node the pool is on. */
  readonly node: string;
  readonly freeBytes: number;
  /** When less is free, nothing new is made. */
  readonly reserveBytes: number;
  readonly provisionedBytes: number;
  /** Overprovisioning ratio times size: the largest sum of volume sizes, and the largest single volume. */
  readonly provisionLimitBytes: number;
}

/** One store, the owner of one pool. Every call is idempotent; `existed` tells that the name was there already, the
 * caller compares parameters. Deleting what is gone succeeds. */
export interface Store {
  getPool(): Promise<StorePool>;
  createVolume(request: CreateVolume): Promise<{ volume: StoreVolume; existed: boolean }>;
  deleteVolume(id: VolumeId): Promise<void>;
  getVolume(id: VolumeId): Promise<StoreVolume>; // not-found
  /** The volume of that name, null when there is none. */
  findVolume(name: string): Promise<StoreVolume | null>;
  listVolumes(): Promise<StoreVolume[]>;
  resizeVolume(id: VolumeId, sizeBytes: number): Promise<StoreVolume>;
  createSnapshot(request: CreateSnapshot): Promise<{ snapshot: StoreSnapshot; existed: boolean }>;
  deleteSnapshot(id: SnapshotId): Promise<void>;
  getSnapshot(id: SnapshotId): Promise<StoreSnapshot>; // not-found
  listSnapshots(): Promise<StoreSnapshot[]>;
}

export interface CreateVolume {
  readonly name: string;
  readonly sizeBytes: number;
  readonly source: { readonly kind: 'volume' | 'snapshot'; readonly id: string } | null;
  readonly attributes: Readonly<Record<string, string>>;
}

export interface CreateSnapshot {
  readonly name: string;
  readonly sourceVolumeId: VolumeId;
  readonly attributes: Readonly<Record<string, string>>;
}

/** The stores that a controller knows: a static list here, discovered in Kubernetes. */
export interface StoreDirectory {
  /** Every store; `unavailable` when one cannot be reached (a listing is never silently shorter). Pools that were declared
   * lost are no part of it. */
  all(): Promise<readonly Store[]>;
  /** Every store that may be there to be asked, whether it answers now or not: their calls tell. */
  known(): Promise<readonly Store[]>;
  /** The store of a pool, by the pool id in a volume or snapshot id. Null says that there is surely no such pool, or that it
   * was declared lost, so that what was in it is gone and may be forgotten; `unavailable` when that is not sure. */
  ofPool(poolId: string): Promise<Store | null>;
  /** The store on a node (topology value); null when there is none. */
  ofNode(node: string): Promise<Store | null>;
}

export interface Claim {
  readonly namespace: string;
  readonly name: string;
}

/** Words to whoever made a claim, beside the answer to the orchestrator. They are never waited for, and fail nothing. */
export interface ClaimNotices {
  tell(claim: Claim, notice: { /** One word in CamelCase. */ readonly reason: string; readonly message: string }): void;
}

/** Block devices on this node. */
export interface NodeDevices {
  /** Makes the volume a block device (idempotent), as large as the volume is now. Returns its path, for instance
   * /dev/loop7. not-found when there is no such volume. A device left over from a store that is gone is not returned:
   * the volume gets a working one. */
  attach(id: VolumeId): Promise<{ devicePath: string; sizeBytes: number; attributes: Readonly<Record<string, string>> }>;
  /** Idempotent; succeeds when nothing is attached. */
  detach(id: VolumeId): Promise<void>;
  /** The path if it is attached, else null. */
  find(id: VolumeId): Promise<string | null>;
  /** The volume that a device belongs to, also when the device no longer works; null when it is none of ours or not
   * set up. A loop device carries it in lo_file_name. */
  owner(devicePath: string): Promise<VolumeId | null>;
  /** Makes the device as large as the volume is now. Returns the size in bytes. */
  grow(id: VolumeId): Promise<number>;
}

export type FileSystem = 'ext4' | 'xfs' | 'btrfs';

export interface MountEntry {
  readonly target: string;
  /** The device: for a file system and for bind mounts of it, the path of its block device; for a device node bound
   * onto a file, the path of that device ("/dev/loop7"), not "devtmpfs". */
  readonly source: string;
  /** For a device node bound onto a file: "devtmpfs", or whatever carries the node. */
  readonly fileSystem: string;
  /** In effect here: those of the mount itself and of its file system. "ro" is in it if either is read-only. */
  readonly options: readonly string[];
}

export interface FileSystemStats {
  readonly totalBytes: number;
  readonly availableBytes: number;
  readonly usedBytes: number;
  readonly totalInodes: number;
  readonly freeInodes: number;
  readonly usedInodes: number;
}

/** File systems and mounts of this node. Every operation has a time limit; a hang is `unavailable`. */
export interface Mounter {
  /** What stands at the head of the device: a file system's name, another signature's name, or null when it is empty. */
  probe(devicePath: string): Promise<string | null>;
  /** Formats an empty device without discarding it first; refuses (failed-precondition) one that holds anything.
   * `options` are more arguments of mkfs. */
  format(devicePath: string, fileSystem: FileSystem, options: readonly string[]): Promise<void>;
  /** Checks and repairs what a crash leaves (replays journals). When `clone`, a btrfs gets `fileSystemId` (a UUID) as
   * its fsid, unless it has that already: so a repeated call, also after a crash in the middle, does it once. */
  prepare(devicePath: string, fileSystem: FileSystem, options: { readonly clone: boolean; readonly fileSystemId: string }): Promise<void>;
  /** Mounts; adds what the file system needs (nouuid for XFS). Creates the target folder. */
  mount(
    devicePath: string,
    target: string,
    fileSystem: FileSystem,
    options: { readonly flags: readonly string[]; readonly readOnly: boolean },
  ): Promise<void>;
  /** Bind mount of a folder, or of a device node onto a file (created). */
  bind(
    source: string,
    target: string,
    options: { readonly flags: readonly string[]; readonly readOnly: boolean; readonly block: boolean },
  ): Promise<void>;
  /** Unmounts every layer at the target and removes the empty folder or file; succeeds when nothing is there. */
  unmount(target: string): Promise<void>;
  /** The topmost mount at exactly this path, or null. */
  find(target: string): Promise<MountEntry | null>;
  /** Every mount of this process's mount namespace, bottom first. */
  list(): Promise<readonly MountEntry[]>;
  /** Grows the mounted file system to its device; nothing to do is fine. */
  grow(devicePath: string, mountPath: string, fileSystem: FileSystem): Promise<void>;
  /** Of the file system at this path; not-found when the path does not exist. */
  stats(path: string): Promise<FileSystemStats>;
  /** Size in bytes of a block device. */
  blockSize(devicePath: string): Promise<number>;
}
