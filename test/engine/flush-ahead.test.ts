/** Flushes that are foretold: their cycle begins with the last write before them, and they share it. */
import { describe, expect, test } from '@jest/globals';
import type { EngineStatistics } from '../../src/engine/control.ts';
import { ScriptedPool, type WaitingOperation } from '../support/scripted-pool.ts';
import { settled } from '../support/settled.ts';

const isSync = (operation: WaitingOperation): boolean => operation.kind === 'sync';
const nothing = (): boolean => false;

/** A pool with a volume that has been written and flushed by turns until that is foretold. */
function taught(): ScriptedPool {
  const pool = new ScriptedPool({ usableSlots: 6, flushesToLearn: 2 });
  pool.create('a');
  pool.settle();
  for (let value = 1; value <= 4; value++) {
    settled(pool, pool.write('a', 0, value));
    settled(pool, pool.flush('a'));
  }
  return pool;
}

function cycles(pool: ScriptedPool): number {
  return pool.ask<EngineStatistics>({ kind: 'statistics' }).syncs;
}

describe('a flush that is foretold', () => {
  test('finds all durable when it comes late', () => {
    const pool = taught();
    const before = cycles(pool);
    settled(pool, pool.write('a', 0, 5));
    expect(cycles(pool)).toBe(before + 1);
    pool.hold = isSync;
    settled(pool, pool.flush('a'));
    expect(cycles(pool)).toBe(before + 1);
    pool.powerLossAndStart('lose');
    expect(pool.read('a', 0)).toBe(5);
  });

  test('shares the cycle under way, and is answered at its end, not before', () => {
    const pool = taught();
    const before = cycles(pool);
    pool.hold = isSync;
    settled(pool, pool.write('a', 0, 5));
    const flush = pool.flush('a');
    pool.settle();
    expect(flush.answered).toBe(false);
    pool.hold = nothing;
    settled(pool, flush);
    expect(cycles(pool)).toBe(before + 1);
    pool.powerLossAndStart('lose');
    expect(pool.read('a', 0)).toBe(5);
  });

  test.each([
    ['a write in place', (pool: ScriptedPool) => pool.write('a', 0, 6), 6],
    ['a write to a new slot', (pool: ScriptedPool) => pool.write('a', 8, 6), 5],
    ['zeros', (pool: ScriptedPool) => pool.zero('a', 0), 0],
  ])('gets a cycle of its own when %s came after the one under way began', (_, change, expected) => {
    const pool = taught();
    const before = cycles(pool);
    pool.hold = isSync;
    settled(pool, pool.write('a', 0, 5));
    settled(pool, change(pool));
    const flush = pool.flush('a');
    pool.hold = nothing;
    settled(pool, flush);
    expect(cycles(pool)).toBe(before + 2);
    pool.powerLossAndStart('lose');
    expect(pool.read('a', 0)).toBe(expected);
  });

  test('that never comes costs one cycle, and no other before the pattern is back', () => {
    const pool = taught();
    const before = cycles(pool);
    for (let value = 5; value < 12; value++) settled(pool, pool.write('a', 0, value));
    expect(cycles(pool)).toBe(before + 1);
    settled(pool, pool.flush('a'));
    settled(pool, pool.write('a', 0, 12));
    expect(cycles(pool)).toBe(before + 2);
  });

  test('is not foretold while another write is under way', () => {
    const pool = taught();
    const before = cycles(pool);
    settled(pool, pool.write('a', 0, 5), pool.write('a', 8, 6));
    expect(cycles(pool)).toBe(before);
  });

  test('ends with an error when the sync that was begun for it fails, and so does every later one', () => {
    let failed = 0;
    const pool = new ScriptedPool({ usableSlots: 6, flushesToLearn: 1, failed: () => failed++ });
    pool.create('a');
    pool.settle();
    for (let value = 1; value <= 4; value++) {
      settled(pool, pool.write('a', 0, value));
      settled(pool, pool.flush('a'));
    }
    pool.world.fail({ port: 'data', kind: 'sync', skip: 0, times: 1, errno: 5 });
    const write = pool.write('a', 0, 5);
    pool.settle();
    const flush = pool.flush('a');
    pool.settle();
    expect([write.answered, flush.answered, flush.errno, failed]).toEqual([true, true, 5, 1]);
  });
});
