/**
 * The names and ids that follow from a VolumeRevert. They are made from its UID, so that whoever goes on after a crash
 * finds what was made already, and nothing of a user has the same name by chance.
 */
import { createHash } from 'node:crypto';
import type { VolumeRevert } from '../resources.ts';
import { assert } from '../../util/assert.ts';

/** Keeps a VolumeRevert until the store's side of it is settled. */
export const REVERT_FINALIZER = 'chunkstore.dev/revert';
export const REVERT_UID_LABEL = 'chunkstore.dev/volume-revert-uid';
export const REVERT_ANNOTATION = 'chunkstore.dev/volume-revert';
export const CLAIM_ANNOTATION = 'chunkstore.dev/claim';
/** Velero leaves out of its backups what has this label. */
export const NO_BACKUP_LABEL = 'velero.io/exclude-from-backup';

const HANDLE = /^([a-z2-7]{26})\.[a-z2-7]{26}$/;
const BASE32 = 'abcdefghijklmnopqrstuvwxyz234567';
const ID_LENGTH = 26;
const LONGEST_NAME = 253;

export function uidOf(revert: VolumeRevert): string {
  assert(revert.metadata.uid !== undefined, 'an object of the API has a UID');
  return revert.metadata.uid;
}

/** "<pool id>.<object id>"; null when a handle has not that form, and so is none of ours. */
export function poolOfHandle(handle: string): string | null {
  return HANDLE.exec(handle)?.[1] ?? null;
}

/** The safety snapshot's name in the store. */
export function safetyName(uid: string): string {
  return `revert-${uid}`;
}

/** The safety snapshot's object id: 128 bits of a hash as 26 characters of base32, as all ids of the store are. */
export function safetyObjectId(uid: string): string {
  const hash = createHash('sha256').update(`safety snapshot of VolumeRevert ${uid}`).digest();
  let id = '';
  for (let at = 0; at < ID_LENGTH; at++) id += BASE32[hash[at]! & (at === ID_LENGTH - 1 ? 7 : 31)];
  return id;
}

export function safetyHandle(poolId: string, uid: string): string {
  return `${poolId}.${safetyObjectId(uid)}`;
}

export function safetyContentName(uid: string): string {
  return `chunkstore-revert-${uid}`;
}

/** "<name of the revert>-before-<8 characters of its UID>", in its namespace. */
export function safetySnapshotName(revert: VolumeRevert): string {
  const suffix = `-before-${uidOf(revert).slice(0, 8)}`;
  return revert.metadata.name.slice(0, LONGEST_NAME - suffix.length).replace(/[.-]+$/, '') + suffix;
}

/**
 * Why this object is taken for a copy of a VolumeRevert that was made earlier, by a backup tool or by hand; null when it
 * is none. A revert that is done again would throw away what was written since.
 *
 * Every VolumeRevert bears its own UID in a label from first sight on, and a copy has another UID. Tools also mark what
 * they restore: Velero with velero.io/restore-name and velero.io/backup-name, others alike.
 */
export function replayed(revert: VolumeRevert): string | null {
  const { labels = {}, annotations = {} } = revert.metadata;
  const original = labels[REVERT_UID_LABEL];
  if (original !== undefined && original !== uidOf(revert)) return `it is a copy of the VolumeRevert with UID ${original}`;
  const mark = [...Object.keys(labels), ...Object.keys(annotations)].find(isRestoreMark);
  return mark === undefined ? null : `it was restored from a backup (it bears ${mark})`;
}

const BACKUP_DOMAINS = ['velero.io', 'kasten.io', 'libopenstorage.org', 'portworx.io', 'trilio.io', 'cloudcasa.io'];

function isRestoreMark(key: string): boolean {
  const [domain = '', name] = key.split('/');
  if (name === undefined || !BACKUP_DOMAINS.some((known) => domain === known || domain.endsWith(`.${known}`))) return false;
  return name.includes('restore') || name === 'backup-name';
}
