/**
 * A batch of the record log in which one bit is wrong. To a reader it looks like the end of the log, and what was answered
 * would be gone without a word; but a checksum that fails also says which single bit would make it right.
 *
 * Invariant: a torn write is never taken for a whole one. A batch counts as repaired only when its own checksum is right
 * again and that of every record in it, too, which nothing but the batch that was written can be expected to meet.
 */
import { crc32 } from 'node:zlib';
import { newHead, readHead, type RecordBuffer, RECORD_UNIT_BYTES } from './record.ts';

export interface ExpectedBatch {
  readonly headerBytes: number;
  /** The fields that are known beforehand, at their places in the header. */
  readonly known: readonly { readonly offset: number; readonly bytes: Uint8Array }[];
  /** The fields that are not, the checksum among them. */
  readonly unknown: readonly { readonly offset: number; readonly length: number }[];
  /** Bytes of records as the header at `at` gives them; null when they cannot be. */
  readonly lengthOf: (at: number) => number | null;
}

/** Whether what stands there can only be this batch, whole or not: all that is known of it is there, but for one bit. */
export function resemblesBatch(buffer: RecordBuffer, at: number, expected: ExpectedBatch): boolean {
  return wrongBits(buffer, at, expected).length <= 1;
}

/** Mends the batch in memory if one bit makes it whole; otherwise leaves it as it is, and answers false. */
export function repairBatch(buffer: RecordBuffer, at: number, expected: ExpectedBatch): boolean {
  const wrong = wrongBits(buffer, at, expected);
  if (wrong.length > 1) return false;
  const attempt = (bit: number): boolean => {
    flip(buffer, at, bit);
    if (isWhole(buffer, at, expected)) return true;
    flip(buffer, at, bit);
    return false;
  };
  if (wrong.length === 1) return attempt(wrong[0]!);
  for (const { offset, length } of expected.unknown)
    for (let bit = offset * 8; bit < (offset + length) * 8; bit++) if (attempt(bit)) return true;
  const length = expected.lengthOf(at);
  if (length === null) return false;
  const covered = buffer.bytes.subarray(at + 4, at + expected.headerBytes + length);
  const bit = bitOf((crc32(covered) ^ buffer.view.getUint32(at, true)) >>> 0, covered.length);
  return bit !== null && attempt(bit + 32);
}

/** Bits of the known fields that differ, two at most. */
function wrongBits({ bytes }: RecordBuffer, at: number, { known }: ExpectedBatch): number[] {
  const wrong: number[] = [];
  for (const field of known) {
    for (const [index, byte] of field.bytes.entries()) {
      const difference = bytes[at + field.offset + index]! ^ byte;
      for (let bit = 0; bit < 8; bit++) if ((difference >> bit) & 1) wrong.push((field.offset + index) * 8 + bit);
      if (wrong.length > 1) return wrong;
    }
  }
  return wrong;
}

function isWhole(buffer: RecordBuffer, at: number, expected: ExpectedBatch): boolean {
  const length = expected.lengthOf(at);
  if (length === null) return false;
  const end = at + expected.headerBytes + length;
  if (crc32(buffer.bytes.subarray(at + 4, end)) !== buffer.view.getUint32(at, true)) return false;
  const head = newHead();
  let from = at + expected.headerBytes;
  while (from < end && readHead(buffer, from, end, head)) from += head.units * RECORD_UNIT_BYTES;
  return from === end;
}

function flip({ bytes }: RecordBuffer, at: number, bit: number): void {
  bytes[at + (bit >> 3)]! ^= 1 << (bit & 7);
}

/** The bit of `length` bytes that, wrong alone, changes their CRC-32 by `difference`; null when there is none. */
function bitOf(difference: number, length: number): number | null {
  // What each bit of the last byte does; a byte further in front does what it does, and then meets one zero more.
  const effects = new Uint32Array(8);
  for (let bit = 0; bit < 8; bit++) effects[bit] = TABLE[1 << bit]!;
  for (let byte = length - 1; byte >= 0; byte--) {
    for (let bit = 0; bit < 8; bit++) {
      const effect = effects[bit]!;
      if (effect === difference) return byte * 8 + bit;
      effects[bit] = TABLE[effect & 255]! ^ (effect >>> 8);
    }
  }
  return null;
}

/** CRC-32 of a byte, without the inversions, which cancel out in a difference. */
const TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let rest = byte;
  for (let bit = 0; bit < 8; bit++) rest = rest & 1 ? (rest >>> 1) ^ 0xedb88320 : rest >>> 1;
  return rest;
});
