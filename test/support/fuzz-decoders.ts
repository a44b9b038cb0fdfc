/**
 * Everything that is read from a disk, from shared memory or from another process, damaged: it is refused with a StoreError
 * that names the fault, or means something. With a checksum that was made right again, too, as a bug elsewhere, or somebody,
 * would leave it.
 */
import { crc32 } from 'node:zlib';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { decodeAnswer, decodeRequest, encodeMessage } from '../../src/block/keeper-protocol.ts';
import { checksum } from '../../src/engine/checksum.ts';
import { decodeObjectRow, decodePoolRow, encodeRow } from '../../src/engine/checkpoint-rows.ts';
import { DiskCalls } from '../../src/engine/disk-calls.ts';
import { Entry } from '../../src/engine/entry.ts';
import { FANOUT, granulesIn } from '../../src/engine/geometry.ts';
import { Journal } from '../../src/engine/journal.ts';
import { STAGING_BYTES } from '../../src/engine/memory-layout.ts';
import { decodeChecksumRow, Seals } from '../../src/engine/seals.ts';
import { type ObjectRow, StoredObject } from '../../src/engine/objects.ts';
import { decodePage, encodePage, InnerPage, isLeaf, LeafPage } from '../../src/engine/page.ts';
import { decodePoolHeader, encodePoolHeader } from '../../src/engine/pool-format.ts';
import {
  type ObjectDescription,
  readControl,
  readEntry,
  readWitness,
  RecordBuffer,
  RecordKind,
  RECORD_UNIT_BYTES,
  type Witness,
} from '../../src/engine/record.ts';
import { LOG_BLOCK_BYTES, RecordLog } from '../../src/engine/record-log.ts';
import { RecordRing, RING_HEADER_BYTES } from '../../src/engine/record-ring.ts';
import { readLogs, slotsNamed } from '../../src/engine/recovery.ts';
import { WitnessReader } from '../../src/engine/witness.ts';
import { FreezeNotes } from '../../src/mount/freeze-notes.ts';
import { poolSettings } from '../../src/roles/pool-settings.ts';
import { readPoolIdentity } from '../../src/store/pool/pool.ts';
import { SuccessionFile } from '../../src/store/succession/succession.ts';
import { StoreError } from '../../src/util/errors.ts';
import { silentLogger } from '../../src/util/log.ts';
import type { FuzzTarget } from './fuzz.ts';
import { damaged } from './hostile-values.ts';
import type { SeededRandom } from './seeded-random.ts';
import { SimulatedDisk } from './simulated-disk.ts';

const CASES_A_DECODER = 20;
const POOL_ID = 'p'.repeat(26);
const LIFE = 'b'.repeat(26);
const RING_UNITS = 64;
const LOG_BLOCKS = 16;
const CHUNK_BYTES = 65_536;
/** No decoder of a few KiB takes so long, unless it goes round and round. */
const LIMIT_MS = 10_000;

/** Reads bytes, damaged as `damage` does it; throws nothing but StoreErrors. */
type Decoder = (random: SeededRandom, bed: Bed) => void | Promise<void>;

interface Bed {
  readonly folder: string;
}

export function decoderFuzz(decoders: Readonly<Record<string, Decoder>> = DECODERS): FuzzTarget {
  return { testFile: 'test/engine/decoder-fuzz.test.ts', round: (random) => round(random, decoders) };
}

async function round(random: SeededRandom, decoders: Readonly<Record<string, Decoder>>): Promise<number> {
  const bed = { folder: fs.mkdtempSync(path.join(os.tmpdir(), 'chunkstore-decoders-')) };
  let cases = 0;
  try {
    for (const [name, decode] of Object.entries(decoders)) {
      for (let n = 0; n < CASES_A_DECODER; n++, cases++) {
        const startMs = performance.now();
        try {
          await decode(random, bed);
        } catch (error) {
          if (!(error instanceof StoreError)) throw new Error(`${name}, case ${n}: ${String(error)}`, { cause: error });
        }
        if (performance.now() - startMs > LIMIT_MS) throw new Error(`${name}, case ${n}: took more than ${LIMIT_MS} ms`);
      }
    }
    return cases;
  } finally {
    fs.rmSync(bed.folder, { recursive: true, force: true });
  }
}

const DESCRIPTION: ObjectDescription = {
  id: 'd'.repeat(26),
  kind: 'volume',
  name: 'data',
  sizeBytes: 1 << 20,
  createdAtMs: 1_800_000_000_000,
  sourceId: null,
  sourceKind: null,
  attributes: { fileSystem: 'ext4' },
};
const ROW: ObjectRow = { number: 16, incarnation: 32, lineage: 16, rootNumber: 77, rootLevel: 1, description: DESCRIPTION };
const POOL_ROW = {
  ...{ version: 1, poolId: POOL_ID, chunkSizeBytes: 65_536, sequence: 7, checksum: 8, log: { block: 9, chain: 10 } },
  ...{ nextPageNumber: 11, life: LIFE, reserve: [1, 2], prewrittenSlots: 4, dropped: [3] },
};

const DECODERS: Readonly<Record<string, Decoder>> = {
  'pool header': (random) => {
    const bytes = damaged(random, encodePoolHeader({ poolId: POOL_ID, chunkSizeBytes: 65_536 }));
    if (bytes.length >= 4_096 && random.chance(0.5)) bytes.writeUInt32LE(crc32(bytes.subarray(0, 4_092)), 4_092);
    decodePoolHeader(bytes, 'data');
  },
  page: (random) => {
    const bytes = damaged(random, encodePage(randomPage(random)));
    if (bytes.length > 4 && random.chance(0.7)) bytes.writeUInt32LE(crc32(bytes.subarray(4)), 0);
    const page = decodePage(5, bytes);
    const entry = new Entry();
    if (isLeaf(page)) for (let index = 0; index < FANOUT; index++) page.read(index, entry);
  },
  'checkpoint rows': (random) => {
    const isPool = random.chance(0.5);
    const row = encodeRow(isPool ? POOL_ROW : ROW);
    const bytes = random.chance(0.5) ? damaged(random, row) : damagedJson(random, row.subarray(4), 4);
    if (bytes.length >= 4 && random.chance(0.8)) bytes.writeUInt32LE(crc32(bytes.subarray(4)), 0);
    if (isPool) decodePoolRow(bytes);
    else new StoredObject(decodeObjectRow(bytes)).info();
  },
  'seals and checksums': (random) => {
    const seals = new Seals(20_000);
    const bytes = damaged(random, Buffer.alloc(random.pick([1_004, 4_004])));
    if (bytes.length >= 4 && random.chance(0.7)) bytes.writeUInt32LE(crc32(bytes.subarray(4)), 0);
    seals.load([{ key: random.pick([0, 1, 2, 3, 2 ** 40]), value: bytes }], [[random.below(2 ** 31), 'changed']]);
    for (let slot = 0; slot < 20_000; slot += 1) seals.leave(slot);
    seals.capture();
    seals.committed();
    decodeChecksumRow(bytes);
  },
  'records in shared memory': (random) => {
    const { bytes } = filledRing(random);
    damageRing(random, bytes);
    const ring = new RecordRing(bytes, RING_UNITS);
    const head = { sequence: 0, kind: 0, units: 0, objectNumber: 0, incarnation: 0 };
    if (!ring.belongsTo(POOL_ID, LIFE)) return;
    slotsNamed(ring, 0);
    const entry = new Entry();
    let position = ring.head;
    for (let at = ring.read(position, head); at !== null; at = ring.read(position, head)) {
      position = (position + head.units) >>> 0;
      if (head.kind === RecordKind.control) readControl(ring.buffer, at);
      if (head.kind === RecordKind.entry) readEntry(ring.buffer, at, entry);
      if (head.kind === RecordKind.witness) readWitness(ring.buffer, at);
    }
  },
  'record log': (random) => readDamagedLog(random),
  'pool.json': (random, { folder }) => {
    const value = { format: 'chunkstore pool', version: 1, id: POOL_ID, chunkSizeBytes: 65_536, dataBytes: 1 << 26, logBytes: 1 << 24 };
    write(path.join(folder, 'pool', 'pool.json'), random, value);
    readPoolIdentity(path.join(folder, 'pool'));
  },
  succession: (random, { folder }) => {
    write(path.join(folder, `${POOL_ID}.succession`), random, { version: 1, holder: 'a', promised: null, past: ['b'], kept: ['memory'] });
    const { past, kept } = new SuccessionFile({ folder, poolId: POOL_ID, log: silentLogger() }).read();
    if (![...past, ...kept].every((text) => typeof text === 'string')) throw new Error('it holds what is no text');
  },
  'freeze notes': async (random, { folder }) => {
    const notes = path.join(folder, 'notes');
    write(path.join(notes, 'volume'), random, { version: 1, bootId: 'another boot', devicePath: '/dev/loop123456', sequence: 5 });
    await new FreezeNotes({ folder: notes }).undo();
  },
  'settings of a pool': (random, { folder }) => {
    write(path.join(folder, 'settings', 'node'), random, { folder: 'fast/pool', size: '500GiB', chunkSize: '64KiB' });
    const root = path.join(folder, 'root');
    const flags = { pool: 'pool', size: '1GiB', chunkSize: null, root, settingsFolder: path.join(folder, 'settings'), node: 'node' };
    const settings = poolSettings(flags);
    if (!settings.folder.startsWith(`${root}/`)) throw new Error(`the pool is at ${settings.folder}`);
  },
  'packets of the keeper': (random) => {
    const message = random.pick([
      { type: 'hello', id: 1, version: 1, role: 'store', pool: POOL_ID, leaving: true },
      { type: 'put', id: 2, key: 'device/x', metadata: { connection: 1, readOnly: false } },
      { type: 'get', id: 3, key: 'device/x', places: [0, 1] },
      { type: 'list', id: 4, after: '' },
    ] as const);
    const bytes = encodeMessage(message);
    const packet = random.chance(0.5) ? damaged(random, bytes) : damagedJson(random, bytes, 0);
    decodeRequest(packet);
    decodeAnswer(packet);
  },
};

function randomPage(random: SeededRandom): LeafPage | InnerPage {
  if (random.chance(0.4)) {
    const page = new InnerPage(5, random.between(1, 3));
    for (let index = 0; index < FANOUT; index++) page.children[index] = random.chance(0.5) ? random.bits() : 0;
    return page;
  }
  const page = new LeafPage(5);
  for (let index = 0; index < FANOUT; index++) if (random.chance(0.5)) page.write(index, randomEntry(random));
  return page;
}

function randomEntry(random: SeededRandom): Entry {
  const entry = new Entry();
  const first = random.between(1, 1 << 30);
  const layers = random.pick([1, 1, 2, 2, 3, 16]);
  for (let layer = 0; layer < layers; layer++) entry.push(first + layer, 1 << layer);
  return entry;
}

/** A ring that has gone round, with records of each kind. */
function filledRing(random: SeededRandom): { readonly bytes: Uint8Array; readonly ring: RecordRing } {
  const bytes = new Uint8Array(RING_HEADER_BYTES + RING_UNITS * RECORD_UNIT_BYTES);
  const ring = new RecordRing(bytes, RING_UNITS);
  ring.initialize(POOL_ID, LIFE);
  ring.publish();
  const journal = new Journal(ring, { sequence: 0, checksum: 0 });
  const object = new StoredObject(ROW);
  for (let count = random.between(3, 60); count > 0; count--) {
    while (ring.freeUnits < 24) {
      const head = { sequence: 0, kind: 0, units: 0, objectNumber: 0, incarnation: 0 };
      ring.read(ring.head, head);
      ring.trim((ring.head + head.units) >>> 0);
    }
    const kind = random.below(5);
    if (kind === 4) journal.witness(randomWitness(random));
    else if (kind === 0) journal.trim(object, random.below(100), random.below(100));
    else if (kind === 1) journal.control({ change: 'create', object: DESCRIPTION });
    else journal.entry(object, random.below(100), randomEntry(random));
  }
  return { bytes, ring };
}

function randomWitness(random: SeededRandom): Witness {
  const mask = random.below(65_536);
  return { slot: random.below(20), mask, checksums: Array.from({ length: granulesIn(mask) }, () => random.bits()) };
}

function damageRing(random: SeededRandom, bytes: Uint8Array): void {
  const view = new DataView(bytes.buffer);
  for (let n = random.between(0, 3); n > 0; n--) {
    if (random.chance(0.4)) {
      const tail = view.getUint32(16, true);
      const value = random.pick([0, tail + 1, tail - 1, tail + RING_UNITS, tail + RING_UNITS - 1, tail - RING_UNITS, random.bits()]);
      view.setUint32(random.pick([12, 16, 16, 20]), value >>> 0, true);
    } else {
      const at = RING_HEADER_BYTES + RECORD_UNIT_BYTES * random.below(RING_UNITS) + random.below(RECORD_UNIT_BYTES);
      bytes[at] = random.bits();
    }
    reseal(random, bytes);
  }
}

/** Makes the checksums of some records right again. */
function reseal(random: SeededRandom, bytes: Uint8Array): void {
  const buffer = new RecordBuffer(bytes.subarray(RING_HEADER_BYTES));
  for (let unit = 0; unit < RING_UNITS; unit++) {
    const at = unit * RECORD_UNIT_BYTES;
    const end = at + buffer.bytes[at + 15]! * RECORD_UNIT_BYTES;
    if (end > at && end <= buffer.bytes.length && random.chance(0.8)) buffer.view.setUint32(at, checksum(buffer.bytes, at + 4, end), true);
  }
}

function readDamagedLog(random: SeededRandom): void {
  const memory = new Uint8Array(STAGING_BYTES);
  const disk = new SimulatedDisk({ name: 'log', sizeBytes: LOG_BLOCKS * LOG_BLOCK_BYTES, memory, random, initialByte: 0 });
  const open = (): RecordLog => {
    const calls = new DiskCalls();
    return new RecordLog({
      disk: disk.open((tag, result) => calls.completed(tag, result)),
      calls,
      poolId: POOL_ID,
      memory,
      stagingOffset: 0,
    });
  };
  const data = new SimulatedDisk({ name: 'data', sizeBytes: 10 * CHUNK_BYTES, memory, random });
  const dataCalls = new DiskCalls();
  const witnesses = new WitnessReader({
    data: data.open((tag, result) => dataCalls.completed(tag, result)),
    calls: dataCalls,
    memory,
    roomOffset: 0,
    chunkSizeBytes: CHUNK_BYTES,
  });
  const finish = (): void => {
    while (disk.pending > 0) disk.finish(0);
    while (data.pending > 0) data.finish(0);
  };
  const { bytes, ring } = filledRing(random);
  // What stands in a batch was written by somebody: now and then by somebody else.
  if (random.chance(0.5)) damageRing(random, bytes);
  const log = open();
  const first = { sequence: 0, kind: 0, units: 0, objectNumber: 0, incarnation: 0 };
  ring.read(ring.head, first);
  const sequence = first.sequence - 1;
  let position = ring.head;
  for (let batch = 0; batch < 4; batch++) {
    log.writeBatch(ring, position, sequence + random.between(1, 40), (reached) => {
      if (reached !== null && reached.sequence !== 0) position = reached.position;
    });
    finish();
  }
  const hurt = damaged(random, random.chance(0.5) ? Buffer.alloc(64) : Buffer.alloc(LOG_BLOCK_BYTES));
  if (random.chance(0.5)) overwrite(disk, memory, random, hurt);
  const found = new RecordRing(new Uint8Array(RING_HEADER_BYTES + 1_024 * RECORD_UNIT_BYTES), 1_024);
  let over = false;
  let failure: Error | null = null;
  const input = {
    log: open(),
    ring: found,
    poolId: POOL_ID,
    sequence,
    checksum: 0,
    life: LIFE,
    position: { block: 0, chain: 0 },
    witnesses,
  };
  readLogs(input, (error) => {
    over = true;
    failure = error;
  });
  finish();
  if (!over) throw new Error('reading the log never ended');
  if (failure !== null) throw failure as Error;
  slotsNamed(found, 0);
}

/** Puts bytes over whole blocks of the log, as a damaged disk would. */
function overwrite(disk: SimulatedDisk, memory: Uint8Array, random: SeededRandom, bytes: Uint8Array): void {
  memory.fill(0, 0, LOG_BLOCK_BYTES);
  memory.set(bytes.subarray(0, LOG_BLOCK_BYTES));
  const device = disk.open(() => {});
  device.write(random.below(4) * LOG_BLOCK_BYTES, LOG_BLOCK_BYTES, 0, 1);
  while (disk.pending > 0) disk.finish(0);
}

/** JSON whose bytes are sound, and whose values are not what they should be. */
function damagedJson(random: SeededRandom, json: Uint8Array, headBytes: number): Buffer {
  const value: unknown = JSON.parse(Buffer.from(json).toString());
  return Buffer.concat([Buffer.alloc(headBytes), Buffer.from(JSON.stringify(changedValue(random, value)) ?? '')]);
}

function changedValue(random: SeededRandom, value: unknown): unknown {
  if (typeof value !== 'object' || value === null || random.chance(0.1)) {
    return random.pick([null, -1, 1.5, 2 ** 53, '', 'x', '../../..', '\0', '/', 'a'.repeat(5_000), [], {}, [null], true, { length: 5 }]);
  }
  const copy = (Array.isArray(value) ? [...(value as unknown[])] : { ...value }) as Record<string, unknown>;
  const keys = Object.keys(copy);
  const key = keys.length === 0 ? '__proto__' : random.pick(keys);
  if (random.chance(0.3)) delete copy[key];
  else copy[key] = changedValue(random, copy[key]);
  if (random.chance(0.1)) copy['more'] = value;
  return copy;
}

function write(file: string, random: SeededRandom, value: object): void {
  const json = Buffer.from(JSON.stringify(value));
  fs.mkdirSync(path.dirname(file), { recursive: true });
  fs.rmSync(file, { recursive: true, force: true });
  const form = random.weighted({ folder: 1, nested: 1, file: 18 });
  if (form === 'folder') fs.mkdirSync(file);
  else if (form === 'nested') fs.writeFileSync(file, '['.repeat(random.pick([1_000, 60_000, 200_000])));
  else fs.writeFileSync(file, random.chance(0.5) ? damaged(random, json) : damagedJson(random, json, 0));
}
