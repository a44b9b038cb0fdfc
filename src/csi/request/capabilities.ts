/**
 * Volume capabilities: a mounted file system or a raw block device, used on one node. One volume serves one of the two
 * kinds, and one file system, for its whole life.
 */
import type { VolumeCapability, VolumeCapability_AccessMode_Mode } from '../generated/messages.ts';
import type { FileSystem } from '../ports.ts';
import { StoreError } from '../../util/errors.ts';
import { invalid, missing, requireListSize } from './fields.ts';

export type AccessMode = 'SINGLE_NODE_WRITER' | 'SINGLE_NODE_READER_ONLY' | 'SINGLE_NODE_SINGLE_WRITER' | 'SINGLE_NODE_MULTI_WRITER';

export type Capability =
  | { readonly access: 'block'; readonly mode: AccessMode }
  | {
      readonly access: 'mount';
      readonly mode: AccessMode;
      /** Null: the caller leaves it to us. */
      readonly fileSystem: FileSystem | null;
      readonly mountFlags: readonly string[];
    };

export const DEFAULT_FILE_SYSTEM: FileSystem = 'ext4';
const FILE_SYSTEMS: readonly string[] = ['ext4', 'xfs', 'btrfs'] satisfies FileSystem[];

const SUPPORTED_MODES: ReadonlySet<VolumeCapability_AccessMode_Mode> = new Set([
  'SINGLE_NODE_WRITER',
  'SINGLE_NODE_READER_ONLY',
  'SINGLE_NODE_SINGLE_WRITER',
  'SINGLE_NODE_MULTI_WRITER',
]);

/** What a list of capabilities asks of one volume. */
export interface VolumeUse {
  readonly access: 'mount' | 'block';
  /** Null for block volumes, and when no capability names one. */
  readonly fileSystem: FileSystem | null;
}

export function isFileSystem(name: string): name is FileSystem {
  return FILE_SYSTEMS.includes(name);
}

export function requireFileSystem(name: string, field: string): FileSystem {
  if (!isFileSystem(name)) throw invalid(field, `is ${JSON.stringify(name)}; supported are ${FILE_SYSTEMS.join(', ')}`);
  return name;
}

/** Every capability must be there, supported, and compatible with the others. */
export function requireVolumeUse(capabilities: readonly VolumeCapability[], field: string): VolumeUse {
  if (capabilities.length === 0) throw missing(field);
  const parsed = capabilities.map((capability, index) => requireCapability(capability, `${field}[${index}]`));
  const [first] = parsed as [Capability];
  if (parsed.some((capability) => capability.access !== first.access)) throw invalid(field, 'asks for a mount and a block volume in one');
  const fileSystems = new Set(
    parsed.flatMap((capability) => (capability.access === 'mount' && capability.fileSystem !== null ? [capability.fileSystem] : [])),
  );
  if (fileSystems.size > 1) throw invalid(field, `names several file systems: ${[...fileSystems].join(', ')}`);
  return { access: first.access, fileSystem: [...fileSystems][0] ?? null };
}

export function requireCapability(capability: VolumeCapability | null, field: string): Capability {
  if (capability === null) throw missing(field);
  const mode = requireAccessMode(capability, field);
  if (capability.block !== undefined) return { access: 'block', mode };
  if (capability.mount === undefined) throw missing(`${field}.access_type`);
  const { fsType, mountFlags, volumeMountGroup } = capability.mount;
  requireListSize(mountFlags, `${field}.mount.mount_flags`);
  if (volumeMountGroup !== '') throw invalid(`${field}.mount.volume_mount_group`, 'is not supported');
  return {
    access: 'mount',
    mode,
    fileSystem: fsType === '' ? null : requireFileSystem(fsType, `${field}.mount.fs_type`),
    mountFlags,
  };
}

/**
 * A volume made for one use is asked for another. CSI has different codes for this: INVALID_ARGUMENT in the
 * controller's calls, FAILED_PRECONDITION in the node's.
 */
export function misfit(use: VolumeUse, asked: VolumeUse): string | null {
  if (use.access !== asked.access) return `it is a ${use.access} volume, not a ${asked.access} volume`;
  if (use.fileSystem !== null && asked.fileSystem !== null && use.fileSystem !== asked.fileSystem) {
    return `its file system is ${use.fileSystem}, not ${asked.fileSystem}`;
  }
  return null;
}

/** What a volume is for, by the attributes that it was created with. Null where they do not tell (made by hand). */
export function recordedUse(attributes: Readonly<Record<string, string>>): VolumeUse | null {
  const { access, fileSystem } = attributes;
  if (access !== 'mount' && access !== 'block') return null;
  if (access === 'block' || fileSystem === undefined) return { access, fileSystem: null };
  if (!isFileSystem(fileSystem))
    throw new StoreError(
      'failed-precondition',
      `the volume was made for the file system ${JSON.stringify(fileSystem)}, which this version does not know`,
    );
  return { access, fileSystem };
}

function requireAccessMode(capability: VolumeCapability, field: string): AccessMode {
  const mode = capability.accessMode?.mode ?? 'UNKNOWN';
  if (mode === 'UNKNOWN') throw missing(`${field}.access_mode`);
  if (!SUPPORTED_MODES.has(mode)) throw invalid(`${field}.access_mode`, `is ${mode}; a volume can be used on one node only`);
  return mode as AccessMode;
}
