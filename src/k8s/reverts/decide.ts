/**
 * What to do next about a VolumeRevert, from what was observed: a pure function.
 *
 * Invariants, at any crash and with two controllers at once:
 * - The store is asked only after the status durably names the volume, the snapshot, and the volume's incarnation that the
 *   call demands. That incarnation is never replaced by a later one, so the store reverts for this object at most once.
 * - The safety snapshot's name and id follow from the UID: that it exists is the proof that the store has reverted.
 * - Once the store may have been asked, nothing final is said before it is sure what it did: it is asked for the safety
 *   snapshot, and a call that may still be under way is waited for.
 * - The safety snapshot is deleted only after the status durably says that the volume was reverted.
 */
import type { VolumeRevert, VolumeSnapshot, VolumeSnapshotContent } from '../resources.ts';
import { NO_BACKUP_LABEL, REVERT_FINALIZER, replayed, REVERT_UID_LABEL, safetyContentName, safetySnapshotName, uidOf } from './names.ts';
import type { RevertStoreSnapshot, RevertStoreVolume } from './ports.ts';
import { resolve, type Named, type Obstacle, type Pins } from './resolve.ts';
import { quoted } from './wording.ts';

/** A call to the store ends within 30 s; this is when one that was sent before is surely over, with clocks that differ. */
export const CALL_SURELY_OVER_MS = 90_000;

/** What the store says. The volume was asked for before the safety snapshot: see `settled`. */
export type StoreView =
  | { readonly kind: 'unasked' }
  | { readonly kind: 'away'; readonly message: string }
  /** There is surely no such pool. */
  | { readonly kind: 'gone' }
  | {
      readonly kind: 'answered';
      readonly volume: RevertStoreVolume | null;
      /** Null also when the status does not name it yet. */
      readonly snapshot: RevertStoreSnapshot | null;
      readonly safety: RevertStoreSnapshot | null;
    };

export interface SafetyObjects {
  readonly content: VolumeSnapshotContent | null;
  readonly snapshot: VolumeSnapshot | null;
  /** The namespace is being deleted: nothing can be made in it. */
  readonly namespaceTerminating: boolean;
}

export interface Observation {
  readonly revert: VolumeRevert;
  /** From before the store was asked. */
  readonly nowMs: number;
  readonly named: Named;
  readonly store: StoreView;
  /** Another VolumeRevert of the same volume for which the store was asked, and is to be asked again. */
  readonly before: string | null;
  /** Looked at only once the volume was reverted. */
  readonly safety: SafetyObjects;
}

export type Action =
  /** Nothing is left to do. */
  | { readonly kind: 'none' }
  /** Finalizer and labels. */
  | { readonly kind: 'adopt' }
  | { readonly kind: 'pin'; readonly pins: Pins }
  | { readonly kind: 'wait'; readonly reason: string; readonly message: string }
  /** Wait until the volume is detached, and say who uses it. */
  | { readonly kind: 'wait-for-detach' }
  /** Note the attempt, then ask the store. */
  | { readonly kind: 'revert'; readonly incarnation: number; readonly attributes: Readonly<Record<string, string>> }
  | { readonly kind: 'note-reverted' }
  | { readonly kind: 'create-content' }
  | { readonly kind: 'create-snapshot' }
  | { readonly kind: 'delete-content'; readonly uid: string | undefined }
  | { readonly kind: 'delete-safety' }
  | { readonly kind: 'complete'; readonly safetySnapshotName: string | null; readonly message: string }
  | { readonly kind: 'fail'; readonly reason: string; readonly message: string }
  /** Take the finalizer away. */
  | { readonly kind: 'release' };

export function isTerminal(revert: VolumeRevert): boolean {
  const phase = revert.status?.phase;
  return phase === 'Complete' || phase === 'Failed';
}

export function isKept(revert: VolumeRevert): boolean {
  return revert.spec.keepSafetySnapshot ?? true;
}

export function decide(seen: Observation): Action {
  const { revert, store } = seen;
  const held = (revert.metadata.finalizers ?? []).includes(REVERT_FINALIZER);
  const deleting = revert.metadata.deletionTimestamp !== undefined;
  if (isTerminal(revert)) return held ? { kind: 'release' } : { kind: 'none' };
  if (deleting && !held) return { kind: 'none' };
  if (revert.status?.revertedAt !== undefined) return afterRevert(seen);
  if (store.kind === 'answered' && store.safety !== null) return revertedAlready(seen, store.safety);
  if (deleting) return cancel(seen);
  return beforeRevert(seen, { held });
}

function beforeRevert(seen: Observation, { held }: { readonly held: boolean }): Action {
  const { revert, store, before } = seen;
  const { labels = {} } = revert.metadata;
  const copied = replayed(revert);
  if (copied !== null) {
    return fail(seen, 'Replayed', `${copied}; to revert once more, make a new VolumeRevert`);
  }
  if (!held || labels[NO_BACKUP_LABEL] !== 'true' || labels[REVERT_UID_LABEL] === undefined) return { kind: 'adopt' };

  const { pins, obstacle } = resolve(revert, seen.named);
  if (obstacle?.kind === 'fail') return fail(seen, obstacle.reason, obstacle.message);
  if (hasNews(pins, revert)) return { kind: 'pin', pins };
  if (obstacle !== null) return obstacle as Obstacle & { kind: 'wait' };
  if (before !== null) return wait('AnotherRevert', `the VolumeRevert ${quoted(before)} of the same volume is under way and goes first`);
  switch (store.kind) {
    case 'unasked':
      return wait('StoreAway', 'the store has not been asked yet');
    case 'away':
      return wait('StoreAway', store.message);
    case 'gone':
      return fail(seen, 'VolumeGone', 'the pool of the volume is gone for good');
    case 'answered':
      return askStore(seen, store);
  }
}

function askStore(seen: Observation, { volume, snapshot }: StoreView & { kind: 'answered' }): Action {
  const { spec, status } = seen.revert;
  if (volume === null) return fail(seen, 'VolumeGone', `the volume of the claim ${quoted(spec.claimName)} does not exist in its pool`);
  if (snapshot === null) return fail(seen, 'SnapshotGone', `the snapshot ${quoted(spec.snapshotName)} does not exist in its pool`);
  if (snapshot.sourceVolumeId !== volume.id) {
    return fail(
      seen,
      'SnapshotOfAnotherVolume',
      `the VolumeSnapshot ${quoted(spec.snapshotName)} was not taken of the claim ${quoted(spec.claimName)}; restore it to a new claim instead`,
    );
  }
  const pinned = status?.volumeIncarnation;
  if (pinned !== undefined && pinned !== volume.incarnation) {
    return fail(
      seen,
      'RevertedMeanwhile',
      'the volume was reverted by something else meanwhile, or by this and its safety snapshot was deleted in the pool. Look at what it holds, then make a new VolumeRevert if it is still wanted',
    );
  }
  if (volume.attached) return { kind: 'wait-for-detach' };
  return { kind: 'revert', incarnation: volume.incarnation, attributes: volume.attributes };
}

/** The store has the safety snapshot, so it has reverted, whatever the status says. */
function revertedAlready({ revert }: Observation, safety: RevertStoreSnapshot): Action {
  if (safety.sourceVolumeId === revert.status?.volumeHandle) return { kind: 'note-reverted' };
  return wait(
    'SafetySnapshotTaken',
    `the store has a snapshot ${safety.id} of another volume where the safety snapshot belongs; delete it`,
  );
}

function cancel(seen: Observation): Action {
  return settled(seen) ? { kind: 'release' } : wait('Settling', 'a call to the store may still be under way; its end is waited for');
}

function fail(seen: Observation, reason: string, message: string): Action {
  if (!settled(seen)) return wait('Settling', `${message}. A call to the store may still be under way; its end is waited for`);
  return { kind: 'fail', reason, message };
}

/**
 * Whether the store surely has not reverted for this object and never will: it was not asked; or it shows no safety
 * snapshot, and no call can be late. The volume is looked at before the safety snapshot, so a call that is done between
 * the two is not overlooked.
 */
function settled({ revert, store, nowMs }: Observation): boolean {
  const { attemptedAt, volumeIncarnation } = revert.status ?? {};
  if (attemptedAt === undefined || store.kind === 'gone') return true;
  if (store.kind !== 'answered' || store.safety !== null) return false;
  if (store.volume === null || store.volume.incarnation !== volumeIncarnation) return true;
  return nowMs >= Date.parse(attemptedAt) + CALL_SURELY_OVER_MS;
}

function afterRevert(seen: Observation): Action {
  const { revert, store, safety } = seen;
  const gone = store.kind === 'gone' || (store.kind === 'answered' && store.safety === null);
  if (!isKept(revert)) {
    if (gone) return { kind: 'complete', safetySnapshotName: null, message: 'reverted; what the volume held before was not kept' };
    return store.kind === 'answered' ? { kind: 'delete-safety' } : away(store);
  }

  const { content, snapshot } = safety;
  const name = safetySnapshotName(revert);
  if (snapshot !== null) {
    if (snapshot.spec.source.volumeSnapshotContentName !== safetyContentName(uidOf(revert))) {
      return wait(
        'NameTaken',
        `reverted, but there is another VolumeSnapshot ${quoted(name)} where the safety snapshot belongs; delete it`,
      );
    }
    const message = `reverted; what the volume held before is in the VolumeSnapshot ${quoted(name)}`;
    return { kind: 'complete', safetySnapshotName: name, message };
  }
  if (content !== null && content.spec.source.snapshotHandle !== revert.status?.safetySnapshotHandle) {
    return wait('NameTaken', `reverted, but there is another VolumeSnapshotContent ${quoted(content.metadata.name)}; delete it`);
  }
  if (content?.metadata.deletionTimestamp !== undefined) {
    return wait('SafetySnapshotDeleted', 'reverted; the safety snapshot is being deleted by somebody else');
  }
  const unwanted = gone || (safety.namespaceTerminating && revert.metadata.deletionTimestamp !== undefined);
  if (content !== null && unwanted) return { kind: 'delete-content', uid: content.metadata.uid };
  if (gone) return { kind: 'complete', safetySnapshotName: null, message: 'reverted; the safety snapshot was deleted by somebody else' };
  if (store.kind !== 'answered') return away(store);
  if (unwanted) return { kind: 'delete-safety' };
  if (safety.namespaceTerminating) return wait('NamespaceTerminating', 'reverted; the namespace is being deleted');
  return { kind: content === null ? 'create-content' : 'create-snapshot' };
}

function away(store: StoreView): Action {
  return wait('StoreAway', `reverted; the safety snapshot is yet to be seen to. ${store.kind === 'away' ? store.message : ''}`);
}

function wait(reason: string, message: string): Action {
  return { kind: 'wait', reason, message };
}

function hasNews(pins: Pins, { status = {} }: VolumeRevert): boolean {
  return Object.entries(pins).some(([name, value]) => value !== undefined && status[name as keyof Pins] === undefined);
}
