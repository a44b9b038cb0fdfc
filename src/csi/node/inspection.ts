/** NodeGetVolumeStats and NodeExpandVolume: calls on a volume that is staged or published at a path. */
import { isAbsolute } from 'node:path';
import type { NodeExpandVolumeRequest, NodeGetVolumeStatsRequest, VolumeUsage } from '../generated/messages.ts';
import type { MountEntry } from '../ports.ts';
import type { Sendable } from '../proto.ts';
import { isFileSystem, requireCapability } from '../request/capabilities.ts';
import { noVolume, poolIdOf, requireId, requirePath } from '../request/fields.ts';
import { requireSizeRange } from '../request/sizes.ts';
import { StoreError } from '../../util/errors.ts';
import { isReadOnly, mountsOf, standingAt, type NodeContext } from './context.ts';

export async function volumeStats(context: NodeContext, request: NodeGetVolumeStatsRequest): Promise<readonly Sendable<VolumeUsage>[]> {
  const id = requireId(request.volumeId, 'volume_id');
  const path = requireSomePath(request.volumePath);
  const devicePath = await requireDevice(context, id);
  const entry = await mountOf(context, path, { id, devicePath });
  if (entry === null) throw notThere(id, request.volumePath);
  if (!isFileSystem(entry.fileSystem)) return [{ unit: 'BYTES', total: await context.mounter.blockSize(devicePath) }];

  const stats = await context.mounter.stats(entry.target);
  const bytes: Sendable<VolumeUsage> = { unit: 'BYTES', total: stats.totalBytes, available: stats.availableBytes, used: stats.usedBytes };
  // btrfs makes inodes as it needs them and counts none.
  if (stats.totalInodes === 0) return [bytes];
  return [bytes, { unit: 'INODES', total: stats.totalInodes, available: stats.freeInodes, used: stats.usedInodes }];
}

/** Returns the size in bytes. */
export async function expandVolume(context: NodeContext, request: NodeExpandVolumeRequest): Promise<number> {
  const id = requireId(request.volumeId, 'volume_id');
  const path = requireSomePath(request.volumePath);
  const stagingPath = request.stagingTargetPath === '' ? null : requirePath(request.stagingTargetPath, 'staging_target_path');
  const range = requireSizeRange(request.capacityRange, 'capacity_range');
  const capability = request.volumeCapability === null ? null : requireCapability(request.volumeCapability, 'volume_capability');
  const devicePath = await requireDevice(context, id);
  const volume = { id, devicePath };
  const entry = (await mountOf(context, path, volume)) ?? (await mountOf(context, stagingPath, volume));
  // Where the orchestrator shows a block volume to itself is its own affair; its device is enough.
  if (entry === null && capability?.access !== 'block') throw notThere(id, request.volumePath);

  const sizeBytes = await context.devices.grow(id);
  if (range.requiredBytes !== null && sizeBytes < range.requiredBytes) {
    throw new StoreError(
      'out-of-range',
      `volume ${id} has ${sizeBytes} bytes, less than capacity_range.required_bytes (${range.requiredBytes}); the controller has to expand it first`,
    );
  }
  if (entry !== null && isFileSystem(entry.fileSystem)) {
    // A file system grows through a writable mount, which the path of a read-only workload is not.
    const writable = isReadOnly(entry) ? (await mountsOf(context, devicePath)).find((mount) => !isReadOnly(mount)) : entry;
    if (writable === undefined)
      throw new StoreError('failed-precondition', `volume ${id} is mounted read-only; its file system grows when it is staged as writable`);
    await context.mounter.grow(devicePath, writable.target, entry.fileSystem);
  }
  return sizeBytes;
}

/** A relative path is no path of a volume (null), as csi-sanity has it, rather than a malformed field. */
function requireSomePath(path: string): string | null {
  return path === '' || isAbsolute(path) ? requirePath(path, 'volume_path') : null;
}

async function requireDevice(context: NodeContext, id: string): Promise<string> {
  const devicePath = poolIdOf(id) === null ? null : await context.devices.find(id);
  if (devicePath === null) throw poolIdOf(id) === null ? noVolume(id) : new StoreError('not-found', `volume ${id} is not on this node`);
  return devicePath;
}

async function mountOf(
  context: NodeContext,
  path: string | null,
  volume: { readonly id: string; readonly devicePath: string },
): Promise<MountEntry | null> {
  if (path === null) return null;
  const standing = await standingAt(context, path, volume);
  return standing.kind === 'own' ? standing.entry : null;
}

function notThere(id: string, path: string): StoreError {
  return new StoreError('not-found', `volume ${id} is neither staged nor published at ${path}`);
}
