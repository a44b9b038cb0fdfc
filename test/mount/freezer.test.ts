import { describe, expect, test } from '@jest/globals';
import { serveFreeze, type FreezerCalls } from '../../src/mount/freezer.ts';
import { SystemError } from '../../src/linux/system-error.ts';
import os from 'node:os';

const { EBUSY, EINVAL, EIO } = os.constants.errno;

/** Runs the helper's order of events over calls that are written down. */
function run(calls: Partial<FreezerCalls>, options: { timeLimitMs?: number; syncsMs?: readonly number[] } = {}) {
  const events: string[] = [];
  const released = Promise.withResolvers<void>();
  const stopped = Promise.withResolvers<void>();
  // Syncs take as long as they are told; then as the last one.
  const syncsMs = [...(options.syncsMs ?? [0])];
  let nowMs = 0;
  const end = serveFreeze(
    {
      sync: async () => {
        nowMs += syncsMs.length > 1 ? syncsMs.shift()! : syncsMs[0]!;
        events.push('(sync)');
      },
      freeze: async () => void events.push('(freeze)'),
      thaw: async () => void events.push('(thaw)'),
      ...calls,
    },
    { released: released.promise, stopped: stopped.promise, say: (line) => void events.push(line), nowMs: () => nowMs },
    { timeLimitMs: options.timeLimitMs ?? 10_000 },
  );
  return { events, release: released.resolve, stop: stopped.resolve, end };
}

const settle = () => new Promise((resolve) => setTimeout(resolve, 5));

describe('the freezer', () => {
  test('syncs, freezes, and thaws when its starter is done', async () => {
    const { events, release, end } = run({});
    await settle();
    expect(events).toEqual(['syncing', '(sync)', 'freezing', '(freeze)', 'frozen']);
    release();
    await end;
    expect(events.slice(5)).toEqual(['(thaw)', 'thawed']);
  });

  test.each([
    ['nothing was dirty', [3], 1],
    ['its writers are slower than its device', [9000, 1500, 250], 3],
    ['nobody writes, and its device takes long to sync anything', [300, 320], 2],
  ])('freezes after as many syncs as it takes until the freeze will be short: %s', async (_, syncsMs, syncs) => {
    const { events, release, end } = run({}, { syncsMs });
    await settle();
    release();
    await end;
    expect(events).toEqual([
      'syncing',
      ...Array.from({ length: syncs }, () => '(sync)'),
      'freezing',
      '(freeze)',
      'frozen',
      '(thaw)',
      'thawed',
    ]);
  });

  test.each([
    ['each sync takes longer than the one before', [40, 100, 250, 600, 1400, 3000]],
    ['every sync takes long', [2000]],
  ])('does not freeze what is written to faster than its device takes it: %s', async (_, syncsMs) => {
    const { events, end } = run({}, { syncsMs });
    await end;
    expect(events).not.toContain('(freeze)');
    expect(events.at(-1)).toMatch(/^failed: it is written to faster/);
  });

  test('thaws by itself after its limit', async () => {
    const { events, end } = run({}, { timeLimitMs: 20 });
    await end;
    expect(events.slice(-3)).toEqual(['frozen', '(thaw)', 'thawed early']);
  });

  test('does not say that it lasted when its starter was done only after the limit, while it thawed', async () => {
    const thawed = Promise.withResolvers<void>();
    const { events, release, end } = run({ thaw: () => thawed.promise }, { timeLimitMs: 1 });
    await settle();
    release();
    await settle();
    thawed.resolve();
    await end;
    expect(events.at(-1)).toBe('thawed early');
  });

  test('thaws when it is stopped by a signal, and does not say that it lasted', async () => {
    const { events, stop, end } = run({});
    await settle();
    stop();
    await end;
    expect(events.slice(-3)).toEqual(['frozen', '(thaw)', 'thawed early']);
  });

  test("leaves somebody else's freeze alone", async () => {
    const { events, end } = run({ freeze: () => Promise.reject(new SystemError('freeze', EBUSY)) });
    await end;
    expect(events.slice(2)).toEqual(['freezing', 'busy']);
  });

  test('does not freeze for a starter that went during the sync', async () => {
    const { events, release, end } = run({ sync: () => new Promise(() => {}) });
    release();
    await end;
    expect(events).toEqual(['syncing', 'abandoned']);
  });

  test('thaws at once when the freeze came only after its starter went, or after the limit', async () => {
    for (const options of [{ timeLimitMs: 10_000 }, { timeLimitMs: 1 }]) {
      const frozen = Promise.withResolvers<void>();
      const { events, release, end } = run({ freeze: () => frozen.promise }, options);
      await settle();
      if (options.timeLimitMs > 1) release();
      await settle();
      frozen.resolve();
      await end;
      expect(events.slice(2)).toEqual(['freezing', '(thaw)', 'abandoned']);
    }
  });

  test('thaws until it has worked', async () => {
    let tries = 0;
    const { events, release, end } = run({
      thaw: () => ((tries += 1) < 3 ? Promise.reject(new SystemError('thaw', EIO)) : Promise.resolve()),
    });
    await settle();
    release();
    await end;
    expect(tries).toBe(3);
    expect(events.at(-1)).toBe('thawed');
  });

  test('says when somebody else thawed before', async () => {
    const { events, release, end } = run({ thaw: () => Promise.reject(new SystemError('thaw', EINVAL)) });
    await settle();
    release();
    await end;
    expect(events.at(-1)).toBe('thawed early');
  });
});
