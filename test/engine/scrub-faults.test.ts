import { describe, expect, test } from '@jest/globals';
import type { DamageReport, ScrubStatus } from '../../src/engine/control.ts';
import { HeldWalk } from '../../src/engine/held-walk.ts';
import { replaceMethod } from '../support/planted-bugs.ts';
import { ScriptedPool } from '../support/scripted-pool.ts';

const SCRUB = { kind: 'scrub-start', mode: 'verify', bytesPerSecond: 2 ** 40 } as const;
const chunkBytes = 16_384;

function poolOf(options: { usableSlots: number; seed?: number }, ...names: string[]): ScriptedPool {
  const pool = new ScriptedPool(options);
  for (const name of names) pool.create(name);
  pool.settle();
  return pool;
}

const status = (pool: ScriptedPool): ScrubStatus => pool.ask<ScrubStatus>({ kind: 'scrub-status' });
const damageOf = (pool: ScriptedPool): DamageReport['chunks'] => pool.ask<DamageReport>({ kind: 'damage' }).chunks;

function scrub(pool: ScriptedPool): ScrubStatus {
  pool.ask(SCRUB);
  return status(pool);
}

function placeOf(pool: ScriptedPool, value: number): number {
  const { data } = pool.world;
  for (let at = data.sizeBytes - 4096; at > 0; at -= 4096) if (data.peek(at, 4096).every((byte) => byte === value)) return at;
  throw new Error(`no granule of ${value}`);
}

describe('damage', () => {
  test('of a slot without a checksum is off the disk before the slot is free', () => {
    const pool = poolOf({ usableSlots: 1 }, 'a', 'b');
    pool.write('a', 0, 7);
    pool.snapshot('s', 'a');
    pool.settle();
    pool.world.data.inject({ kind: 'read', skip: 0, times: 2, errno: 5 });
    scrub(pool);
    expect(damageOf(pool)).toHaveLength(1);
    pool.ask({ kind: 'checkpoint' });
    pool.delete('s');
    pool.delete('a');
    pool.settle();
    const write = pool.write('b', 0, 9);
    for (let count = 0; count < 5; count += 1) {
      pool.world.tick(100);
      pool.settle();
    }
    expect(write).toMatchObject({ answered: true, errno: 0 });
    pool.kill();
    pool.start();
    expect(pool.read('b', 0)).toBe(9);
    expect(damageOf(pool)).toEqual([]);
    expect(status(pool).damagedChunks).toBe(0);
  });

  test.each(['checksums', 'seals'] as const)('is not forgotten with a damaged row of %s', (table) => {
    const pool = poolOf({ usableSlots: 8 }, 'a');
    pool.write('a', 0, 7);
    pool.snapshot('s', 'a');
    pool.settle();
    scrub(pool);
    pool.world.data.flipBit(placeOf(pool, 7));
    expect(scrub(pool).damagedChunks).toBe(1);
    pool.world.metadata.damageRow(table, 0);
    pool.kill();
    pool.start();
    expect(damageOf(pool)).toHaveLength(1);
    scrub(pool);
    expect(damageOf(pool)).toHaveLength(1);
    scrub(pool);
    pool.kill();
    pool.start();
    expect(damageOf(pool)).toHaveLength(1);
  });
});

test('damage stays known when the chunk is written next to it', () => {
  const pool = poolOf({ usableSlots: 16 }, 'a');
  pool.write('a', 0, 7, 2);
  pool.settle();
  pool.write('a', 2, 8);
  pool.settle();
  pool.snapshot('s', 'a');
  pool.settle();
  scrub(pool);
  pool.world.data.flipBit(placeOf(pool, 8));
  expect(scrub(pool).damagedChunks).toBe(1);
  pool.delete('s');
  pool.settle();
  pool.write('a', 0, 9);
  for (let count = 0; count < 5; count += 1) {
    pool.world.tick(100);
    pool.settle();
    pool.ask({ kind: 'checkpoint' });
  }
  expect(pool.read('a', 2)).toBe(-1);
  expect(damageOf(pool).flatMap(({ places }) => places.map(({ name }) => name))).toEqual(['a']);
  pool.write('a', 0, 1, 4);
  pool.settle();
  expect(damageOf(pool)).toEqual([]);
});

describe('a pass', () => {
  test('that nothing else happens beside does not lose its way when the process dies', () => {
    const pool = poolOf({ usableSlots: 16, seed: 2 }, 'a');
    for (let chunk = 0; chunk < 8; chunk += 1) pool.write('a', 4 * chunk, chunk + 1);
    pool.snapshot('s', 'a');
    pool.settle();
    scrub(pool);
    pool.ask({ kind: 'checkpoint' });
    pool.world.data.flipBit(placeOf(pool, 1));
    pool.ask({ ...SCRUB, bytesPerSecond: chunkBytes });
    for (let count = 0; count < 40; count += 1) {
      pool.world.tick(100);
      pool.settle();
    }
    const { verifiedBytes } = status(pool);
    expect(verifiedBytes).toBeGreaterThan(3 * chunkBytes);
    pool.kill();
    pool.start();
    expect(status(pool).verifiedBytes).toBeGreaterThan(chunkBytes);
    expect(damageOf(pool)).toHaveLength(1);
  });

  test.each([Infinity, NaN, 0, -1])('has no rate of %p', (bytesPerSecond) => {
    const pool = poolOf({ usableSlots: 4 }, 'a');
    const call = pool.control({ ...SCRUB, bytesPerSecond });
    pool.settle();
    expect(call.error?.message).toMatch(/rate/u);
  });

  test('waits for a seal that is on its way off, when a snapshot holds the slot again', () => {
    const pool = poolOf({ usableSlots: 2 }, 'a');
    pool.write('a', 0, 1);
    pool.write('a', 4, 2);
    pool.settle();
    pool.snapshot('s', 'a');
    pool.settle();
    scrub(pool);
    pool.ask({ kind: 'checkpoint' });
    pool.delete('s');
    pool.settle();
    pool.write('a', 0, 3);
    pool.settle();
    pool.holdMetadata = true;
    pool.world.tick(100);
    pool.settle();
    pool.snapshot('t', 'a');
    pool.settle();
    expect(pool.names()).toEqual(['a', 't']);
    pool.control({ ...SCRUB, mode: 'seal' });
    pool.settle();
    pool.holdMetadata = false;
    pool.settle();
    expect(status(pool)).toMatchObject({ running: null, protectedBytes: 2 * chunkBytes });
  });

  test('that was stopped before it began leaves no walk behind', () => {
    const pool = poolOf({ usableSlots: 4 }, 'a');
    pool.write('a', 0, 7);
    pool.snapshot('s', 'a');
    pool.settle();
    pool.backgroundStops = true;
    for (let count = 0; count < 1000; count += 1) {
      pool.control(SCRUB);
      pool.control({ kind: 'scrub-stop' });
    }
    pool.backgroundStops = false;
    const usage = pool.control({ kind: 'usage', id: pool.id('a') });
    const { length } = counted(() => pool.settle());
    expect(usage.answered).toBe(true);
    expect(length).toBeLessThan(3);
  });
});

/** The walks that look for what snapshots hold while something is done. */
function counted(action: () => void): number[] {
  const walks: number[] = [];
  const restore = replaceMethod(
    HeldWalk.prototype,
    'step',
    (original) =>
      function step(this: HeldWalk): boolean {
        walks.push(1);
        return original.call(this);
      },
  );
  try {
    action();
  } finally {
    restore();
  }
  return walks;
}
