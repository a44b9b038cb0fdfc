/** What the kernel may answer to disk operations, and what becomes of it. */
import { beforeEach, describe, expect, test } from '@jest/globals';
import { DiskOperations, RingDisk, type DiskRing } from '../../src/block/ring-disk.ts';
import { indexMask } from '../../src/block/user-data.ts';
import { NOWHERE_PLACE_BYTES, NOWHERE_PLACES } from '../../src/linux/ring.ts';
import { Pieces, UNWANTED } from '../../src/util/pieces.ts';

const again = -11;
const interrupted = -4;
const inputOutputError = -5;
const noSpace = -28;
const memoryAddress = 0x7f00_0000_0000;
const nowhereAddress = 0x7e00_0000_0000;
const diskBytes = 2 ** 40;

interface Submitted {
  readonly kind: string;
  readonly offset: number;
  readonly memory: number;
  readonly length: number;
  readonly index: number;
  /** Of a vector: places in memory with their lengths, or of those that nobody wants where they go instead. */
  readonly places?: readonly (readonly [memory: number, length: number] | readonly [nowhere: string, length: number])[];
}

let submitted: Submitted[];
let completed: [tag: number, result: number][];
let operations: DiskOperations;
let disk: RingDisk;

beforeEach(() => {
  submitted = [];
  completed = [];
  const note =
    (kind: string): DiskRing['read'] =>
    (_file, offsetLow, offsetHigh, addressLow, addressHigh, length, userData) => {
      const memory = (addressHigh >>> 0) * 2 ** 32 + (addressLow >>> 0) - memoryAddress;
      submitted.push({ kind, offset: (offsetHigh >>> 0) * 2 ** 32 + (offsetLow >>> 0), memory, length, index: userData & indexMask });
    };
  const ring: DiskRing = {
    read: note('read'),
    write: note('write'),
    readFixed: note('readFixed'),
    writeFixed: note('writeFixed'),
    nowhereAddress,
    readVector: (_file, offsetLow, offsetHigh, { words, count }, userData) => {
      const places = Array.from({ length: count }, (_, at) => {
        const address = (words[4 * at + 1]! >>> 0) * 2 ** 32 + (words[4 * at]! >>> 0);
        const length = words[4 * at + 2]!;
        return address < memoryAddress
          ? ([`nowhere ${address - nowhereAddress}`, length] as const)
          : ([address - memoryAddress, length] as const);
      });
      const offset = (offsetHigh >>> 0) * 2 ** 32 + (offsetLow >>> 0);
      submitted.push({ kind: 'vector', offset, memory: 0, length: 0, index: userData & indexMask, places });
    },
    syncData: (_file, userData) => void submitted.push({ kind: 'sync', offset: 0, memory: 0, length: 0, index: userData & indexMask }),
  };
  operations = new DiskOperations({
    ring,
    memoryAddress,
    registered: { offsetBytes: 8192, lengthBytes: 65_536 },
    completed: (tag, result) => void completed.push([tag, result]),
  });
  disk = new RingDisk(operations, { file: 3, sizeBytes: diskBytes });
});

/** The kernel answers the operation that was submitted last. */
function answer(result: number): void {
  operations.complete(submitted.at(-1)!.index, result);
}

const at = 5 * 2 ** 32 + 4096;

describe.each(['read', 'write'] as const)('a %s', (kind) => {
  test('that is cut short goes on where it was cut, until it is whole', () => {
    disk[kind](at, 65_536, 1_000_000 * 4096, 7);
    answer(512);
    answer(4096);
    answer(65_536 - 512 - 4096);
    expect(completed).toEqual([[7, 65_536]]);
    expect(submitted).toMatchObject(
      [0, 512, 4608].map((done) => ({ kind, offset: at + done, memory: 1_000_000 * 4096 + done, length: 65_536 - done })),
    );
  });

  test('that meets the end of the file is an error, not a short result', () => {
    disk[kind](at, 8192, 0, 7);
    answer(4096);
    answer(0);
    expect(completed).toEqual([[7, inputOutputError]]);
  });

  test.each([inputOutputError, noSpace])('that fails with %i fails with that, also after a part of it', (errno) => {
    disk[kind](at, 8192, 0, 7);
    answer(errno);
    disk[kind](at, 8192, 0, 8);
    answer(4096);
    answer(errno);
    expect(completed).toEqual([
      [7, errno],
      [8, errno],
    ]);
    expect(operations.inFlight).toBe(0);
  });

  test('uses registered memory where all of it is registered', () => {
    disk[kind](0, 4096, 8192, 1);
    disk[kind](0, 4096, 4096, 2);
    disk[kind](0, 8192, 8192 + 65_536 - 4096, 3);
    expect(submitted.map((one) => one.kind)).toEqual([`${kind}Fixed`, kind, kind]);
  });
});

describe('a read of pieces', () => {
  /** Two that are wanted, each behind a gap, at `at`. */
  function readPieces(tag: number): boolean {
    const pieces = new Pieces();
    pieces.push(4096, 3 * 4096);
    pieces.push(8192, UNWANTED);
    pieces.push(16_384, 8 * 4096);
    pieces.push(4096, UNWANTED);
    pieces.push(4096, 2 ** 33);
    const isStarted = disk.readPieces(at, pieces, tag);
    pieces.clear(); // they are the caller's again
    return isStarted;
  }

  test('is one operation, and what nobody wants goes nowhere', () => {
    readPieces(7);
    const nowhere = expect.stringMatching(/^nowhere/);
    expect(submitted).toMatchObject([
      {
        kind: 'vector',
        offset: at,
        places: [
          [3 * 4096, 4096],
          [nowhere, 8192],
          [8 * 4096, 16_384],
          [nowhere, 4096],
          [2 ** 33, 4096],
        ],
      },
    ]);
    answer(36_864);
    expect(completed).toEqual([[7, 24_576]]);
  });

  test('has its nowhere for itself while it is in flight; when none is left, the next has to be read otherwise', () => {
    const used = new Map<string, number>();
    const begin = (): void => {
      readPieces(used.size);
      for (const [place, length] of submitted.at(-1)!.places!.filter(([where]) => typeof where === 'string')) {
        const from = Number(String(place).split(' ')[1]);
        for (let part = 0; part < length; part += 4096) {
          expect(from + part).toBeLessThan(NOWHERE_PLACES * NOWHERE_PLACE_BYTES);
          expect(used.has(String(from + part))).toBe(false);
          used.set(String(from + part), used.size);
        }
      }
    };
    for (let count = 0; count < NOWHERE_PLACES / 2; count += 1) begin();
    expect(readPieces(7)).toBe(false);
    expect(submitted.length).toBe(NOWHERE_PLACES / 2);
    operations.complete(submitted[5]!.index, 36_864);
    expect(readPieces(7)).toBe(true);
    expect(readPieces(7)).toBe(false);
    disk.read(at, 4096, 0, 9);
    expect(submitted.at(-1)!.kind).toBe('read');
  });

  test('gives it back however it ends', () => {
    for (let count = 0; count < 3 * NOWHERE_PLACES; count += 1) {
      expect(readPieces(7)).toBe(true);
      answer(inputOutputError);
      answer(inputOutputError);
    }
  });

  test('that the kernel puts off is repeated whole', () => {
    readPieces(7);
    answer(again);
    expect(submitted[1]).toEqual(submitted[0]);
    answer(36_864);
    expect(completed).toEqual([[7, 24_576]]);
  });

  test.each([
    ['fails', inputOutputError],
    ['is cut short', 8192],
    ['brings nothing', 0],
  ])('that %s is done piece by piece, without those that nobody wants', (_, result) => {
    readPieces(7);
    answer(result);
    answer(4096);
    answer(512);
    answer(again);
    answer(16_384 - 512);
    answer(4096);
    expect(completed).toEqual([[7, 24_576]]);
    expect(submitted.slice(1)).toMatchObject([
      { offset: at, memory: 3 * 4096, length: 4096 },
      { offset: at + 12_288, memory: 8 * 4096, length: 16_384 },
      { offset: at + 12_288 + 512, memory: 8 * 4096 + 512, length: 16_384 - 512 },
      { offset: at + 12_288 + 512, memory: 8 * 4096 + 512, length: 16_384 - 512 },
      { offset: at + 32_768, memory: 2 ** 33, length: 4096 },
    ]);
    expect(operations.inFlight).toBe(0);
  });

  test('fails when one that is wanted does, and the next one is whole again', () => {
    readPieces(7);
    answer(inputOutputError);
    answer(4096);
    answer(inputOutputError);
    expect(completed).toEqual([[7, inputOutputError]]);
    readPieces(8);
    expect(submitted.at(-1)!.kind).toBe('vector');
    disk.read(at, 4096, 0, 9);
    answer(4096);
    expect(completed.at(-1)).toEqual([9, 4096]);
  });

  test('keeps its pieces when more is in flight than there was room for at first', () => {
    readPieces(7);
    for (let tag = 0; tag < 3000; tag += 1) disk.write(tag * 4096, 4096, 0, tag);
    operations.complete(submitted[0]!.index, inputOutputError);
    expect(submitted.at(-1)).toMatchObject({ kind: 'readFixed', offset: at, memory: 3 * 4096, length: 4096 });
  });

  test('outside of the disk is a fault of the caller', () => {
    const pieces = new Pieces();
    pieces.push(8192, 0);
    expect(() => disk.readPieces(diskBytes - 4096, pieces, 1)).toThrow('outside');
  });
});

describe.each([
  ['read', (tag: number) => disk.read(at, 4096, 0, tag), 4096],
  ['write', (tag: number) => disk.write(at, 4096, 0, tag), 4096],
  ['sync', (tag: number) => disk.sync(tag), 0],
] as const)('a %s', (_, start, whole) => {
  test('that the kernel puts off is repeated', () => {
    start(7);
    answer(again);
    answer(interrupted);
    answer(whole);
    expect(completed).toEqual([[7, whole]]);
    expect(submitted.length).toBe(3);
  });

  test('that the kernel puts off for ever ends with its error', () => {
    start(7);
    while (completed.length === 0 && submitted.length < 100_000) answer(again);
    expect(completed).toEqual([[7, again]]);
  });

  test('that fails is not repeated', () => {
    start(7);
    answer(inputOutputError);
    expect(completed).toEqual([[7, inputOutputError]]);
    expect(submitted.length).toBe(1);
  });
});

test('results come back to who asked, in any order, with more in flight than there was room for at first', () => {
  const count = 3000;
  for (let tag = 0; tag < count; tag += 1) disk.write(tag * 4096, 4096, 0, tag);
  expect(new Set(submitted.map((one) => one.index)).size).toBe(count);
  for (let tag = count - 1; tag >= 0; tag -= 1) operations.complete(submitted[tag]!.index, tag % 3 === 0 ? inputOutputError : 4096);
  expect(completed.length).toBe(count);
  for (const [tag, result] of completed) expect(result).toBe(tag % 3 === 0 ? inputOutputError : 4096);
  expect(operations.inFlight).toBe(0);
});
