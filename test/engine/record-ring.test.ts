import { describe, expect, test } from '@jest/globals';
import { crc32 } from 'node:zlib';
import { checksum } from '../../src/engine/checksum.ts';
import {
  controlUnits,
  encodeControl,
  RecordKind,
  type RecordHead,
  RECORD_UNIT_BYTES,
  seal,
  writeControl,
  writeHead,
} from '../../src/engine/record.ts';
import { RecordRing, RING_HEADER_BYTES } from '../../src/engine/record-ring.ts';

const POOL = 'abcdefghijklmnopqrstuvwxyz';
const UNITS = 8;

function memory(units = UNITS): Uint8Array {
  return new Uint8Array(RING_HEADER_BYTES + units * RECORD_UNIT_BYTES);
}

/** An empty ring that counts. */
function made(units = UNITS): RecordRing {
  const ring = new RecordRing(memory(units), units);
  ring.initialize(POOL, 'one');
  ring.publish();
  return ring;
}

function beginLife(ring: RecordRing, sequence: number, life: string): void {
  const json = encodeControl({ change: 'life', life });
  const units = controlUnits(json);
  const at = ring.place(units);
  writeHead(ring.buffer, at, { sequence, kind: RecordKind.control, units, objectNumber: 0, incarnation: 0 }, 0);
  writeControl(ring.buffer, at, json);
  seal(ring.buffer, at, units, 0);
  ring.append(units);
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
    ring.publish();
    append(ring, 1, 1);
    append(ring, 2, 3);
    const successor = new RecordRing(bytes, UNITS);
    expect(successor.belongsTo(POOL, 'one')).toBe(true);
    expect(sequences(successor)).toEqual([1, 2]);
  });

  test('is not believed for another pool or another life', () => {
    const ring = made();
    expect(ring.belongsTo('zzzzzzzzzzzzzzzzzzzzzzzzzz', 'one')).toBe(false);
    expect(ring.belongsTo(POOL, 'two')).toBe(false);
  });

  test('is not believed before it was filled and published', () => {
    const ring = new RecordRing(memory(), UNITS);
    ring.initialize(POOL, 'one');
    append(ring, 1, 1);
    expect(ring.belongsTo(POOL, 'one')).toBe(false);
    ring.publish();
    expect(ring.belongsTo(POOL, 'one')).toBe(true);
  });

  test('is believed whether or not the lives that its records began reached the disk', () => {
    const ring = made(32);
    beginLife(ring, 1, 'two');
    beginLife(ring, 2, 'three');
    expect(['one', 'two', 'three', 'four'].map((life) => ring.belongsTo(POOL, life))).toEqual([true, true, true, false]);
  });

  test('follows the checkpoint with its base, so that a trimmed life is not missed', () => {
    const ring = made(32);
    beginLife(ring, 1, 'two');
    ring.rebase('two');
    ring.trim(ring.tail);
    expect(ring.belongsTo(POOL, 'two')).toBe(true);
    expect(ring.belongsTo(POOL, 'one')).toBe(false);
    ring.rebase('three');
    expect(ring.belongsTo(POOL, 'three')).toBe(true);
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
