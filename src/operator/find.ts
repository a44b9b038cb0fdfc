/** Finds the volume or snapshot that an operator means: by its id, by the object's part of it, or by its name. */
import type { ClientVolume, StoreClient } from '../store/wire/client.ts';
import type { SnapshotMessage } from '../store/wire/messages.ts';
import { StoreError } from '../util/errors.ts';

export interface FoundObject {
  readonly kind: 'volume' | 'snapshot';
  readonly id: string;
  readonly name: string;
  readonly sizeBytes: number;
  readonly createdAtMs: number;
  readonly sourceId: string | null;
  readonly attached: boolean;
  readonly attributes: Readonly<Record<string, string>>;
}

export async function listObjects(store: StoreClient): Promise<FoundObject[]> {
  const [volumes, snapshots] = await Promise.all([store.listVolumes(), store.listSnapshots()]);
  return [...volumes.map(ofVolume), ...snapshots.map(ofSnapshot)];
}

/** `not-found`, or `invalid-argument` when a name stands for several. */
export async function findObject(store: StoreClient, word: string, kind: 'volume' | 'snapshot' | null): Promise<FoundObject> {
  const objects = (await listObjects(store)).filter((object) => kind === null || object.kind === kind);
  const byId = objects.find((object) => object.id === word || object.id.endsWith(`.${word}`));
  if (byId !== undefined) return byId;
  const named = objects.filter((object) => object.name === word);
  const [only, another] = named;
  if (only === undefined) throw new StoreError('not-found', `there is no ${kind ?? 'volume or snapshot'} ${JSON.stringify(word)}`);
  if (another !== undefined) {
    throw new StoreError(
      'invalid-argument',
      `${JSON.stringify(word)} is both a volume and a snapshot; give the id: ${named.map((object) => `${object.kind} ${object.id}`).join(', ')}`,
    );
  }
  return only;
}

export function ofVolume(volume: ClientVolume): FoundObject {
  const { id, name, sizeBytes, createdAtMs, attached, attributes } = volume;
  return { kind: 'volume', id, name, sizeBytes, createdAtMs, sourceId: volume.source?.id ?? null, attached, attributes };
}

export function ofSnapshot(snapshot: SnapshotMessage): FoundObject {
  const { id, name, sizeBytes, createdAtMs, attached, attributes } = snapshot;
  return { kind: 'snapshot', id, name, sizeBytes, createdAtMs, sourceId: snapshot.sourceVolumeId, attached, attributes };
}
