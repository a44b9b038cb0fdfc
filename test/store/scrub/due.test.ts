import { describe, expect, test } from '@jest/globals';
import { dueScrub, SEAL_EVERY_MS, type ScrubSituation } from '../../../src/store/scrub/due.ts';
import { NEVER_SCRUBBED } from '../../support/fake-engine.ts';

const DAY_MS = 86_400_000;
const NOW_MS = Date.UTC(2025, 5, 1);
/** All is sealed and was verified yesterday. */
const rested: ScrubSituation = {
  status: { ...NEVER_SCRUBBED, completedAtMs: NOW_MS - DAY_MS, sealedAtMs: NOW_MS - DAY_MS, protectedBytes: 65_536 },
  newestSnapshotAtMs: NOW_MS - 2 * DAY_MS,
  verifyEveryMs: 7 * DAY_MS,
  nowMs: NOW_MS,
  isFirstLook: false,
  sealBeganAtMs: 0,
};
const due = (status: Partial<ScrubSituation['status']> = {}, more: Partial<ScrubSituation> = {}) =>
  dueScrub({ ...rested, ...more, status: { ...rested.status, ...status } });

describe('a verifying pass is due', () => {
  test('once in the time, and never while one runs', () => {
    expect(due()).toBeNull();
    expect(due({ completedAtMs: NOW_MS - 7 * DAY_MS })).toBe('verify');
    expect(due({ completedAtMs: NOW_MS - 7 * DAY_MS, running: 'seal' })).toBeNull();
    expect(due({ completedAtMs: NOW_MS - 7 * DAY_MS, running: 'verify' })).toBeNull();
  });

  test('at first when there is a snapshot', () => {
    expect(due(NEVER_SCRUBBED)).toBe('verify');
    expect(due(NEVER_SCRUBBED, { newestSnapshotAtMs: null })).toBeNull();
  });

  test('also when the snapshots are gone, and clones still have their chunks', () => {
    expect(due({ completedAtMs: NOW_MS - 8 * DAY_MS }, { newestSnapshotAtMs: null })).toBe('verify');
    expect(due({ completedAtMs: NOW_MS - 8 * DAY_MS, protectedBytes: 0 }, { newestSnapshotAtMs: null })).toBeNull();
  });

  test('at once when a restart cut it off, and in its time when somebody stopped it', () => {
    const unfinished = { startedAtMs: NOW_MS - DAY_MS, completedAtMs: NOW_MS - 8 * DAY_MS };
    expect(due(unfinished, { isFirstLook: true })).toBe('verify');
    expect(due(unfinished)).toBeNull();
    expect(due({ ...unfinished, startedAtMs: NOW_MS - 7 * DAY_MS })).toBe('verify');
  });

  test('within its time when the clock was years ahead', () => {
    expect(due({ completedAtMs: NOW_MS + 400 * DAY_MS })).toBe('verify');
  });
});

describe('a sealing pass is due', () => {
  test('when a snapshot was made since the last one began, and an hour is over', () => {
    const sealedAtMs = NOW_MS - SEAL_EVERY_MS;
    expect(due({ sealedAtMs }, { newestSnapshotAtMs: sealedAtMs })).toBe('seal');
    expect(due({ sealedAtMs }, { newestSnapshotAtMs: sealedAtMs - 1 })).toBeNull();
    expect(due({ sealedAtMs: sealedAtMs + 1 }, { newestSnapshotAtMs: NOW_MS })).toBeNull();
    expect(due({ sealedAtMs }, { newestSnapshotAtMs: null })).toBeNull();
  });

  test('an hour after one that did not come to its end', () => {
    const newestSnapshotAtMs = NOW_MS;
    expect(due({ sealedAtMs: 0 }, { newestSnapshotAtMs, sealBeganAtMs: NOW_MS - SEAL_EVERY_MS + 1 })).toBeNull();
    expect(due({ sealedAtMs: 0 }, { newestSnapshotAtMs, sealBeganAtMs: NOW_MS - SEAL_EVERY_MS })).toBe('seal');
  });

  test('when the clock was set back behind the last one', () => {
    expect(due({ sealedAtMs: NOW_MS + 2 * SEAL_EVERY_MS })).toBe('seal');
  });
});
