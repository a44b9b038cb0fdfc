/**
 * Seals: which slots have a checksum, so that a scrub can tell whether the disk still returns what was written.
 *
 * Invariants:
 * - a sealed slot is never written, and not free. It stays sealed until a checkpoint that stores no seal of it is durable. So
 *   a seal on disk is right after every crash, and no record has to speak of it;
 * - a seal is stored by the same transaction as its checksum, and after a sync of the data that it was computed from.
 *
 * A slot counts as sealed from the moment when its checksum is asked for (`begin`): no write chooses it from then on, those
 * under way end, and then it is read. The checksums themselves are on disk only, a row a group of slots (docs/format.md).
 */
import { crc32 } from 'node:zlib';
import { assert } from '../util/assert.ts';
import { NumberQueue } from './number-queue.ts';
import type { MetadataChange, MetadataRow } from './ports.ts';
import { closeRow, openRow, SlotBitmap } from './slot-bitmap.ts';

/** Slots whose checksums stand in one row. */
export const SLOTS_A_CHECKSUM_ROW = 1000;
/** Slots whose seals come off in one slice. */
const SLOTS_A_SLICE = 2048;

/** Damaged slots that are remembered one by one: with as many, there may be more. */
export const DAMAGE_LIMIT = 1000;

/** What a scrub found: the bytes do not equal the checksum, or the disk does not return them. */
export type Damage = 'changed' | 'unreadable';

export class Seals {
  /** A bit a slot: not to be written. */
  readonly #sealed: Uint32Array;
  /** A bit a slot: its seal is on its way off. */
  readonly #open: Uint32Array;
  /** A bit a slot: so it is, and nobody refers to the slot. */
  readonly #left: Uint32Array;
  /** A bit a slot: its checksum stands in a row, here or on disk. */
  readonly #stored: SlotBitmap;
  readonly #slots: number;
  /** Rows of checksums that the next checkpoint stores, and those that one under way does. */
  #dirtyRows = new Map<number, Uint32Array>();
  #capturedRows: ReadonlyMap<number, Uint32Array> = new Map();
  /** What the checkpoint under way stores and is not encoded yet: who changes it first encodes it before. */
  readonly #pendingRows = new Set<number>();
  #encoded: MetadataChange[] = [];
  /** Slots whose seal the next checkpoint takes off, those of the checkpoint under way, and those of durable ones. */
  #opening = new NumberQueue();
  #captured = new NumberQueue();
  readonly #off: NumberQueue[] = [];
  #leavingCount = 0;
  /** Sealed slots that a scrub found damaged. */
  readonly damaged = new Map<number, Damage>();

  constructor(slots: number) {
    this.#slots = slots;
    this.#sealed = new Uint32Array(Math.ceil(slots / 32));
    this.#open = new Uint32Array(this.#sealed.length);
    this.#left = new Uint32Array(this.#sealed.length);
    this.#stored = new SlotBitmap('seals', slots);
  }

  /**
   * Takes over what a checkpoint stores. A row that is damaged counts as none, and is stored anew by the next checkpoint:
   * its slots have no checksum then, and get one by the next pass.
   */
  load(rows: readonly MetadataRow[], damaged: readonly (readonly [number, Damage])[]): void {
    this.#stored.load(rows, { otherwise: 0 });
    for (let word = 0; word < this.#sealed.length; word++) this.#sealed[word] = this.#stored.word(word);
    for (const [slot, damage] of damaged) {
      if (slot >= this.#slots) continue;
      setBit(this.#sealed, slot);
      this.damaged.set(slot, damage);
    }
  }

  /** The slot is not to be written. */
  has(slot: number): boolean {
    return hasBit(this.#sealed, slot);
  }

  /** The slot has a checksum. */
  isStored(slot: number): boolean {
    return this.#stored.has(slot);
  }

  /** The slot's seal is on its way off. */
  isOpening(slot: number): boolean {
    return hasBit(this.#open, slot);
  }

  /** The bits of `has` of 32 slots. */
  word(index: number): number {
    return this.#sealed[index]!;
  }

  /** Slots that have a checksum. */
  get storedCount(): number {
    return this.#stored.count;
  }

  /** Slots that nobody refers to and that become free with the next checkpoints. */
  get leavingCount(): number {
    return this.#leavingCount;
  }

  /** Slots whose seal the next checkpoint takes off. */
  get openingCount(): number {
    return this.#opening.length;
  }

  /** Rows that the next checkpoint has to store. */
  get dirtyCount(): number {
    return this.#dirtyRows.size + this.#stored.dirtyCount;
  }

  /** No write chooses the slot from now on. Somebody refers to it. */
  begin(slot: number): void {
    setBit(this.#sealed, slot);
  }

  /** The checksum of a sealed slot is known: it comes into `row`, which holds those of its group. */
  finish(slot: number, row: Uint32Array, checksum: number): void {
    assert(this.has(slot) && !this.isOpening(slot), 'a checksum is of a sealed slot');
    const number = Math.floor(slot / SLOTS_A_CHECKSUM_ROW);
    if (this.#pendingRows.has(number)) this.#encodeRow(number);
    row[slot % SLOTS_A_CHECKSUM_ROW] = checksum;
    this.damaged.delete(slot);
    this.#dirtyRows.set(number, row);
    this.#stored.set(slot);
  }

  /** What the disk has as the checksums of a group is damaged: its slots stay sealed, and get new ones. */
  forgetChecksums(row: number): void {
    for (let slot = row * SLOTS_A_CHECKSUM_ROW; slot < (row + 1) * SLOTS_A_CHECKSUM_ROW && slot < this.#slots; slot++)
      this.#stored.clear(slot);
  }

  /** Nobody refers to the slot, for good. True when it has to wait for a checkpoint; else it is free now. */
  leave(slot: number): boolean {
    if (!this.has(slot)) return false;
    this.open(slot);
    if (!this.has(slot)) return false;
    setBit(this.#left, slot);
    this.#leavingCount++;
    return true;
  }

  /** A volume alone has the slot, and wants to write it: that can be when the next checkpoint is durable, or now. */
  open(slot: number): void {
    const wasDamaged = this.damaged.delete(slot);
    if (this.isOpening(slot)) return;
    if (!this.#stored.clear(slot) && !wasDamaged) return clearBit(this.#sealed, slot);
    // Damage stands on disk by itself too: who has the slot next would be called damaged after a crash.
    this.#stored.touch(slot);
    setBit(this.#open, slot);
    this.#opening.push(slot);
  }

  /** Checksums of a group that are not on disk yet; undefined: what the disk has is right. */
  row(group: number): Uint32Array | undefined {
    return this.#dirtyRows.get(group) ?? this.#capturedRows.get(group);
  }

  /** A checkpoint begins: it stores what there is now. */
  capture(): void {
    assert(this.#captured.length === 0 && this.#encoded.length === 0, 'one checkpoint at a time');
    this.#stored.capture();
    this.#capturedRows = this.#dirtyRows;
    for (const number of this.#capturedRows.keys()) this.#pendingRows.add(number);
    this.#dirtyRows = new Map();
    this.#captured = this.#opening;
    this.#opening = new NumberQueue();
  }

  /** Encodes some of what was captured; true while more is left. */
  encodeSome(limit: number): boolean {
    let left = this.#stored.encodeSome(limit);
    if (left === 0) return true;
    for (const number of this.#pendingRows) {
      if (left-- === 0) return true;
      this.#encodeRow(number);
    }
    return false;
  }

  /** The changes of the captured checkpoint; call when encodeSome has returned false. */
  takeCaptured(): MetadataChange[] {
    const changes = [...this.#stored.takeCaptured(), ...this.#encoded];
    this.#encoded = [];
    return changes;
  }

  /** The checkpoint is durable. */
  committed(): void {
    if (this.#captured.length > 0) this.#off.push(this.#captured);
    this.#captured = new NumberQueue();
    this.#capturedRows = new Map();
  }

  /** Takes some of the seals off that durable checkpoints do not store any more. Returns the slots that are free by that;
   * null when nothing is left to do. */
  takeOff(): readonly number[] | null {
    const queue = this.#off[0];
    if (queue === undefined) return null;
    const free: number[] = [];
    for (let count = 0; count < SLOTS_A_SLICE && queue.length > 0; count++) {
      const slot = queue.shift();
      clearBit(this.#sealed, slot);
      clearBit(this.#open, slot);
      if (!hasBit(this.#left, slot)) continue;
      clearBit(this.#left, slot);
      free.push(slot);
    }
    this.#leavingCount -= free.length;
    if (queue.length === 0) this.#off.shift();
    return free;
  }

  #encodeRow(number: number): void {
    this.#pendingRows.delete(number);
    this.#encoded.push({ table: 'checksums', key: number, value: encodeChecksumRow(this.#capturedRows.get(number)!) });
  }
}

function hasBit(bits: Uint32Array, slot: number): boolean {
  return ((bits[slot >>> 5]! >>> (slot & 31)) & 1) === 1;
}

function setBit(bits: Uint32Array, slot: number): void {
  bits[slot >>> 5]! |= 1 << (slot & 31);
}

function clearBit(bits: Uint32Array, slot: number): void {
  bits[slot >>> 5]! &= ~(1 << (slot & 31));
}

/** The checksum of what a slot holds: CRC-32 over the whole chunk, granules that nobody refers to included. */
export function checksumOfChunk(bytes: Uint8Array): number {
  return crc32(bytes);
}

/** The checksums of a group; null when the row is damaged or missing. */
export function decodeChecksumRow(value: Uint8Array | null): Uint32Array | null {
  const bytes = value === null ? null : openRow(value, SLOTS_A_CHECKSUM_ROW * 4);
  if (bytes === null) return null;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  return Uint32Array.from({ length: SLOTS_A_CHECKSUM_ROW }, (_, index) => view.getUint32(index * 4, true));
}

function encodeChecksumRow(values: Uint32Array): Uint8Array {
  const bytes = new Uint8Array(values.length * 4);
  const view = new DataView(bytes.buffer);
  for (let index = 0; index < values.length; index++) view.setUint32(index * 4, values[index]!, true);
  return closeRow(bytes);
}
