import { describe, expect, test } from '@jest/globals';
import type { DefragmentStatus } from '../../src/engine/control.ts';
import { ScriptedPool, type ScriptedPoolOptions, type WaitingOperation } from '../support/scripted-pool.ts';

const CHUNK_BYTES = 16_384;
const GRANULES = 4;
/** Chunks of the volume that most tests have: it is written in this order. */
const ORDER = [3, 0, 6, 2, 7, 1, 5, 4];

function start(pool: ScriptedPool, name = 'a'): DefragmentStatus {
  pool.ask({ kind: 'defragment-start', id: pool.id(name) });
  rest(pool);
  return status(pool, name);
}

const status = (pool: ScriptedPool, name = 'a'): DefragmentStatus => pool.ask({ kind: 'defragment-status', id: pool.id(name) });

/** Some time passes, and all becomes durable. */
function rest(pool: ScriptedPool): void {
  for (let count = 0; count < 5; count += 1) {
    pool.world.tick(100);
    pool.settle();
  }
}

/** A volume of eight chunks in eight pieces: granule i of it has the value i + 1. */
function scattered(options: Partial<ScriptedPoolOptions> = {}): ScriptedPool {
  const pool = new ScriptedPool({ usableSlots: 64, ...options });
  pool.create('a', 8 * GRANULES);
  pool.settle();
  writeScattered(pool);
  return pool;
}

function writeScattered(pool: ScriptedPool): void {
  for (const chunk of ORDER) for (let granule = 0; granule < GRANULES; granule += 1) writeOne(pool, chunk * GRANULES + granule);
  pool.flush('a');
  rest(pool);
}

function writeOne(pool: ScriptedPool, granule: number): void {
  pool.write('a', granule, granule + 1);
  pool.settle();
}

function values(pool: ScriptedPool, name = 'a', granules = 8 * GRANULES): number[] {
  return Array.from({ length: granules }, (_, granule) => pool.read(name, granule));
}

const WRITTEN = Array.from({ length: 8 * GRANULES }, (_, granule) => granule + 1);

/** Disk reads that the volume takes when it is read at once. */
function readsOf(pool: ScriptedPool, name = 'a', granules = 8 * GRANULES): number {
  const { read } = pool.world.data.counts;
  pool.startRead(name, 0, granules);
  pool.settle();
  return pool.world.data.counts.read - read;
}

const isData =
  (kind: WaitingOperation['kind']) =>
  (operation: WaitingOperation): boolean =>
    operation.disk === 'data' && operation.kind === kind;

describe('defragmenting', () => {
  test('puts the chunks of a volume into one row, and changes nothing of what it reads', () => {
    const pool = scattered();
    expect(readsOf(pool)).toBe(8);
    expect(start(pool)).toMatchObject({ state: 'done', foundPieces: 8, leftPieces: 1, movedBytes: 8 * CHUNK_BYTES });
    expect(readsOf(pool)).toBe(1);
    expect(values(pool)).toEqual(WRITTEN);
    expect(pool.problems()).toEqual([]);
    expect(pool.pool()).toMatchObject({ usedBytes: 8 * CHUNK_BYTES, freeBytes: 56 * CHUNK_BYTES });
  });

  test('moves nothing the second time', () => {
    const pool = scattered();
    start(pool);
    const { write } = pool.world.data.counts;
    expect(start(pool)).toMatchObject({ state: 'done', foundPieces: 1, leftPieces: 1, movedBytes: 0 });
    expect(pool.world.data.counts.write).toBe(write);
  });

  test('survives the loss of power at its end, and what it did stays', () => {
    const pool = scattered();
    start(pool);
    pool.flush('a');
    rest(pool);
    pool.powerLossAndStart('lose');
    expect(values(pool)).toEqual(WRITTEN);
    expect(readsOf(pool)).toBe(1);
    expect(status(pool)).toMatchObject({ state: 'never' });
  });

  test('makes one layer of several, and gives a volume its own copy of what a snapshot has', () => {
    const pool = scattered();
    pool.snapshot('s', 'a');
    pool.settle();
    for (const granule of [1, 6, 11]) pool.write('a', granule, 200 + granule);
    rest(pool);
    const present = WRITTEN.map((value, granule) => ([1, 6, 11].includes(granule) ? 200 + granule : value));
    expect(start(pool)).toMatchObject({ state: 'done', leftPieces: 1, movedBytes: 8 * CHUNK_BYTES });
    expect(readsOf(pool)).toBe(1);
    expect(values(pool)).toEqual(present);
    expect(values(pool, 's')).toEqual(WRITTEN);
    expect(pool.pool().usedBytes).toBe(16 * CHUNK_BYTES);
    pool.delete('s');
    rest(pool);
    expect(pool.pool().usedBytes).toBe(8 * CHUNK_BYTES);
    expect(pool.problems()).toEqual([]);
  });

  test('keeps holes holes', () => {
    const pool = new ScriptedPool({ usableSlots: 64 });
    pool.create('a', 8 * GRANULES);
    for (const chunk of [6, 4, 1]) {
      pool.write('a', chunk * GRANULES + 2, chunk);
      pool.settle();
    }
    rest(pool);
    expect(start(pool)).toMatchObject({ state: 'done', foundPieces: 3, leftPieces: 1, movedBytes: 3 * CHUNK_BYTES });
    const expected = new Array<number>(8 * GRANULES).fill(0);
    for (const chunk of [6, 4, 1]) expected[chunk * GRANULES + 2] = chunk;
    expect(values(pool)).toEqual(expected);
  });

  test('leaves a row alone that is as long as the longest request, and moves what lies beside it', () => {
    const pool = new ScriptedPool({ usableSlots: 400 });
    const row = 64; // of 1 MiB
    pool.create('a', (row + 4) * GRANULES);
    pool.settle();
    const write = (chunk: number): void => {
      pool.write('a', chunk * GRANULES, chunk + 1, GRANULES);
      pool.settle();
    };
    for (let chunk = 0; chunk < row; chunk += 1) write(chunk);
    for (const chunk of [row + 2, row + 1, row + 3, row]) write(chunk);
    rest(pool);
    expect(start(pool)).toMatchObject({ state: 'done', movedBytes: 4 * CHUNK_BYTES });
    expect([0, row, row + 3].map((chunk) => pool.read('a', chunk * GRANULES))).toEqual([1, row + 1, row + 4]);
  });

  test('goes on over the border of a page of the map', () => {
    const pool = new ScriptedPool({ usableSlots: 700 });
    const chunks = 260;
    pool.create('a', chunks * GRANULES);
    pool.settle();
    for (let chunk = chunks - 1; chunk >= 0; chunk -= 1) {
      pool.write('a', chunk * GRANULES, (chunk % 250) + 1);
      pool.settle();
    }
    rest(pool);
    expect(start(pool)).toMatchObject({ state: 'done', foundPieces: chunks, leftPieces: 1, movedBytes: chunks * CHUNK_BYTES });
    for (let chunk = 0; chunk < chunks; chunk += 1) expect(pool.read('a', chunk * GRANULES)).toBe((chunk % 250) + 1);
  });

  test('waits for the count after a start', () => {
    const pool = scattered();
    pool.kill();
    pool.backgroundStops = true;
    pool.start();
    expect(start(pool)).toMatchObject({ state: 'running', movedBytes: 0 });
    pool.backgroundStops = false;
    rest(pool);
    expect(status(pool)).toMatchObject({ state: 'done', leftPieces: 1 });
    expect(values(pool)).toEqual(WRITTEN);
  });
});

describe('while a volume is defragmented', () => {
  test('a write to a chunk that is being moved waits, and is there afterwards', () => {
    const pool = scattered();
    pool.hold = isData('read');
    pool.ask({ kind: 'defragment-start', id: pool.id('a') });
    expect(pool.world.data.pending).toBeGreaterThan(0);
    const write = pool.write('a', 1, 99);
    pool.settle();
    expect(write.answered).toBe(false);
    pool.hold = () => false;
    rest(pool);
    expect(write).toMatchObject({ answered: true, errno: 0 });
    expect(pool.read('a', 1)).toBe(99);
    expect(status(pool)).toMatchObject({ state: 'done', leftPieces: 1 });
  });

  test('a discard is not undone', () => {
    const pool = scattered();
    pool.hold = isData('write');
    pool.ask({ kind: 'defragment-start', id: pool.id('a') });
    pool.zero('a', 0, 3 * GRANULES + 2);
    pool.settle();
    pool.hold = () => false;
    rest(pool);
    expect(values(pool)).toEqual(WRITTEN.map((value) => (value <= 3 * GRANULES + 2 ? 0 : value)));
    expect(pool.problems()).toEqual([]);
    expect(pool.pool().freeBytes).toBe(59 * CHUNK_BYTES);
  });

  test('a snapshot holds what was there', () => {
    const pool = scattered();
    pool.hold = isData('write');
    pool.ask({ kind: 'defragment-start', id: pool.id('a') });
    const snapshot = pool.snapshot('s', 'a');
    pool.settle();
    expect(snapshot.answered).toBe(false);
    pool.hold = () => false;
    rest(pool);
    expect(snapshot.answered).toBe(true);
    expect(values(pool, 's')).toEqual(WRITTEN);
    expect(status(pool)).toMatchObject({ state: 'done', leftPieces: 1 });
  });

  test('a revert is not undone, and the pass begins anew with what the volume is then', () => {
    const pool = scattered();
    pool.snapshot('s', 'a');
    pool.settle();
    pool.write('a', 0, 77, 8 * GRANULES);
    rest(pool);
    let held = 0;
    pool.hold = (operation) => isData('write')(operation) && ++held > 2;
    pool.ask({ kind: 'defragment-start', id: pool.id('a') });
    const revert = pool.revert('a', 's');
    pool.settle();
    pool.hold = () => false;
    rest(pool);
    expect(revert).toMatchObject({ answered: true, error: null });
    expect(values(pool)).toEqual(WRITTEN);
    expect(status(pool)).toMatchObject({ state: 'done', leftPieces: 1 });
  });

  test('its deletion ends that, and leaves nothing behind', () => {
    const pool = scattered();
    pool.hold = isData('write');
    pool.ask({ kind: 'defragment-start', id: pool.id('a') });
    pool.delete('a');
    pool.settle();
    pool.hold = () => false;
    rest(pool);
    expect(status(pool)).toMatchObject({ state: 'deleted' });
    expect(pool.pool()).toMatchObject({ usedBytes: 0, freeBytes: 64 * CHUNK_BYTES });
  });

  test('a restart ends that, and the next pass does the rest', () => {
    const pool = scattered();
    let held = 0;
    pool.hold = (operation) => isData('write')(operation) && ++held > 3;
    pool.ask({ kind: 'defragment-start', id: pool.id('a') });
    pool.kill();
    pool.hold = () => false;
    pool.start();
    rest(pool);
    expect(status(pool)).toMatchObject({ state: 'never' });
    expect(values(pool)).toEqual(WRITTEN);
    expect(start(pool)).toMatchObject({ state: 'done', leftPieces: 1 });
    expect(values(pool)).toEqual(WRITTEN);
    expect(pool.pool().freeBytes).toBe(56 * CHUNK_BYTES);
  });

  test('another one is refused, and the same one goes on', () => {
    const pool = scattered();
    pool.create('b');
    pool.hold = isData('read');
    pool.ask({ kind: 'defragment-start', id: pool.id('a') });
    expect(pool.ask<DefragmentStatus>({ kind: 'defragment-start', id: pool.id('a') })).toMatchObject({ state: 'running' });
    const refused = pool.control({ kind: 'defragment-start', id: pool.id('b') });
    expect(refused.error).toMatchObject({ code: 'failed-precondition' });
    expect(refused.error?.message).toContain('volume a ');
    expect(pool.ask<DefragmentStatus>({ kind: 'defragment-stop', id: pool.id('b') })).toMatchObject({ state: 'never' });
    expect(status(pool)).toMatchObject({ state: 'running' });
    pool.hold = () => false;
    rest(pool);
    expect(start(pool, 'b')).toMatchObject({ state: 'done', movedBytes: 0 });
    // Who waits for the end of the first is told of it, though another was begun since.
    expect(status(pool)).toMatchObject({ state: 'done', movedBytes: 8 * CHUNK_BYTES });
    expect(pool.ask<DefragmentStatus>({ kind: 'defragment-status', id: null })).toMatchObject({ id: pool.id('b') });
  });

  test('a stop ends it where it is, and gives back what it held', () => {
    const pool = scattered();
    pool.hold = isData('write');
    pool.ask({ kind: 'defragment-start', id: pool.id('a') });
    expect(pool.ask<DefragmentStatus>({ kind: 'defragment-stop', id: pool.id('a') })).toMatchObject({ state: 'stopped' });
    pool.hold = () => false;
    rest(pool);
    const { movedBytes } = status(pool);
    expect(movedBytes).toBeGreaterThan(0);
    expect(movedBytes).toBeLessThan(8 * CHUNK_BYTES);
    expect(values(pool)).toEqual(WRITTEN);
    expect(pool.pool().freeBytes).toBe(56 * CHUNK_BYTES);
    expect(start(pool)).toMatchObject({ state: 'done', leftPieces: 1 });
  });

  test('the end of the process begins no more moves, and gives back what they were to use', () => {
    const pool = scattered();
    pool.hold = isData('read');
    pool.ask({ kind: 'defragment-start', id: pool.id('a') });
    const begun = pool.world.data.pending;
    pool.world.quiesce();
    pool.hold = () => false;
    rest(pool);
    expect(begun).toBeLessThan(8);
    expect(status(pool)).toMatchObject({ state: 'running', movedBytes: begun * CHUNK_BYTES });
    expect(values(pool)).toEqual(WRITTEN);
    expect(pool.pool().freeBytes).toBe(56 * CHUNK_BYTES);
  });

  test.each(['read', 'write'] as const)('a chunk whose %s fails stays where it is', (kind) => {
    const pool = scattered();
    pool.world.data.inject({ kind, skip: 1, times: 1, errno: 5 });
    expect(start(pool)).toMatchObject({ state: 'done', movedBytes: 7 * CHUNK_BYTES });
    expect(values(pool)).toEqual(WRITTEN);
    expect(pool.pool().freeBytes).toBe(56 * CHUNK_BYTES);
  });
});

describe('what is damaged', () => {
  test('is not moved: a copy would pass for sound', () => {
    const pool = scattered();
    pool.snapshot('s', 'a');
    pool.settle();
    pool.ask({ kind: 'scrub-start', mode: 'verify', bytesPerSecond: 2 ** 40 });
    const { data } = pool.world;
    let place = 0;
    for (let at = 0; at < data.sizeBytes; at += 4096) if (data.peek(at, 4096).every((byte) => byte === 10)) place = at;
    data.flipBit(place);
    pool.ask({ kind: 'scrub-start', mode: 'verify', bytesPerSecond: 2 ** 40 });
    rest(pool);
    expect(start(pool)).toMatchObject({ state: 'done', movedBytes: 7 * CHUNK_BYTES });
    pool.ask({ kind: 'scrub-start', mode: 'verify', bytesPerSecond: 2 ** 40 });
    expect(pool.ask({ kind: 'scrub-status' })).toMatchObject({ damagedChunks: 1 });
  });
});

describe('space', () => {
  test('is left: it stops before less than a sixteenth of the pool is free', () => {
    const pool = scattered({ usableSlots: 31 });
    pool.snapshot('s', 'a');
    pool.create('b', 20 * GRANULES);
    pool.settle();
    pool.write('b', 0, 1, 16 * GRANULES);
    rest(pool);
    expect(pool.pool().freeBytes).toBe(7 * CHUNK_BYTES);
    const ended = start(pool);
    expect(ended).toMatchObject({ state: 'out-of-space', movedBytes: 5 * CHUNK_BYTES });
    expect(pool.pool().freeBytes).toBe(2 * CHUNK_BYTES);
    expect(values(pool)).toEqual(WRITTEN);
    expect(values(pool, 's')).toEqual(WRITTEN);
    expect(pool.problems()).toEqual([]);
  });

  test('that it lets go of itself is waited for, and used', () => {
    const pool = scattered({ usableSlots: 15 });
    expect(start(pool)).toMatchObject({ state: 'done', leftPieces: 2 });
    expect(values(pool)).toEqual(WRITTEN);
    expect(pool.pool()).toMatchObject({ usedBytes: 8 * CHUNK_BYTES, freeBytes: 7 * CHUNK_BYTES });
  });

  /** The mark is 4 slots. So many are free, `a` lies in eight pieces, and `b` has the rest. */
  function nearlyFull(freeSlots: number): ScriptedPool {
    const pool = scattered({ usableSlots: 63 });
    pool.create('b', 63 * GRANULES);
    pool.settle();
    for (let chunk = 0; chunk < 63 - 8 - freeSlots; chunk += 1) {
      pool.write('b', chunk * GRANULES, 9, GRANULES);
      pool.settle();
    }
    pool.flush('b');
    rest(pool);
    expect(pool.pool().freeBytes).toBe(freeSlots * CHUNK_BYTES);
    return pool;
  }

  test.each([4, 5])('that others let go of is waited for while only %d slots are free', (freeSlots) => {
    const pool = nearlyFull(freeSlots);
    // Free as soon as this is durable, which nobody has asked for yet.
    pool.zero('b', 0, 8 * GRANULES);
    pool.settle();
    expect(start(pool)).toMatchObject({ state: 'done', leftPieces: 1 });
    expect(values(pool)).toEqual(WRITTEN);
  });

  test('that is too little for any gain is told of', () => {
    const pool = nearlyFull(5);
    expect(start(pool)).toMatchObject({ state: 'out-of-space', movedBytes: 0 });
    expect(pool.pool().freeBytes).toBe(5 * CHUNK_BYTES);
  });

  test('that is waited for a second time has a minute of its own', () => {
    const pool = new ScriptedPool({ usableSlots: 40 });
    // One chunk in each leaf of its map: nothing is to be moved, and a step goes through one leaf at the most.
    pool.create('a', 8 * 256 * GRANULES);
    pool.create('b', 32 * GRANULES);
    pool.create('c', 40 * GRANULES);
    pool.settle();
    const write = (name: string, chunk: number): void => {
      pool.write(name, chunk * GRANULES, 9, GRANULES);
      pool.settle();
    };
    for (let leaf = 0; leaf < 8; leaf += 1) write('a', leaf * 256);
    for (let chunk = 0; chunk < 32; chunk += 1) write('b', chunk);
    pool.flush('b');
    rest(pool);
    expect(pool.pool().freeBytes).toBe(0);
    pool.backgroundStops = true;
    pool.ask({ kind: 'defragment-start', id: pool.id('a') });
    /** A write waits for slots, the pass comes to see that, then a discard becomes durable that was made before. */
    const parkAWrite = (chunk: number): void => {
      pool.hold = ({ kind }) => kind === 'sync';
      pool.zero('b', (chunk % 2) * 16 * GRANULES, 16 * GRANULES);
      const waiting = pool.write('c', chunk * GRANULES, 5, GRANULES);
      pool.settle();
      pool.world.background();
      expect(waiting.answered).toBe(false);
      pool.hold = () => false;
      pool.settle();
      expect(waiting.answered).toBe(true);
    };
    parkAWrite(0);
    pool.world.background();
    for (let count = 0; count < 620; count += 1) pool.world.tick(100);
    pool.settle();
    for (let chunk = 2; pool.pool().freeBytes > 0; chunk += 1) write('c', chunk);
    parkAWrite(1);
    expect(pool.ask({ kind: 'defragment-status', id: pool.id('a') })).toMatchObject({ state: 'running' });
    pool.backgroundStops = false;
    rest(pool);
    expect(status(pool)).toMatchObject({ state: 'done', movedBytes: 0 });
  });

  test('that writes wait for is given back', () => {
    const pool = scattered({ usableSlots: 20 });
    pool.create('b', 20 * GRANULES);
    pool.settle();
    pool.hold = isData('read');
    pool.ask({ kind: 'defragment-start', id: pool.id('a') });
    const writes = Array.from({ length: 9 }, (_, chunk) => pool.write('b', chunk * GRANULES, 1));
    pool.settle();
    rest(pool);
    expect(writes.filter(({ answered }) => answered)).toHaveLength(9);
    pool.hold = () => false;
    rest(pool);
    expect(values(pool)).toEqual(WRITTEN);
    expect(pool.problems()).toEqual([]);
    expect(pool.pool()).toMatchObject({ usedBytes: 17 * CHUNK_BYTES, freeBytes: 3 * CHUNK_BYTES });
  });

  test('that is erased before it is used again is erased', () => {
    const pool = new ScriptedPool({ usableSlots: 64 });
    pool.create('a', 8 * GRANULES, { erase: 'true' });
    pool.settle();
    writeScattered(pool);
    expect(start(pool)).toMatchObject({ state: 'done', leftPieces: 1 });
    for (let count = 0; count < 3; count += 1) {
      pool.ask({ kind: 'checkpoint' });
      rest(pool);
    }
    expect(values(pool)).toEqual(WRITTEN);
    const { data } = pool.world;
    let copies = 0;
    for (let at = CHUNK_BYTES; at < data.sizeBytes; at += 4096) if (data.peek(at, 1)[0] !== 0) copies += 1;
    expect(copies).toBe(8 * GRANULES);
    expect(pool.pool().freeBytes).toBe(56 * CHUNK_BYTES);
  });
});
