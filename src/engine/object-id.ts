/** Ids of pools and objects: 128 random bits as lower-case base32 (a-z, 2-7), whose last character carries three of them. */
import type { ObjectId } from './control.ts';
import type { Random } from './ports.ts';

export const OBJECT_ID_LENGTH = 26;
const BASE32 = 'abcdefghijklmnopqrstuvwxyz234567';
const OBJECT_ID = /^[a-z2-7]{26}$/;

export function newObjectId(random: Random): ObjectId {
  const bytes = new Uint8Array(OBJECT_ID_LENGTH);
  random.fill(bytes);
  let id = '';
  for (let at = 0; at < OBJECT_ID_LENGTH; at++) id += BASE32[bytes[at]! & (at === OBJECT_ID_LENGTH - 1 ? 7 : 31)];
  return id;
}

export function isObjectId(text: string): text is ObjectId {
  return OBJECT_ID.test(text);
}
