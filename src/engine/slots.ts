/**
 * Which slots a write may take, and which it may overwrite in place.
 *
 * Invariants (design rules 2, 3 and 7; each is a corruption when broken):
 * - a slot is taken only when the record that dropped its last reference is durable on disk and every operation that
 *   was in flight at the drop is over: until then it waits in limbo;
 * - a slot is written in place only while one volume alone refers to it, every record that dropped another reference
 *   is durable, and every operation that was in flight at such a drop is over;
 * - before the background count is over, only slots taken since the start count as owned by one volume, and new slots
 *   come from the reserve that the last checkpoint named;
 * - nothing is taken before what recovery found is durable;
 * - a sealed slot is not written, and free only when its seal is off the disk (seals.ts).
 */
import { assert } from '../util/assert.ts';
import type { Entry } from './entry.ts';
import type { Erasures } from './erasures.ts';
import { HEADER_SLOT } from './geometry.ts';
import { NumberQueue } from './number-queue.ts';
import type { Seals } from './seals.ts';
import { SlotCounts } from './slot-counts.ts';

export interface SlotsOptions {
  readonly slots: number;
  /** Free slots that the last checkpoint names and no newer record uses. */
  readonly reserve: readonly number[];
  readonly seals: Seals;
  readonly erasures: Erasures;
  /** The highest sequence that is durable on disk. */
  readonly durableSequence: () => number;
  /** A stamp for "now" in the order of operations, and the stamp of the oldest one in flight (Infinity when none is). */
  readonly stampNow: () => number;
  readonly oldestStamp: () => number;
}

export class Slots {
  readonly counts: SlotCounts;
  readonly #options: SlotsOptions;
  readonly #free: Uint32Array;
  #freeCount = 0;
  #cursor = 0;
  #reserve: number[];
  #settled = false;
  /** Drops during the count are not remembered one by one: nothing is owned before this sequence is durable. */
  #countedSequence = 0;
  /** Nor before every operation in flight at the count's end is over. */
  #countedStamp = 0;
  #countIsOver = false;
  /** Taken before the count was over: all that ever referred to them is known. */
  readonly #recent = new Set<number>();
  /** Taken, and not yet in an entry. */
  readonly #held = new Set<number>();
  /** Dropped slots in the order of their drops: slot, sequence, stamp. */
  readonly #limboSlots = new NumberQueue();
  readonly #limboSequences = new NumberQueue();
  readonly #limboStamps = new NumberQueue();
  #lastLimboSequence = 0;
  /** What the count found without a reference: all of it waits for one sequence and one stamp. */
  #uncounted: { readonly free: Uint32Array; readonly count: number; readonly sequence: number; readonly stamp: number } | null = null;
  /** Slots with owners left whose last drop is perhaps not durable or not over, with the number of that drop. */
  readonly #shed = new Map<number, number>();
  readonly #shedSlots = new NumberQueue();
  readonly #shedSequences = new NumberQueue();
  readonly #shedStamps = new NumberQueue();
  #lastShedSequence = 0;
  #drops = 0;
  #dropsOver = 0;

  constructor(options: SlotsOptions) {
    this.#options = options;
    this.counts = new SlotCounts(options.slots);
    this.#free = new Uint32Array(Math.ceil(options.slots / 32));
    this.#reserve = [...options.reserve];
  }

  get counted(): boolean {
    return this.counts.counted;
  }

  /** Slots that can be taken now. */
  get available(): number {
    return this.counted ? this.#freeCount : this.#reserve.length;
  }

  get inLimbo(): number {
    return this.#limboSlots.length + (this.#uncounted?.count ?? 0) + this.seals.leavingCount + this.#options.erasures.leavingCount;
  }

  get held(): number {
    return this.#held.size;
  }

  get seals(): Seals {
    return this.#options.seals;
  }

  get settled(): boolean {
    return this.#settled;
  }

  /** What recovery found is durable: slots may be taken from now on. */
  settle(): void {
    this.#settled = true;
  }

  /** A slot nobody refers to, or 0 when there is none now. It is held until `addReference` or `giveBack`. */
  take(): number {
    if (!this.#settled) return HEADER_SLOT;
    this.#releaseLimbo();
    const slot = this.counted ? this.#takeFree() : (this.#reserve.pop() ?? HEADER_SLOT);
    if (slot === HEADER_SLOT) return slot;
    this.#held.add(slot);
    if (!this.counted) this.#recent.add(slot);
    return slot;
  }

  /** Takes this slot if it is free. It is held until `addReference` or `giveBack`. */
  claim(slot: number): boolean {
    if (!this.isFree(slot)) return false;
    this.#free[slot >>> 5]! &= ~(1 << (slot & 31));
    this.#freeCount--;
    this.#held.add(slot);
    return true;
  }

  /** Whether the slot can be claimed now. */
  isFree(slot: number): boolean {
    return this.counted && slot < this.counts.slots && ((this.#free[slot >>> 5]! >>> (slot & 31)) & 1) === 1;
  }

  /** Words of 32 slots. */
  get words(): number {
    return this.#free.length;
  }

  /** Which of 32 slots can be claimed now: slot 32 * word + i is bit i. */
  freeWord(word: number): number {
    return this.counted ? this.#free[word]! : 0;
  }

  /** The write into a taken slot was given up; nothing refers to it and its write is over. `by`: whose write it was. */
  giveBack(slot: number, by?: { readonly erases: boolean }): void {
    assert(this.#held.delete(slot), 'only a taken slot is given back');
    if (by?.erases === true) this.markErasure(slot);
    if (this.counted) this.#unsealed(slot);
    else this.#reserve.push(slot);
  }

  addReference(slot: number): void {
    this.#held.delete(slot);
    this.counts.add(slot, 1);
  }

  /** One more reference to each of the first `count` of these slots, which leaves refer to already. */
  addReferences(slots: Uint32Array, count: number): void {
    this.counts.addAll(slots, count);
  }

  /** The slot is overwritten before it is free again. */
  markErasure(slot: number): void {
    this.#options.erasures.mark(slot);
  }

  /** Some layer of the entry is overwritten before it is free again. */
  hasErasures(entry: Entry): boolean {
    for (let layer = 0; layer < entry.count; layer++) if (this.#options.erasures.has(entry.slots[layer]!)) return true;
    return false;
  }

  dropReference(slot: number, sequence: number): void {
    const left = this.counts.add(slot, -1);
    if (!this.counted) {
      if (this.#recent.has(slot)) this.#remember(slot, sequence);
    } else if (left === 0) this.#toLimbo(slot, sequence);
    else this.#remember(slot, sequence);
  }

  /** The same for the first `count` of these slots. */
  dropReferences(slots: Uint32Array, count: number, sequence: number): void {
    for (let index = 0; index < count; index++) this.dropReference(slots[index]!, sequence);
  }

  /** One leaf page alone refers to the slot, in memory and in every state that a power cut could leave. (Whether that
   * page belongs to one volume alone is for the tree to say.) */
  owned(slot: number): boolean {
    if (this.#shed.has(slot)) return false;
    if (!this.counted) return this.#recent.has(slot) && this.counts.changeOf(slot) === 1;
    return this.counts.get(slot) === 1 && (this.#countIsOver || this.#recent.has(slot));
  }

  /** The slot will be owned when what happened is durable and over. */
  soonOwned(slot: number): boolean {
    return this.counted && this.counts.get(slot) === 1;
  }

  /** Forgets what is durable and over by now; called when the durable sequence has advanced and when operations end. */
  advance(): void {
    const durable = this.#options.durableSequence();
    const oldest = this.#options.oldestStamp();
    if (!this.#countIsOver && this.counted && durable >= this.#countedSequence && oldest > this.#countedStamp) {
      this.#countIsOver = true;
      this.#recent.clear();
    }
    while (this.#shedSlots.length > 0 && this.#shedSequences.first <= durable && this.#shedStamps.first < oldest) {
      this.#shedSequences.shift();
      this.#shedStamps.shift();
      const slot = this.#shedSlots.shift();
      this.#dropsOver++;
      if (this.#shed.get(slot) === this.#dropsOver) this.#shed.delete(slot);
    }
    this.#releaseLimbo();
  }

  /** Something may be over by now that `advance` has not seen. */
  get wantsAdvance(): boolean {
    return this.#shedSlots.length > 0 || this.#limboSlots.length > 0 || !this.#countIsOver;
  }

  /** Some slot waits only for a record to become durable. */
  get wantsDurability(): boolean {
    const durable = this.#options.durableSequence();
    return (
      (this.#limboSlots.length > 0 && this.#limboSequences.first > durable) ||
      (this.#uncounted !== null && this.#uncounted.sequence > durable)
    );
  }

  /**
   * The background count is over: every slot without a reference was dropped at some unknown earlier time, so it waits
   * until `sequence` is durable.
   */
  finishCount(sequence: number): void {
    const unused = this.counts.finish();
    const stamp = this.#options.stampNow();
    this.#countedSequence = sequence;
    this.#countedStamp = stamp;
    for (const slot of this.#reserve) this.#setFree(slot);
    for (const slot of [HEADER_SLOT, ...this.#reserve, ...this.#held]) unused[slot >>> 5]! &= ~(1 << (slot & 31));
    const count = this.counts.slots - 1 - this.counts.used - this.#reserve.length - this.#held.size;
    this.#uncounted = { free: unused, count, sequence, stamp };
    this.#reserve = [];
  }

  /** Free slots for the next checkpoint to name; free in its image, whatever happens later. */
  nameReserve(limit: number): number[] {
    if (!this.counted) return this.#reserve.slice(0, limit);
    const named: number[] = [];
    collect(this.#free, named, limit, this.#options);
    // Slots in limbo are free in the image too: the records that dropped them are part of it.
    this.#limboSlots.forEach((slot) => {
      if (named.length < limit && !this.seals.has(slot) && !this.#options.erasures.has(slot)) named.push(slot);
    });
    if (this.#uncounted !== null) collect(this.#uncounted.free, named, limit, this.#options);
    return named;
  }

  /** Until the drop is durable and the operations in flight at it are over, what is left is nobody's alone: a reader of
   * the owner that let go may still be under way. */
  #remember(slot: number, sequence: number): void {
    this.#drops++;
    this.#lastShedSequence = Math.max(this.#lastShedSequence, sequence);
    this.#shed.set(slot, this.#drops);
    this.#shedSlots.push(slot);
    this.#shedSequences.push(this.#lastShedSequence);
    this.#shedStamps.push(this.#options.stampNow());
  }

  #toLimbo(slot: number, sequence: number): void {
    // Drops are not processed in the order of their records: an earlier one of this slot may have the later record.
    this.#lastLimboSequence = Math.max(this.#lastLimboSequence, this.#lastShedSequence, sequence);
    this.#limboSlots.push(slot);
    this.#limboSequences.push(this.#lastLimboSequence);
    this.#limboStamps.push(this.#options.stampNow());
  }

  #releaseLimbo(): void {
    if (this.#limboSlots.length === 0 && this.#uncounted === null) return;
    const durable = this.#options.durableSequence();
    const oldest = this.#options.oldestStamp();
    if (this.#uncounted !== null && this.#uncounted.sequence <= durable && this.#uncounted.stamp < oldest) {
      this.#freeCount += this.#uncounted.count;
      for (let word = 0; word < this.#free.length; word++) {
        this.#free[word]! |= this.#uncounted.free[word]!;
        this.#holdBack(word);
      }
      this.#uncounted = null;
    }
    while (this.#limboSlots.length > 0 && this.#limboSequences.first <= durable && this.#limboStamps.first < oldest) {
      this.#limboSequences.shift();
      this.#limboStamps.shift();
      const slot = this.#limboSlots.shift();
      assert(this.counts.get(slot) === 0, 'a dropped slot stays dropped');
      if (!this.seals.leave(slot)) this.#unsealed(slot);
    }
  }

  /** Slots whose seals are off the disk are free now, or to be written: one slice. True when there was something to do. */
  takeSealsOff(): boolean {
    const free = this.seals.takeOff();
    for (const slot of free ?? []) this.#unsealed(slot);
    return free !== null;
  }

  /** Nobody refers to the slot, and it was overwritten. */
  erased(slot: number): void {
    this.#setFree(slot);
  }

  /** Nobody refers to the slot, and it has no seal any more. */
  #unsealed(slot: number): void {
    if (!this.#options.erasures.leave(slot)) this.#setFree(slot);
  }

  /** Slots that the count found free, of 32, have a seal, or are to be erased: they are free after that. */
  #holdBack(word: number): void {
    const { erasures } = this.#options;
    for (let bits = this.#free[word]! & this.seals.word(word); bits !== 0; bits &= bits - 1) {
      if (!this.seals.leave(word * 32 + 31 - Math.clz32(bits & -bits))) continue;
      this.#free[word]! &= ~(bits & -bits);
      this.#freeCount--;
    }
    const marked = this.#free[word]! & erasures.word(word);
    if (marked === 0) return;
    this.#freeCount -= erasures.leaveSome(word, marked);
    this.#free[word]! &= ~marked;
  }

  #setFree(slot: number): void {
    const bit = 1 << (slot & 31);
    assert((this.#free[slot >>> 5]! & bit) === 0, 'a slot is freed once');
    this.#free[slot >>> 5]! |= bit;
    this.#freeCount++;
  }

  /** The next free slot from the cursor on, so that what is written in a row lies in a row. */
  #takeFree(): number {
    if (this.#freeCount === 0) return HEADER_SLOT;
    const words = this.#free.length;
    let word = this.#cursor;
    while (this.#free[word] === 0) word = word + 1 === words ? 0 : word + 1;
    const bits = this.#free[word]!;
    const lowest = bits & -bits;
    this.#free[word] = bits & ~lowest;
    this.#freeCount--;
    this.#cursor = word;
    return word * 32 + 31 - Math.clz32(lowest);
  }
}

/** Appends the slots of a bitmap that are neither sealed nor to be erased, lowest first. */
function collect(
  bitmap: Uint32Array,
  into: number[],
  limit: number,
  { seals, erasures }: { readonly seals: Seals; readonly erasures: Erasures },
): void {
  for (let word = 0; word < bitmap.length && into.length < limit; word++) {
    for (let bits = bitmap[word]! & ~seals.word(word) & ~erasures.word(word); bits !== 0 && into.length < limit; bits &= bits - 1)
      into.push(word * 32 + 31 - Math.clz32(bits & -bits));
  }
}
