/**
 * Wrong orders of events, each planted and shown by a script: it must end well with the engine as it is, and badly with
 * the order of the same name (test/support/wrong-orders.ts). protocol.test.ts has others.
 */
import { afterEach, describe, expect, test } from '@jest/globals';
import type { DamageReport } from '../../src/engine/control.ts';
import { ScriptedPool, type WaitingOperation } from '../support/scripted-pool.ts';
import { settled as done } from '../support/settled.ts';
import { wrongOrders, type WrongOrder } from '../support/wrong-orders.ts';

const isDataSync = (operation: WaitingOperation): boolean => operation.disk === 'data' && operation.kind === 'sync';
const isLogSync = (operation: WaitingOperation): boolean => operation.disk === 'log' && operation.kind === 'sync';
const isDataRead = (operation: WaitingOperation): boolean => operation.disk === 'data' && operation.kind === 'read';
const isDataWrite = (operation: WaitingOperation): boolean => operation.disk === 'data' && operation.kind === 'write';
const nothing = (): boolean => false;

const SCRUB = { kind: 'scrub-start', mode: 'verify', bytesPerSecond: 2 ** 40 } as const;

function scrub(pool: ScriptedPool): void {
  done(pool, pool.control(SCRUB));
}

function damageOf(pool: ScriptedPool): DamageReport['chunks'] {
  return pool.ask<DamageReport>({ kind: 'damage' }).chunks;
}

type Planted = WrongOrder | null;

interface PoolOptions {
  readonly usableSlots: number;
  readonly logSizeBytes?: number;
  readonly flushesToLearn?: number;
}

function poolWith(planted: Planted, options: PoolOptions, ...names: string[]) {
  const pool = new ScriptedPool({ ...options, ...(planted?.wrapPorts ? { wrapPorts: planted.wrapPorts } : {}) });
  planted?.world?.(pool.world);
  for (const name of names) pool.create(name);
  pool.settle();
  return pool;
}

/** Writes the first granules, each with one more than its number, and flushes after each. */
function flushOneByOne(pool: ScriptedPool, granules: number): void {
  for (let granule = 0; granule < granules; granule += 1) {
    done(pool, pool.write('a', granule, granule + 1));
    done(pool, pool.flush('a'));
  }
}

const scripts: Readonly<Record<keyof typeof wrongOrders, (planted: Planted) => void>> = {
  'the log takes records that are newer than the data sync': (planted) => {
    const pool = poolWith(planted, { usableSlots: 4 }, 'a', 'b');
    done(pool, pool.write('a', 0, 1));
    pool.hold = isDataSync;
    const flush = pool.flush('a');
    pool.settle();
    done(pool, pool.write('b', 0, 2)); // recorded, and its data is not covered by the sync
    pool.hold = nothing;
    done(pool, flush);
    pool.powerLossAndStart({ data: 'lose', log: 'keep', metadata: 'keep' });
    expect([0, 2]).toContain(pool.read('b', 0));
    expect(pool.read('a', 0)).toBe(1);
  },

  'the log is written while the data is being synced': (planted) => {
    const pool = poolWith(planted, { usableSlots: 4 }, 'a');
    done(pool, pool.write('a', 0, 1));
    pool.hold = isDataSync;
    pool.flush('a');
    pool.settle();
    pool.powerLossAndStart({ data: 'lose', log: 'keep', metadata: 'keep' });
    expect([0, 1]).toContain(pool.read('a', 0));
  },

  'a checkpoint is committed while the data is being synced': (planted) => {
    const pool = poolWith(planted, { usableSlots: 4 }, 'a');
    done(pool, pool.write('a', 0, 1));
    pool.hold = isDataSync;
    pool.control({ kind: 'checkpoint' });
    pool.settle();
    pool.powerLossAndStart({ data: 'lose', log: 'keep', metadata: 'keep' });
    expect([0, 1]).toContain(pool.read('a', 0));
  },

  'a flush shares a cycle that began before its write landed': (planted) => {
    const pool = poolWith(planted, { usableSlots: 4 }, 'a');
    done(pool, pool.write('a', 0, 1));
    done(pool, pool.flush('a'));
    done(pool, pool.write('a', 0, 2));
    pool.hold = isDataSync;
    const first = pool.flush('a');
    pool.settle();
    done(pool, pool.write('a', 0, 3));
    const second = pool.flush('a');
    pool.hold = nothing;
    done(pool, first, second);
    pool.powerLossAndStart('lose');
    expect(pool.read('a', 0)).toBe(3);
  },

  'recovery believes what the last batch says': (planted) => {
    const pool = poolWith(planted, { usableSlots: 4, flushesToLearn: 2 }, 'a');
    flushOneByOne(pool, 4);
    pool.hold = isDataSync;
    done(pool, pool.write('a', 4, 5));
    pool.powerLossAndStart({ data: 'lose', log: 'keep', metadata: 'keep' });
    expect([0, 5]).toContain(pool.read('a', 4));
  },

  'a batch that is left out stays on the disk': (planted) => {
    const pool = poolWith(planted, { usableSlots: 4, flushesToLearn: 2 }, 'a', 'b');
    flushOneByOne(pool, 4);
    pool.hold = isDataSync;
    done(pool, pool.write('a', 4, 5));
    pool.world.powerLoss({ data: 'lose', log: 'keep', metadata: 'keep' });
    pool.start(); // its data sync is held: no slot can be taken
    // With the record of the new life, more than the batch had: memory goes on behind it.
    for (const granule of [0, 1]) done(pool, pool.zero('a', granule));
    pool.kill();
    pool.hold = nothing;
    pool.start();
    done(pool, pool.write('b', 0, 6));
    done(pool, pool.flush('b'));
    pool.kill();
    pool.start();
    pool.powerLossAndStart('lose');
    expect([pool.read('a', 4), pool.read('b', 0)]).toEqual([0, 6]);
    expect(pool.problems()).toEqual([]);
  },

  'what the last batch speaks of is overwritten': (planted) => {
    const pool = poolWith(planted, { usableSlots: 4, flushesToLearn: 2 }, 'a');
    flushOneByOne(pool, 5);
    done(pool, pool.write('a', 4, 6));
    pool.powerLossAndStart({ data: 'keep', log: 'lose', metadata: 'lose' });
    expect([5, 6]).toContain(pool.read('a', 4));
  },

  'the end of a data sync marks the pool as clean': (planted) => {
    const pool = poolWith(planted, { usableSlots: 4 }, 'a', 'b');
    done(pool, pool.write('a', 0, 1));
    done(pool, pool.flush('a'));
    done(pool, pool.write('a', 0, 2));
    pool.hold = isDataSync;
    const flush = pool.flush('b');
    pool.settle();
    done(pool, pool.write('a', 0, 3));
    pool.hold = nothing;
    done(pool, flush);
    done(pool, pool.flush('a'));
    pool.powerLossAndStart('lose');
    expect(pool.read('a', 0)).toBe(3);
  },

  'a repeated call is answered by what is in memory': (planted) => {
    const pool = poolWith(planted, { usableSlots: 4 }, 'a');
    pool.hold = isLogSync;
    pool.snapshot('s', 'a');
    pool.settle();
    pool.kill();
    pool.start();
    const again = pool.control({ kind: 'snapshot', id: pool.id('s'), name: 's', sourceId: pool.id('a'), attributes: {} });
    pool.settle();
    const { answered } = again;
    pool.powerLossAndStart('lose');
    if (answered) expect(pool.names()).toContain('s');
  },

  'the logs are trimmed when the commit is issued': (planted) => {
    const pool = poolWith(planted, { usableSlots: 8, logSizeBytes: 131_072 }, 'a');
    pool.holdMetadata = true;
    pool.control({ kind: 'checkpoint' });
    pool.settle();
    let flushed = 0;
    // More flushes than the log has blocks; without room they wait for the checkpoint, and the loop ends.
    for (let value = 1; value <= 60 && flushed === value - 1; value += 1) {
      done(pool, pool.write('a', 0, value), pool.zero('a', 4, 4));
      const flush = pool.flush('a');
      pool.settle();
      if (flush.answered) flushed = value;
      pool.control({ kind: 'checkpoint' });
      pool.write('a', 4, value);
      pool.settle();
    }
    expect(flushed).toBeGreaterThan(4);
    pool.powerLossAndStart({ data: 'keep', log: 'keep', metadata: 'lose' });
    expect([flushed, flushed + 1]).toContain(pool.read('a', 0));
    expect(pool.problems()).toEqual([]);
  },

  'a checkpoint stores the sequence of its commit': (planted) => {
    const pool = poolWith(planted, { usableSlots: 4 }, 'a');
    done(pool, pool.write('a', 0, 1));
    pool.hold = isDataSync;
    const checkpoint = pool.control({ kind: 'checkpoint' });
    pool.settle();
    done(pool, pool.write('a', 4, 2)); // after the capture, before the commit
    pool.hold = nothing;
    done(pool, checkpoint);
    pool.kill();
    pool.start();
    expect([pool.read('a', 0), pool.read('a', 4)]).toEqual([1, 2]);
  },

  'recovery takes a commit that it can read for durable': (planted) => {
    // Whether a commit that a kill cuts off can be read is drawn.
    for (let attempt = 0; attempt < 8; attempt += 1) {
      const pool = poolWith(planted, { usableSlots: 4 }, 'a');
      for (let spin = 0; spin < attempt; spin += 1) pool.world.random.bits();
      done(pool, pool.write('a', 0, 1));
      pool.holdMetadata = true;
      pool.control({ kind: 'checkpoint' });
      pool.settle();
      pool.kill();
      pool.holdMetadata = false;
      pool.start();
      // These records follow one that only the checkpoint has: it was never flushed.
      done(pool, pool.write('a', 0, 2), pool.write('a', 4, 3));
      done(pool, pool.flush('a'));
      pool.powerLossAndStart('lose');
      expect([pool.read('a', 0), pool.read('a', 4)]).toEqual([2, 3]);
    }
  },

  'the reserve is used although newer records name its slots': (planted) => {
    const pool = poolWith(planted, { usableSlots: 1 }, 'a', 'b');
    done(pool, pool.control({ kind: 'checkpoint' })); // names the only slot
    done(pool, pool.write('a', 0, 1));
    done(pool, pool.flush('a'));
    pool.kill();
    pool.backgroundStops = true;
    pool.start();
    pool.write('b', 0, 2); // waits: there is no slot
    pool.settle();
    expect(pool.read('a', 0)).toBe(1);
  },
  'sealed slots are written in place': (planted) => {
    const pool = poolWith(planted, { usableSlots: 6 }, 'a');
    done(pool, pool.write('a', 0, 1));
    done(pool, pool.snapshot('s', 'a'));
    scrub(pool);
    done(pool, pool.delete('s'));
    done(pool, pool.control({ kind: 'checkpoint' }));
    done(pool, pool.write('a', 0, 2));
    scrub(pool);
    expect(damageOf(pool)).toEqual([]);
    expect(pool.read('a', 0)).toBe(2);
  },

  'a slot is read for its checksum with writes in flight': (planted) => {
    const pool = poolWith(planted, { usableSlots: 8 }, 'a');
    done(pool, pool.write('a', 0, 1), pool.write('a', 4, 1, 4));
    done(pool, pool.snapshot('s', 'a'));
    // The pass knows what the snapshot holds, and comes to its second slot when that is the volume's alone again.
    pool.hold = isDataRead;
    pool.control(SCRUB);
    pool.settle();
    done(pool, pool.delete('s'));
    done(pool, pool.control({ kind: 'checkpoint' }));
    pool.world.tick(100);
    pool.hold = (operation) => isDataRead(operation) || isDataWrite(operation);
    const first = pool.write('a', 4, 2);
    pool.settle();
    // The pass comes to a slot that is being written.
    pool.hold = isDataWrite;
    pool.settle();
    pool.hold = nothing;
    done(pool, first);
    done(pool, pool.snapshot('t', 'a'));
    scrub(pool);
    scrub(pool);
    expect(damageOf(pool)).toEqual([]);
    expect([pool.read('a', 4), pool.read('a', 5)]).toEqual([2, 1]);
  },

  'a seal stays on disk when its slot is free': (planted) => {
    const pool = poolWith(planted, { usableSlots: 1 }, 'a', 'b');
    done(pool, pool.write('a', 0, 1));
    done(pool, pool.snapshot('s', 'a'));
    scrub(pool);
    done(pool, pool.delete('s'), pool.delete('a'));
    for (let count = 0; count < 3; count += 1) {
      pool.world.tick(100);
      done(pool, pool.control({ kind: 'checkpoint' }));
    }
    done(pool, pool.write('b', 0, 2));
    done(pool, pool.snapshot('t', 'b'));
    pool.kill();
    pool.start();
    scrub(pool);
    expect(damageOf(pool)).toEqual([]);
  },

  'a checksum is stored before its data is synced': (planted) => {
    const pool = poolWith(planted, { usableSlots: 4 }, 'a');
    done(pool, pool.write('a', 0, 1));
    pool.hold = isDataSync;
    // Not answered, since it cannot be made durable; but a pass finds it.
    pool.snapshot('s', 'a');
    pool.settle();
    pool.control(SCRUB);
    pool.settle();
    pool.control({ kind: 'checkpoint' });
    pool.settle();
    pool.powerLossAndStart({ data: 'lose', log: 'keep', metadata: 'keep' });
    scrub(pool);
    expect(damageOf(pool)).toEqual([]);
  },
};

describe('wrong orders, one by one', () => {
  let takeBack = (): void => undefined;
  afterEach(() => takeBack());

  for (const name of Object.keys(scripts) as (keyof typeof wrongOrders)[]) {
    test(`is sound: ${name}`, () => scripts[name](null));
    test(`fails when broken: ${name} (rule ${wrongOrders[name]().rule})`, () => {
      const planted: WrongOrder = wrongOrders[name]();
      takeBack = planted.plant?.() ?? (() => undefined);
      expect(() => scripts[name](planted)).toThrow();
    });
  }
});
