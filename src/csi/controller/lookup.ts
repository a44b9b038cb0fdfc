/** Finds the store behind an id, and with it volumes and snapshots; turns them into messages. */
import type { Snapshot, Volume } from '../generated/messages.ts';
import type { Sendable } from '../proto.ts';
import { topologyOf } from '../names.ts';
import type { Store, StoreDirectory, StorePool, StoreSnapshot, StoreVolume } from '../ports.ts';
import { noSnapshot, noVolume, poolIdOf } from '../request/fields.ts';
import { StoreError } from '../../util/errors.ts';

/** Null when there is surely nothing of that id. */
export function storeOf(directory: StoreDirectory, id: string): Promise<Store | null> {
  const poolId = poolIdOf(id);
  return poolId === null ? Promise.resolve(null) : directory.ofPool(poolId);
}

export async function findVolume(directory: StoreDirectory, id: string): Promise<{ readonly store: Store; readonly volume: StoreVolume }> {
  const store = await storeOf(directory, id);
  if (store === null) throw withoutPool(noVolume(id), id);
  return { store, volume: await store.getVolume(id) };
}

export async function findSnapshot(
  directory: StoreDirectory,
  id: string,
): Promise<{ readonly store: Store; readonly snapshot: StoreSnapshot }> {
  const store = await storeOf(directory, id);
  if (store === null) throw withoutPool(noSnapshot(id), id);
  return { store, snapshot: await store.getSnapshot(id) };
}

/** Says that the pool is gone, not only what was in it. */
function withoutPool(error: StoreError, id: string): StoreError {
  const poolId = poolIdOf(id);
  return poolId === null ? error : new StoreError(error.code, `${error.message}: its pool ${poolId} does not exist or was declared lost`);
}

export function volumeMessage(volume: StoreVolume, pool: StorePool): Sendable<Volume> {
  const { source } = volume;
  return {
    volumeId: volume.id,
    capacityBytes: volume.sizeBytes,
    contentSource:
      source === null ? null : source.kind === 'volume' ? { volume: { volumeId: source.id } } : { snapshot: { snapshotId: source.id } },
    accessibleTopology: [topologyOf(pool.node)],
  };
}

/** A snapshot is whole once it exists; its size is always told, since restores are checked against it. */
export function snapshotMessage(snapshot: StoreSnapshot): Sendable<Snapshot> {
  return {
    snapshotId: snapshot.id,
    sourceVolumeId: snapshot.sourceVolumeId,
    sizeBytes: snapshot.sizeBytes,
    creationTime: { seconds: Math.floor(snapshot.createdAtMs / 1_000), nanos: (snapshot.createdAtMs % 1_000) * 1_000_000 },
    readyToUse: true,
  };
}
