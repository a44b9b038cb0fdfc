/**
 * The record log on disk: a ring of 4 KiB blocks that is written only at flushes, in batches.
 *
 * Invariants: a block is written once a lap (but for a batch that a start takes out, see witness.ts), so a torn write can
 * only hurt a batch that nobody was told is durable; each batch names the checksum of the batch before it, so what an
 * older lap or a lost future left behind never continues the chain (but for a single bit that is wrong, see
 * batch-repair.ts); blocks from the last durable checkpoint's position on are never overwritten.
 *
 * A batch (docs/format.md, "Record log"): 64 bytes of header, then records, padded with zeros to whole blocks.
 */
import { crc32 } from 'node:zlib';
import { assert } from '../util/assert.ts';
import { type ExpectedBatch, repairBatch, resemblesBatch } from './batch-repair.ts';
import type { Disk } from './ports.ts';
import type { DiskCalls } from './disk-calls.ts';
import { STAGING_BYTES } from './memory-layout.ts';
import { newHead, RecordBuffer, RECORD_UNIT_BYTES } from './record.ts';
import type { RecordRing } from './record-ring.ts';
import { getNumber, putNumber } from './page.ts';

export const LOG_BLOCK_BYTES = 4096;
const BATCH_HEADER_BYTES = 64;
/** Requests wait while a batch is put together: records are checked, copied and summed up, a tenth of a millisecond for so many
 * bytes. Earlier versions wrote batches of up to STAGING_BYTES. */
const MOST_BATCH_BYTES = 128 * 1024;
const MAGIC = 0x68637462; // "btch"
const POOL_ID_BYTES = 26;

/** Where the log continues: block number since the pool's creation, and the checksum of the batch before it. */
export interface LogPosition {
  readonly block: number;
  readonly chain: number;
}

export interface RecordLogOptions {
  readonly disk: Disk;
  readonly calls: DiskCalls;
  readonly poolId: string;
  readonly memory: Uint8Array;
  /** Offset of the staging area in the shared memory. */
  readonly stagingOffset: number;
}

export class RecordLog {
  readonly #options: RecordLogOptions;
  readonly #staging: RecordBuffer;
  readonly #blocks: number;
  readonly #head = newHead();
  #start = 0;
  #end = 0;
  #chain = 0;
  /** Of a log that was read: where the last batch begins. */
  #beforeLast: LogPosition | null = null;

  constructor(options: RecordLogOptions) {
    this.#options = options;
    this.#blocks = Math.floor(options.disk.sizeBytes / LOG_BLOCK_BYTES);
    this.#staging = new RecordBuffer(options.memory.subarray(options.stagingOffset, options.stagingOffset + STAGING_BYTES));
  }

  /** Where the next batch goes. */
  get position(): LogPosition {
    return { block: this.#end, chain: this.#chain };
  }

  get usedBlocks(): number {
    return this.#end - this.#start;
  }

  get blocks(): number {
    return this.#blocks;
  }

  /** Nothing before this position is needed any more. */
  trim(position: LogPosition): void {
    assert(position.block >= this.#start && position.block <= this.#end, 'the log is trimmed forwards');
    this.#start = position.block;
  }

  /**
   * Writes the records from a ring position on, up to a sequence, as far as one batch reaches. `done` gets the position
   * and sequence that it reached, `null` when the log has no room (a checkpoint makes some), or an errno.
   */
  writeBatch(
    ring: RecordRing,
    from: number,
    upTo: number,
    done: (reached: { position: number; sequence: number } | null, errno: number) => void,
  ): void {
    const toLapEnd = this.#blocks - (this.#end % this.#blocks);
    const room = Math.min(this.#blocks - this.usedBlocks, toLapEnd, MOST_BATCH_BYTES / LOG_BLOCK_BYTES);
    const { length, position, first, last } = this.#stage(ring, from, { upTo, mostBytes: room * LOG_BLOCK_BYTES });
    if (first === 0) {
      // A record larger than what is left of the lap: pass over the rest of it with an empty batch.
      if (room >= 1 && room === toLapEnd && room < this.#blocks - this.usedBlocks) this.#seal(BATCH_HEADER_BYTES, 0, 0, room);
      else return done(null, 0);
    } else this.#seal(length, first, last, Math.ceil(length / LOG_BLOCK_BYTES));
    this.#write(
      () => done({ position, sequence: last }, 0),
      (errno) => done(null, errno),
    );
  }

  /** Puts the records from a ring position on into the staging area, behind the place of the header; `first` 0: none. */
  #stage(
    ring: RecordRing,
    from: number,
    options: { readonly upTo: number; readonly mostBytes: number },
  ): { readonly length: number; readonly position: number; readonly first: number; readonly last: number } {
    const head = this.#head;
    let length = BATCH_HEADER_BYTES;
    let position = from;
    let first = 0;
    let last = 0;
    // Records that lie in a row in the ring are copied as one.
    let runStart = 0;
    let runEnd = 0;
    const copyRun = (): void => {
      this.#staging.bytes.set(ring.buffer.bytes.subarray(runStart, runEnd), length - (runEnd - runStart));
    };
    for (let offset = ring.read(position, head); offset !== null && head.sequence <= options.upTo; offset = ring.read(position, head)) {
      const bytes = ring.buffer.view.getUint8(offset + 15) * RECORD_UNIT_BYTES;
      if (length + bytes > options.mostBytes) break;
      if (offset !== runEnd) {
        copyRun();
        runStart = offset;
      }
      runEnd = offset + bytes;
      length += bytes;
      position = (position + head.units) >>> 0;
      last = head.sequence;
      if (first === 0) first = last;
    }
    copyRun();
    return { length, position, first, last };
  }

  #sealedBlocks = 0;

  #seal(length: number, first: number, last: number, blocks: number): void {
    const { view, bytes } = this.#staging;
    bytes.fill(0, length, blocks * LOG_BLOCK_BYTES);
    bytes.fill(0, 0, BATCH_HEADER_BYTES);
    view.setUint32(4, this.#chain, true);
    view.setUint32(8, MAGIC, true);
    view.setUint32(12, length - BATCH_HEADER_BYTES, true);
    bytes.set(Buffer.from(this.#options.poolId, 'latin1').subarray(0, POOL_ID_BYTES), 16);
    putNumber(view, 42, first);
    putNumber(view, 48, last);
    putNumber(view, 54, this.#end);
    view.setUint16(60, blocks, true);
    view.setUint32(0, crc32(bytes.subarray(4, length)), true);
    this.#sealedBlocks = blocks;
  }

  #write(written: () => void, failed: (errno: number) => void): void {
    const blocks = this.#sealedBlocks;
    const at = (this.#end % this.#blocks) * LOG_BLOCK_BYTES;
    this.#chain = this.#staging.view.getUint32(0, true);
    this.#end += blocks;
    const tag = this.#options.calls.tag((result) => (result === blocks * LOG_BLOCK_BYTES ? written() : failed(result < 0 ? -result : 5)));
    this.#options.disk.write(at, blocks * LOG_BLOCK_BYTES, this.#options.stagingOffset, tag);
  }

  sync(done: (errno: number) => void): void {
    this.#options.disk.sync(this.#options.calls.tag((result) => done(result < 0 ? -result : 0)));
  }

  /**
   * Reads the log from a checkpoint's position along the chain until it breaks. `batch` is given each batch's records:
   * a buffer that is only valid during the call, and the range in it. Afterwards the log continues there.
   */
  recover(from: LogPosition, batch: (buffer: RecordBuffer, at: number, end: number) => void, done: (errno: number) => void): void {
    this.#start = from.block;
    this.#end = from.block;
    this.#chain = from.chain;
    this.#readWindow(batch, done);
  }

  /** Takes the last batch that `recover` found off the disk, durably. The log continues in its place. */
  eraseLast(done: (errno: number) => void): void {
    const before = this.#beforeLast;
    assert(before !== null, 'a batch was read');
    this.#staging.bytes.fill(0, 0, LOG_BLOCK_BYTES);
    const tag = this.#options.calls.tag((result) => {
      if (result !== LOG_BLOCK_BYTES) return done(result < 0 ? -result : 5);
      this.#end = before.block;
      this.#chain = before.chain;
      this.#beforeLast = null;
      this.sync(done);
    });
    this.#options.disk.write((before.block % this.#blocks) * LOG_BLOCK_BYTES, LOG_BLOCK_BYTES, this.#options.stagingOffset, tag);
  }

  #readWindow(batch: (buffer: RecordBuffer, at: number, end: number) => void, done: (errno: number) => void): void {
    const first = this.#end;
    const blocks = Math.min(STAGING_BYTES / LOG_BLOCK_BYTES, this.#blocks - (first % this.#blocks));
    const parse = (): void => {
      for (;;) {
        const within = this.#end - first;
        if (this.usedBlocks >= this.#blocks) return done(0);
        if (within >= blocks) return this.#readWindow(batch, done);
        const at = within * LOG_BLOCK_BYTES;
        const end = blocks * LOG_BLOCK_BYTES;
        let length = this.#validBatch(at, end);
        if (length < 0) {
          const expected = this.#expected(end);
          // One that may reach over the window is looked at again where it is the first.
          if (within > 0 && resemblesBatch(this.#staging, at, expected)) return this.#readWindow(batch, done);
          if (repairBatch(this.#staging, at, expected)) length = this.#validBatch(at, end);
        }
        if (length < 0) return done(0);
        this.#beforeLast = this.position;
        this.#chain = this.#staging.view.getUint32(at, true);
        this.#end += this.#staging.view.getUint16(at + 60, true);
        batch(this.#staging, at + BATCH_HEADER_BYTES, at + BATCH_HEADER_BYTES + length);
      }
    };
    const tag = this.#options.calls.tag((result) => (result === blocks * LOG_BLOCK_BYTES ? parse() : done(result < 0 ? -result : 5)));
    this.#options.disk.read((first % this.#blocks) * LOG_BLOCK_BYTES, blocks * LOG_BLOCK_BYTES, this.#options.stagingOffset, tag);
  }

  /** What the next batch of the chain has in its header, if it ends before `end`. */
  #expected(end: number): ExpectedBatch {
    const { view } = this.#staging;
    const expected = new RecordBuffer(new Uint8Array(BATCH_HEADER_BYTES));
    expected.view.setUint32(4, this.#chain, true);
    expected.view.setUint32(8, MAGIC, true);
    expected.bytes.set(Buffer.from(this.#options.poolId, 'latin1').subarray(0, POOL_ID_BYTES), 16);
    putNumber(expected.view, 54, this.#end);
    const known = [
      { offset: 4, length: 8 },
      { offset: 16, length: POOL_ID_BYTES },
      { offset: 54, length: 6 },
    ].map(({ offset, length }) => ({ offset, bytes: expected.bytes.subarray(offset, offset + length) }));
    const unknown = [
      { offset: 0, length: 4 },
      { offset: 12, length: 4 },
      { offset: 42, length: 12 },
      { offset: 60, length: 4 },
    ];
    const lengthOf = (from: number): number | null => {
      const length = view.getUint32(from + 12, true);
      const blocks = view.getUint16(from + 60, true);
      const fits = blocks > 0 && BATCH_HEADER_BYTES + length <= blocks * LOG_BLOCK_BYTES && from + blocks * LOG_BLOCK_BYTES <= end;
      return fits ? length : null;
    };
    return { headerBytes: BATCH_HEADER_BYTES, known, unknown, lengthOf };
  }

  /** Payload bytes of the batch that continues the chain at `at`; -1 when there is none, -2 when it reaches over `end`. */
  #validBatch(at: number, end: number): number {
    const { view, bytes } = this.#staging;
    if (view.getUint32(at + 8, true) !== MAGIC || view.getUint32(at + 4, true) !== this.#chain || getNumber(view, at + 54) !== this.#end)
      return -1;
    const pool = Buffer.from(bytes.buffer, bytes.byteOffset + at + 16, POOL_ID_BYTES).toString('latin1');
    const length = view.getUint32(at + 12, true);
    const blocks = view.getUint16(at + 60, true);
    if (
      pool !== this.#options.poolId ||
      blocks === 0 ||
      blocks * LOG_BLOCK_BYTES < BATCH_HEADER_BYTES + length ||
      blocks > STAGING_BYTES / LOG_BLOCK_BYTES
    )
      return -1;
    if (at + blocks * LOG_BLOCK_BYTES > end) return -2;
    return crc32(bytes.subarray(at + 4, at + BATCH_HEADER_BYTES + length)) === view.getUint32(at, true) ? length : -1;
  }
}
