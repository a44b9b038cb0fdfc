/**
 * How many leaf pages refer to each slot. Derived from the trees at every start, so it can never be wrong on disk.
 *
 * A byte a slot; the few counts of 255 and more stand in a table beside it. Until the background count is over only the
 * changes since the start are known: they are kept apart, signed, and added when the count ends.
 */
import { assert } from '../util/assert.ts';

const OVERFLOW = 255;

export class SlotCounts {
  readonly #counts: Uint8Array;
  readonly #overflow = new Map<number, number>();
  /** Changes since the start, while the count is under way. */
  #changes: Int16Array | null;
  #used = 0;

  constructor(slots: number) {
    this.#counts = new Uint8Array(slots);
    this.#changes = new Int16Array(slots);
  }

  get slots(): number {
    return this.#counts.length;
  }

  get counted(): boolean {
    return this.#changes === null;
  }

  /** Slots with at least one reference. Known once counted. */
  get used(): number {
    return this.#used;
  }

  /** References to a slot. Known once counted. */
  get(slot: number): number {
    assert(this.#changes === null, 'counts are known once counted');
    const count = this.#counts[slot]!;
    return count === OVERFLOW ? this.#overflow.get(slot)! : count;
  }

  /** Adds `by` (1 or -1) and returns the new count; before the count is over the result means nothing. */
  add(slot: number, by: number): number {
    assert(slot > 0 && slot < this.#counts.length, 'a slot lies inside the pool');
    if (this.#changes !== null) {
      const change = this.#changes[slot]! + by;
      assert(change > -32768 && change < 32767, 'changes during a count stay small');
      this.#changes[slot] = change;
      return 0;
    }
    const before = this.get(slot);
    const after = before + by;
    assert(after >= 0, 'a reference is dropped once');
    this.#set(slot, after);
    if (before === 0) this.#used++;
    else if (after === 0) this.#used--;
    return after;
  }

  /** One more reference to each of the first `count` of these slots, which all have some. A loop over numbers alone: a page
   * that is copied in the path of a write names hundreds. */
  addAll(slots: Uint32Array, count: number): void {
    const counts = this.#counts;
    for (let index = 0; index < count; index++) {
      const slot = slots[index]!;
      const before = counts[slot]!;
      if (this.#changes === null && before > 0 && before < OVERFLOW - 1) counts[slot] = before + 1;
      else this.add(slot, 1);
    }
  }

  /** One reference that the background count found. */
  found(slot: number): void {
    assert(this.#changes !== null, 'counting happens once');
    const count = this.#counts[slot]!;
    this.#set(slot, count === OVERFLOW ? this.#overflow.get(slot)! + 1 : count + 1);
  }

  /** References that came since the start; known before the count is over. */
  changeOf(slot: number): number {
    assert(this.#changes !== null, 'changes are kept until counted');
    return this.#changes[slot]!;
  }

  /** The same for the first `count` of these slots. A loop over numbers alone, so that the processor waits for many places
   * of the table at once: in a large pool none of them is in its cache. */
  foundAll(slots: Uint32Array, count: number): void {
    assert(this.#changes !== null, 'counting happens once');
    const counts = this.#counts;
    for (let index = 0; index < count; index++) {
      const slot = slots[index]!;
      const before = counts[slot]!;
      if (before < OVERFLOW - 1) counts[slot] = before + 1;
      else this.found(slot);
    }
  }

  /** The count is over: from here on `get` is exact. Answers a bitmap of the slots without a reference. */
  finish(): Uint32Array {
    const changes = this.#changes;
    assert(changes !== null, 'counting ends once');
    this.#changes = null;
    const counts = this.#counts;
    for (let slot = 0; slot < counts.length; slot++) if (changes[slot] !== 0) this.#set(slot, this.get(slot) + changes[slot]!);
    const unused = new Uint32Array(Math.ceil(counts.length / 32));
    // Requests wait for this, and most of a large pool is used: four slots are looked at in one go.
    const fours = new Uint32Array(counts.buffer, 0, counts.length >>> 2);
    for (let four = 0; four < fours.length; four++) {
      const word = fours[four]!;
      if (((word - 0x01010101) & ~word & 0x80808080) === 0) this.#used += 4;
      else this.#tell(four * 4, four * 4 + 4, unused);
    }
    this.#tell(fours.length * 4, counts.length, unused);
    return unused;
  }

  /** A copy of every count, for a check of one frozen cut. */
  copy(): (slot: number) => number {
    const counts = this.#counts.slice();
    const overflow = new Map(this.#overflow);
    return (slot) => (counts[slot] === OVERFLOW ? overflow.get(slot)! : counts[slot]!);
  }

  /** Which of some slots are used, at the end of the count. */
  #tell(from: number, to: number, unused: Uint32Array): void {
    for (let slot = from; slot < to; slot++) {
      if (this.#counts[slot] !== 0) this.#used++;
      else unused[slot >>> 5]! |= 1 << (slot & 31);
    }
  }

  #set(slot: number, count: number): void {
    assert(count >= 0, 'no count is negative');
    if (this.#counts[slot] === OVERFLOW && count < OVERFLOW) this.#overflow.delete(slot);
    if (count >= OVERFLOW) this.#overflow.set(slot, count);
    this.#counts[slot] = Math.min(count, OVERFLOW);
  }
}
