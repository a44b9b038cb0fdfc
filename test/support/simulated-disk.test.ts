import { describe, expect, test } from '@jest/globals';
import type { Disk } from '../../src/engine/ports.ts';
import { SeededRandom } from './seeded-random.ts';
import { SimulatedDisk } from './simulated-disk.ts';
import { Violation } from './violation.ts';

const block = 4096;

interface Bench {
  readonly disk: SimulatedDisk;
  readonly port: Disk;
  readonly memory: Uint8Array;
  readonly results: [number, number][];
}

function bench(seed = 1): Bench {
  const memory = new Uint8Array(16 * block);
  const disk = new SimulatedDisk({ name: 'test', sizeBytes: 16 * block, memory, random: new SeededRandom(seed) });
  const results: [number, number][] = [];
  return { disk, memory, results, port: disk.open((tag, result) => results.push([tag, result])) };
}

/** Writes one block full of `byte` and lets it complete. */
function put({ disk, port, memory }: Bench, at: number, byte: number): void {
  memory.fill(byte, 0, block);
  port.write(at * block, block, 0, 1);
  disk.finish(disk.pending - 1);
}

const first = (bytes: Uint8Array): number => bytes[0]!;

describe('a simulated disk', () => {
  test('reports nothing before the scheduler picks it, in any order', () => {
    const { disk, port, results } = bench();
    port.write(0, block, 0, 11);
    port.write(block, block, block, 12);
    expect(results).toEqual([]);
    disk.finish(1);
    disk.finish(0);
    expect(results).toEqual([
      [12, block],
      [11, block],
    ]);
  });

  test('shows a write between its landing and its completion', () => {
    const { disk, port, memory, results } = bench();
    memory.fill(7, 0, block);
    port.write(0, block, 0, 1);
    expect(first(disk.peek(0, block))).toBe(0xdb);
    disk.land(0);
    expect(first(disk.peek(0, block))).toBe(7);
    expect(results).toEqual([]);
  });

  test('a power loss can lose what is complete and was not synced', () => {
    const it = bench();
    put(it, 0, 7);
    it.disk.powerLoss('lose');
    expect(first(it.disk.peek(0, block))).toBe(0xdb);
  });

  test('a sync covers what was complete when it was issued, not what completes later', () => {
    const it = bench();
    put(it, 0, 1);
    it.port.sync(2);
    put(it, 1, 9);
    it.disk.finish(0);
    it.disk.powerLoss('lose');
    expect(first(it.disk.peek(0, block))).toBe(1);
    expect(first(it.disk.peek(block, block))).toBe(0xdb);
  });

  test('a sync does not cover a write that has landed and is not complete', () => {
    const { disk, port, memory } = bench();
    memory.fill(5, 0, block);
    port.write(0, block, 0, 1);
    disk.land(0);
    port.sync(2);
    disk.finish(1);
    disk.powerLoss('lose');
    expect(first(disk.peek(0, block))).toBe(0xdb);
  });

  test('a sync that is not over covers nothing for certain', () => {
    const it = bench();
    put(it, 0, 1);
    it.port.sync(2);
    it.disk.powerLoss('lose');
    expect(first(it.disk.peek(0, block))).toBe(0xdb);
  });

  test('a power loss leaves any version since the last sync, and torn ones', () => {
    const seen = new Set<number>();
    let torn = 0;
    for (let seed = 0; seed < 200; seed += 1) {
      const it = bench(seed);
      put(it, 0, 1);
      it.port.sync(2);
      it.disk.finish(0);
      put(it, 0, 2);
      put(it, 0, 3);
      it.disk.powerLoss('draw');
      const bytes = it.disk.peek(0, block);
      const kinds = new Set(bytes);
      for (const kind of kinds) seen.add(kind);
      if (kinds.size > 1) torn += 1;
      for (let at = 0; at < block; at += 512) expect(new Set(bytes.subarray(at, at + 512)).size).toBe(1);
    }
    expect(seen).toEqual(new Set([1, 2, 3]));
    expect(torn).toBeGreaterThan(10);
  });

  test('what the power left stays', () => {
    const it = bench();
    put(it, 0, 1);
    it.disk.powerLoss('keep');
    it.disk.powerLoss('lose');
    expect(first(it.disk.peek(0, block))).toBe(1);
  });

  test('after a kill writes in flight land later, whole, in part or not, and are not reported', () => {
    const landed = new Set<number>();
    for (let seed = 0; seed < 60; seed += 1) {
      const { disk, port, memory, results } = bench(seed);
      memory.fill(3, 0, 4 * block);
      port.write(0, 4 * block, 0, 1);
      disk.kill();
      expect(first(disk.peek(0, block))).toBe(0xdb);
      disk.settleOrphans();
      expect(disk.pending).toBe(0);
      landed.add([0, 1, 2, 3].filter((at) => first(disk.peek(at * block, block)) === 3).length);
      expect(results).toEqual([]);
    }
    expect(landed.has(0) && landed.has(4) && landed.size > 2).toBe(true);
  });

  test('fails the operations that it was told to fail', () => {
    const { disk, port, results } = bench();
    disk.inject({ kind: 'write', skip: 1, times: 1, errno: 28 });
    for (const tag of [1, 2, 3]) port.write(tag * block, block, 0, tag);
    while (disk.pending > 0) disk.finish(0);
    expect(results).toEqual([
      [1, block],
      [2, -28],
      [3, block],
    ]);
  });

  test('a sync that fails covers nothing', () => {
    const it = bench();
    put(it, 0, 1);
    it.disk.inject({ kind: 'sync', skip: 0, times: 1, errno: 5 });
    it.port.sync(9);
    it.disk.finish(0);
    it.disk.powerLoss('lose');
    expect(first(it.disk.peek(0, block))).toBe(0xdb);
    expect(it.results[it.results.length - 1]).toEqual([9, -5]);
  });

  test.each([
    ['a write that overlaps one in flight', (it: Bench) => it.port.write(0, 2 * block, 4 * block, 2)],
    ['a read into memory that is being written from', (it: Bench) => it.port.read(8 * block, block, 0, 2)],
    ['an unaligned write', (it: Bench) => it.port.write(512, block, block, 2)],
    ['a write beyond the end', (it: Bench) => it.port.write(15 * block, 2 * block, block, 2)],
  ])('refuses %s', (_name, action) => {
    const it = bench();
    it.port.write(block, block, 0, 1);
    expect(() => action(it)).toThrow(Violation);
  });

  test('notices that the memory of a write changes while it is in flight', () => {
    const { disk, port, memory } = bench();
    port.write(0, block, 0, 1);
    memory[17] = 1;
    expect(() => disk.finish(0)).toThrow(Violation);
  });
});
