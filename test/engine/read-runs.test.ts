import { describe, expect, test } from '@jest/globals';
import { ReadRuns } from '../../src/engine/read-runs.ts';
import { LONGEST_GAP_BYTES, UNWANTED, type Pieces } from '../../src/util/pieces.ts';
import { ScriptedPool } from '../support/scripted-pool.ts';
import { SeededRandom } from '../support/seeded-random.ts';
import { settled } from '../support/settled.ts';

const KIB = 1024;

interface Issued {
  readonly disk: number;
  /** Places in memory, and lengths; a gap has the place null. */
  readonly pieces: readonly (readonly [place: number | null, lengthBytes: number])[];
}

/** What becomes of these runs of one read: from disk, into memory. */
function issuedFor(runs: readonly { readonly disk: number; readonly memory: number; readonly lengthBytes: number }[]): Issued[] {
  const issued: Issued[] = [];
  const reads = new ReadRuns((request, disk, pieces) => {
    expect(request).toBe(7);
    issued.push({ disk, pieces: piecesOf(pieces) });
  });
  for (const { disk, memory, lengthBytes } of runs) reads.add(7, disk, memory, lengthBytes);
  reads.finish(7);
  return issued;
}

function piecesOf(pieces: Pieces): Issued['pieces'] {
  return Array.from({ length: pieces.count }, (_, index) => {
    const place = pieces.memoryOffsets[index]!;
    return [place === UNWANTED ? null : place, pieces.lengths[index]!] as const;
  });
}

describe('runs of one read', () => {
  test('that lie in a row on disk and in memory are one read into one place', () => {
    const runs = [0, 4, 8].map((at) => ({ disk: (100 + at) * KIB, memory: at * KIB, lengthBytes: 4 * KIB }));
    expect(issuedFor(runs)).toEqual([{ disk: 100 * KIB, pieces: [[0, 12 * KIB]] }]);
  });

  test('of two slots by turns are one read of each, with gaps', () => {
    const [old, young] = [64 * KIB, 640 * KIB];
    const runs = [old, young, old, young].map((slot, index) => ({
      disk: slot + index * 4 * KIB,
      memory: index * 4 * KIB,
      lengthBytes: 4 * KIB,
    }));
    const gap = [null, 4 * KIB] as const;
    expect(issuedFor(runs)).toEqual([
      { disk: old, pieces: [[0, 4 * KIB], gap, [8 * KIB, 4 * KIB]] },
      { disk: young + 4 * KIB, pieces: [[4 * KIB, 4 * KIB], gap, [12 * KIB, 4 * KIB]] },
    ]);
  });

  test('are read apart where the gap is longer than is worth it, or as long on disk as it is not in memory', () => {
    const far = LONGEST_GAP_BYTES + 4 * KIB;
    const runs = [
      { disk: 0, memory: 0, lengthBytes: 4 * KIB },
      { disk: far + 4 * KIB, memory: far + 4 * KIB, lengthBytes: 4 * KIB },
      { disk: far + 8 * KIB, memory: far + 12 * KIB, lengthBytes: 4 * KIB },
    ];
    expect(issuedFor(runs)).toEqual(runs.map(({ disk, memory, lengthBytes }) => ({ disk, pieces: [[memory, lengthBytes]] })));
  });

  test('of more slots than can be open at once all come, each byte once', () => {
    const random = new SeededRandom(5);
    for (let count = 0; count < 50; count += 1) {
      const slots = random.between(1, 9);
      const runs = Array.from({ length: 256 }, (_, granule) => ({
        disk: random.below(slots) * 1024 * KIB + granule * 4 * KIB,
        memory: granule * 4 * KIB,
        lengthBytes: 4 * KIB,
      }));
      const from = new Map<number, number>();
      for (const { disk, pieces } of issuedFor(runs)) {
        let at = disk;
        for (const [place, lengthBytes] of pieces) {
          for (let part = 0; part < lengthBytes && place !== null; part += 4 * KIB) {
            expect(from.has(place + part)).toBe(false);
            from.set(place + part, at + part);
          }
          at += lengthBytes;
        }
      }
      expect([...from].sort(([a], [b]) => a - b)).toEqual(runs.map(({ disk, memory }) => [memory, disk]));
    }
  });

  test('are closed where they end first, when another slot comes: the others may still grow', () => {
    const slot = (index: number): number => index * 1024 * KIB;
    const run = (of: number, granule: number) => ({ disk: slot(of) + granule * 4 * KIB, memory: granule * 4 * KIB, lengthBytes: 4 * KIB });
    // Of the first four, that of slot 2 ends first.
    const runs = [run(1, 0), run(2, 1), run(3, 2), run(1, 3), run(4, 4), run(5, 5), run(1, 6), run(4, 7)];
    const issued = issuedFor(runs);
    expect(issued[0]).toEqual({ disk: slot(2) + 4 * KIB, pieces: [[4 * KIB, 4 * KIB]] });
    expect(issued.length).toBe(5);
  });

  test('of more pieces than one read can have are several', () => {
    const runs = Array.from({ length: 300 }, (_, index) => ({ disk: index * 8 * KIB, memory: index * 8 * KIB, lengthBytes: 4 * KIB }));
    const issued = issuedFor(runs);
    expect(issued.map(({ pieces }) => pieces.length)).toEqual([255, 255, 87]);
  });

  test('do not go on with those of the read before', () => {
    const issued: number[] = [];
    const reads = new ReadRuns((request) => issued.push(request));
    for (const request of [1, 2]) {
      reads.add(request, request * 4 * KIB, request * 4 * KIB, 4 * KIB);
      reads.finish(request);
    }
    expect(issued).toEqual([1, 2]);
  });
});

test('a read that waits for a page of the map does not mix with one that comes meanwhile', () => {
  const chunks = 256; // of one page
  const pool = new ScriptedPool({ usableSlots: 16 });
  pool.create('a', (chunks + 1) * 4);
  pool.settle();
  for (const [granule, value] of [
    [0, 1],
    [chunks * 4 - 1, 2],
    [chunks * 4, 3],
  ] as const)
    settled(pool, pool.write('a', granule, value));
  settled(pool, pool.control({ kind: 'checkpoint' }));
  pool.world.powerLoss('keep');
  pool.backgroundStops = true; // nothing reads the map but these
  pool.start();
  expect(pool.read('a', 0)).toBe(1);
  const waiting = pool.startRead('a', chunks * 4 - 1, 2);
  expect([pool.world.data.pending, pool.world.metadata.pending]).toEqual([1, 1]);
  const other = pool.startRead('a', 0);
  settled(pool, waiting, other);
  expect([waiting.values, other.values]).toEqual([[2, 3], [1]]);
});

describe('a read of a chunk that was written here and there since a snapshot', () => {
  /** Granules 1 and 3 of the first chunk are newer than the snapshot. */
  function aged(): ScriptedPool {
    const pool = new ScriptedPool({ usableSlots: 8 });
    pool.create('a');
    pool.settle();
    settled(pool, pool.write('a', 0, 1, 4));
    settled(pool, pool.snapshot('s', 'a'));
    settled(pool, pool.write('a', 1, 2), pool.write('a', 3, 3));
    return pool;
  }

  test('takes one disk read a slot, and brings what each holds', () => {
    const pool = aged();
    const before = pool.world.data.counts.read;
    const read = pool.startRead('a', 0, 4);
    settled(pool, read);
    expect(read.values).toEqual([1, 2, 1, 3]);
    expect(pool.world.data.counts.read - before).toBe(2);
  });

  test('fails with one of them, and holds nothing back afterwards', () => {
    const pool = aged();
    pool.world.fail({ port: 'data', kind: 'read', skip: 1, times: 1, errno: 5 });
    const read = pool.startRead('a', 0, 4);
    pool.settle();
    expect([read.answered, read.errno]).toEqual([true, 5]);
    const again = pool.startRead('a', 0, 4);
    settled(pool, again);
    expect(again.values).toEqual([1, 2, 1, 3]);
    expect(pool.problems()).toEqual([]);
  });

  test('is an error when the disk brings less than it says', () => {
    const pool = aged();
    pool.world.fail({ port: 'data', kind: 'read', skip: 0, times: 1, errno: 5, how: 'short' });
    const read = pool.startRead('a', 0, 4);
    pool.settle();
    expect([read.answered, read.errno]).toEqual([true, 5]);
  });

  test('leaves what is in the way alone: zeros stay zeros', () => {
    const pool = aged();
    settled(pool, pool.zero('a', 2));
    const read = pool.startRead('a', 0, 4);
    settled(pool, read);
    expect(read.values).toEqual([1, 2, 0, 3]);
  });
});
