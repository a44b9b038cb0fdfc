/** Batches of the log that are written while their data is being synced, and what recovery makes of them. */
import { describe, expect, test } from '@jest/globals';
import type { EngineStatistics } from '../../src/engine/control.ts';
import { DiskCalls } from '../../src/engine/disk-calls.ts';
import type { Disk } from '../../src/engine/ports.ts';
import { WitnessReader } from '../../src/engine/witness.ts';
import { StoreError } from '../../src/util/errors.ts';
import { ScriptedPool, type ScriptedPoolOptions, type WaitingOperation } from '../support/scripted-pool.ts';
import { settled } from '../support/settled.ts';

const is = (disk: 'data' | 'log', kind: 'read' | 'write' | 'sync') => (operation: WaitingOperation) =>
  operation.disk === disk && operation.kind === kind;
const nothing = (): boolean => false;

/** A cut after which the log has its last batch, and the data nothing that was not synced. */
const DATA_LOST = { data: 'lose', log: 'keep', metadata: 'keep' } as const;

/** A pool with a volume whose granules 0 to 3 were written and flushed one by one, so that the next flush is foretold. */
function taught(options: Partial<ScriptedPoolOptions> = {}): ScriptedPool {
  const pool = new ScriptedPool({ usableSlots: 8, flushesToLearn: 2, ...options });
  pool.create('a');
  pool.settle();
  for (let granule = 0; granule < 4; granule++) flushed(pool, granule, granule + 1);
  return pool;
}

function flushed(pool: ScriptedPool, granule: number, value: number): void {
  settled(pool, pool.write('a', granule, value));
  settled(pool, pool.flush('a'));
}

/** Writes granules from 4 on, and cuts the power in the middle of their foretold flush. The sync stays held. */
function cutWithoutData(pool: ScriptedPool, granules = 1): void {
  pool.hold = is('data', 'sync');
  settled(pool, pool.write('a', 4, 5, granules));
  pool.world.powerLoss(DATA_LOST);
}

function read(pool: ScriptedPool, from: number, to: number): number[] {
  return Array.from({ length: to - from }, (_, index) => pool.read('a', from + index));
}

/** A start with nothing held, after `cutWithoutData`. */
function startsWithoutIt(pool: ScriptedPool): void {
  pool.hold = nothing;
  pool.start();
  expect(read(pool, 0, 5)).toEqual([1, 2, 3, 4, 0]);
  sound(pool);
}

function sound(pool: ScriptedPool): void {
  expect(pool.problems()).toEqual([]);
}

describe('a foretold flush of one write with a record', () => {
  test('writes and syncs the log while the data is being synced, and is answered after both', () => {
    const pool = taught();
    const before = { ...pool.world.log.counts };
    pool.hold = is('data', 'sync');
    settled(pool, pool.write('a', 4, 5));
    const flush = pool.flush('a');
    pool.settle();
    expect(pool.world.log.counts).toEqual({ ...before, write: before.write + 1, sync: before.sync + 1 });
    expect(flush.answered).toBe(false);
    pool.hold = is('log', 'sync');
    settled(pool, pool.write('a', 5, 6)); // its cycle waits for this one
    expect(flush.answered).toBe(true);
  });

  test('waits for the log, too', () => {
    const pool = taught();
    pool.hold = is('log', 'sync');
    settled(pool, pool.write('a', 4, 5));
    const flush = pool.flush('a');
    pool.settle();
    expect(flush.answered).toBe(false);
    pool.hold = nothing;
    settled(pool, flush);
    pool.powerLossAndStart('lose');
    expect(read(pool, 0, 5)).toEqual([1, 2, 3, 4, 5]);
    sound(pool);
  });

  test.each([
    ['two writes', (pool: ScriptedPool) => [pool.write('a', 4, 5), pool.write('a', 8, 6)]],
    ['a write in place', (pool: ScriptedPool) => [pool.write('a', 2, 5)]],
    ['a write and zeros', (pool: ScriptedPool) => [pool.write('a', 4, 5), pool.zero('a', 2)]],
  ])('does not do so for %s', (_, change) => {
    const pool = taught();
    const before = pool.world.log.counts.write;
    pool.hold = is('data', 'sync');
    settled(pool, ...change(pool));
    pool.flush('a');
    pool.settle();
    expect(pool.world.log.counts.write).toBe(before);
  });
});

describe('after a power cut in the middle of such a flush', () => {
  test('the record goes with its data, and a start later nothing of it has come back', () => {
    const pool = taught();
    pool.hold = is('data', 'sync');
    settled(pool, pool.write('a', 4, 5));
    pool.powerLossAndStart(DATA_LOST);
    expect(read(pool, 0, 5)).toEqual([1, 2, 3, 4, 0]);
    sound(pool);
    pool.powerLossAndStart('lose');
    expect(read(pool, 0, 5)).toEqual([1, 2, 3, 4, 0]);
    flushed(pool, 4, 7);
    pool.powerLossAndStart('lose');
    expect(read(pool, 0, 5)).toEqual([1, 2, 3, 4, 7]);
    sound(pool);
  });

  test('the record stays if its data is there', () => {
    const pool = taught();
    pool.hold = is('data', 'sync');
    settled(pool, pool.write('a', 4, 5));
    pool.powerLossAndStart('keep');
    expect(read(pool, 0, 5)).toEqual([1, 2, 3, 4, 5]);
    // What the disk had without a sync is synced now.
    pool.powerLossAndStart('lose');
    expect(read(pool, 0, 5)).toEqual([1, 2, 3, 4, 5]);
    sound(pool);
  });

  test('the flush before it has lost nothing', () => {
    const pool = taught();
    flushed(pool, 4, 5);
    pool.hold = is('data', 'sync');
    settled(pool, pool.write('a', 8, 6));
    pool.powerLossAndStart(DATA_LOST);
    expect([pool.read('a', 4), pool.read('a', 8)]).toEqual([5, 0]);
    sound(pool);
  });

  test('the record goes with the first of several granules that is not there, though others cannot be read', () => {
    const pool = taught();
    cutWithoutData(pool, 3);
    pool.world.fail({ port: 'data', kind: 'read', skip: 0, times: 3, errno: 5 });
    pool.start();
    expect(read(pool, 4, 7)).toEqual([0, 0, 0]);
    sound(pool);
  });

  test('a read that fails once is tried again', () => {
    const pool = taught();
    cutWithoutData(pool);
    pool.world.fail({ port: 'data', kind: 'read', skip: 0, times: 1, errno: 5 });
    pool.start();
    expect(pool.read('a', 4)).toBe(0);
  });

  test('a start that cannot take the batch out of the log ends with an error, and the next one can', () => {
    const pool = taught();
    cutWithoutData(pool);
    pool.world.fail({ port: 'log', kind: 'write', skip: 0, times: 1, errno: 5 });
    expect(() => pool.start()).toThrow('a batch that lost its data could not be taken out of the record log (errno 5)');
    pool.kill();
    pool.start();
    expect(read(pool, 0, 5)).toEqual([1, 2, 3, 4, 0]);
    sound(pool);
  });

  test('the record stays if its data cannot be read: somebody may have been told that it is durable', () => {
    const pool = taught();
    flushed(pool, 4, 5);
    pool.world.powerLoss('lose');
    pool.world.fail({ port: 'data', kind: 'read', skip: 0, times: 3, errno: 5 });
    pool.start();
    expect(read(pool, 0, 5)).toEqual([1, 2, 3, 4, 5]);
  });

  test('the start after one that could not read its data, and went no further, compares again', () => {
    const pool = taught();
    settled(pool, pool.control({ kind: 'checkpoint' }));
    cutWithoutData(pool);
    pool.world.fail({ port: 'data', kind: 'read', skip: 0, times: 3, errno: 5 });
    pool.world.fail({ port: 'metadata', kind: 'page', skip: 0, times: 1, how: 'error' });
    expect(() => pool.start()).toThrow('simulated');
    pool.kill();
    startsWithoutIt(pool);
    pool.powerLossAndStart('lose');
    expect(read(pool, 0, 5)).toEqual([1, 2, 3, 4, 0]);
  });

  test('so does the start after one that died before its life was durable', () => {
    const pool = taught();
    cutWithoutData(pool);
    pool.world.fail({ port: 'data', kind: 'read', skip: 0, times: 3, errno: 5 });
    pool.start();
    pool.kill();
    startsWithoutIt(pool);
    pool.powerLossAndStart('lose');
    expect(read(pool, 0, 5)).toEqual([1, 2, 3, 4, 0]);
  });

  test('memory that was filled from such a batch is not believed when taking the batch out of the log fails', () => {
    const pool = taught();
    cutWithoutData(pool);
    pool.world.fail({ port: 'data', kind: 'read', skip: 0, times: 3, errno: 5 });
    pool.start();
    pool.kill();
    pool.world.fail({ port: 'log', kind: 'write', skip: 0, times: 1, errno: 5 });
    expect(() => pool.start()).toThrow('could not be taken out of the record log (errno 5)');
    pool.kill();
    startsWithoutIt(pool);
  });

  test('a start that cannot read the disk at all ends with an error, and the next one compares', () => {
    const pool = taught();
    cutWithoutData(pool);
    pool.world.fail({ port: 'data', kind: 'read', skip: 0, times: 3, errno: 19 });
    expect(() => pool.start()).toThrow(
      new StoreError(
        'unavailable',
        "the pool's data could not be compared with the end of its record log (errno 19): see to its disk, then start again",
      ),
    );
    pool.kill();
    pool.start();
    expect(read(pool, 0, 5)).toEqual([1, 2, 3, 4, 0]);
    sound(pool);
  });

  test('a second power cut before the new life is durable changes nothing', () => {
    const pool = taught();
    cutWithoutData(pool);
    pool.start(); // its own data sync is held
    pool.world.powerLoss(DATA_LOST);
    startsWithoutIt(pool);
  });

  test('the death of the process alone loses nothing, nor does a power cut before its successor has synced', () => {
    const pool = taught();
    flushed(pool, 4, 5);
    pool.hold = is('data', 'sync');
    settled(pool, pool.write('a', 8, 6));
    pool.kill();
    pool.start();
    expect([pool.read('a', 4), pool.read('a', 8)]).toEqual([5, 6]);
    pool.powerLossAndStart(DATA_LOST);
    expect(pool.read('a', 4)).toBe(5);
    expect(pool.read('a', 8)).toBe(0);
    sound(pool);
  });
});

describe('what the last batch speaks of', () => {
  test('is overwritten in place only when a batch follows', () => {
    const pool = taught();
    flushed(pool, 4, 5);
    const before = pool.world.log.counts.sync;
    pool.hold = is('log', 'sync');
    const write = pool.write('a', 4, 6);
    pool.settle();
    expect([write.answered, pool.world.log.counts.sync]).toEqual([false, before + 1]);
    pool.hold = nothing;
    settled(pool, write);
    pool.powerLossAndStart({ data: 'keep', log: 'lose', metadata: 'lose' });
    expect(pool.read('a', 4)).toBe(6);
    sound(pool);
  });

  test('may be overwritten at once when a checkpoint has it', () => {
    const pool = taught();
    flushed(pool, 4, 5);
    settled(pool, pool.control({ kind: 'checkpoint' }));
    const before = pool.world.log.counts.write;
    settled(pool, pool.write('a', 4, 6));
    expect(pool.world.log.counts.write).toBe(before);
    pool.powerLossAndStart({ data: 'keep', log: 'keep', metadata: 'lose' });
    expect(pool.read('a', 4)).toBe(6);
  });

  test('is not in the way of its neighbours', () => {
    const pool = taught();
    flushed(pool, 4, 5);
    const before = pool.world.log.counts.write;
    pool.hold = is('data', 'sync');
    settled(pool, pool.write('a', 3, 6));
    expect(pool.world.log.counts.write).toBe(before);
  });

  test('is not overwritten by a write that joins others in the same slot', () => {
    const pool = taught();
    flushed(pool, 4, 5);
    pool.hold = (operation) => is('data', 'write')(operation) || is('log', 'sync')(operation);
    const first = pool.write('a', 5, 6);
    pool.settle();
    const second = pool.write('a', 4, 7);
    pool.settle();
    const { data } = pool.world;
    expect(data.pending).toBe(1);
    pool.hold = nothing;
    settled(pool, first, second);
    expect([pool.read('a', 4), pool.read('a', 5)]).toEqual([7, 6]);
  });

  test('fails the write that waits when the pool fails', () => {
    let failed = 0;
    const pool = taught({ failed: () => failed++ });
    flushed(pool, 4, 5);
    pool.world.fail({ port: 'log', kind: 'sync', skip: 0, times: 1, errno: 5 });
    const write = pool.write('a', 4, 6);
    pool.settle();
    expect([write.answered, write.errno, failed]).toEqual([true, 5, 1]);
    pool.powerLossAndStart({ data: 'keep', log: 'lose', metadata: 'lose' });
    expect(pool.read('a', 4)).toBe(5);
  });
});

describe('when one of the two syncs fails', () => {
  test.each(['data', 'log'] as const)('that of the %s: the flush does, and nothing that was flushed before is lost', (port) => {
    let failed = 0;
    const pool = taught({ failed: () => failed++ });
    pool.world.fail({ port, kind: 'sync', skip: 0, times: 1, errno: 5 });
    settled(pool, pool.write('a', 4, 5));
    const flush = pool.flush('a');
    pool.settle();
    expect([flush.answered, flush.errno, failed]).toEqual([true, 5, 1]);
    pool.powerLossAndStart('draw');
    expect(read(pool, 0, 4)).toEqual([1, 2, 3, 4]);
    expect([0, 5]).toContain(pool.read('a', 4));
    sound(pool);
  });
});

test('an engine that is about to end makes no witness any more', () => {
  const pool = taught();
  pool.world.quiesce();
  const before = pool.world.log.counts.write;
  pool.hold = is('data', 'sync');
  settled(pool, pool.write('a', 4, 5));
  const flush = pool.flush('a');
  pool.settle();
  expect(pool.world.log.counts.write).toBe(before);
  pool.hold = nothing;
  settled(pool, flush);
});

describe('a log without room', () => {
  test('has the record written when a checkpoint has made some', () => {
    const pool = taught({ logSizeBytes: 32_768 });
    for (let count = 0; count < 40; count++) flushed(pool, 4 + (count % 24), 10 + count);
    const { syncs } = pool.ask<EngineStatistics>({ kind: 'statistics' });
    expect(syncs).toBeGreaterThan(40);
    pool.powerLossAndStart('lose');
    expect(pool.read('a', 4 + (39 % 24))).toBe(49);
    sound(pool);
  });
});

describe('a witness of what cannot be', () => {
  test.each([
    ['nothing', 1, 0],
    ["the pool's header", 0, 1],
    ['granules that do not lie in a row', 1, 0b101],
    ['granules behind the chunk', 1, 0b10000],
    ['a slot behind the pool', 4, 1],
  ])('is data-loss: %s', (_, slot, mask) => {
    const reads: number[] = [];
    const data: Disk = { sizeBytes: 65_536, read: (offset) => void reads.push(offset), write: () => undefined, sync: () => undefined };
    const reader = new WitnessReader({ data, calls: new DiskCalls(), memory: new Uint8Array(0), roomOffset: 0, chunkSizeBytes: 16_384 });
    expect(() => reader.compare({ slot, mask, checksums: [0] }, () => undefined)).toThrow(
      new StoreError('data-loss', `the record log ends with a witness of granules that cannot be (slot ${slot}, mask ${mask})`),
    );
    expect(reads).toEqual([]);
  });
});
