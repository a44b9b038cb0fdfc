/**
 * Sequences of events that once were, or nearly were, a corruption: found by reviews of the design and by an executable
 * model of its rules. Each runs under an exact schedule; those that random walks seldom meet also run with their rule
 * broken, and must then fail.
 */
import { afterEach, describe, expect, test } from '@jest/globals';
import type { ObjectAnswer } from '../../src/engine/control.ts';
import { giveOutOneSlotOnly, plantedBugs } from '../support/planted-bugs.ts';
import { ScriptedPool, type WaitingOperation } from '../support/scripted-pool.ts';
import { settled as done } from '../support/settled.ts';

const isSync = (disk: 'data' | 'log') => (operation: WaitingOperation) => operation.disk === disk && operation.kind === 'sync';
const is = (disk: 'data' | 'log', kind: 'read' | 'write') => (operation: WaitingOperation) =>
  operation.disk === disk && operation.kind === kind;

/** A pool with volumes that hold nothing yet. */
function poolWith(usableSlots: number, ...names: string[]): ScriptedPool {
  const pool = new ScriptedPool({ usableSlots });
  for (const name of names) pool.create(name);
  pool.settle();
  return pool;
}

/** Scripts that take a broken rule to show. Each must end well, and badly with the bug of the same name planted. */
const scripts: Readonly<Record<string, () => void>> = {
  'slots are reused with operations in flight': () => {
    const pool = poolWith(1, 'a', 'b');
    done(pool, pool.write('a', 0, 1));
    done(pool, pool.flush('a'));
    pool.hold = is('data', 'read');
    const read = pool.startRead('a', 0);
    done(pool, pool.zero('a', 0));
    done(pool, pool.flush('a'));
    const reuse = pool.write('b', 0, 2);
    pool.settle();
    pool.hold = () => false;
    done(pool, read, reuse);
    expect([0, 1]).toContain(read.values[0]);
    expect(pool.read('b', 0)).toBe(2);
  },

  'slots are written in place while shared in what is durable': () => {
    const pool = poolWith(4, 'a');
    done(pool, pool.write('a', 0, 1));
    done(pool, pool.snapshot('s', 'a'));
    done(pool, pool.write('a', 4, 7)); // From now on the two have a leaf page each, and share the slot of chunk 0.
    pool.hold = isSync('log');
    const gone = pool.delete('s');
    pool.settle();
    const write = pool.write('a', 0, 2);
    done(pool, write);
    expect(gone.answered).toBe(false);
    pool.powerLossAndStart({ data: 'keep', log: 'lose', metadata: 'lose' });
    expect(pool.read('s', 0)).toBe(1);
    expect([1, 2]).toContain(pool.read('a', 0));
  },

  'slots that the count finds are free at once': () => {
    const pool = poolWith(1, 'a', 'b');
    done(pool, pool.control({ kind: 'checkpoint' }));
    pool.kill();
    pool.backgroundStops = true;
    pool.start();
    done(pool, pool.write('a', 0, 1)); // the count, which looks at the checkpoint's trees, never meets this slot
    done(pool, pool.flush('a'));
    pool.hold = isSync('log');
    done(pool, pool.zero('a', 0));
    pool.backgroundStops = false;
    pool.settle();
    pool.write('b', 0, 2);
    pool.settle();
    pool.powerLossAndStart({ data: 'keep', log: 'lose', metadata: 'lose' });
    expect(pool.read('a', 0)).toBe(1);
    expect([0, 2]).toContain(pool.read('b', 0));
  },

  'slots are reused before their drop is durable': () => {
    const pool = poolWith(1, 'a', 'b');
    done(pool, pool.write('a', 0, 1));
    done(pool, pool.flush('a'));
    pool.hold = isSync('log');
    done(pool, pool.zero('a', 0));
    pool.write('b', 0, 2);
    pool.settle();
    pool.powerLossAndStart({ data: 'keep', log: 'lose', metadata: 'lose' });
    expect(pool.read('a', 0)).toBe(1);
  },

  'cuts do not wait for writes in flight': () => {
    const pool = poolWith(4, 'a');
    done(pool, pool.write('a', 0, 1));
    pool.hold = is('data', 'write');
    const write = pool.write('a', 0, 2);
    const cut = pool.snapshot('s', 'a');
    pool.settle();
    const early = cut.answered ? pool.read('s', 0) : null;
    pool.hold = () => false;
    done(pool, write, cut);
    if (early !== null) expect(pool.read('s', 0)).toBe(early);
    const first = pool.read('s', 0);
    done(pool, pool.write('a', 0, 3));
    expect(pool.read('s', 0)).toBe(first);
  },

  'writes do not make the pool dirty': () => {
    const pool = poolWith(4, 'a', 'b');
    done(pool, pool.write('a', 0, 1));
    done(pool, pool.flush('a'));
    done(pool, pool.write('a', 0, 2));
    pool.hold = isSync('data');
    const flush = pool.flush('b');
    pool.settle();
    pool.hold = () => false;
    done(pool, flush);
    done(pool, pool.write('a', 0, 3));
    done(pool, pool.flush('a'));
    pool.powerLossAndStart('lose');
    expect(pool.read('a', 0)).toBe(3);
  },
};

describe('the rules, broken one by one', () => {
  let takeBack = (): void => undefined;
  afterEach(() => takeBack());

  for (const [name, script] of Object.entries(scripts)) {
    test(`is sound: ${name}`, () => script());
    test(`fails when broken: ${name}`, () => {
      takeBack = plantedBugs[name]?.plant?.() ?? takeBack;
      expect(script).toThrow();
    });
  }
});

describe('data written in place', () => {
  test('while a sync runs counts as dirty afterwards', () => {
    const pool = poolWith(4, 'a', 'b');
    done(pool, pool.write('a', 0, 1));
    done(pool, pool.flush('a'));
    done(pool, pool.write('a', 0, 2));
    pool.hold = isSync('data');
    const flush = pool.flush('b');
    pool.settle();
    const during = pool.write('a', 0, 3);
    done(pool, during);
    pool.hold = () => false;
    done(pool, flush);
    done(pool, pool.flush('a'));
    pool.powerLossAndStart('lose');
    expect(pool.read('a', 0)).toBe(3);
  });

  test('and discarded meanwhile never lands in the volume that took its slot', () => {
    const pool = poolWith(1, 'a', 'b');
    done(pool, pool.write('a', 0, 1));
    done(pool, pool.flush('a'));
    pool.hold = is('data', 'write');
    const late = pool.write('a', 1, 2);
    const discard = pool.zero('a', 0);
    const flush = pool.flush('a');
    pool.settle();
    const taken = pool.write('b', 1, 3);
    pool.settle();
    pool.hold = () => false;
    done(pool, late, discard, flush);
    done(pool, pool.zero('a', 0, 4), pool.flush('a'), taken);
    expect(pool.read('b', 1)).toBe(3);
    expect(pool.read('b', 0)).toBe(0);
  });
});

describe('a write that failed', () => {
  test('may have changed the disk: a snapshot afterwards shows the same through a power loss', () => {
    const pool = poolWith(4, 'a');
    done(pool, pool.write('a', 0, 1, 2));
    done(pool, pool.flush('a'));
    // Of a write that fails the simulated disk lands some blocks: try until one of these did.
    for (let attempt = 0; attempt < 20 && pool.read('a', 0) === 1; attempt += 1) {
      pool.world.data.inject({ kind: 'write', skip: 0, times: 1, errno: 5 });
      const failed = pool.write('a', 0, 2);
      pool.settle();
      expect(failed.errno).toBe(5);
    }
    expect(pool.read('a', 0)).toBe(2);
    done(pool, pool.snapshot('s', 'a'));
    pool.powerLossAndStart('lose');
    expect(pool.read('s', 0)).toBe(2);
  });
});

describe('a flush', () => {
  test('makes the records of all volumes durable as one prefix (a clone that drops the last reference)', () => {
    const pool = poolWith(3, 'a', 'c');
    done(pool, pool.write('a', 0, 1));
    done(pool, pool.clone('b', 'a'));
    done(pool, pool.write('a', 0, 2)); // not flushed
    done(pool, pool.write('b', 0, 3));
    done(pool, pool.flush('b')); // the old slot has no reference left
    done(pool, pool.write('c', 0, 4));
    pool.powerLossAndStart('draw');
    expect([1, 2]).toContain(pool.read('a', 0));
    expect(pool.read('b', 0)).toBe(3);
    expect([0, 4]).toContain(pool.read('c', 0));
    expect(pool.problems()).toEqual([]);
  });

  test('of one volume keeps what another one was answered, through a power loss after both flush', () => {
    const pool = poolWith(4, 'a', 'b');
    done(pool, pool.write('a', 0, 1), pool.write('b', 0, 2));
    done(pool, pool.flush('a'));
    pool.kill();
    pool.start();
    expect(pool.read('b', 0)).toBe(2);
    done(pool, pool.flush('b'));
    pool.powerLossAndStart('lose');
    expect([pool.read('a', 0), pool.read('b', 0)]).toEqual([1, 2]);
  });

  test('does not take records that are newer than its data sync', () => {
    const pool = poolWith(4, 'a', 'b');
    done(pool, pool.write('a', 0, 1));
    pool.hold = isSync('data');
    const flush = pool.flush('a');
    pool.settle();
    done(pool, pool.write('b', 0, 2)); // recorded, and its data is not covered by the sync
    pool.hold = () => false;
    done(pool, flush);
    pool.powerLossAndStart({ data: 'lose', log: 'keep', metadata: 'keep' });
    expect([0, 2]).toContain(pool.read('b', 0));
    expect(pool.read('a', 0)).toBe(1);
  });
});

describe('a checkpoint', () => {
  test('keeps records that are made while it commits', () => {
    const pool = poolWith(4, 'a');
    done(pool, pool.write('a', 0, 1));
    pool.holdMetadata = true;
    const checkpoint = pool.control({ kind: 'checkpoint' });
    pool.settle();
    done(pool, pool.write('a', 4, 2));
    pool.holdMetadata = false;
    done(pool, checkpoint);
    pool.kill();
    pool.start();
    expect([pool.read('a', 0), pool.read('a', 4)]).toEqual([1, 2]);
    done(pool, pool.flush('a'));
    pool.powerLossAndStart('lose');
    expect([pool.read('a', 0), pool.read('a', 4)]).toEqual([1, 2]);
  });

  test('that a kill cut off and that can be read is made durable before it is built upon', () => {
    for (let attempt = 0; attempt < 8; attempt += 1) {
      const pool = poolWith(4, 'a');
      for (let spin = 0; spin < attempt; spin += 1) pool.world.random.bits();
      done(pool, pool.write('a', 0, 1));
      done(pool, pool.flush('a'));
      pool.holdMetadata = true;
      pool.control({ kind: 'checkpoint' });
      pool.settle();
      pool.kill();
      pool.holdMetadata = false;
      pool.start();
      done(pool, pool.write('a', 0, 2));
      done(pool, pool.flush('a'));
      pool.powerLossAndStart('lose');
      expect(pool.read('a', 0)).toBe(2);
    }
  });
});

describe('after the death of a process', () => {
  test('writes that were answered and not flushed are there', () => {
    const pool = poolWith(4, 'a');
    done(pool, pool.write('a', 0, 1), pool.write('a', 5, 2));
    pool.kill();
    pool.start();
    expect([pool.read('a', 0), pool.read('a', 5), pool.read('a', 1)]).toEqual([1, 2, 0]);
  });

  test('and a power loss right after the recovery, what a flush covered is there', () => {
    const pool = poolWith(4, 'a');
    done(pool, pool.write('a', 0, 1));
    done(pool, pool.flush('a'));
    done(pool, pool.write('a', 0, 2));
    pool.kill();
    pool.start();
    pool.powerLossAndStart('lose');
    expect(pool.read('a', 0)).toBe(2);
  });

  test('a slot whose drop only the shared memory knew is not reused before that is durable', () => {
    const pool = poolWith(1, 'a', 'b');
    done(pool, pool.write('a', 0, 1));
    done(pool, pool.flush('a'));
    done(pool, pool.zero('a', 0)); // in the shared memory only
    pool.kill();
    pool.hold = isSync('log');
    pool.start();
    pool.write('b', 0, 2);
    pool.settle();
    pool.powerLossAndStart({ data: 'keep', log: 'lose', metadata: 'lose' });
    expect(pool.read('a', 0)).toBe(1);
    expect(pool.problems()).toEqual([]);
  });

  test('a revert stays whole although writes recorded before it are replayed', () => {
    const pool = poolWith(6, 'a');
    done(pool, pool.write('a', 0, 1));
    done(pool, pool.snapshot('s', 'a'));
    done(pool, pool.write('a', 0, 2), pool.write('a', 4, 3));
    done(pool, pool.revert('a', 's'));
    pool.kill();
    pool.start();
    expect([pool.read('a', 0), pool.read('a', 4)]).toEqual([1, 0]);
    pool.powerLossAndStart('lose');
    expect([pool.read('a', 0), pool.read('a', 4)]).toEqual([1, 0]);
  });

  test('the pool serves before it has counted, and writes nothing in place until it has', () => {
    const pool = poolWith(8, 'a');
    done(pool, pool.write('a', 0, 1));
    done(pool, pool.snapshot('s', 'a'));
    done(pool, pool.control({ kind: 'checkpoint' }));
    pool.kill();
    pool.backgroundStops = true;
    pool.start();
    expect(pool.pool().counted).toBe(false);
    done(pool, pool.write('a', 0, 2));
    expect([pool.read('a', 0), pool.read('s', 0)]).toEqual([2, 1]);
    pool.backgroundStops = false;
    pool.settle();
    expect(pool.pool().counted).toBe(true);
    expect([pool.read('a', 0), pool.read('s', 0)]).toEqual([2, 1]);
    expect(pool.problems()).toEqual([]);
  });

  test('a call repeated, that finds everything done in memory, answers only when it is durable', () => {
    const pool = poolWith(4, 'a');
    pool.hold = isSync('log');
    pool.snapshot('s', 'a');
    pool.settle();
    pool.kill();
    pool.start();
    const again = pool.control({ kind: 'snapshot', id: pool.id('s'), name: 's', sourceId: pool.id('a'), attributes: {} });
    pool.settle();
    expect(again.answered).toBe(false);
    pool.hold = () => false;
    done(pool, again);
    pool.powerLossAndStart('lose');
    expect(pool.names()).toEqual(['a', 's']);
  });

  test('a delete repeated of what is gone in memory answers only when it is durable', () => {
    const pool = poolWith(4, 'a', 'b');
    pool.hold = isSync('log');
    pool.delete('b');
    pool.settle();
    pool.kill();
    pool.start();
    const again = pool.control({ kind: 'delete', id: pool.id('b') });
    pool.settle();
    expect(again.answered).toBe(false);
    pool.hold = () => false;
    done(pool, again);
    pool.powerLossAndStart('lose');
    expect(pool.names()).toEqual(['a']);
  });
});

describe('a volume that never flushes', () => {
  test('neither fills the logs nor keeps freed slots from being used', () => {
    const pool = new ScriptedPool({ usableSlots: 4, logSizeBytes: 131_072, seed: 18 });
    pool.create('a');
    pool.settle();
    for (let round = 0; round < 1500; round += 1) {
      const write = pool.write('a', (round % 3) * 4, 1 + (round % 200));
      pool.world.tick(20);
      done(pool, write);
      const zero = pool.zero('a', (round % 3) * 4, 4);
      pool.world.tick(20);
      done(pool, zero);
    }
    done(pool, pool.write('a', 0, 77));
    expect(pool.read('a', 0)).toBe(77);
    expect(pool.problems()).toEqual([]);
  });
});

describe('a full pool', () => {
  /** Volume a fills the pool but for what b has, then asks for more with every buffer that there is. */
  function full(): { pool: ScriptedPool; waiting: ReturnType<ScriptedPool['write']>[] } {
    const pool = poolWith(6, 'a', 'b');
    done(pool, pool.write('b', 0, 9));
    for (let chunk = 0; chunk < 5; chunk += 1) done(pool, pool.write('a', chunk * 4, 10 + chunk));
    const waiting: ReturnType<ScriptedPool['write']>[] = [];
    for (let index = 0; index < 8; index += 1) {
      waiting.push(pool.write('a', 20 + index, 50 + index));
      pool.settle();
    }
    expect(waiting.some((write) => write.answered)).toBe(false);
    return { pool, waiting };
  }

  test('parks writes that need space, and goes on with reads, writes in place and flushes', () => {
    const { pool } = full();
    expect(pool.pool().parkedWrites).toBeGreaterThan(0);
    done(pool, pool.write('b', 0, 8), pool.write('a', 0, 11));
    done(pool, pool.flush('a'));
    expect([pool.read('b', 0), pool.read('a', 0), pool.read('a', 4)]).toEqual([8, 11, 11]);
  });

  test('takes snapshots and deletes, and a delete lets the writes go on', () => {
    const { pool, waiting } = full();
    done(pool, pool.snapshot('s', 'a'));
    done(pool, pool.delete('s'));
    expect(waiting.some((write) => write.answered)).toBe(false);
    done(pool, pool.delete('b'));
    // One chunk came free: the writes of that chunk fit, one after the other.
    expect(waiting.filter((write) => write.answered).length).toBeGreaterThanOrEqual(4);
    expect(pool.problems()).toEqual([]);
  });

  test('fails what has waited too long with ENOSPC, and only that', () => {
    const { pool, waiting } = full();
    // Somebody sets the clock meanwhile, back and ahead.
    pool.world.setClock({ aheadMs: -3_600_000 });
    pool.world.tick(14_000);
    pool.world.setClock({ aheadMs: 3_600_000 });
    pool.world.tick(15_000);
    pool.settle();
    expect(waiting.some((write) => write.answered)).toBe(false);
    pool.world.tick(2_000);
    pool.settle();
    expect(waiting.map((write) => write.errno)).toEqual(waiting.map(() => 28));
    expect(pool.read('a', 0)).toBe(10);
  });
});

describe('zeroing a granule', () => {
  test('of a chunk that a snapshot shares shows zeros, not the layer below', () => {
    const pool = poolWith(6, 'a');
    done(pool, pool.write('a', 0, 1, 4));
    done(pool, pool.snapshot('s', 'a'));
    done(pool, pool.write('a', 1, 2));
    done(pool, pool.zero('a', 1), pool.zero('a', 2));
    expect([0, 1, 2, 3].map((granule) => pool.read('a', granule))).toEqual([1, 0, 0, 1]);
    expect([0, 1, 2, 3].map((granule) => pool.read('s', granule))).toEqual([1, 1, 1, 1]);
    done(pool, pool.write('a', 2, 5));
    pool.kill();
    pool.start();
    expect([0, 1, 2, 3].map((granule) => pool.read('a', granule))).toEqual([1, 0, 5, 1]);
  });

  test('of a whole volume frees all its space after a flush', () => {
    const pool = poolWith(6, 'a');
    done(pool, pool.write('a', 0, 1, 12));
    done(pool, pool.zero('a', 0, 32));
    done(pool, pool.flush('a'));
    expect(pool.pool()).toMatchObject({ usedBytes: 0, freeBytes: 6 * 16_384 });
  });
});

describe('check', () => {
  test('finds a slot that was given out twice, which counts alone cannot', () => {
    const pool = poolWith(6, 'a');
    done(pool, pool.write('a', 0, 1));
    const takeBack = giveOutOneSlotOnly();
    try {
      done(pool, pool.write('a', 4, 2));
      done(pool, pool.write('a', 8, 3));
    } finally {
      takeBack();
    }
    expect(pool.problems().join()).toMatch(/slot \d+ holds chunk/);
  });
});

describe('a record log that wraps in the middle of a record', () => {
  test('is read whole again', () => {
    const pool = new ScriptedPool({ usableSlots: 8, logSizeBytes: 131_072, seed: 2 });
    pool.create('a');
    pool.settle();
    for (let round = 0; round < 200; round += 1) {
      done(pool, pool.write('a', round % 32, 1 + (round % 250)));
      const name = `s${round}`;
      done(pool, pool.snapshot(name, 'a'));
      done(pool, pool.delete(name));
      if (round % 17 === 0) {
        pool.world.tick(5_000);
        pool.settle();
      }
      if (round % 40 === 39) {
        const expected = pool.read('a', round % 32);
        pool.powerLossAndStart('lose');
        expect(pool.read('a', round % 32)).toBe(expected);
      }
    }
    expect(pool.problems()).toEqual([]);
  });
});

describe('a slot whose owners let go in one order and are taken apart in the other', () => {
  test('is not reused before the last record of the two is durable', () => {
    const pool = poolWith(2, 'b', 'c');
    done(pool, pool.write('b', 0, 1));
    done(pool, pool.snapshot('r', 'b'));
    done(pool, pool.write('b', 4, 2)); // b has a leaf of its own now, and shares the slot of chunk 0 with r
    pool.backgroundStops = true; // nothing is taken apart yet
    done(pool, pool.delete('b'));
    pool.hold = isSync('log');
    const gone = pool.delete('r');
    pool.detach('r');
    pool.backgroundStops = false;
    pool.settle();
    for (const chunk of [0, 1, 2]) pool.write('c', chunk * 4, 9);
    pool.settle();
    expect(gone.answered).toBe(false);
    pool.powerLossAndStart({ data: 'keep', log: 'lose', metadata: 'lose' });
    expect(pool.read('r', 0)).toBe(1);
  });
});

describe('control calls at once', () => {
  test('that give the same name make one object', () => {
    const pool = poolWith(6, 'a');
    const attributes = {};
    const [first, second] = ['m', 'n'].map((letter) =>
      pool.control<ObjectAnswer>({ kind: 'create', id: letter.repeat(26), name: 'same', sizeBytes: 131_072, attributes }),
    );
    pool.settle();
    expect([first!.answer?.existed, second!.answer?.existed]).toEqual([false, true]);
    expect(second!.answer?.object.id).toBe(first!.answer?.object.id);
  });

  test('that cut one volume twice, with a write in flight, both hold the write', () => {
    const pool = poolWith(6, 'a');
    done(pool, pool.write('a', 0, 1));
    pool.hold = is('data', 'write');
    const write = pool.write('a', 0, 2);
    const cuts = [pool.snapshot('s', 'a'), pool.snapshot('t', 'a'), pool.clone('c', 'a')];
    const later = pool.write('a', 1, 3); // waits for the cuts
    pool.settle();
    pool.hold = () => false;
    done(pool, write, ...cuts, later);
    const seen = ['s', 't', 'c'].map((name) => [pool.read(name, 0), pool.read(name, 1)]);
    for (const [granule0] of seen) expect(granule0).toBe(2);
    done(pool, pool.write('a', 0, 4, 2));
    expect(['s', 't', 'c'].map((name) => [pool.read(name, 0), pool.read(name, 1)])).toEqual(seen);
    expect(pool.problems()).toEqual([]);
  });

  test('that share an object and delete it end with one of the two orders', () => {
    const pool = poolWith(6, 'a');
    done(pool, pool.write('a', 0, 1));
    done(pool, pool.snapshot('s', 'a'));
    const clone = pool.clone('c', 's');
    const gone = pool.delete('s');
    pool.settle();
    expect([gone.error, clone.error]).toEqual([null, null]);
    expect(pool.names()).toEqual(['a', 'c']);
    expect(pool.read('c', 0)).toBe(1);
    pool.powerLossAndStart('lose');
    expect(pool.read('c', 0)).toBe(1);
    expect(pool.problems()).toEqual([]);
  });

  test('that delete a snapshot while a revert to it waits end with one of the two orders', () => {
    const pool = poolWith(6, 'a');
    done(pool, pool.write('a', 0, 1));
    done(pool, pool.snapshot('s', 'a'));
    done(pool, pool.write('a', 0, 2));
    const revert = pool.revert('a', 's');
    const gone = pool.delete('s');
    pool.settle();
    expect(gone.error).toBeNull();
    expect(pool.read('a', 0)).toBe(revert.error ? 2 : 1);
    expect(pool.problems()).toEqual([]);
  });

  test('do not delete what is attached', () => {
    const pool = poolWith(6, 'a');
    done(pool, pool.write('a', 0, 1));
    done(pool, pool.snapshot('s', 'a'));
    expect(pool.read('s', 0)).toBe(1);
    const refused = ['a', 's'].map((name) => pool.control({ kind: 'delete', id: pool.id(name) }));
    pool.settle();
    for (const call of refused) expect(['in-use', 'failed-precondition']).toContain(call.error?.code);
  });
});
