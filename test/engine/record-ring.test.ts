import { describe, expect, test } from '@jest/globals';
import { crc32 } from 'node:zlib';
import { checksum } from '../../src/engine/checksum.ts';
import { RecordKind, type RecordHead, RECORD_UNIT_BYTES, seal, writeHead } from '../../src/engine/record.ts';
import { RecordRing, RING_HEADER_BYTES } from '../../src/engine/record-ring.ts';

const POOL = 'abcdefghijklmnopqrstuvwxyz';
const UNITS = 8;

function memory(): Uint8Array {
  return new Uint8Array(RING_HEADER_BYTES + UNITS * RECORD_UNIT_BYTES);
}

function append(ring: RecordRing, sequence: number, units: number): void {
  const at = ring.place(units);
  writeHead(ring.buffer, at, { sequence, kind: RecordKind.trim, units, objectNumber: 1, incarnation: 1 }, 0);
  seal(ring.buffer, at, units, 0);
  ring.append(units);
}

function sequences(ring: RecordRing): number[] {
  const head: RecordHead = { sequence: 0, kind: 0, units: 0, objectNumber: 0, incarnation: 0 };
  const found: number[] = [];
  let position = ring.head;
  while (ring.read(position, head) !== null) {
    found.push(head.sequence);
    position = (position + head.units) >>> 0;
  }
  return found;
}

describe('the record ring', () => {
  test('is found again with its records by a successor', () => {
    const bytes = memory();
    const ring = new RecordRing(bytes, UNITS);
    expect(ring.belongsTo(POOL, 'one')).toBe(false);
    ring.initialize(POOL, 'one');
    append(ring, 1, 1);
    append(ring, 2, 3);
    const successor = new RecordRing(bytes, UNITS);
    expect(successor.belongsTo(POOL, 'one')).toBe(true);
    expect(sequences(successor)).toEqual([1, 2]);
  });

  test('is not believed for another pool or another life', () => {
    const ring = new RecordRing(memory(), UNITS);
    ring.initialize(POOL, 'one');
    expect(ring.belongsTo('zzzzzzzzzzzzzzzzzzzzzzzzzz', 'one')).toBe(false);
    expect(ring.belongsTo(POOL, 'two')).toBe(false);
  });

  test('is believed on both sides of the record of a new life', () => {
    const ring = new RecordRing(memory(), UNITS);
    ring.initialize(POOL, 'one');
    ring.announceLife('two');
    expect(ring.belongsTo(POOL, 'one') && ring.belongsTo(POOL, 'two')).toBe(true);
    ring.confirmLife();
    expect(ring.belongsTo(POOL, 'one')).toBe(false);
    expect(ring.belongsTo(POOL, 'two')).toBe(true);
  });

  test('passes over the end of a lap when a record would wrap, at every offset and over many laps', () => {
    const ring = new RecordRing(memory(), UNITS);
    ring.initialize(POOL, 'one');
    const head: RecordHead = { sequence: 0, kind: 0, units: 0, objectNumber: 0, incarnation: 0 };
    for (let sequence = 1; sequence < 200; sequence++) {
      append(ring, sequence, 1 + (sequence % 3));
      expect(sequences(ring).at(-1)).toBe(sequence);
      ring.read(ring.head, head);
      if (ring.freeUnits < 6) ring.trim((ring.head + head.units) >>> 0);
    }
  });

  test('never overwrites what was not trimmed', () => {
    const ring = new RecordRing(memory(), UNITS);
    ring.initialize(POOL, 'one');
    append(ring, 1, 4);
    append(ring, 2, 4);
    expect(() => append(ring, 3, 1)).toThrow('room in the ring');
  });

  test('refuses a damaged record', () => {
    const ring = new RecordRing(memory(), UNITS);
    ring.initialize(POOL, 'one');
    append(ring, 1, 1);
    ring.buffer.bytes[40]! ^= 1;
    expect(() => sequences(ring)).toThrow(expect.objectContaining({ code: 'data-loss' }));
  });
});

test('the checksum is the one of zlib', () => {
  const bytes = Uint8Array.from({ length: 300 }, (_, index) => (index * 37) & 255);
  expect(checksum(bytes, 3, 290)).toBe(crc32(bytes.subarray(3, 290)));
});
