/**
 * Which pass over what snapshots hold is due: a pure function.
 *
 * A verifying pass is due once in the given time, and one that a restart cut off goes on at once; one that somebody stopped
 * waits for the next time. A sealing pass, which gives checksums to what is new, is due when a snapshot was made since the
 * last one began. Times are compared by their distance, so that a clock which was set back for good does not stop them.
 */
import type { ScrubMode, ScrubStatus } from '../../engine/control.ts';

export interface ScrubSituation {
  readonly status: ScrubStatus;
  /** Null: there is no snapshot. */
  readonly newestSnapshotAtMs: number | null;
  readonly verifyEveryMs: number;
  readonly nowMs: number;
  /** Since this process began to serve nobody has looked. */
  readonly isFirstLook: boolean;
  /** When this process last began a sealing pass, whatever became of it; 0: never. */
  readonly sealBeganAtMs: number;
}

export const SEAL_EVERY_MS = 60 * 60_000;

/** Null: none is due. */
export function dueScrub(situation: ScrubSituation): ScrubMode | null {
  if (situation.status.running !== null) return null;
  if (isVerifyDue(situation)) return 'verify';
  return isSealDue(situation) ? 'seal' : null;
}

function isVerifyDue({ status, newestSnapshotAtMs, verifyEveryMs, nowMs, isFirstLook }: ScrubSituation): boolean {
  if (newestSnapshotAtMs === null && status.protectedBytes === 0) return false;
  if (isFirstLook && status.startedAtMs !== 0) return true;
  return Math.abs(nowMs - Math.max(status.startedAtMs, status.completedAtMs)) >= verifyEveryMs;
}

function isSealDue({ status, newestSnapshotAtMs, nowMs, sealBeganAtMs }: ScrubSituation): boolean {
  if (newestSnapshotAtMs === null) return false;
  const { sealedAtMs } = status;
  if (Math.abs(nowMs - Math.max(sealedAtMs, sealBeganAtMs)) < SEAL_EVERY_MS) return false;
  return newestSnapshotAtMs >= sealedAtMs || sealedAtMs > nowMs;
}
