import { describe, expect, test } from '@jest/globals';
import * as fuse from '../../src/block/fuse.ts';
import { dataParameters, encodeRequest } from '../support/request-arena.ts';

function wordsOf(bytes: Buffer): Int32Array {
  return new Int32Array(Uint8Array.from(bytes).buffer);
}

describe('requests', () => {
  test('READ and WRITE with an offset beyond 32 bits', () => {
    const offset = 5 * 2 ** 40 + 3 * 4096;
    const words = wordsOf(encodeRequest({ opcode: 16, unique: 0x1_8000_0002n, parameters: dataParameters(offset, 1 << 20) }));
    expect(fuse.requestOpcode(words, 0)).toBe(fuse.Opcode.write);
    expect(fuse.requestLength(words, 0)).toBe(80);
    expect(fuse.offsetOf(words, 0)).toBe(offset);
    expect(fuse.lengthOf(words, 0)).toBe(1 << 20);
  });

  test('an offset with the highest bits set is large, not negative', () => {
    const words = wordsOf(encodeRequest({ opcode: 15, unique: 2n, parameters: [0, 0, 0xfffff000, 0xffffffff, 4096] }));
    expect(fuse.offsetOf(words, 0)).toBeGreaterThan(2 ** 63);
  });

  test.each([
    ['punch hole', 0x03, true],
    ['zero range that keeps the size', 0x11, true],
    ['zero range that grows the file', 0x10, false],
    ['preallocation', 0x00, false],
    ['collapse', 0x08, false],
  ])('FALLOCATE: %s', (_, mode, zeroing) => {
    const words = wordsOf(encodeRequest({ opcode: 43, unique: 2n, parameters: [0, 0, 8192, 1, 0, 2, mode] }));
    expect(fuse.isZeroing(words, 0)).toBe(zeroing);
    expect(fuse.offsetOf(words, 0)).toBe(2 ** 32 + 8192);
    expect(fuse.allocationLengthOf(words, 0)).toBe(2 * 2 ** 32);
  });
});

describe('replies', () => {
  const reply = new Int32Array(128);
  const request = 64;
  reply.set(wordsOf(encodeRequest({ opcode: 3, unique: 0x1234_5678_9abc_def0n })), request);
  const bytes = Buffer.from(reply.buffer);

  test('carry length, negative errno and the id of the request', () => {
    fuse.writeReplyHeader(reply, 0, request, fuse.Errno.readOnly, 0);
    expect(bytes.readUInt32LE(0)).toBe(16);
    expect(bytes.readInt32LE(4)).toBe(-30);
    expect(bytes.readBigUInt64LE(8)).toBe(0x1234_5678_9abc_def0n);
  });

  test('INIT: version, flags and limits', () => {
    expect(fuse.writeInitialized(reply, 0)).toBe(64);
    const body = bytes.subarray(16);
    expect([body.readUInt32LE(0), body.readUInt32LE(4)]).toEqual([7, 38]);
    expect(body.readUInt32LE(12)).toBe((1 << 0) | (1 << 5) | (1 << 15) | (1 << 22));
    expect([body.readUInt16LE(16), body.readUInt16LE(18)]).toEqual([64, 48]);
    expect(body.readUInt32LE(20)).toBe(1 << 20);
    expect(body.readUInt16LE(28)).toBe(256);
  });

  test('GETATTR: a regular file of the size, valid without an end', () => {
    const size = 3 * 2 ** 40 + 4096;
    expect(fuse.writeAttributes(reply, 0, size, { readOnly: false })).toBe(104);
    const body = bytes.subarray(16);
    expect(body.readBigUInt64LE(0)).toBe(0x7fffffffn);
    expect(body.readBigUInt64LE(16)).toBe(1n);
    expect(body.readBigUInt64LE(24)).toBe(BigInt(size));
    expect(body.readBigUInt64LE(32)).toBe(BigInt(size / 512));
    expect(body.readUInt32LE(16 + 60)).toBe(0o100600);
    expect(body.readUInt32LE(16 + 64)).toBe(1);
    expect(body.readUInt32LE(16 + 80)).toBe(4096);
  });

  test('STATFS reports the granule', () => {
    expect(fuse.writeStatistics(reply, 0, 1 << 20)).toBe(80);
    expect(bytes.readBigUInt64LE(16)).toBe(256n);
    expect(bytes.readUInt32LE(16 + 40)).toBe(4096);
    expect(bytes.readUInt32LE(16 + 48)).toBe(4096);
  });

  test('OPEN: direct I/O, parallel writes, and no flush at a close', () => {
    expect(fuse.writeOpened(reply, 0, 77)).toBe(16);
    expect(bytes.readBigUInt64LE(16)).toBe(77n);
    expect(bytes.readUInt32LE(24)).toBe(1 | 32 | 64);
  });

  test('fit the reply area of a slot', () => {
    expect(fuse.maximumReplyBytes).toBeLessThanOrEqual(128);
  });
});
