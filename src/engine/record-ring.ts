/**
 * The records since the last checkpoint, in memory that survives the death of the process.
 *
 * Invariants: a record counts once the tail stands behind it, and the tail is published last, so a kill at any
 * instruction leaves whole records only; nothing between head and tail is ever overwritten; the head moves only when a
 * durable checkpoint contains what it passes.
 *
 * Layout (docs/format.md, "Shared memory"): a page with the header, then units of 64 bytes, a power of two of them.
 * Positions count units without end modulo 2^32. A record never wraps: a skip record fills the rest of the last lap.
 */
import { assert } from '../util/assert.ts';
import { StoreError } from '../util/errors.ts';
import { newHead, readControl, readHead, RecordBuffer, RecordKind, type RecordHead, RECORD_UNIT_BYTES } from './record.ts';

const MAGIC = 0x676e6972; // "ring"
const VERSION = 1;
export const RING_HEADER_BYTES = 4096;
const TEXT_BYTES = 32;

const FIELD = { magic: 0, version: 1, capacity: 2, head: 3, tail: 4, base: 5 } as const; // 32-bit words
const AT = { pool: 32, lives: 64 } as const; // bytes

export class RecordRing {
  readonly buffer: RecordBuffer;
  readonly #words: Int32Array;
  readonly #bytes: Uint8Array;
  readonly #capacity: number;

  /** @param bytes the engine's part of the shared memory from the ring on; 4-byte aligned */
  constructor(bytes: Uint8Array, capacityUnits: number) {
    assert((capacityUnits & (capacityUnits - 1)) === 0, 'the capacity is a power of two');
    assert(bytes.length >= RING_HEADER_BYTES + capacityUnits * RECORD_UNIT_BYTES, 'the ring fits into its memory');
    this.#bytes = bytes;
    this.#words = new Int32Array(bytes.buffer, bytes.byteOffset, RING_HEADER_BYTES / 4);
    this.#capacity = capacityUnits;
    this.buffer = new RecordBuffer(bytes.subarray(RING_HEADER_BYTES, RING_HEADER_BYTES + capacityUnits * RECORD_UNIT_BYTES));
  }

  /** Fails when another version of this program has laid out what is there. Only looks: somebody may be using it. */
  demandKnownLayout(): void {
    if (Atomics.load(this.#words, FIELD.magic) !== MAGIC) return;
    if (this.#words[FIELD.version] === VERSION && this.#words[FIELD.capacity] === this.#capacity) return;
    throw new StoreError(
      'failed-precondition',
      'the shared memory was laid out by another version of this program; stop that one in order, so that it writes a checkpoint',
    );
  }

  /**
   * Whether it continues this pool as the disk has it: then its records were acknowledged and must be replayed. It does
   * when the disk's last life is the one before the ring's first record, or one that a record of the ring began.
   */
  belongsTo(poolId: string, life: string): boolean {
    if (Atomics.load(this.#words, FIELD.magic) !== MAGIC || this.#text(AT.pool) !== poolId) return false;
    this.demandKnownLayout();
    if (this.usedUnits > this.#capacity) throw damagedRing('it holds more than it has room for');
    return this.#baseLife === life || this.#beginsLife(life);
  }

  /** Empties it for a pool. `life` is the one before its first record. It counts from `publish` on. */
  initialize(poolId: string, life: string): void {
    this.forget();
    this.#setText(AT.pool, poolId);
    this.#words[FIELD.base] = 0;
    this.#setText(AT.lives, life);
    this.#words[FIELD.version] = VERSION;
    this.#words[FIELD.capacity] = this.#capacity;
    this.#words[FIELD.head] = 0;
    this.#words[FIELD.tail] = 0;
  }

  /** It holds everything since the checkpoint: a successor may believe it. */
  publish(): void {
    Atomics.store(this.#words, FIELD.magic, MAGIC);
  }

  /** It belongs to no pool any more. */
  forget(): void {
    Atomics.store(this.#words, FIELD.magic, 0);
  }

  /** Of the last record that is more than the beginning of a life; 0: none. */
  lastChange(): number {
    const head = newHead();
    let last = 0;
    for (const at of this.records(head)) if (this.#lifeAt(at, head) === null) last = head.sequence;
    return last;
  }

  /** A durable checkpoint has this life; call before the records up to there are trimmed. Two places take turns, so that a
   * kill leaves the old one or the new one. */
  rebase(life: string): void {
    if (this.#baseLife === life) return;
    const other = 1 - this.#words[FIELD.base]!;
    this.#setText(AT.lives + other * TEXT_BYTES, life);
    Atomics.store(this.#words, FIELD.base, other);
  }

  get #baseLife(): string {
    return this.#text(AT.lives + this.#words[FIELD.base]! * TEXT_BYTES);
  }

  #beginsLife(life: string): boolean {
    const head = newHead();
    for (const at of this.records(head)) if (this.#lifeAt(at, head) === life) return true;
    return false;
  }

  /** The life that a record begins, if it does. */
  #lifeAt(at: number, head: RecordHead): string | null {
    if (head.kind !== RecordKind.control) return null;
    const change = readControl(this.buffer, at);
    return change.change === 'life' ? change.life : null;
  }

  get head(): number {
    return this.#words[FIELD.head]! >>> 0;
  }

  get tail(): number {
    return this.#words[FIELD.tail]! >>> 0;
  }

  get capacityUnits(): number {
    return this.#capacity;
  }

  get usedUnits(): number {
    return (this.tail - this.head) >>> 0;
  }

  get freeUnits(): number {
    return this.#capacity - this.usedUnits;
  }

  /** Byte offset in `buffer` where a record of `units` can be written; publish it with `append`. */
  place(units: number): number {
    let tail = this.tail;
    const room = this.#capacity - (tail & (this.#capacity - 1));
    if (room < units) {
      const at = (tail & (this.#capacity - 1)) * RECORD_UNIT_BYTES;
      this.buffer.view.setUint8(at + 14, RecordKind.skip);
      tail = (tail + room) >>> 0;
      assert(((tail - this.head) >>> 0) + units <= this.#capacity, 'room in the ring is checked before a request starts');
      Atomics.store(this.#words, FIELD.tail, tail | 0);
    }
    assert(this.usedUnits + units <= this.#capacity, 'room in the ring is checked before a request starts');
    return (tail & (this.#capacity - 1)) * RECORD_UNIT_BYTES;
  }

  /** The record written at the place is whole: it counts from now on. */
  append(units: number): void {
    Atomics.store(this.#words, FIELD.tail, (this.tail + units) | 0);
  }

  /** A durable checkpoint contains everything before `position`. */
  trim(position: number): void {
    assert((position - this.head) >>> 0 <= this.usedUnits, 'the ring is trimmed forwards');
    Atomics.store(this.#words, FIELD.head, position | 0);
  }

  /**
   * The record at a position: its byte offset, with `head` filled; the next position is `position + head.units`. At the
   * end of a lap the skip is passed over: then `head.units` covers both. Null at the tail.
   */
  read(position: number, head: RecordHead): number | null {
    let at = position;
    if (at === this.tail) return null;
    let skipped = 0;
    if (this.buffer.view.getUint8((at & (this.#capacity - 1)) * RECORD_UNIT_BYTES + 14) === RecordKind.skip) {
      skipped = this.#capacity - (at & (this.#capacity - 1));
      if ((this.tail - at) >>> 0 < skipped) throw damagedRing('a gap reaches over its end');
      at = (at + skipped) >>> 0;
      if (at === this.tail) return null;
    }
    const offset = (at & (this.#capacity - 1)) * RECORD_UNIT_BYTES;
    if (!readHead(this.buffer, offset, this.buffer.bytes.length, head)) {
      throw damagedRing('the checksum of a record does not match');
    }
    // Whoever reads on from record to record would miss the tail, and go round for ever.
    if ((this.tail - at) >>> 0 < head.units) throw damagedRing('a record reaches over its end');
    head.units += skipped;
    return offset;
  }

  /** The byte offsets of all records, oldest first, each with `head` filled as `read` fills it. */
  *records(head: RecordHead): Generator<number, void, undefined> {
    let position = this.head;
    for (let at = this.read(position, head); at !== null; at = this.read(position, head)) {
      position = (position + head.units) >>> 0;
      yield at;
    }
  }

  #text(at: number): string {
    const bytes = this.#bytes.subarray(at, at + TEXT_BYTES);
    const end = bytes.indexOf(0);
    return Buffer.from(bytes.subarray(0, end < 0 ? bytes.length : end)).toString('latin1');
  }

  #setText(at: number, text: string): void {
    assert(text.length <= TEXT_BYTES, 'identifiers have at most 32 characters');
    this.#bytes.fill(0, at, at + TEXT_BYTES);
    this.#bytes.set(Buffer.from(text, 'latin1'), at);
  }
}

function damagedRing(how: string): StoreError {
  return new StoreError('data-loss', `the record ring in shared memory is damaged: ${how}`);
}
