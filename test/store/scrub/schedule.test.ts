import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { pino } from 'pino';
import type { ScrubStatus } from '../../../src/engine/control.ts';
import { SEAL_EVERY_MS } from '../../../src/store/scrub/due.ts';
import { LOOK_MS, ScrubSchedule } from '../../../src/store/scrub/schedule.ts';
import { scrubMessage, scrubModeOf } from '../../../src/store/wire/scrub-messages.ts';
import { StoreError } from '../../../src/util/errors.ts';
import { NEVER_SCRUBBED } from '../../support/fake-engine.ts';
import { ManualClock } from '../../support/manual-clock.ts';

const DAY_MS = 86_400_000;

/** A pool that finishes a pass as soon as it is told to. */
class Pool {
  readonly clock = new ManualClock();
  status: ScrubStatus = NEVER_SCRUBBED;
  snapshots: number[] = [];
  readonly begun: string[] = [];
  readonly lines: { readonly level: number; readonly msg: string; readonly reason?: string }[] = [];
  failure: Error | null = null;
  looks = 0;
  schedule: ScrubSchedule | null = null;

  start(verifyEveryMs: number | null = 7 * DAY_MS): void {
    this.schedule = new ScrubSchedule({
      calls: {
        getScrub: async () => {
          this.looks += 1;
          return scrubMessage(this.status);
        },
        startScrub: async ({ mode }) => {
          if (this.failure !== null) throw this.failure;
          const running = scrubModeOf(mode);
          this.begun.push(running ?? 'nothing');
          this.status = { ...this.status, running, ...(running === 'verify' && { startedAtMs: this.clock.nowMs() }) };
          return scrubMessage(this.status);
        },
        listSnapshots: async () => ({ snapshots: this.snapshots.map((createdAtMs) => ({ createdAtMs })) }),
      },
      verifyEveryMs,
      clock: this.clock,
      log: pino({ level: 'info' }, { write: (line: string) => void this.lines.push(JSON.parse(line) as Pool['lines'][number]) }),
    });
  }

  finish(): void {
    const nowMs = this.clock.nowMs();
    const verified = this.status.running === 'verify' ? { startedAtMs: 0, completedAtMs: nowMs } : {};
    this.status = { ...this.status, running: null, sealedAtMs: nowMs, protectedBytes: 65_536, ...verified };
  }

  takeSnapshot(): void {
    this.snapshots.push(this.clock.nowMs());
  }
}

let pool: Pool;
beforeEach(() => {
  pool = new Pool();
});
afterEach(() => pool.schedule?.stop());

test('a pool without snapshots is left alone, and its format with it', async () => {
  pool.start();
  await pool.clock.advance(30 * DAY_MS);
  expect(pool.begun).toEqual([]);
  expect(pool.looks).toBeGreaterThan(1_000);
});

test('the first snapshot is verified, which gives it checksums, and then once a week; each later one is sealed within hours', async () => {
  pool.start();
  pool.takeSnapshot();
  await pool.clock.advance(LOOK_MS - 1);
  expect(pool.begun).toEqual([]);
  await pool.clock.advance(LOOK_MS);
  expect(pool.begun).toEqual(['verify']);
  pool.finish();
  await pool.clock.advance(DAY_MS);
  expect(pool.begun).toEqual(['verify']);
  pool.takeSnapshot();
  await pool.clock.advance(SEAL_EVERY_MS);
  expect(pool.begun).toEqual(['verify', 'seal']);
  pool.finish();
  await pool.clock.advance(5 * DAY_MS);
  expect(pool.begun).toEqual(['verify', 'seal']);
  await pool.clock.advance(DAY_MS);
  expect(pool.begun).toEqual(['verify', 'seal', 'verify']);
});

test('a pass that the end of a store cut off goes on with the next one, and one that was stopped does not', async () => {
  pool.takeSnapshot();
  pool.status = { ...NEVER_SCRUBBED, startedAtMs: pool.clock.nowMs(), sealedAtMs: pool.clock.nowMs() + 1, protectedBytes: 1 };
  pool.start();
  await pool.clock.advance(LOOK_MS);
  expect(pool.begun).toEqual(['verify']);
  pool.status = { ...pool.status, running: null };
  await pool.clock.advance(2 * DAY_MS);
  expect(pool.begun).toEqual(['verify']);
});

test('what fails is tried again, ever more seldom, and said once', async () => {
  pool.takeSnapshot();
  pool.failure = new StoreError('failed-precondition', 'the disk failed');
  pool.start();
  await pool.clock.advance(60 * LOOK_MS);
  expect(pool.looks).toBeGreaterThan(5);
  expect(pool.looks).toBeLessThan(15);
  expect(pool.lines.map(({ reason }) => reason)).toEqual(['the disk failed']);
  pool.failure = null;
  await pool.clock.advance(10 * LOOK_MS);
  expect(pool.begun).toEqual(['verify']);
});

test('damage is said once a finding, also when no pass begins by itself', async () => {
  pool.takeSnapshot();
  pool.start(null);
  const errors = () => pool.lines.filter(({ level }) => level >= 50).length;
  for (const [damagedChunks, said] of [
    [1, 1],
    [1, 1],
    [3, 2],
    [0, 2],
    [1, 3],
  ] as const) {
    pool.status = { ...pool.status, damagedChunks };
    await pool.clock.advance(3 * LOOK_MS);
    expect(errors()).toBe(said);
  }
  expect(pool.begun).toEqual([]);
});

test('after its end it asks nothing more', async () => {
  pool.takeSnapshot();
  pool.start();
  await pool.schedule?.stop();
  await pool.clock.advance(DAY_MS);
  expect(pool.looks).toBe(0);
  expect(pool.clock.waiting).toBe(0);
});
