/** Publishing: a staged volume appears at a workload's path, as a folder or as a block device. */
import type { NodePublishVolumeRequest, NodeUnpublishVolumeRequest } from '../generated/messages.ts';
import type { MountEntry } from '../ports.ts';
import { isFileSystem, requireCapability, type Capability } from '../request/capabilities.ts';
import { noVolume, poolIdOf, requireId, requirePath } from '../request/fields.ts';
import { StoreError } from '../../util/errors.ts';
import { isReadOnly, mountsOf, standingAt, type NodeContext } from './context.ts';

interface Wish {
  readonly id: string;
  readonly devicePath: string;
  readonly stagingPath: string;
  readonly targetPath: string;
  readonly capability: Capability;
  readonly readOnly: boolean;
}

export async function publishVolume(context: NodeContext, request: NodePublishVolumeRequest): Promise<void> {
  const id = requireId(request.volumeId, 'volume_id');
  const targetPath = requirePath(request.targetPath, 'target_path');
  const capability = requireCapability(request.volumeCapability, 'volume_capability');
  if (request.stagingTargetPath === '')
    throw new StoreError('failed-precondition', 'staging_target_path is missing: volumes are staged before they are published');
  const stagingPath = requirePath(request.stagingTargetPath, 'staging_target_path');
  if (poolIdOf(id) === null) throw noVolume(id);

  const devicePath = await context.devices.find(id);
  if (devicePath === null) throw notStaged(id, stagingPath);
  const flags = capability.access === 'mount' ? capability.mountFlags : [];
  const readOnly = request.readonly || capability.mode === 'SINGLE_NODE_READER_ONLY' || flags.includes('ro');
  const wish: Wish = { id, devicePath, stagingPath, targetPath, capability, readOnly };

  const staged = await requireStaged(context, wish);
  const standing = await standingAt(context, targetPath, { id, devicePath });
  if (standing.kind === 'foreign')
    throw new StoreError('already-exists', `${targetPath} has ${standing.entry.source} mounted, which is not volume ${id}`);
  if (standing.kind === 'own') return requireSame(standing.entry, wish);
  if (standing.kind === 'stale') await context.mounter.unmount(targetPath);
  if (capability.mode === 'SINGLE_NODE_SINGLE_WRITER') await requireSingle(context, wish, staged);
  const source = capability.access === 'mount' ? stagingPath : devicePath;
  await context.mounter.bind(source, targetPath, { flags, readOnly, block: capability.access === 'block' });
}

export async function unpublishVolume(context: NodeContext, request: NodeUnpublishVolumeRequest): Promise<void> {
  const id = requireId(request.volumeId, 'volume_id');
  const targetPath = requirePath(request.targetPath, 'target_path');
  const devicePath = poolIdOf(id) === null ? null : await context.devices.find(id);
  const standing = await standingAt(context, targetPath, { id, devicePath });
  // What is not this volume's is left alone: the volume is not published there.
  if (standing.kind === 'foreign') return;
  // Also where nothing is mounted: the folder or file of an earlier attempt goes.
  await context.mounter.unmount(targetPath);
}

/** The staging mount of a mount volume; a block volume has none. */
async function requireStaged(context: NodeContext, wish: Wish): Promise<MountEntry | null> {
  const standing = await standingAt(context, wish.stagingPath, wish);
  if (wish.capability.access === 'block') {
    if (standing.kind !== 'own') return null;
    throw new StoreError('failed-precondition', `volume ${wish.id} is staged as a mount volume and cannot be published as a block volume`);
  }
  if (standing.kind !== 'own') throw notStaged(wish.id, wish.stagingPath);
  const { fileSystem } = wish.capability;
  if (fileSystem !== null && fileSystem !== standing.entry.fileSystem) {
    throw new StoreError('failed-precondition', `volume ${wish.id} is staged with ${standing.entry.fileSystem}, not ${fileSystem}`);
  }
  if (isReadOnly(standing.entry) && !wish.readOnly)
    throw new StoreError('failed-precondition', `volume ${wish.id} is staged read-only and cannot be published as writable`);
  return standing.entry;
}

function requireSame(entry: MountEntry, wish: Wish): void {
  const access = isFileSystem(entry.fileSystem) ? 'mount' : 'block';
  if (access === wish.capability.access && isReadOnly(entry) === wish.readOnly) return;
  const present = `${isReadOnly(entry) ? 'read-only' : 'writable'} ${access} volume`;
  throw new StoreError('already-exists', `volume ${wish.id} is published at ${wish.targetPath} already, but as a ${present}`);
}

async function requireSingle(context: NodeContext, wish: Wish, staged: MountEntry | null): Promise<void> {
  const elsewhere = (await mountsOf(context, wish.devicePath)).find(({ target }) => target !== staged?.target);
  if (elsewhere !== undefined) {
    throw new StoreError(
      'failed-precondition',
      `volume ${wish.id} is for a single workload and is published at ${elsewhere.target} already`,
    );
  }
}

function notStaged(id: string, stagingPath: string): StoreError {
  return new StoreError('failed-precondition', `volume ${id} is not staged at ${stagingPath}`);
}
