/** The controller's calls on snapshots. They belong to the pool of their volume, and outlive the volume. */
import type { Controller, ListSnapshotsRequest } from '../generated/messages.ts';
import type { StoreDirectory, StoreSnapshot } from '../ports.ts';
import { requireId, requireName } from '../request/fields.ts';
import { page } from '../request/paging.ts';
import { requireSnapshotParameters } from '../request/parameters.ts';
import { StoreError } from '../../util/errors.ts';
import { findSnapshot, findVolume, snapshotMessage, storeOf } from './lookup.ts';

type SnapshotCalls = Pick<Controller, 'createSnapshot' | 'deleteSnapshot' | 'listSnapshots' | 'getSnapshot'>;

export function snapshotCalls(directory: StoreDirectory): SnapshotCalls {
  return {
    async createSnapshot(request) {
      const name = requireName(request.name, 'name');
      const sourceVolumeId = requireId(request.sourceVolumeId, 'source_volume_id');
      const parameters = requireSnapshotParameters(request.parameters);
      const source = await findVolume(directory, sourceVolumeId).catch(async (error: unknown) => {
        // A repeated call whose answer was lost, and whose volume is gone by now: the snapshot is whole all the same.
        const made = isNotFound(error) ? await findMadeEarlier(directory, sourceVolumeId, name) : null;
        if (made === null) throw error;
        return { made };
      });
      if ('made' in source) return { snapshot: snapshotMessage(source.made) };

      // The volume may be deleted before the snapshot, so the snapshot remembers by itself what is in it.
      const attributes = { ...source.volume.attributes, ...parameters };
      const { snapshot, existed } = await source.store.createSnapshot({ name, sourceVolumeId, attributes });
      if (existed && snapshot.sourceVolumeId !== sourceVolumeId) {
        throw new StoreError(
          'already-exists',
          `the snapshot ${JSON.stringify(name)} exists already, but of volume ${snapshot.sourceVolumeId}`,
        );
      }
      return { snapshot: snapshotMessage(snapshot) };
    },

    async deleteSnapshot(request) {
      const id = requireId(request.snapshotId, 'snapshot_id');
      const store = await storeOf(directory, id);
      await store?.deleteSnapshot(id);
      return {};
    },

    async listSnapshots(request) {
      const { items, nextToken } = page(await matchingSnapshots(directory, request), request, 'snapshots');
      return { entries: items.map((snapshot) => ({ snapshot: snapshotMessage(snapshot) })), nextToken };
    },

    async getSnapshot(request) {
      const { snapshot } = await findSnapshot(directory, requireId(request.snapshotId, 'snapshot_id'));
      return { snapshot: snapshotMessage(snapshot) };
    },
  };
}

async function findMadeEarlier(directory: StoreDirectory, sourceVolumeId: string, name: string): Promise<StoreSnapshot | null> {
  const store = await storeOf(directory, sourceVolumeId);
  const snapshots = (await store?.listSnapshots()) ?? [];
  return snapshots.find((snapshot) => snapshot.name === name && snapshot.sourceVolumeId === sourceVolumeId) ?? null;
}

/** Filters that match nothing give an empty list, not an error. */
async function matchingSnapshots(directory: StoreDirectory, request: ListSnapshotsRequest): Promise<readonly StoreSnapshot[]> {
  const { snapshotId, sourceVolumeId } = request;
  const ofSource = (snapshot: StoreSnapshot): boolean => sourceVolumeId === '' || snapshot.sourceVolumeId === sourceVolumeId;
  if (snapshotId !== '') {
    try {
      const { snapshot } = await findSnapshot(directory, snapshotId);
      return [snapshot].filter(ofSource);
    } catch (error) {
      if (isNotFound(error)) return [];
      throw error;
    }
  }
  if (sourceVolumeId !== '') {
    const store = await storeOf(directory, sourceVolumeId);
    return ((await store?.listSnapshots()) ?? []).filter(ofSource);
  }
  const stores = await directory.all();
  return (await Promise.all(stores.map((store) => store.listSnapshots()))).flat();
}

function isNotFound(error: unknown): boolean {
  return error instanceof StoreError && error.code === 'not-found';
}
