/** Bytes whose checksum is right and whose content cannot be: each is refused in words. */
import { crc32 } from 'node:zlib';
import { describe, expect, test } from '@jest/globals';
import { decodeObjectRow, decodePoolRow } from '../../src/engine/checkpoint-rows.ts';
import { Entry } from '../../src/engine/entry.ts';
import { decodePage, decodeReferences, encodePage, LeafPage, MAXIMUM_SLOTS_OF_LEAF } from '../../src/engine/page.ts';
import {
  encodeControl,
  controlUnits,
  readControl,
  RecordBuffer,
  RecordKind,
  RECORD_UNIT_BYTES,
  seal,
  writeControl,
  writeHead,
} from '../../src/engine/record.ts';
import { RecordRing, RING_HEADER_BYTES } from '../../src/engine/record-ring.ts';

const DAMAGED = expect.objectContaining({ name: 'StoreError', code: 'data-loss' });

function row(json: string): Uint8Array {
  const bytes = Buffer.concat([Buffer.alloc(4), Buffer.from(json)]);
  bytes.writeUInt32LE(crc32(bytes.subarray(4)), 0);
  return bytes;
}

describe('rows of the checkpoint', () => {
  // The checksum of nothing is 0: four zeros are an empty row with a right one.
  test.each(['', 'null', '[]', '{}', '{"version":1}', '{"version":1,"log":{}}', '{"description":{}}', '{'])('%j', (json) => {
    expect(() => decodePoolRow(row(json))).toThrow(DAMAGED);
    expect(() => decodeObjectRow(row(json))).toThrow(DAMAGED);
  });
});

describe('pages', () => {
  const sealed = (change: (bytes: Buffer) => Buffer): Buffer => {
    const page = new LeafPage(5);
    const entry = new Entry();
    entry.push(7, 0x00ff);
    entry.push(8, 0xff00);
    page.write(0, entry);
    const bytes = change(Buffer.from(encodePage(page)));
    bytes.writeUInt32LE(crc32(bytes.subarray(4)), 0);
    return bytes;
  };
  const layer = 32 + 256;

  test.each<[string, (bytes: Buffer) => Buffer]>([
    ['cut in the table of entries', (bytes) => bytes.subarray(0, 100)],
    ['cut in the layers', (bytes) => bytes.subarray(0, bytes.length - 3)],
    ['a layer without a slot', (bytes) => (bytes.writeUInt32LE(0, layer), bytes)],
    ['a layer without a granule', (bytes) => (bytes.writeUInt16LE(0, layer + 5), bytes)],
    ['a granule of two layers', (bytes) => (bytes.writeUInt16LE(0x01ff, layer + 5), bytes)],
    ['a slot twice', (bytes) => (bytes.writeUInt32LE(8, layer), bytes)],
    ['an inner page of a leaf’s length', (bytes) => (bytes.writeUInt8(1, 6), bytes)],
  ])('%s', (_, change) => {
    expect(() => decodePage(5, sealed(change))).toThrow(DAMAGED);
    expect(() => decodeReferences(5, sealed(change), new Uint32Array(MAXIMUM_SLOTS_OF_LEAF))).toThrow(DAMAGED);
  });

  // One layer is looked at in another way than several.
  test.each<[string, (bytes: Buffer) => number]>([
    ['slot', (bytes) => bytes.writeUInt32LE(0, layer)],
    ['granule', (bytes) => bytes.writeUInt16LE(0, layer + 5)],
  ])('a single layer without a %s', (_, change) => {
    const page = new LeafPage(6);
    const entry = new Entry();
    entry.push(7, 0xffff);
    page.write(0, entry);
    const bytes = Buffer.from(encodePage(page));
    change(bytes);
    bytes.writeUInt32LE(crc32(bytes.subarray(4)), 0);
    expect(() => decodePage(6, bytes)).toThrow(DAMAGED);
    expect(() => decodeReferences(6, bytes, new Uint32Array(MAXIMUM_SLOTS_OF_LEAF))).toThrow(DAMAGED);
  });
});

describe('control records', () => {
  test.each(['', 'null', '7', '{"change":"grow"}', '{"change":"delete"}', '{"change":"create","object":{"id":"x"}}'])('%j', (json) => {
    const buffer = new RecordBuffer(new Uint8Array(4 * RECORD_UNIT_BYTES));
    writeControl(buffer, 0, Buffer.from(json));
    expect(() => readControl(buffer, 0)).toThrow(DAMAGED);
  });

  test('that claim to be longer than any', () => {
    const buffer = new RecordBuffer(new Uint8Array(4 * RECORD_UNIT_BYTES));
    buffer.view.setUint32(32, 2 ** 32 - 1, true);
    expect(() => readControl(buffer, 0)).toThrow(DAMAGED);
  });
});

describe('the record ring', () => {
  const UNITS = 8;
  const TAIL = 16;
  /** Full of records of two units: whoever misses the tail finds a valid record everywhere, for ever. */
  const full = (): { readonly ring: RecordRing; readonly view: DataView } => {
    const bytes = new Uint8Array(RING_HEADER_BYTES + UNITS * RECORD_UNIT_BYTES);
    const ring = new RecordRing(bytes, UNITS);
    ring.initialize('p'.repeat(26), 'one');
    for (let sequence = 1; sequence <= 4; sequence++) {
      const json = encodeControl({ change: 'life', life: 'x'.repeat(26) });
      const units = controlUnits(json);
      const at = ring.place(units);
      writeHead(ring.buffer, at, { sequence, kind: RecordKind.control, units, objectNumber: 0, incarnation: 0 }, 0);
      writeControl(ring.buffer, at, json);
      seal(ring.buffer, at, units, 0);
      ring.append(units);
    }
    ring.publish();
    return { ring, view: new DataView(bytes.buffer) };
  };

  test('is read when it is sound', () => {
    expect(full().ring.belongsTo('p'.repeat(26), 'another')).toBe(false);
  });

  test.each([1, 3, 7])('whose tail is in the middle of a record, at %i', (tail) => {
    const { ring, view } = full();
    view.setUint32(TAIL, tail, true);
    expect(() => ring.belongsTo('p'.repeat(26), 'another')).toThrow(DAMAGED);
  });

  test.each([9, 2 ** 31, 2 ** 32 - 1])('whose tail is further than it has room, at %i', (tail) => {
    const { ring, view } = full();
    view.setUint32(TAIL, tail, true);
    expect(() => ring.belongsTo('p'.repeat(26), 'another')).toThrow(DAMAGED);
  });
});
