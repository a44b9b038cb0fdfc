import { describe, expect, test } from '@jest/globals';
import { decodePoolRow } from '../../src/engine/checkpoint-rows.ts';
import type { EnginePorts } from '../../src/engine/ports.ts';
import { ScriptedPool, type WaitingOperation } from '../support/scripted-pool.ts';
import type { PortsWrapper } from '../support/simulated-world.ts';

const SLOTS = 12;

/** Volumes whose names begin with `e` erase what they leave. */
function poolOf(...names: string[]): ScriptedPool {
  // An odd seed writes no zeros ahead, which would hide what was not erased.
  const pool = new ScriptedPool({ usableSlots: SLOTS, seed: 21 });
  for (const name of names) pool.create(name, 32, name.startsWith('e') ? { erase: 'true' } : {});
  pool.settle();
  return pool;
}

/** Some time passes, and a checkpoint. */
function rest(pool: ScriptedPool): void {
  for (let count = 0; count < 4; count += 1) {
    pool.world.tick(100);
    pool.settle();
    pool.ask({ kind: 'checkpoint' });
  }
}

/** Granules on the disk that hold this byte, also where no power cut could take it away. */
function traces(pool: ScriptedPool, value: number): number {
  const { data } = pool.world;
  let found = 0;
  for (let at = 0; at < data.sizeBytes; at += 4096) {
    for (const bytes of [data.peek(at, 4096), data.peekDurable(at, 4096)]) if (bytes.some((byte) => byte === value)) found += 1;
  }
  return found;
}

function allIsFree(pool: ScriptedPool): void {
  const { freeBytes, sizeBytes } = pool.pool();
  expect(freeBytes).toBe(sizeBytes);
  expect(pool.problems()).toEqual([]);
}

describe('a volume that erases', () => {
  test('leaves nothing on the disk when it is deleted, and another volume does', () => {
    const pool = poolOf('e', 'a');
    pool.write('e', 0, 7, 8);
    pool.write('a', 0, 9, 8);
    pool.settle();
    expect(traces(pool, 7)).toBeGreaterThan(0);
    pool.delete('e');
    pool.delete('a');
    rest(pool);
    expect(traces(pool, 7)).toBe(0);
    expect(traces(pool, 9)).toBeGreaterThan(0);
    allIsFree(pool);
  });

  test('leaves nothing of what it discarded or wrote anew beside a snapshot', () => {
    const pool = poolOf('e');
    pool.write('e', 0, 7, 4);
    pool.write('e', 4, 6, 4);
    pool.settle();
    pool.ask({ kind: 'snapshot', id: 's'.padEnd(26, '2'), name: 's', sourceId: pool.id('e'), attributes: { erase: 'true' } });
    pool.write('e', 0, 5, 4);
    pool.zero('e', 4, 4);
    rest(pool);
    expect([traces(pool, 7), traces(pool, 6)].every((count) => count > 0)).toBe(true);
    pool.ask({ kind: 'delete', id: 's'.padEnd(26, '2') });
    rest(pool);
    expect([traces(pool, 7), traces(pool, 6)]).toEqual([0, 0]);
    expect(pool.read('e', 0)).toBe(5);
    expect(pool.problems()).toEqual([]);
  });

  test.each(['kill', 'power'] as const)('leaves nothing when a %s comes anywhere between the deletion and the end', (crash) => {
    for (let steps = 0; steps < 60; steps += 1) {
      const pool = poolOf('e', 'a');
      pool.write('e', 0, 7, 8);
      pool.write('a', 0, 9, 8);
      pool.settle();
      pool.ask({ kind: 'checkpoint' });
      const deletion = pool.delete('e');
      for (let step = 0; step < steps; step += 1) pool.world.step();
      const { answered } = deletion;
      if (crash === 'kill') pool.kill();
      else pool.world.powerLoss('draw');
      pool.start();
      if (!answered && pool.names().includes('e')) continue;
      rest(pool);
      expect({ steps, traces: traces(pool, 7) }).toEqual({ steps, traces: 0 });
      expect(pool.read('a', 0)).toBe(9);
      pool.delete('a');
      rest(pool);
      allIsFree(pool);
    }
  });

  test('gives no slot to others that still holds its bytes', () => {
    const pool = poolOf('e', 'a');
    pool.write('e', 0, 7, 32);
    pool.write('a', 0, 9, 16);
    pool.settle();
    const isErasing = ({ disk, kind, offsetBytes }: WaitingOperation): boolean => disk === 'data' && kind === 'write' && offsetBytes > 0;
    pool.hold = isErasing;
    pool.delete('e');
    pool.settle();
    const write = pool.write('a', 16, 1, 4);
    pool.settle();
    expect(write.answered).toBe(false);
    pool.hold = () => false;
    rest(pool);
    expect(write).toMatchObject({ answered: true, errno: 0 });
    expect(traces(pool, 7)).toBe(0);
  });

  test('tries again what the disk refuses to overwrite, and keeps it from others until then', () => {
    const pool = poolOf('e');
    pool.write('e', 0, 7, 4);
    pool.settle();
    pool.delete('e');
    const fault = pool.world.data.inject({ kind: 'write', skip: 0, times: 3, errno: 5 });
    rest(pool);
    expect(traces(pool, 7)).toBeGreaterThan(0);
    for (let count = 0; count < 3; count += 1) {
      pool.world.tick(6000);
      rest(pool);
    }
    expect(fault.hits).toBe(3);
    expect(traces(pool, 7)).toBe(0);
    allIsFree(pool);
  });

  test('and is scrubbed is erased once its seals are off', () => {
    const pool = poolOf('e');
    pool.write('e', 0, 7, 4);
    pool.settle();
    pool.ask({ kind: 'snapshot', id: 's'.padEnd(26, '2'), name: 's', sourceId: pool.id('e'), attributes: { erase: 'true' } });
    pool.ask({ kind: 'scrub-start', mode: 'verify', bytesPerSecond: 2 ** 40 });
    rest(pool);
    pool.ask({ kind: 'delete', id: 's'.padEnd(26, '2') });
    pool.delete('e');
    rest(pool);
    expect(traces(pool, 7)).toBe(0);
    allIsFree(pool);
  });

  test.each(['no death', 'kill', 'flush and power'] as const)(
    'leaves nothing that it wrote in place into what it had from a volume that does not erase (%s)',
    (event) => {
      const pool = poolOf('a');
      pool.write('a', 0, 9, 8);
      pool.settle();
      const clone = 'c'.padEnd(26, '2');
      pool.ask({ kind: 'clone', id: clone, name: 'c', sourceId: pool.id('a'), sizeBytes: 0, attributes: { erase: 'true' } });
      pool.delete('a');
      rest(pool);
      const freeBefore = pool.pool().freeBytes;
      pool.write(clone, 0, 7, 1);
      pool.settle();
      expect(pool.pool().freeBytes).toBe(freeBefore); // in place
      if (event === 'flush and power') {
        pool.flush(clone);
        pool.settle();
        pool.powerLossAndStart('draw');
      } else if (event === 'kill') {
        pool.kill();
        pool.start();
      }
      expect(pool.read(clone, 0)).toBe(7);
      pool.delete(clone);
      rest(pool);
      expect(traces(pool, 7)).toBe(0);
      allIsFree(pool);
    },
  );

  test.each(['no death', 'kill'] as const)('leaves nothing in a clone that does not, wherever merges moved it (%s)', (event) => {
    const pool = poolOf('e');
    pool.write('e', 0, 7, 4);
    pool.settle();
    pool.clone('c', 'e');
    pool.settle();
    for (const [granule, snapshot] of ['s', 't', null].entries()) {
      pool.write('c', granule, granule + 1);
      pool.settle();
      if (snapshot !== null) pool.snapshot(snapshot, 'c');
      pool.settle();
    }
    if (event === 'no death') rest(pool);
    else {
      pool.world.tick(100);
      pool.settle();
      pool.kill();
      pool.start();
    }
    expect(pool.read('c', 3)).toBe(7);
    for (const name of ['s', 't', 'e', 'c']) pool.delete(name);
    rest(pool);
    expect(traces(pool, 7)).toBe(0);
    allIsFree(pool);
  });

  test('has nothing under way now and then, so that a process can end in the middle', () => {
    const pool = new ScriptedPool({ usableSlots: 64, seed: 21 });
    pool.create('e', 256, { erase: 'true' });
    pool.settle();
    for (let granule = 0; granule < 256; granule += 4) {
      pool.write('e', granule, 7, 4);
      pool.settle();
    }
    pool.hold = ({ disk, kind }: WaitingOperation): boolean => disk === 'data' && kind === 'write';
    pool.delete('e');
    pool.settle();
    pool.world.tick(100);
    pool.settle();
    const { data } = pool.world;
    const first = data.pending;
    expect(first).toBeGreaterThan(1);
    for (let left = first - 1; left > 0; left -= 1) {
      pool.world.happen(() => data.finish(0));
      pool.settle();
      expect(data.pending).toBe(left);
    }
    pool.hold = () => false;
    rest(pool);
    expect(traces(pool, 7)).toBe(0);
    allIsFree(pool);
  });

  test('leaves nothing when the row of its marks is damaged', () => {
    const pool = poolOf('e', 'a');
    pool.write('e', 0, 7, 4);
    pool.write('a', 0, 9, 4);
    pool.settle();
    pool.ask({ kind: 'checkpoint' });
    pool.world.metadata.damageRow('erasures', 0);
    pool.kill();
    pool.start();
    expect([pool.read('e', 0), pool.read('a', 0)]).toEqual([7, 9]);
    pool.delete('e');
    rest(pool);
    expect(traces(pool, 7)).toBe(0);
    expect(pool.read('a', 0)).toBe(9);
    pool.delete('a');
    rest(pool);
    allIsFree(pool);
  });

  test('raises the version of the checkpoint, also when it is gone before that', () => {
    let version = 0;
    const wrapPorts: PortsWrapper = (ports) => {
      const commit: EnginePorts['metadata']['commit'] = (changes, done) => {
        const row = changes.find(({ table }) => table === 'pool')?.value;
        if (row) version = decodePoolRow(row).version;
        ports.metadata.commit(changes, done);
      };
      return { ...ports, metadata: { ...ports.metadata, commit } };
    };
    const pool = new ScriptedPool({ usableSlots: SLOTS, seed: 21, wrapPorts });
    pool.ask({ kind: 'checkpoint' });
    expect(version).toBe(1);
    pool.create('e', 32, { erase: 'true' });
    pool.settle();
    pool.write('e', 0, 7, 4);
    pool.settle();
    pool.delete('e');
    pool.ask({ kind: 'checkpoint' });
    expect(version).toBe(2);
  });
});
