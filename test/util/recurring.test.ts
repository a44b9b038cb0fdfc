import { expect, test } from '@jest/globals';
import { systemClock } from '../../src/util/clock.ts';
import { Recurring } from '../../src/util/recurring.ts';
import { ManualClock } from '../support/manual-clock.ts';

const RETRY_MS = { first: 100, most: 1_000 };
const MINUTE_MS = 60_000;

function recurring(action: () => Promise<number>, clock = new ManualClock()) {
  const errors: unknown[] = [];
  const runner = new Recurring({ clock, action, onError: (error) => void errors.push(error), retryMs: RETRY_MS });
  return { clock, runner, errors };
}

test('runs at once, and then when it asked for it', async () => {
  let runs = 0;
  const { clock, runner } = recurring(async () => {
    runs++;
    return MINUTE_MS;
  });
  await clock.advance(0);
  expect(runs).toBe(1);
  await clock.advance(MINUTE_MS - 1);
  expect(runs).toBe(1);
  await clock.advance(1);
  expect(runs).toBe(2);
  await runner.stop();
  await clock.advance(10 * MINUTE_MS);
  expect(runs).toBe(2);
  expect(clock.waiting).toBe(0);
});

test('runs once more for all pokes that come while it runs, and never twice at once', async () => {
  let runs = 0;
  let running = 0;
  let most = 0;
  const gates: (() => void)[] = [];
  const { clock, runner } = recurring(async () => {
    runs++;
    most = Math.max(most, ++running);
    await new Promise<void>((resolve) => {
      gates.push(resolve);
    });
    running--;
    return MINUTE_MS;
  });
  await clock.advance(0);
  for (let pokes = 0; pokes < 5; pokes++) runner.poke();
  gates.shift()!();
  await clock.advance(0);
  expect([runs, most]).toEqual([2, 1]);
  gates.shift()!();
  await clock.advance(0);
  expect(runs).toBe(2);
  await runner.stop();
});

test('loses no poke, at whatever moment it comes', async () => {
  for (let moment = 0; moment < 20; moment++) {
    let runs = 0;
    const { clock, runner } = recurring(async () => {
      runs++;
      return MINUTE_MS;
    });
    for (let turn = 0; turn < moment; turn++) await Promise.resolve();
    const before = runs;
    runner.poke();
    await clock.advance(0);
    expect(runs).toBeGreaterThan(before === 0 ? 0 : before);
    await runner.stop();
  }
});

test('tries again after failures with growing pauses, and is told of each', async () => {
  const times: number[] = [];
  let fails = true;
  const clock = new ManualClock();
  const startMs = clock.nowMs();
  const { runner, errors } = recurring(async () => {
    times.push(clock.nowMs() - startMs);
    if (fails) throw new Error('no');
    return MINUTE_MS;
  }, clock);
  await clock.advance(4_000);
  expect(times).toEqual([0, 100, 300, 700, 1_500, 2_500, 3_500]);
  expect(errors).toHaveLength(7);
  fails = false;
  await clock.advance(1_000);
  fails = true;
  await clock.advance(MINUTE_MS + 150);
  expect(times.slice(-3).map((time) => time - times.at(-3)!)).toEqual([0, 100, 300]);
  await runner.stop();
});

test('a stop waits for the run, which is told of it', async () => {
  let aborted = false;
  const clock = new ManualClock();
  const runner = new Recurring({
    clock,
    action: (stopping) =>
      new Promise((resolve) => {
        stopping.addEventListener('abort', () => {
          aborted = true;
          resolve(MINUTE_MS);
        });
      }),
    onError: () => {},
    retryMs: RETRY_MS,
  });
  await clock.advance(0);
  await runner.stop();
  expect(aborted).toBe(true);
  expect(clock.waiting).toBe(0);
});

test('the system clock takes delays that a timer does not', async () => {
  let fired = false;
  const cancel = systemClock.after(2 ** 31 + 5, () => (fired = true));
  await new Promise<void>((resolve) => {
    systemClock.after(5, resolve);
    // The clock's own timers do not keep the process alive.
    setTimeout(() => {}, 50);
  });
  expect(fired).toBe(false);
  cancel();
});
