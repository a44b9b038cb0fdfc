import { describe, expect, test } from '@jest/globals';
import type { DamageReport, ScrubStatus } from '../../src/engine/control.ts';
import { decodePoolRow } from '../../src/engine/checkpoint-rows.ts';
import { ScriptedPool, type WaitingOperation } from '../support/scripted-pool.ts';

const SCRUB = { kind: 'scrub-start', mode: 'verify', bytesPerSecond: 2 ** 40 } as const;
const SEAL = { ...SCRUB, mode: 'seal' } as const;

function poolOf(...names: string[]): ScriptedPool {
  const pool = new ScriptedPool({ usableSlots: 16 });
  for (const name of names) pool.create(name);
  pool.settle();
  return pool;
}

function scrub(pool: ScriptedPool, request: typeof SCRUB | typeof SEAL = SCRUB): ScrubStatus {
  pool.ask(request);
  return pool.ask<ScrubStatus>({ kind: 'scrub-status' });
}

/** Some time passes. */
function rest(pool: ScriptedPool): void {
  for (let count = 0; count < 5; count += 1) {
    pool.world.tick(100);
    pool.settle();
  }
}

const damageOf = (pool: ScriptedPool): DamageReport => pool.ask<DamageReport>({ kind: 'damage' });

/** Where the granule's bytes lie on the disk: the last place with them. */
function placeOf(pool: ScriptedPool, value: number): number {
  const { data } = pool.world;
  for (let at = data.sizeBytes - 4096; at > 0; at -= 4096) if (data.peek(at, 4096).every((byte) => byte === value)) return at;
  throw new Error(`no granule of ${value}`);
}

describe('a scrub', () => {
  test('gives a checksum to what snapshots hold and to nothing else', () => {
    const pool = poolOf('a', 'b');
    pool.write('a', 0, 1);
    pool.write('a', 4, 2);
    pool.write('b', 0, 3);
    pool.snapshot('s', 'a');
    pool.settle();
    expect(scrub(pool)).toMatchObject({ running: null, sealedBytes: 2 * 16_384, verifiedBytes: 0, protectedBytes: 2 * 16_384 });
    expect(scrub(pool)).toMatchObject({ sealedBytes: 0, completedBytes: 2 * 16_384, damagedChunks: 0 });
  });

  test('finds a bit that the disk lost, and says who is hit and where', () => {
    const pool = poolOf('a', 'b');
    pool.write('a', 4, 7);
    pool.write('a', 8, 9);
    pool.write('b', 0, 5);
    pool.snapshot('s', 'a');
    pool.snapshot('u', 'b');
    pool.settle();
    pool.clone('c', 's');
    pool.settle();
    pool.write('a', 4, 8); // the volume has its own chunk now
    pool.settle();
    scrub(pool);
    pool.world.data.flipBit(placeOf(pool, 7) + 1234);
    expect(scrub(pool)).toMatchObject({ damagedChunks: 1 });
    const { chunks, more } = damageOf(pool);
    expect(more).toBe(false);
    expect(
      chunks.map(({ damage, places }) => ({ damage, places: places.map(({ name, offsetBytes }) => `${name} ${offsetBytes}`).sort() })),
    ).toEqual([{ damage: 'changed', places: ['c 16384', 's 16384'] }]);
  });

  test('remembers damage over a restart, until nobody has it any more', () => {
    const pool = poolOf('a');
    pool.write('a', 0, 7);
    pool.snapshot('s', 'a');
    pool.settle();
    scrub(pool);
    pool.world.data.flipBit(placeOf(pool, 7));
    scrub(pool);
    pool.powerLossAndStart('lose');
    expect(damageOf(pool).chunks).toHaveLength(1);
    pool.delete('s');
    pool.delete('a');
    expect(damageOf(pool).chunks).toEqual([]);
    rest(pool);
    expect(scrub(pool).damagedChunks).toBe(0);
    expect(pool.pool().freeBytes).toBe(pool.pool().sizeBytes);
  });

  test('takes what the disk does not return for damage, and for sound when it returns again', () => {
    const pool = poolOf('a');
    pool.write('a', 0, 7);
    pool.snapshot('s', 'a');
    pool.settle();
    scrub(pool);
    pool.world.data.inject({ kind: 'read', skip: 0, times: 2, errno: 5 });
    scrub(pool);
    expect(damageOf(pool).chunks.map(({ damage }) => damage)).toEqual(['unreadable']);
    expect(scrub(pool).damagedChunks).toBe(0);
  });

  test('goes on after a stop and after a restart where it was', () => {
    const pool = poolOf('a');
    for (let chunk = 0; chunk < 6; chunk += 1) pool.write('a', 4 * chunk, chunk + 1);
    pool.snapshot('s', 'a');
    pool.settle();
    scrub(pool);
    // Time does not pass here: a slow pass looks at one chunk and then waits.
    pool.ask({ ...SCRUB, bytesPerSecond: 1000 });
    pool.ask({ kind: 'scrub-stop' });
    pool.ask({ kind: 'checkpoint' });
    expect(pool.ask<ScrubStatus>({ kind: 'scrub-status' })).toMatchObject({ running: null, verifiedBytes: 16_384 });
    pool.kill();
    pool.start();
    expect(pool.ask<ScrubStatus>({ kind: 'scrub-status' })).toMatchObject({ running: null, verifiedBytes: 16_384 });
    expect(scrub(pool)).toMatchObject({ startedAtMs: 0, completedBytes: 6 * 16_384 });
  });

  test('that only seals reads nothing that has a checksum', () => {
    const pool = poolOf('a');
    pool.write('a', 0, 7);
    pool.snapshot('s', 'a');
    pool.settle();
    scrub(pool, SEAL);
    const { read } = pool.world.data.counts;
    pool.write('a', 4, 8);
    pool.snapshot('t', 'a');
    pool.settle();
    expect(scrub(pool, SEAL)).toMatchObject({ protectedBytes: 2 * 16_384, startedAtMs: 0, completedAtMs: 0 });
    expect(pool.world.data.counts.read).toBe(read + 1);
  });

  test('gives sealed slots free, and back to the volume that alone has them, when writes wait for room', () => {
    const pool = new ScriptedPool({ usableSlots: 2 });
    pool.create('a');
    pool.write('a', 0, 1);
    pool.write('a', 4, 2);
    pool.snapshot('s', 'a');
    pool.settle();
    scrub(pool);
    const write = pool.write('a', 0, 3);
    pool.settle();
    expect(write.answered).toBe(false);
    pool.delete('s');
    rest(pool);
    expect(write).toMatchObject({ answered: true, errno: 0 });
    expect([pool.read('a', 0), pool.read('a', 4)]).toEqual([3, 2]);
    pool.delete('a');
    pool.create('b');
    rest(pool);
    const next = [pool.write('b', 0, 4), pool.write('b', 4, 5)];
    rest(pool);
    expect(next).toMatchObject([
      { errno: 0, answered: true },
      { errno: 0, answered: true },
    ]);
    expect(scrub(pool)).toMatchObject({ damagedChunks: 0, protectedBytes: 0 });
  });

  test('lets no write join those in flight on a slot that it is about to read', () => {
    const pool = poolOf('a');
    pool.write('a', 0, 1);
    pool.write('a', 4, 1, 4);
    pool.snapshot('s', 'a');
    pool.settle();
    const isRead = ({ disk, kind }: WaitingOperation): boolean => disk === 'data' && kind === 'read';
    const isWrite = ({ disk, kind }: WaitingOperation): boolean => disk === 'data' && kind === 'write';
    pool.hold = isRead;
    pool.control(SCRUB);
    pool.settle();
    pool.delete('s');
    pool.settle();
    pool.ask({ kind: 'checkpoint' });
    pool.world.tick(100);
    pool.hold = (operation) => isRead(operation) || isWrite(operation);
    pool.write('a', 4, 2);
    pool.settle();
    // The pass comes to the slot that is being written in place, and waits.
    pool.hold = isWrite;
    pool.settle();
    pool.write('a', 5, 3);
    pool.settle();
    expect(pool.world.data.pending).toBe(1);
    pool.hold = () => false;
    pool.settle();
    expect([pool.read('a', 4), pool.read('a', 5), pool.read('a', 6)]).toEqual([2, 3, 1]);
    pool.snapshot('t', 'a');
    pool.settle();
    scrub(pool);
    expect(scrub(pool).damagedChunks).toBe(0);
  });

  test('loses checksums that are damaged themselves, and nothing else', () => {
    const pool = poolOf('a');
    pool.write('a', 0, 7);
    pool.snapshot('s', 'a');
    pool.settle();
    scrub(pool);
    pool.world.metadata.damageRow('checksums', 0);
    expect(scrub(pool)).toMatchObject({ damagedChunks: 0 });
    pool.kill();
    pool.start();
    pool.world.metadata.damageRow('seals', 0);
    pool.kill();
    pool.start();
    expect(scrub(pool)).toMatchObject({ damagedChunks: 0, sealedBytes: 16_384 });
    expect(scrub(pool)).toMatchObject({ damagedChunks: 0, completedBytes: 16_384 });
  });

  test('raises the version of the checkpoint, and nothing before it does', () => {
    const pool = poolOf('a');
    const version = (): number => {
      pool.ask({ kind: 'checkpoint' });
      return decodePoolRow(pool.world.metadata.durableRow('pool', 0)!).version;
    };
    expect(version()).toBe(1);
    scrub(pool);
    expect(version()).toBe(2);
  });
});
