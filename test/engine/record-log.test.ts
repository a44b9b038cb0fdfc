/** The record log over a disk that holds, reorders and tears what was not synced. */
import { beforeEach, describe, expect, test } from '@jest/globals';
import { DiskCalls } from '../../src/engine/disk-calls.ts';
import { STAGING_BYTES } from '../../src/engine/memory-layout.ts';
import { type RecordHead, RecordKind, readHead, RECORD_UNIT_BYTES, seal, writeHead } from '../../src/engine/record.ts';
import { LOG_BLOCK_BYTES, type LogPosition, RecordLog } from '../../src/engine/record-log.ts';
import { RecordRing, RING_HEADER_BYTES } from '../../src/engine/record-ring.ts';
import { SeededRandom } from '../support/seeded-random.ts';
import { SimulatedDisk } from '../support/simulated-disk.ts';

const POOL_ID = 'p'.repeat(26);
const BLOCKS = 8;
const RING_UNITS = 1024;
/** Units of records of which one fills a block, two blocks and almost four. */
const UNITS = { small: 1, block: 63, two: 127, large: 193 } as const;
const START: LogPosition = { block: 0, chain: 0 };

let disk: SimulatedDisk;
let memory: Uint8Array;
let ring: RecordRing;
let sequence: number;
/** Ring position behind the last record that a batch has, and its sequence. */
let logged: { position: number; sequence: number };
let log: RecordLog;

beforeEach(() => {
  memory = new Uint8Array(STAGING_BYTES);
  disk = new SimulatedDisk({
    name: 'log',
    sizeBytes: BLOCKS * LOG_BLOCK_BYTES,
    memory,
    random: new SeededRandom(1),
    initialByte: 0,
  });
  ring = new RecordRing(new Uint8Array(RING_HEADER_BYTES + RING_UNITS * RECORD_UNIT_BYTES), RING_UNITS);
  ring.initialize(POOL_ID, 'life');
  ring.publish();
  sequence = 0;
  logged = { position: 0, sequence: 0 };
  log = open();
});

function open(poolId = POOL_ID): RecordLog {
  const calls = new DiskCalls();
  return new RecordLog({ disk: disk.open((tag, result) => calls.completed(tag, result)), calls, poolId, memory, stagingOffset: 0 });
}

/** A record in the ring; `mark` makes two of one sequence differ. */
function record(units: number, mark = 1): void {
  const at = ring.place(units);
  const head: RecordHead = { sequence: ++sequence, kind: RecordKind.trim, units, objectNumber: mark, incarnation: 1 };
  ring.buffer.bytes.fill(0x5a, at, at + units * RECORD_UNIT_BYTES);
  writeHead(ring.buffer, at, head, 0);
  seal(ring.buffer, at, units, 0);
  ring.append(units);
}

function finishAll(): void {
  while (disk.pending > 0) disk.finish(0);
}

/** Writes batches until everything is in the log; false when it has no room. The last write is left to the caller. */
function writeAll(options: { readonly complete: boolean } = { complete: true }): boolean {
  while (logged.sequence < sequence) {
    let full = false;
    log.writeBatch(ring, logged.position, sequence, (reached, errno) => {
      expect(errno).toBe(0);
      if (reached === null) full = true;
      else if (reached.sequence > logged.sequence) logged = reached;
    });
    if (full) return false;
    if (!options.complete) return true;
    finishAll();
    if (full) return false;
  }
  return true;
}

function sync(): void {
  log.sync((errno) => expect(errno).toBe(0));
  finishAll();
}

/** The records behind a position as a new process finds them, as `sequence` or `sequence/mark`. */
function recovered(from: LogPosition, poolId = POOL_ID): { readonly log: RecordLog; readonly records: string[] } {
  const found = open(poolId);
  const records: string[] = [];
  const head: RecordHead = { sequence: 0, kind: 0, units: 0, objectNumber: 0, incarnation: 0 };
  let over = false;
  found.recover(
    from,
    (buffer, first, end) => {
      for (let at = first; readHead(buffer, at, end, head); at += head.units * RECORD_UNIT_BYTES)
        records.push(head.objectNumber === 1 ? String(head.sequence) : `${head.sequence}/${head.objectNumber}`);
    },
    (errno) => {
      expect(errno).toBe(0);
      over = true;
    },
  );
  finishAll();
  expect(over).toBe(true);
  return { log: found, records };
}

function numbers(from: number, to: number): string[] {
  return Array.from({ length: to - from + 1 }, (_, index) => String(from + index));
}

describe('the record log', () => {
  test('gives back what was written, in order, and goes on where it ends', () => {
    for (const units of [UNITS.small, UNITS.block, UNITS.small, UNITS.two]) {
      record(units);
      writeAll();
    }
    const { log: successor, records } = recovered(START);
    expect(records).toEqual(['1', '2', '3', '4']);
    expect(successor.position).toEqual(log.position);
    expect(successor.usedBlocks).toBe(5);
  });

  test('takes the records that are there, up to the sequence asked for, into one batch', () => {
    for (let count = 0; count < 5; count++) record(UNITS.small);
    log.writeBatch(ring, 0, 3, (reached) => void (logged = reached!));
    finishAll();
    expect(logged.sequence).toBe(3);
    expect(log.usedBlocks).toBe(1);
    expect(recovered(START).records).toEqual(['1', '2', '3']);
  });

  test('goes round many laps, passing over the end of each where a record does not fit', () => {
    const random = new SeededRandom(7);
    for (let turn = 0; turn < 120; turn++) {
      const before = log.position;
      const first = sequence + 1;
      const count = random.between(1, 3);
      for (let index = 0; index < count; index++) record(random.pick([UNITS.small, UNITS.block, UNITS.two, UNITS.large]));
      if (!writeAll()) {
        // A checkpoint makes room; what it contains need not be found again.
        log.trim(log.position);
        expect(writeAll()).toBe(true);
      } else expect(recovered(before).records).toEqual(numbers(first, sequence));
      log.trim(log.position);
      ring.trim(logged.position);
    }
    expect(log.position.block).toBeGreaterThan(10 * BLOCKS);
  });

  test('cuts what is much into batches that requests can wait for', () => {
    const [blocks, units] = [64, 4096];
    disk = new SimulatedDisk({ name: 'log', sizeBytes: blocks * LOG_BLOCK_BYTES, memory, random: new SeededRandom(1), initialByte: 0 });
    ring = new RecordRing(new Uint8Array(RING_HEADER_BYTES + units * RECORD_UNIT_BYTES), units);
    ring.initialize(POOL_ID, 'life');
    log = open();
    for (let count = 0; count < 15; count++) record(UNITS.large);
    log.writeBatch(ring, 0, sequence, (reached) => void (logged = reached!));
    finishAll();
    expect(log.usedBlocks).toBeLessThanOrEqual(32);
    writeAll();
    expect(recovered(START).records).toEqual(numbers(1, sequence));
  });

  test('never overwrites what was not trimmed', () => {
    for (let count = 0; count < BLOCKS; count++) {
      record(UNITS.block);
      expect(writeAll()).toBe(true);
    }
    record(UNITS.small);
    expect(writeAll()).toBe(false);
    expect(disk.pending).toBe(0);
    expect(recovered(START).records).toEqual(numbers(1, BLOCKS));
  });

  test('says what the disk said', () => {
    record(UNITS.small);
    disk.inject({ kind: 'write', skip: 0, times: 1, errno: 28 });
    let told = 0;
    log.writeBatch(ring, 0, 1, (_, errno) => void (told = errno));
    finishAll();
    expect(told).toBe(28);
  });

  test('of another pool is not believed', () => {
    record(UNITS.small);
    writeAll();
    expect(recovered(START, 'q'.repeat(26)).records).toEqual([]);
  });
});

describe('what a crash leaves in the log', () => {
  test('a torn batch ends the chain, and all before it counts', () => {
    record(UNITS.small);
    writeAll();
    sync();
    const end = log.position;
    record(UNITS.two);
    writeAll({ complete: false });
    // One of its two blocks reaches the disk.
    const bytes = memory.slice(0, LOG_BLOCK_BYTES);
    disk.powerLoss('lose');
    memory.set(bytes);
    disk.open(() => {}).write(LOG_BLOCK_BYTES, LOG_BLOCK_BYTES, 0, 0);
    finishAll();
    const { log: successor, records } = recovered(START);
    expect(records).toEqual(['1']);
    expect(successor.position).toEqual(end);
  });

  test('a batch torn within a block ends the chain', () => {
    let torn = 0;
    for (let seed = 1; seed <= 40; seed++) {
      disk = new SimulatedDisk({
        name: 'log',
        sizeBytes: BLOCKS * LOG_BLOCK_BYTES,
        memory,
        random: new SeededRandom(seed),
        initialByte: 0xdb,
      });
      log = open();
      ring.trim(ring.tail);
      logged = { position: ring.tail, sequence };
      record(UNITS.small);
      writeAll();
      sync();
      const first = sequence;
      record(UNITS.block);
      writeAll();
      disk.powerLoss('draw');
      const { records } = recovered(START);
      expect([[String(first)], numbers(first, first + 1)]).toContainEqual(records);
      if (records.length === 1) torn++;
    }
    expect(torn).toBeGreaterThan(5);
  });

  test('a later batch that reached the disk without the one before it does not count, nor after another one took its place', () => {
    record(UNITS.small);
    writeAll();
    sync();
    const afterFirst = { ...logged };
    record(UNITS.small, 2);
    writeAll();
    record(UNITS.small, 3);
    writeAll();
    // The power fails: of the two, only the third batch has reached the disk.
    const third = disk.peek(2 * LOG_BLOCK_BYTES, LOG_BLOCK_BYTES);
    disk.powerLoss('lose');
    memory.set(third);
    disk.open(() => {}).write(2 * LOG_BLOCK_BYTES, LOG_BLOCK_BYTES, 0, 0);
    finishAll();

    const first = recovered(START);
    expect(first.records).toEqual(['1']);
    // The successor writes another second batch in front of it.
    log = first.log;
    ring.trim(ring.tail);
    logged = { position: ring.tail, sequence: afterFirst.sequence };
    sequence = afterFirst.sequence;
    record(UNITS.small, 4);
    writeAll();
    expect(recovered(START).records).toEqual(['1', '2/4']);
  });

  test('batches of an earlier lap never continue the chain', () => {
    for (let count = 0; count < BLOCKS; count++) {
      record(UNITS.block);
      writeAll();
    }
    sync();
    log.trim(log.position);
    ring.trim(logged.position);
    const lap = log.position;
    expect(recovered(lap).records).toEqual([]);
    record(UNITS.small);
    writeAll();
    expect(recovered(lap).records).toEqual([String(BLOCKS + 1)]);
  });
});

describe('bits that are wrong in the log', () => {
  /** The log as a reader finds it with these bits of it changed. */
  function recoveredWith(bits: readonly number[]): string[] {
    const block = Math.floor(bits[0]! / 8 / LOG_BLOCK_BYTES) * LOG_BLOCK_BYTES;
    const sound = disk.peek(block, LOG_BLOCK_BYTES);
    const put = (bytes: Uint8Array): void => {
      memory.set(bytes);
      disk.open(() => {}).write(block, LOG_BLOCK_BYTES, 0, 0);
      finishAll();
    };
    const damaged = sound.slice();
    for (const bit of bits) damaged[(bit >> 3) - block]! ^= 1 << (bit & 7);
    put(damaged);
    const { records } = recovered(START);
    put(sound);
    return records;
  }

  beforeEach(() => {
    for (const units of [UNITS.small, UNITS.block, UNITS.two]) record(units);
    // A batch of one record each, the last one of two blocks.
    for (let upTo = 1; upTo <= 3; upTo++) {
      log.writeBatch(ring, logged.position, upTo, (reached) => void (logged = reached!));
      finishAll();
    }
  });

  test('one is mended, wherever it lies', () => {
    const used = [
      [0, 128],
      [LOG_BLOCK_BYTES, 2 * LOG_BLOCK_BYTES],
      [2 * LOG_BLOCK_BYTES, 4 * LOG_BLOCK_BYTES],
    ] as const;
    let cases = 0;
    for (const [from, to] of used) {
      for (let bit = from * 8; bit < to * 8; bit += bit < (from + 64) * 8 ? 1 : 29) {
        cases += 1;
        if (recoveredWith([bit]).join() !== '1,2,3') throw new Error(`bit ${bit} was not mended`);
      }
    }
    expect(cases).toBeGreaterThan(4_000);
  });

  test('two end the log there, and are not taken for something else', () => {
    for (let bit = LOG_BLOCK_BYTES * 8; bit < 2 * LOG_BLOCK_BYTES * 8 - 8_000; bit += 331)
      expect([bit, recoveredWith([bit, bit + 7_777])]).toEqual([bit, ['1']]);
  });
});
