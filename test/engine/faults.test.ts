/** What the world can do to a pool's disks, and that nothing is called durable that may not be. */
import { describe, expect, test } from '@jest/globals';
import type { CheckReport } from '../../src/engine/control.ts';
import { ScriptedPool } from '../support/scripted-pool.ts';

const ioErrno = 5;

interface FailingPool {
  readonly pool: ScriptedPool;
  readonly failures: Error[];
}

/** A pool with a volume `a` whose granule 0 is 1, flushed, and granule 4 is 2, not flushed. */
function failingPool(): FailingPool {
  const failures: Error[] = [];
  const pool = new ScriptedPool({ usableSlots: 8, failed: (error) => failures.push(error) });
  pool.create('a');
  pool.settle();
  pool.write('a', 0, 1);
  pool.settle();
  pool.flush('a');
  pool.settle();
  pool.write('a', 4, 2);
  pool.settle();
  return { pool, failures };
}

/** The pool only reads from now on, and says so. */
function expectBroken({ pool, failures }: FailingPool): void {
  expect(failures.length).toBe(1);
  const flush = pool.flush('a');
  const write = pool.write('a', 8, 3);
  const zero = pool.zero('a', 0);
  const snapshot = pool.snapshot('s', 'a');
  pool.settle();
  expect([flush.errno, write.errno, zero.errno]).toEqual([ioErrno, ioErrno, ioErrno]);
  expect(snapshot.error?.code).toBe('data-loss');
  expect([pool.read('a', 0), pool.read('a', 4)]).toEqual([1, 2]);
}

describe('a failed sync', () => {
  test.each(['data', 'log'] as const)('of the %s fails the flush and everything after it, and reads go on', (disk) => {
    const it = failingPool();
    it.pool.world[disk].inject({ kind: 'sync', skip: 0, times: 1, errno: ioErrno });
    const flush = it.pool.flush('a');
    it.pool.settle();
    expect(flush).toMatchObject({ answered: true, errno: ioErrno });
    expectBroken(it);
  });

  test.each(['data', 'log'] as const)('of the %s is no reason to doubt what was flushed before it', (disk) => {
    const { pool } = failingPool();
    pool.world[disk].inject({ kind: 'sync', skip: 0, times: 1, errno: ioErrno });
    pool.flush('a');
    pool.settle();
    pool.powerLossAndStart('draw');
    expect(pool.read('a', 0)).toBe(1);
    expect([0, 2]).toContain(pool.read('a', 4));
    expect(pool.problems()).toEqual([]);
  });

  test('fails a control call whose record it was to make durable', () => {
    const it = failingPool();
    it.pool.world.log.inject({ kind: 'sync', skip: 0, times: 1, errno: ioErrno });
    const snapshot = it.pool.snapshot('s', 'a');
    it.pool.settle();
    expect(snapshot.error?.code).toBe('data-loss');
    expect(it.failures.length).toBe(1);
  });

  test('leaves nothing waiting: a process that starts again goes on', () => {
    const { pool } = failingPool();
    pool.world.data.inject({ kind: 'sync', skip: 0, times: 1, errno: ioErrno });
    pool.flush('a');
    pool.settle();
    pool.kill();
    pool.start();
    expect([pool.read('a', 0), pool.read('a', 4)]).toEqual([1, 2]);
    const flush = pool.flush('a');
    pool.settle();
    expect(flush).toMatchObject({ answered: true, errno: 0 });
  });
});

describe('a walk of the pool', () => {
  test('that is over is answered once, though the pool fails before anybody has looked again', () => {
    const { pool, failures } = failingPool();
    const check = pool.control<CheckReport>({ kind: 'check' });
    for (let slices = 0; !check.answered && slices < 100; slices += 1) pool.world.background();
    expect(check).toMatchObject({ answered: true, error: null });
    pool.backgroundStops = true;
    pool.world.log.inject({ kind: 'sync', skip: 0, times: 1, errno: ioErrno });
    pool.flush('a');
    pool.settle();
    expect(failures.length).toBe(1);
    expect(check.error).toBeNull();
  });
});

describe('a failed write of the record log', () => {
  test('fails the flush that it was for', () => {
    const it = failingPool();
    it.pool.world.log.inject({ kind: 'write', skip: 0, times: 1, errno: 28 });
    const flush = it.pool.flush('a');
    it.pool.settle();
    expect(flush).toMatchObject({ answered: true, errno: ioErrno });
    expectBroken(it);
  });
});

describe('a failed commit of the metadata', () => {
  test('fails the checkpoint and loses nothing', () => {
    const { pool, failures } = failingPool();
    pool.world.metadata.failCommits(1);
    const checkpoint = pool.control({ kind: 'checkpoint' });
    pool.settle();
    expect(checkpoint.answered).toBe(true);
    expect(checkpoint.error?.code).toBe('data-loss');
    expect(failures.length).toBe(1);
    pool.kill();
    pool.start();
    expect([pool.read('a', 0), pool.read('a', 4)]).toEqual([1, 2]);
    expect(pool.problems()).toEqual([]);
  });
});

describe('a page of the map that is missing', () => {
  test('stops the pool in words, and what does not need it is read', () => {
    const it = failingPool();
    const { pool, failures } = it;
    pool.create('b');
    pool.settle();
    pool.write('b', 0, 7);
    pool.settle();
    pool.control({ kind: 'checkpoint' });
    pool.settle();
    const pages = [1, 2, 3, 4].filter((page) => pool.world.metadata.row('pages', page) !== null);
    expect(pages.length).toBe(2);
    pool.kill();
    pool.world.metadata.forget('pages', pages[0]!);
    pool.start();
    pool.settle();
    expect(failures).toEqual([expect.objectContaining({ name: 'StoreError', code: 'data-loss' })]);
    expect(failures[0]!.message).toBe(`page ${pages[0]} of the pool's metadata is missing`);
    const reads = ['a', 'b'].map((name) => pool.startRead(name, 0));
    const write = pool.write('b', 4, 8);
    pool.settle();
    expect(reads.map(({ errno }) => errno)).toEqual([ioErrno, 0]);
    expect(reads[1]!.values).toEqual([7]);
    expect(write.errno).toBe(ioErrno);
  });
});

describe('a failed write or read of the data', () => {
  test('fails its request alone, and the old content stays', () => {
    const { pool, failures } = failingPool();
    pool.world.data.inject({ kind: 'write', skip: 0, times: 1, errno: ioErrno });
    const write = pool.write('a', 8, 3); // takes a new slot
    pool.settle();
    expect(write.errno).toBe(ioErrno);
    expect(pool.read('a', 8)).toBe(0);
    pool.world.data.inject({ kind: 'read', skip: 0, times: 1, errno: ioErrno });
    const read = pool.startRead('a', 0);
    pool.settle();
    expect(read.errno).toBe(ioErrno);
    expect(pool.read('a', 0)).toBe(1);
    expect(failures).toEqual([]);
    expect(pool.problems()).toEqual([]);
  });

  test('gives the slot back that it was for', () => {
    const { pool } = failingPool();
    const before = pool.pool().freeBytes;
    pool.world.data.inject({ kind: 'write', skip: 0, times: 1, errno: ioErrno });
    pool.write('a', 8, 3);
    pool.settle();
    expect(pool.pool().freeBytes).toBe(before);
  });
});
