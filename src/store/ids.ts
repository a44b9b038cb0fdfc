/**
 * Ids: 128 random bits as 26 characters of lower-case base32 (a-z, 2-7; the last character carries three bits). On the
 * wire a volume or snapshot is "<pool id>.<object id>", so that everybody can tell which pool to ask.
 */
import { assert } from '../util/assert.ts';
import { StoreError } from '../util/errors.ts';
import type { ObjectId } from '../engine/control.ts';

const ALPHABET = 'abcdefghijklmnopqrstuvwxyz234567';
const ID_BYTES = 16;
const OBJECT_ID = /^[a-z2-7]{26}$/;

/** A new id from 16 random bytes. */
export function newObjectId(randomBytes: (count: number) => Uint8Array): ObjectId {
  const bytes = randomBytes(ID_BYTES);
  assert(bytes.length === ID_BYTES, 'an id is made of 16 bytes');
  let text = '';
  let bits = 0;
  let bitCount = 0;
  for (const byte of bytes) {
    bits = (bits << 8) | byte;
    bitCount += 8;
    while (bitCount >= 5) {
      bitCount -= 5;
      text += ALPHABET[(bits >> bitCount) & 31];
    }
    bits &= (1 << bitCount) - 1;
  }
  return text + ALPHABET[(bits << (5 - bitCount)) & 31];
}

export function isObjectId(text: string): text is ObjectId {
  return OBJECT_ID.test(text);
}

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
