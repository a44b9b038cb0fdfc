/**
 * Staging: the volume becomes a device, and a mount volume's file system is made ready and mounted at the staging path.
 *
 * A device that holds anything is never formatted. Each step can be found done: a call that was cut off anywhere is
 * finished by the next one.
 */
import { createHash } from 'node:crypto';
import type { NodeStageVolumeRequest, NodeUnstageVolumeRequest } from '../generated/messages.ts';
import type { FileSystem } from '../ports.ts';
import { DEFAULT_FILE_SYSTEM, misfit, recordedUse, requireCapability, type Capability } from '../request/capabilities.ts';
import { noVolume, poolIdOf, requireId, requirePath } from '../request/fields.ts';
import { mkfsArguments } from '../request/parameters.ts';
import { StoreError } from '../../util/errors.ts';
import { isReadOnly, mountsOf, standingAt, type NodeContext } from './context.ts';

interface Device {
  readonly id: string;
  readonly path: string;
  readonly attributes: Readonly<Record<string, string>>;
}

export async function stageVolume(context: NodeContext, request: NodeStageVolumeRequest): Promise<void> {
  const id = requireId(request.volumeId, 'volume_id');
  const stagingPath = requirePath(request.stagingTargetPath, 'staging_target_path');
  const capability = requireCapability(request.volumeCapability, 'volume_capability');
  if (poolIdOf(id) === null) throw noVolume(id);

  const before = await context.devices.find(id);
  const { devicePath, attributes } = await attach(context, id, stagingPath);
  const device = { id, path: devicePath, attributes };
  try {
    await stageDevice(context, device, { stagingPath, capability });
  } catch (error) {
    if (isFinal(error) && (before === null || (await isHalfStaged(context, device)))) await undoAttach(context, id, { stagingPath, error });
    throw error;
  }
}

export async function unstageVolume(context: NodeContext, request: NodeUnstageVolumeRequest): Promise<void> {
  const id = requireId(request.volumeId, 'volume_id');
  const stagingPath = requirePath(request.stagingTargetPath, 'staging_target_path');
  // Nothing of such an id can be staged.
  if (poolIdOf(id) === null) return;

  const devicePath = await context.devices.find(id);
  const standing = await standingAt(context, stagingPath, { id, devicePath });
  const others =
    devicePath === null
      ? []
      : (await mountsOf(context, devicePath)).filter(({ target }) => standing.kind === 'nothing' || target !== standing.entry.target);
  if (others.length > 0) {
    throw new StoreError(
      'in-use',
      `volume ${id} is still mounted at ${others.map(({ target }) => target).join(', ')}; unpublish it there first`,
    );
  }
  if (standing.kind === 'own' || standing.kind === 'stale') await context.mounter.unmount(stagingPath);
  await context.devices.detach(id);
}

/** A device of a store that died for good is in the way of a new one while it is mounted. Here it is ours to unmount. */
async function attach(context: NodeContext, id: string, stagingPath: string): ReturnType<NodeContext['devices']['attach']> {
  try {
    return await context.devices.attach(id);
  } catch (error) {
    const entry = error instanceof StoreError && error.code === 'in-use' ? await context.mounter.find(stagingPath) : null;
    if (entry === null || (await context.devices.owner(entry.source)) !== id) throw error;
    await context.mounter.unmount(stagingPath);
    return context.devices.attach(id);
  }
}

async function stageDevice(
  context: NodeContext,
  device: Device,
  wish: { readonly stagingPath: string; readonly capability: Capability },
): Promise<void> {
  const { stagingPath, capability } = wish;
  const recorded = recordedUse(device.attributes);
  const problem = recorded === null ? null : misfit(recorded, useOf(capability));
  if (problem !== null) throw new StoreError('failed-precondition', `volume ${device.id} cannot be staged as asked: ${problem}`);
  if (capability.access === 'block') return stageBlock(context, device, stagingPath);
  const fileSystem = recorded?.fileSystem ?? capability.fileSystem ?? DEFAULT_FILE_SYSTEM;
  return stageMount(context, device, { stagingPath, fileSystem, flags: capability.mountFlags });
}

/** Left by a call that was cut off: a mount volume that is mounted nowhere is not staged, though it is attached. */
async function isHalfStaged(context: NodeContext, device: Device): Promise<boolean> {
  return recordedUse(device.attributes)?.access === 'mount' && (await mountsOf(context, device.path)).length === 0;
}

/** After a final failure nobody calls NodeUnstageVolume, and a volume that stays attached could never be deleted. Where
 * that does not work, the failure is not final: then the caller asks again, or unstages. */
async function undoAttach(
  context: NodeContext,
  id: string,
  failed: { readonly stagingPath: string; readonly error: unknown },
): Promise<void> {
  const { stagingPath, error } = failed;
  try {
    const devicePath = await context.devices.find(id);
    const standing = await standingAt(context, stagingPath, { id, devicePath });
    if (standing.kind === 'own') await context.mounter.unmount(stagingPath);
    await context.devices.detach(id);
  } catch (cause) {
    if (!(error instanceof StoreError) || !(cause instanceof StoreError)) throw cause;
    throw new StoreError('unavailable', `${error.message}; and its device cannot be given back: ${cause.message}`, { cause });
  }
}

/** Calls that ran into a time limit or another call are repeated by the caller, and find what they left. */
function isFinal(error: unknown): boolean {
  return !(error instanceof StoreError) || (error.code !== 'unavailable' && error.code !== 'busy' && error.code !== 'no-space');
}

/** Nothing stands at the staging path of a block volume: the device itself is all there is. */
async function stageBlock(context: NodeContext, device: Device, stagingPath: string): Promise<void> {
  const standing = await standingAt(context, stagingPath, { id: device.id, devicePath: device.path });
  if (standing.kind === 'stale') return context.mounter.unmount(stagingPath);
  if (standing.kind !== 'nothing') {
    throw new StoreError(
      'already-exists',
      `${stagingPath} has ${standing.entry.source} (${standing.entry.fileSystem}) mounted; volume ${device.id} is to be staged there as a block volume`,
    );
  }
}

async function stageMount(
  context: NodeContext,
  device: Device,
  wish: { readonly stagingPath: string; readonly fileSystem: FileSystem; readonly flags: readonly string[] },
): Promise<void> {
  const { stagingPath, fileSystem, flags } = wish;
  const readOnly = flags.includes('ro');
  const standing = await standingAt(context, stagingPath, { id: device.id, devicePath: device.path });
  if (standing.kind === 'foreign') {
    throw new StoreError('already-exists', `${stagingPath} has ${standing.entry.source} mounted, which is not volume ${device.id}`);
  }
  if (standing.kind === 'own' && (standing.entry.fileSystem !== fileSystem || isReadOnly(standing.entry) !== readOnly)) {
    const present = `${isReadOnly(standing.entry) ? 'read-only' : 'writable'} ${standing.entry.fileSystem}`;
    throw new StoreError('already-exists', `volume ${device.id} is staged at ${stagingPath} already, but as ${present}`);
  }
  if (standing.kind === 'stale') await context.mounter.unmount(stagingPath);
  if (standing.kind !== 'own') {
    await makeReady(context, device, fileSystem);
    await context.mounter.mount(device.path, stagingPath, fileSystem, { flags, readOnly });
  }
  if (readOnly) return;
  // A restore may be larger than its source, and a volume may have grown while it was not mounted.
  try {
    await context.mounter.grow(device.path, stagingPath, fileSystem);
  } catch (error) {
    // Staged already, and perhaps in use: it stays so at its present size, and NodeExpandVolume tells what hinders it.
    if (standing.kind !== 'own' || !(error instanceof StoreError) || error.code !== 'failed-precondition') throw error;
  }
}

async function makeReady(context: NodeContext, device: Device, fileSystem: FileSystem): Promise<void> {
  // A mounted file system must not be checked; it is ready, or it would not be mounted.
  if ((await mountsOf(context, device.path)).length > 0) return;
  const present = await context.mounter.probe(device.path);
  const fileSystemId = fileSystemIdOf(device.id);
  if (present === null) {
    const ownId = fileSystem === 'btrfs' ? ['-U', fileSystemId] : [];
    return context.mounter.format(device.path, fileSystem, [...ownId, ...mkfsArguments(device.attributes)]);
  }
  if (present !== fileSystem) {
    throw new StoreError(
      'failed-precondition',
      `volume ${device.id} holds ${present}, not ${fileSystem}; it is not formatted anew, which would destroy what is there`,
    );
  }
  // Every btrfs gets the id that its volume stands for; only a clone has another one, and only until this is done.
  return context.mounter.prepare(device.path, fileSystem, { clone: fileSystem === 'btrfs', fileSystemId });
}

/**
 * The UUID of a volume's file system, for those that must not be mounted twice under one. It follows from the volume's
 * id, so that whether a clone has its own already can be seen from the device alone. (RFC 9562, version 8.)
 */
export function fileSystemIdOf(volumeId: string): string {
  const bytes = createHash('sha256').update(`file system of volume ${volumeId}`).digest().subarray(0, 16);
  bytes[6] = (bytes[6]! & 0x0f) | 0x80;
  bytes[8] = (bytes[8]! & 0x3f) | 0x80;
  return bytes.toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}

function useOf(capability: Capability): { access: 'mount' | 'block'; fileSystem: FileSystem | null } {
  return { access: capability.access, fileSystem: capability.access === 'mount' ? capability.fileSystem : null };
}
