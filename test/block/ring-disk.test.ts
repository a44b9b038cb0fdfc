/** What the kernel may answer to disk operations, and what becomes of it. */
import { beforeEach, describe, expect, test } from '@jest/globals';
import { DiskOperations, RingDisk, type DiskRing } from '../../src/block/ring-disk.ts';
import { indexMask } from '../../src/block/user-data.ts';

const again = -11;
const interrupted = -4;
const inputOutputError = -5;
const noSpace = -28;
const memoryAddress = 0x7f00_0000_0000;
const diskBytes = 2 ** 40;

interface Submitted {
  readonly kind: string;
  readonly offset: number;
  readonly memory: number;
  readonly length: number;
  readonly index: number;
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
