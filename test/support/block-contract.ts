/**
 * What every block device of ours promises, whatever stands behind it. One suite, run over a plain memory, over the
 * engine, and over the real loop device.
 */
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';

export interface BlockDevice {
  readonly sizeBytes: number;
  /** Offsets and lengths are multiples of 4,096. What lies outside the device is refused: the promise rejects. */
  read(offsetBytes: number, lengthBytes: number): Promise<Uint8Array>;
  write(offsetBytes: number, bytes: Uint8Array): Promise<void>;
  /** Discard or write-zeroes: the range reads as zeros afterwards. */
  zero(offsetBytes: number, lengthBytes: number): Promise<void>;
  flush(): Promise<void>;
  /** The same contents after everything that serves them has ended and come back; absent where that means nothing. */
  reopen?(): Promise<BlockDevice>;
  close(): Promise<void>;
}

export interface BlockContractOptions {
  /** A new device of at least 4 MiB in which nothing was written. */
  readonly open: () => Promise<BlockDevice>;
  readonly timeoutMs?: number;
}

const granule = 4096;
/** Borders of every chunk size lie on multiples of this. */
const largestChunk = 65_536;
const largestRequest = 1_048_576;

export function describeBlockContract(name: string, options: BlockContractOptions): void {
  const { timeoutMs = 30_000 } = options;

  describe(`${name} keeps the contract of a block device`, () => {
    let device: BlockDevice;
    beforeEach(async () => {
      device = await options.open();
    }, timeoutMs);
    afterEach(async () => {
      await device.close();
    }, timeoutMs);

    test(
      'reads zeros where nothing was written',
      async () => {
        expect(device.sizeBytes).toBeGreaterThanOrEqual(4 * largestRequest);
        expect(isZero(await device.read(0, largestRequest))).toBe(true);
        expect(isZero(await device.read(device.sizeBytes - granule, granule))).toBe(true);
      },
      timeoutMs,
    );

    test(
      'reads back what was written, at every alignment around a chunk border',
      async () => {
        let stamp = 0;
        for (const border of [16_384, 32_768, largestChunk, 2 * largestChunk]) {
          for (const before of [0, granule, 3 * granule]) {
            for (const length of [granule, 2 * granule, 5 * granule, 17 * granule]) {
              stamp += 1;
              const offset = border - before;
              const bytes = pattern(stamp, length);
              await device.write(offset, bytes);
              expect(same(await device.read(offset, length), bytes)).toBe(true);
            }
          }
        }
      },
      timeoutMs,
    );

    test(
      'leaves the neighbours of a write alone',
      async () => {
        await device.write(0, pattern(1, 2 * largestChunk));
        await device.write(largestChunk - granule, pattern(2, 2 * granule));
        const expected = pattern(1, 2 * largestChunk);
        expected.set(pattern(2, 2 * granule), largestChunk - granule);
        expect(same(await device.read(0, 2 * largestChunk), expected)).toBe(true);
      },
      timeoutMs,
    );

    test(
      'takes requests of 1 MiB, aligned to a chunk or not',
      async () => {
        for (const offset of [0, largestRequest, granule, largestChunk - granule]) {
          const bytes = pattern(offset + 7, largestRequest);
          await device.write(offset, bytes);
          expect(same(await device.read(offset, largestRequest), bytes)).toBe(true);
        }
      },
      timeoutMs,
    );

    test(
      'reads a range that was written in pieces and partly not at all',
      async () => {
        const expected = new Uint8Array(3 * largestChunk);
        for (const at of [0, 3, 4, 15, 16, 30, 47]) {
          const bytes = pattern(at + 1, granule);
          expected.set(bytes, at * granule);
          await device.write(at * granule, bytes);
        }
        expect(same(await device.read(0, expected.length), expected)).toBe(true);
      },
      timeoutMs,
    );

    test(
      'zeroes exactly what it was asked to, down to 4 KiB',
      async () => {
        const expected = pattern(1, 4 * largestChunk);
        await device.write(0, expected);
        const ranges = [
          [granule, granule],
          [5 * granule, 3 * granule],
          [largestChunk - granule, 2 * granule],
          [2 * largestChunk - 2 * granule, largestChunk + 4 * granule],
        ] as const;
        for (const [offset, length] of ranges) {
          await device.zero(offset, length);
          expected.fill(0, offset, offset + length);
          expect(same(await device.read(0, expected.length), expected)).toBe(true);
        }
      },
      timeoutMs,
    );

    test(
      'takes writes again where it was zeroed',
      async () => {
        await device.write(0, pattern(1, largestChunk));
        await device.zero(0, largestChunk);
        await device.write(2 * granule, pattern(2, granule));
        const expected = new Uint8Array(largestChunk);
        expected.set(pattern(2, granule), 2 * granule);
        expect(same(await device.read(0, largestChunk), expected)).toBe(true);
      },
      timeoutMs,
    );

    test(
      'discards as a whole',
      async () => {
        await device.write(granule, pattern(1, largestChunk));
        await device.write(device.sizeBytes - granule, pattern(2, granule));
        await device.zero(0, device.sizeBytes);
        expect(isZero(await device.read(0, 2 * largestChunk))).toBe(true);
        expect(isZero(await device.read(device.sizeBytes - granule, granule))).toBe(true);
      },
      timeoutMs,
    );

    test(
      'shows one of the values in each granule after overlapping writes at once',
      async () => {
        for (let round = 0; round < 5; round += 1) {
          const writes = Array.from({ length: 8 }, (_, index) => ({
            offset: largestChunk - 4 * granule + index * granule,
            bytes: pattern(round * 8 + index + 1, 6 * granule),
          }));
          await Promise.all(writes.map(({ offset, bytes }) => device.write(offset, bytes)));
          const start = largestChunk - 4 * granule;
          const read = await device.read(start, 13 * granule);
          for (let at = 0; at < read.length; at += granule) {
            const shown = read.subarray(at, at + granule);
            const candidates = writes.filter(({ offset, bytes }) => start + at >= offset && start + at < offset + bytes.length);
            expect(
              candidates.some(({ offset, bytes }) => same(shown, bytes.subarray(start + at - offset, start + at - offset + granule))),
            ).toBe(true);
          }
        }
      },
      timeoutMs,
    );

    test(
      'serves many requests at once without mixing them up',
      async () => {
        const writes = Array.from({ length: 32 }, (_, index) => ({ offset: index * 3 * granule, bytes: pattern(index + 1, 3 * granule) }));
        await Promise.all(writes.map(({ offset, bytes }) => device.write(offset, bytes)));
        const reads = await Promise.all(writes.map(({ offset, bytes }) => device.read(offset, bytes.length)));
        expect(reads.every((read, index) => same(read, writes[index]!.bytes))).toBe(true);
      },
      timeoutMs,
    );

    test(
      'refuses what lies outside',
      async () => {
        await expect(device.read(device.sizeBytes, granule)).rejects.toThrow();
        await expect(device.read(device.sizeBytes - granule, 2 * granule)).rejects.toThrow();
        await expect(device.write(device.sizeBytes, pattern(1, granule))).rejects.toThrow();
        await expect(device.write(device.sizeBytes - granule, pattern(1, 2 * granule))).rejects.toThrow();
        await expect(device.zero(device.sizeBytes, granule)).rejects.toThrow();
        expect(isZero(await device.read(device.sizeBytes - granule, granule))).toBe(true);
      },
      timeoutMs,
    );

    test(
      'keeps what was flushed when it is opened again',
      async () => {
        const bytes = pattern(1, 3 * largestChunk);
        await device.write(5 * granule, bytes);
        await device.zero(9 * granule, granule);
        bytes.fill(0, 4 * granule, 5 * granule);
        await device.flush();
        if (device.reopen) device = await device.reopen();
        expect(same(await device.read(5 * granule, bytes.length), bytes)).toBe(true);
        expect(isZero(await device.read(0, 5 * granule))).toBe(true);
      },
      timeoutMs,
    );
  });
}

/** Bytes that differ from granule to granule and from stamp to stamp. */
function pattern(stamp: number, lengthBytes: number): Uint8Array {
  const words = new Uint32Array(lengthBytes / 4);
  let word = Math.imul(stamp, 0x9e3779b1) | 1;
  for (let index = 0; index < words.length; index += 1) {
    words[index] = word;
    word = (word + 0x6d2b79f5) | 0;
  }
  return new Uint8Array(words.buffer);
}

function same(left: Uint8Array, right: Uint8Array): boolean {
  return Buffer.compare(left, right) === 0;
}

function isZero(bytes: Uint8Array): boolean {
  return bytes.every((byte) => byte === 0);
}
