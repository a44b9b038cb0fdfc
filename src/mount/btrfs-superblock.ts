/**
 * Gives a btrfs clone a file system id of its own, so that it can be mounted beside its source on every kernel.
 *
 * The id in use is a field of the superblock alone, since the feature METADATA_UUID keeps the id that stands in every
 * tree block apart from it. So the change is one write of one 4 KiB block: it happens or it does not. That is why we do
 * not call btrfstune -m: it works in two commits, a crash between them leaves a flag that neither kernel 6.18 nor
 * btrfs-progs 6.2 gets rid of again, and by its commits it makes an unreplayed log unreadable. Here the generation
 * stays, so the log is replayed by the first mount as if nothing had happened.
 *
 * Offsets: the kernel's struct btrfs_super_block (include/uapi/linux/btrfs_tree.h).
 */
import { StoreError } from '../util/errors.ts';

export interface BtrfsSuperblock {
  /** The id that the file system is known by, as a UUID in small letters. */
  readonly fileSystemId: string;
  /** The id in its tree blocks: the one that it was made with. */
  readonly metadataId: string;
  /** A log of synced files waits for the next mount. */
  readonly hasLog: boolean;
}

export const superblockSizeBytes = 4096;

/** Where copies of the superblock stand, the first one being the one that counts. */
export const superblockOffsetsBytes: readonly number[] = [64 * 1024, 64 * 1024 ** 2, 256 * 1024 ** 3];

/** Errors: `data-loss` when it is no superblock or damaged, `failed-precondition` for one that we do not know to change. */
export function parseBtrfsSuperblock(block: Uint8Array): BtrfsSuperblock {
  const view = viewOf(block);
  if (Buffer.from(block.subarray(offsets.magic, offsets.magic + 8)).toString('latin1') !== magic) {
    throw new StoreError('data-loss', 'there is no btrfs superblock where one must be');
  }
  if (view.getUint16(offsets.checksumType, true) !== checksumTypeCrc32c) {
    throw new StoreError(
      'failed-precondition',
      'this btrfs has checksums of another type than crc32c; clone only such as were made with crc32c',
    );
  }
  if (view.getUint32(0, true) !== crc32c(block.subarray(checksumSizeBytes))) {
    throw new StoreError('data-loss', 'the btrfs superblock does not match its checksum');
  }
  const fileSystemId = uuidAt(block, offsets.fileSystemId);
  const separate = (view.getBigUint64(offsets.incompatibleFeatures, true) & featureMetadataUuid) !== 0n;
  return {
    fileSystemId,
    metadataId: separate ? uuidAt(block, offsets.metadataId) : fileSystemId,
    hasLog: view.getBigUint64(offsets.logRoot, true) !== 0n,
  };
}

/** The same superblock with another file system id, or null when it has that already. Errors as in parsing. */
export function withFileSystemId(block: Uint8Array, fileSystemId: string): Uint8Array | null {
  const superblock = parseBtrfsSuperblock(block);
  if (superblock.fileSystemId === fileSystemId.toLowerCase()) return null;
  const view = viewOf(block);
  if ((view.getBigUint64(offsets.flags, true) & flagsOfInterruptedChanges) !== 0n) {
    throw new StoreError('failed-precondition', 'a btrfstune was interrupted on this btrfs; finish it by hand or make the clone again');
  }
  if (view.getBigUint64(offsets.deviceCount, true) !== 1n) {
    throw new StoreError('failed-precondition', 'this btrfs spans several devices; clone only such as lie on one volume');
  }
  const changed = Uint8Array.from(block);
  const changedView = viewOf(changed);
  changed.set(uuidBytes(superblock.metadataId), offsets.metadataId);
  changed.set(uuidBytes(fileSystemId), offsets.fileSystemId);
  changedView.setBigUint64(offsets.incompatibleFeatures, view.getBigUint64(offsets.incompatibleFeatures, true) | featureMetadataUuid, true);
  changedView.setUint32(0, crc32c(changed.subarray(checksumSizeBytes)), true);
  return changed;
}

/** CRC-32C (Castagnoli), which zlib does not have. Two blocks a clone, so a table is fast enough. */
export function crc32c(bytes: Uint8Array): number {
  let remainder = 0xffffffff;
  for (const byte of bytes) remainder = (remainder >>> 8) ^ (crcTable[(remainder ^ byte) & 0xff] ?? 0);
  return (remainder ^ 0xffffffff) >>> 0;
}

function viewOf(block: Uint8Array): DataView {
  return new DataView(block.buffer, block.byteOffset, block.byteLength);
}

function uuidAt(block: Uint8Array, offset: number): string {
  const digits = Buffer.from(block.subarray(offset, offset + 16)).toString('hex');
  return [digits.slice(0, 8), digits.slice(8, 12), digits.slice(12, 16), digits.slice(16, 20), digits.slice(20)].join('-');
}

function uuidBytes(uuid: string): Uint8Array {
  if (!/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(uuid)) throw new StoreError('invalid-argument', `"${uuid}" is not a UUID`);
  return Buffer.from(uuid.replaceAll('-', ''), 'hex');
}

const crcTable = Uint32Array.from({ length: 256 }, (_, index) => {
  let remainder = index;
  for (let bit = 0; bit < 8; bit += 1) remainder = (remainder >>> 1) ^ ((remainder & 1) === 1 ? 0x82f63b78 : 0);
  return remainder;
});

const magic = '_BHRfS_M';
const checksumSizeBytes = 32;
const checksumTypeCrc32c = 0;
const featureMetadataUuid = 1n << 10n;
const flagsOfInterruptedChanges = (1n << 35n) | (1n << 36n); // CHANGING_FSID, CHANGING_FSID_V2

const offsets = {
  fileSystemId: 0x20,
  flags: 0x38,
  magic: 0x40,
  logRoot: 0x60,
  deviceCount: 0x88,
  incompatibleFeatures: 0xbc,
  checksumType: 0xc4,
  metadataId: 0x23b,
} as const;
