/**
 * Erasing: what a volume with the attribute `erase` wrote is overwritten with zeros before its space is free again, when the
 * volume and all that shared it let go of it, by whatever way: a deletion, a discard, an overwrite beside a snapshot.
 *
 * Invariants:
 * - a slot is marked when a record of an object that erases names it, in the checkpoint too: recovery marks again what the
 *   records after it say. So a death at any moment leaves marks, and the next start erases what is marked and unused. A slot
 *   that such an object shared with one that does not erase is named by a record before it is written in place (erase-first.ts);
 * - of the layers of a chunk all are marked or none, whoever has it: merges move bytes from one to the other;
 * - a marked slot that nobody refers to is free only when it was overwritten, and a checkpoint without its mark is durable
 *   (a checkpoint syncs the data first).
 */
import type { MetadataChange, MetadataRow } from './ports.ts';
import { NumberQueue } from './number-queue.ts';
import { SlotBitmap } from './slot-bitmap.ts';

export class Erasures {
  readonly #marks: SlotBitmap;
  #leavingCount = 0;
  /** A bit a slot: it is to be overwritten. A start may find a whole pool of them, at once. */
  readonly #waiting: Uint32Array;
  #waitingCount = 0;
  #cursor = 0;
  /** Those that could not be overwritten. */
  readonly #refused = new NumberQueue();
  /** Slots that were overwritten, and those whose mark the checkpoint under way takes off. */
  #written: number[] = [];
  #captured: readonly number[] = [];

  constructor(slots: number) {
    this.#marks = new SlotBitmap('erasures', slots);
    this.#waiting = new Uint32Array(Math.ceil(slots / 32));
  }

  /** Takes over what a checkpoint stores. Where a row is damaged everything is erased when it is left: that harms nobody. */
  load(rows: readonly MetadataRow[]): void {
    this.#marks.load(rows, { otherwise: 1 });
  }

  /** Slots that nobody refers to and that are not free yet. */
  get leavingCount(): number {
    return this.#leavingCount;
  }

  /** Slots that were overwritten and wait for the next checkpoint. */
  get writtenCount(): number {
    return this.#written.length;
  }

  get dirtyCount(): number {
    return this.#marks.dirtyCount;
  }

  has(slot: number): boolean {
    return this.#marks.has(slot);
  }

  /** The bits of `has` of 32 slots. */
  word(index: number): number {
    return this.#marks.word(index);
  }

  mark(slot: number): void {
    this.#marks.set(slot);
  }

  /** Nobody refers to the slot, for good. True when it has to be erased first; else it is free now. */
  leave(slot: number): boolean {
    if (!this.has(slot)) return false;
    this.leaveSome(slot >>> 5, 1 << (slot & 31));
    return true;
  }

  /** Nobody refers to these of 32 marked slots, for good: they have to be erased first. Returns how many they are. */
  leaveSome(index: number, bits: number): number {
    this.#waiting[index]! |= bits;
    let count = 0;
    for (let rest = bits; rest !== 0; rest &= rest - 1) count++;
    this.#leavingCount += count;
    this.#waitingCount += count;
    return count;
  }

  /** The next slot to overwrite, in the order of the disk; null when there is none. */
  next(): number | null {
    if (this.#waitingCount === 0) return this.#refused.length === 0 ? null : this.#refused.shift();
    while (this.#waiting[this.#cursor] === 0) this.#cursor = (this.#cursor + 1) % this.#waiting.length;
    const bits = this.#waiting[this.#cursor]!;
    const lowest = bits & -bits;
    this.#waiting[this.#cursor] = bits & ~lowest;
    this.#waitingCount--;
    return this.#cursor * 32 + 31 - Math.clz32(lowest);
  }

  /** The slot holds zeros now. */
  written(slot: number): void {
    this.#marks.clear(slot);
    this.#written.push(slot);
  }

  /** The slot could not be overwritten: it is tried again after the others. */
  failed(slot: number): void {
    this.#refused.push(slot);
  }

  /** A checkpoint begins: it stores what there is now. */
  capture(): void {
    this.#captured = this.#written;
    this.#written = [];
    this.#marks.capture();
  }

  /** Encodes some of what was captured; true while more is left. */
  encodeSome(limit: number): boolean {
    return this.#marks.encodeSome(limit) === 0;
  }

  /** The changes of the captured checkpoint; call when encodeSome has returned false. */
  takeCaptured(): MetadataChange[] {
    return this.#marks.takeCaptured();
  }

  /** The checkpoint is durable. Returns the slots that are free by that. */
  committed(): readonly number[] {
    const free = this.#captured;
    this.#captured = [];
    this.#leavingCount -= free.length;
    return free;
  }
}
