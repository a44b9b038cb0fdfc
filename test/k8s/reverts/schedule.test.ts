import { expect, test } from '@jest/globals';
import { Schedule, type ScheduleOptions } from '../../../src/k8s/reverts/schedule.ts';

interface Timer {
  readonly atMs: number;
  readonly action: () => void;
}

/** Time passes when the test says so. */
class ManualClock {
  time = 0;
  timers: Timer[] = [];

  nowMs(): number {
    return this.time;
  }

  after(delayMs: number, action: () => void): () => void {
    const timer = { atMs: this.time + delayMs, action };
    this.timers.push(timer);
    return () => {
      this.timers = this.timers.filter((other) => other !== timer);
    };
  }

  async pass(ms: number): Promise<void> {
    const endMs = this.time + ms;
    for (;;) {
      await new Promise<void>((resolve) => {
        setImmediate(resolve);
      });
      const next = this.timers.filter(({ atMs }) => atMs <= endMs).toSorted((left, right) => left.atMs - right.atMs)[0];
      if (next === undefined) break;
      this.timers = this.timers.filter((timer) => timer !== next);
      this.time = next.atMs;
      next.action();
    }
    this.time = endMs;
  }
}

function setUp(options: Partial<ScheduleOptions> = {}) {
  const clock = new ManualClock();
  const runs: string[] = [];
  const work = options.work ?? (async () => false);
  const schedule = new Schedule({
    clock,
    random: () => 0.999_999,
    mostAtOnce: 2,
    shortestMs: 500,
    longestMs: 4_000,
    ...options,
    work: (key) => {
      runs.push(`${key}@${Math.round(clock.time)}`);
      return work(key);
    },
  });
  return { clock, runs, schedule };
}

test('what is not finished is tried again after a while that doubles up to a limit', async () => {
  const { clock, runs, schedule } = setUp();
  schedule.changed('a');
  await clock.pass(12_000);
  expect(runs).toEqual(['a@0', 'a@500', 'a@1500', 'a@3500', 'a@7500', 'a@11500']);
  await schedule.stop();
  expect(clock.timers).toEqual([]);
});

test('changes are looked at soon, but not more often than the rate', async () => {
  const { clock, runs, schedule } = setUp();
  schedule.changed('a');
  await clock.pass(100);
  for (let change = 0; change < 20; change++) {
    schedule.changed('a');
    await clock.pass(100);
  }
  expect(runs.length).toBeLessThanOrEqual(6);
  await schedule.stop();
});

test('what is finished is forgotten until it changes', async () => {
  const { clock, runs, schedule } = setUp({ work: async () => true });
  schedule.changed('a');
  await clock.pass(10_000);
  expect(runs).toEqual(['a@0']);
  schedule.changed('a');
  await clock.pass(10_000);
  expect(runs).toHaveLength(2);
});

test('one worker a key, a bounded number at once, and a change meanwhile is not lost', async () => {
  const gates: (() => void)[] = [];
  const { clock, runs, schedule } = setUp({
    work: () =>
      new Promise((resolve) => {
        gates.push(() => resolve(true));
      }),
  });
  for (const key of ['a', 'b', 'c']) schedule.changed(key);
  await clock.pass(1_000);
  expect(runs).toEqual(['a@0', 'b@0']);
  schedule.changed('a');
  await clock.pass(1_000);
  expect(runs).toHaveLength(2);
  gates[0]!();
  await clock.pass(1_000);
  expect(runs.map((run) => run[0])).toEqual(['a', 'b', 'c']);
  gates[1]!();
  await clock.pass(1_000);
  expect(runs.map((run) => run[0])).toEqual(['a', 'b', 'c', 'a']);

  let stopped = false;
  const stopping = schedule.stop().then(() => {
    stopped = true;
  });
  await clock.pass(0);
  expect(stopped).toBe(false);
  gates[2]!();
  gates[3]!();
  await stopping;
});

test('what is waited for again and again keeps nobody from a turn', async () => {
  const setup = setUp({
    // As long as a store that does not answer is waited for.
    work: (key) =>
      key === 'well' ? Promise.resolve(true) : new Promise<boolean>((resolve) => void setup.clock.after(3_000, () => resolve(false))),
  });
  for (let each = 0; each < 20; each++) setup.schedule.changed(`away-${each}`);
  setup.schedule.changed('well');
  await setup.clock.pass(60_000);
  expect(setup.runs.filter((run) => run.startsWith('well'))).toHaveLength(1);
});
