/** On the wire a volume or snapshot is "<pool id>.<object id>", so that everybody can tell which pool to ask. */
import type { ObjectId } from '../../engine/control.ts';
import { isObjectId } from '../../engine/object-id.ts';
import { StoreError } from '../../util/errors.ts';

export function wireId(poolId: ObjectId, objectId: ObjectId): string {
  return `${poolId}.${objectId}`;
}

/** Splits an id of the wire; null when it has not that form (nothing of that id can exist). */
export function parseWireId(id: string): { readonly poolId: ObjectId; readonly objectId: ObjectId } | null {
  const [poolId, objectId, ...rest] = id.split('.');
  if (poolId === undefined || objectId === undefined || rest.length > 0) return null;
  return isObjectId(poolId) && isObjectId(objectId) ? { poolId, objectId } : null;
}

/** The object id of `id`, or not-found when it names nothing that this pool could hold. */
export function objectIdIn(poolId: ObjectId, id: string): ObjectId {
  const parsed = parseWireId(id);
  if (parsed === null || parsed.poolId !== poolId) throw new StoreError('not-found', `there is no ${JSON.stringify(id)} in pool ${poolId}`);
  return parsed.objectId;
}
