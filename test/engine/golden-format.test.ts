/**
 * The bytes on disk and in shared memory, written out. When one of these tests fails, a format has changed: pools of
 * users and the memory of a running store have the old one. Then give it a new version, say in docs/format.md what a
 * reader does with both, name it in CHANGELOG.md, and only then write the new bytes here.
 */
import { describe, expect, test } from '@jest/globals';
import { encodeRow, decodeObjectRow, decodePoolRow, NO_SCRUB } from '../../src/engine/checkpoint-rows.ts';
import { DiskCalls } from '../../src/engine/disk-calls.ts';
import { Entry } from '../../src/engine/entry.ts';
import { Journal } from '../../src/engine/journal.ts';
import { engineMemoryLayout, RING_UNITS } from '../../src/engine/memory-layout.ts';
import { decodeChecksumRow, Seals } from '../../src/engine/seals.ts';
import { type ObjectRow, StoredObject } from '../../src/engine/objects.ts';
import { decodePage, encodePage, InnerPage, LeafPage } from '../../src/engine/page.ts';
import { decodePoolHeader, encodePoolHeader } from '../../src/engine/pool-format.ts';
import type { Disk } from '../../src/engine/ports.ts';
import { RecordLog } from '../../src/engine/record-log.ts';
import { RecordRing, RING_HEADER_BYTES } from '../../src/engine/record-ring.ts';

const POOL_ID = 'abcdefghijklmnopqrstuvwxyz';
const LIFE = 'b'.repeat(26);
const NEXT_LIFE = 'c'.repeat(26);
const RING_TEST_UNITS = 8;

/** Compares in lines of 32 bytes of hex. Expectations have spaces between their fields. */
function expectBytes(actual: Uint8Array, expected: readonly string[]): void {
  const wanted = Buffer.from(expected.join('').replaceAll(/\s/g, ''), 'hex');
  const shown = (bytes: Uint8Array): string[] =>
    Buffer.from(bytes)
      .toString('hex')
      .match(/.{1,64}/g) ?? [];
  // docs/format.md describes these bytes; see the head of this file before you change them.
  expect(shown(actual)).toEqual(shown(wanted));
}

const zeros = (bytes: number): string => '00'.repeat(bytes);

function entryOf(...layers: readonly (readonly [slot: number, mask: number])[]): Entry {
  const entry = new Entry();
  for (const [slot, mask] of layers) entry.push(slot, mask);
  return entry;
}

const ROW: ObjectRow = {
  number: 16,
  incarnation: 32,
  lineage: 16,
  rootNumber: 77,
  rootLevel: 1,
  description: {
    id: 'd'.repeat(26),
    kind: 'volume',
    name: 'data',
    sizeBytes: 1048576,
    createdAtMs: 1800000000000,
    sourceId: null,
    sourceKind: null,
    attributes: { fileSystem: 'ext4' },
  },
};
const ROW_JSON =
  '{"number":16,"incarnation":32,"lineage":16,"rootNumber":77,"rootLevel":1,"description":' +
  '{"id":"dddddddddddddddddddddddddd","kind":"volume","name":"data","sizeBytes":1048576,"createdAtMs":1800000000000,' +
  '"sourceId":null,"sourceKind":null,"attributes":{"fileSystem":"ext4"}}}';
const POOL_ROW = {
  version: 1,
  poolId: POOL_ID,
  chunkSizeBytes: 65536,
  sequence: 7,
  checksum: 8,
  log: { block: 9, chain: 10 },
  nextPageNumber: 11,
  life: LIFE,
  reserve: [1, 2],
  prewrittenSlots: 4,
  dropped: [3],
};
const POOL_ROW_JSON =
  '{"version":1,"poolId":"abcdefghijklmnopqrstuvwxyz","chunkSizeBytes":65536,"sequence":7,"checksum":8,' +
  '"log":{"block":9,"chain":10},"nextPageNumber":11,"life":"bbbbbbbbbbbbbbbbbbbbbbbbbb","reserve":[1,2],"prewrittenSlots":4,"dropped":[3]}';

/** A ring with an entry, a trim and a control record after sequence 0x102, whose checksum was 0xdeadbeef. */
function filledRing(): { readonly bytes: Uint8Array; readonly ring: RecordRing } {
  const bytes = new Uint8Array(RING_HEADER_BYTES + RING_TEST_UNITS * 64);
  const ring = new RecordRing(bytes, RING_TEST_UNITS);
  ring.initialize(POOL_ID, LIFE);
  ring.publish();
  ring.rebase(NEXT_LIFE);
  const journal = new Journal(ring, { sequence: 0x0102, checksum: 0xdeadbeef });
  const object = new StoredObject(ROW);
  journal.entry(object, 0x30, entryOf([0x40, 0x00ff], [0x41, 0xff00]));
  journal.trim(object, 0x31, 0x32);
  journal.control({ change: 'delete', number: 16 });
  return { bytes, ring };
}

const ENTRY_RECORD = [
  'a0c185cd efbeadde 030100000000 01 01 100000000000 0200 200000000000 0000',
  '30000000 40000000 00 00 ff00 41000000 00 00 00ff',
  zeros(12),
];
const TRIM_RECORD = ['c46a371a a0c185cd 040100000000 02 01 100000000000 0000 200000000000 0000', '31000000 32000000', zeros(24)];
const CONTROL_RECORD = [
  '72178baa c46a371a 050100000000 03 02 000000000000 0000 000000000000 0000',
  `1f000000 ${Buffer.from('{"change":"delete","number":16}').toString('hex')}`,
  zeros(61),
];

describe('golden bytes (docs/format.md)', () => {
  test('pool header', () => {
    const header = encodePoolHeader({ poolId: POOL_ID, chunkSizeBytes: 65536 });
    expectBytes(header, [
      Buffer.from('chunkstore pool\n').toString('hex'),
      '01000000 00000100',
      Buffer.from(POOL_ID).toString('hex'),
      zeros(4042),
      '450734a0',
    ]);
    expect(decodePoolHeader(header, 'data')).toEqual({ poolId: POOL_ID, chunkSizeBytes: 65536 });
  });

  test('leaf page', () => {
    const page = new LeafPage(0x010203040506);
    page.write(0, entryOf([0x11223344, 0xffff]));
    page.write(255, entryOf([5, 0x00ff], [6, 0xff00]));
    const bytes = encodePage(page);
    expectBytes(bytes, [
      'c057fde1 0100 00 00 060504030201 0000 00000000000000000000000000000000',
      `01 ${zeros(254)} 02`,
      '4433221100 ffff',
      '0500000000 ff00 0600000000 00ff',
    ]);
    expectBytes(encodePage(decodePage(0x010203040506, bytes)), [Buffer.from(bytes).toString('hex')]);
  });

  test('inner page', () => {
    const page = new InnerPage(9, 1);
    page.children[0] = 1;
    page.children[255] = 0x0a0b0c0d0e0f;
    const bytes = encodePage(page);
    expectBytes(bytes, [
      'c21a212b 0100 01 00 090000000000 0000 00000000000000000000000000000000',
      `010000000000 ${zeros(254 * 6)} 0f0e0d0c0b0a`,
    ]);
    expectBytes(encodePage(decodePage(9, bytes)), [Buffer.from(bytes).toString('hex')]);
  });

  test('records of the three kinds, each with the checksum of the one before', () => {
    const { ring } = filledRing();
    expectBytes(ring.buffer.bytes, [...ENTRY_RECORD, ...TRIM_RECORD, ...CONTROL_RECORD, zeros(4 * 64)]);
  });

  test('a witness', () => {
    const ring = new RecordRing(new Uint8Array(RING_HEADER_BYTES + 64), 1);
    ring.initialize(POOL_ID, LIFE);
    const journal = new Journal(ring, { sequence: 0x0102, checksum: 0xdeadbeef });
    journal.witness({ slot: 0x11223344, mask: 0x0060, checksums: [0x0a0b0c0d, 0x01020304] });
    expectBytes(ring.buffer.bytes, [
      '5064f570 efbeadde 030100000000 04 01 000000000000 0000 000000000000 0000',
      '44332211 0000 6000 0d0c0b0a 04030201',
      zeros(16),
    ]);
  });

  test('header of the record ring', () => {
    const { bytes } = filledRing();
    expectBytes(bytes.subarray(0, RING_HEADER_BYTES), [
      '72696e67 01000000 08000000 00000000 04000000 01000000 0000000000000000',
      `${Buffer.from(POOL_ID).toString('hex')} ${zeros(6)}`,
      `${Buffer.from(LIFE).toString('hex')} ${zeros(6)}`,
      `${Buffer.from(NEXT_LIFE).toString('hex')} ${zeros(6)}`,
      zeros(RING_HEADER_BYTES - 128),
    ]);
  });

  test('skip mark at the end of a lap of the record ring', () => {
    const { ring } = filledRing();
    ring.trim(3);
    ring.append(3); // stands at unit 7 of 8 now
    expect(ring.place(2)).toBe(0);
    expectBytes(ring.buffer.bytes.subarray(7 * 64), [zeros(14), 'ff', zeros(49)]);
    expect(ring.tail).toBe(8);
  });

  test('batch of the record log', () => {
    const { ring } = filledRing();
    const memory = new Uint8Array(1024 * 1024);
    const written: { offsetBytes: number; bytes: Uint8Array }[] = [];
    const disk: Disk = {
      sizeBytes: 16 * 4096,
      read: () => {},
      write: (offsetBytes, lengthBytes, memoryOffset) => {
        written.push({ offsetBytes, bytes: memory.slice(memoryOffset, memoryOffset + lengthBytes) });
      },
      sync: () => {},
    };
    const log = new RecordLog({ disk, calls: new DiskCalls(), poolId: POOL_ID, memory, stagingOffset: 0 });
    log.recover(
      { block: 0x0305, chain: 0xcafe0001 },
      () => {},
      () => {},
    );
    log.writeBatch(ring, ring.head, 0x0105, () => {});
    expect(written.map(({ offsetBytes }) => offsetBytes)).toEqual([(0x0305 % 16) * 4096]);
    expectBytes(written[0]!.bytes, [
      '1e373693 0100feca 62746368 00010000',
      Buffer.from(POOL_ID).toString('hex'),
      '030100000000 050100000000 050300000000 0100 0000',
      ...ENTRY_RECORD,
      ...TRIM_RECORD,
      ...CONTROL_RECORD,
      zeros(4096 - 64 - 256),
    ]);
  });

  test('rows of the checkpoint', () => {
    const pool = encodeRow(POOL_ROW);
    expectBytes(pool, ['72cd3b7e', Buffer.from(POOL_ROW_JSON).toString('hex')]);
    expect(decodePoolRow(pool)).toEqual(POOL_ROW);
    const object = encodeRow(ROW);
    expectBytes(object, ['4a437a32', Buffer.from(ROW_JSON).toString('hex')]);
    expect(decodeObjectRow(object)).toEqual(ROW);
  });

  test('rows of version 2: how far scrubbing came', () => {
    const scrub = { ...NO_SCRUB, startedAtMs: 5, position: 7, damaged: [[9, 'changed']] as const };
    const row = { ...POOL_ROW, version: 2, scrub };
    const json = `${POOL_ROW_JSON.slice(0, -1).replace('"version":1', '"version":2')},"scrub":{"startedAtMs":5,"position":7,"verified":0,"sealed":0,"completedAtMs":0,"completed":0,"sealedAtMs":0,"damaged":[[9,"changed"]]}}`;
    const bytes = encodeRow(row);
    expect(Buffer.from(bytes.subarray(4)).toString()).toBe(json);
    expect(decodePoolRow(bytes)).toEqual(row);
  });

  test('rows of seals and checksums', () => {
    const seals = new Seals(20_000);
    seals.begin(9_003);
    seals.finish(9_003, new Uint32Array(1000), 0x01020304);
    seals.capture();
    while (seals.encodeSome(1));
    const [seal, checksums] = seals.takeCaptured();
    expect([seal?.table, seal?.key, checksums?.table, checksums?.key]).toEqual(['seals', 1, 'checksums', 9]);
    // Slot 9,003 is bit 3 of byte 125 of the row that begins with slot 8,000.
    expectBytes(seal!.value!, ['149d15a6', zeros(125), '08', zeros(874)]);
    expectBytes(checksums!.value!, ['4926df35', zeros(12), '04030201', zeros(4000 - 16)]);
    const read = new Seals(20_000);
    read.load([{ key: 1, value: seal!.value! }], []);
    expect([read.isStored(9_003), read.storedCount, decodeChecksumRow(checksums!.value!)?.[3]]).toEqual([true, 1, 0x01020304]);
  });

  test("sections of the engine's part of the shared memory", () => {
    expect(engineMemoryLayout({ ringUnits: RING_UNITS })).toEqual({
      ringOffset: 0,
      stagingOffset: 16_781_312,
      mergeOffset: 17_829_888,
      zeroOffset: 18_092_032,
      totalBytes: 18_157_568,
    });
  });
});
