/** Runs of free slots next to each other. What is told of them holds until somebody takes a slot: a caller claims at once. */
import type { Slots } from './slots.ts';

/** Words of the map of free slots that a search looks at in one slice: of 32 slots each. */
const WORDS_A_SLICE = 2048;
const FULL_WORD = 0xffffffff;

export interface FreeRun {
  readonly slot: number;
  readonly length: number;
}

/** How many of the slots from this one on are free, without a gap; it counts no further than `most`. */
export function freeSlotsFrom(slots: Slots, slot: number, most: number): number {
  let length = 0;
  while (length < most && slots.isFree(slot + length)) length++;
  return length;
}

/**
 * Looks for a run of free slots, in slices: from some slot on to the end of the pool, then from its beginning. The first run
 * that has enough is taken; if there is none, the longest. The run that the search begins in is seen in two parts.
 */
export class FreeRunSearch {
  readonly #slots: Slots;
  readonly #enough: number;
  readonly #most: number;
  readonly #from: number;
  #word: number;
  #wordsLeft: number;
  #run = 0;
  #runLength = 0;
  #longest: FreeRun = { slot: 0, length: 0 };

  /** @param options `most`: longer runs are not measured to their end; `enough` is no more than that */
  constructor(slots: Slots, options: { readonly from: number; readonly enough: number; readonly most: number }) {
    this.#slots = slots;
    this.#from = options.from;
    this.#enough = options.enough;
    this.#most = options.most;
    this.#word = Math.min(options.from >>> 5, slots.words - 1);
    // The word that the search begins in is looked at again at its end: the slots before the first belong to it, too.
    this.#wordsLeft = slots.words + 1;
  }

  /** One slice: the run when the search is over, with length 0 when no slot is free; else null. */
  step(): FreeRun | null {
    for (let count = 0; count < WORDS_A_SLICE && this.#wordsLeft > 0; count++) {
      const isFirst = this.#wordsLeft === this.#slots.words + 1;
      let bits = this.#slots.freeWord(this.#word);
      if (isFirst) bits = (bits & (-1 << (this.#from & 31))) >>> 0;
      const found = this.#take(bits, this.#word * 32);
      if (found !== null) return found;
      this.#wordsLeft--;
      this.#word++;
      if (this.#word < this.#slots.words) continue;
      this.#word = 0;
      const last = this.#endRun();
      if (last !== null) return last;
    }
    if (this.#wordsLeft > 0) return null;
    return this.#endRun() ?? this.#longest;
  }

  #take(bits: number, first: number): FreeRun | null {
    if (bits === 0) return this.#endRun();
    if (bits === FULL_WORD) return this.#grow(first, 32);
    for (let index = 0; index < 32; index++) {
      const found = ((bits >>> index) & 1) === 1 ? this.#grow(first + index, 1) : this.#endRun();
      if (found !== null) return found;
    }
    return null;
  }

  #grow(slot: number, length: number): FreeRun | null {
    if (this.#runLength === 0) this.#run = slot;
    this.#runLength += length;
    return this.#runLength < this.#most ? null : { slot: this.#run, length: this.#most };
  }

  #endRun(): FreeRun | null {
    const run = { slot: this.#run, length: this.#runLength };
    this.#runLength = 0;
    if (run.length > this.#longest.length) this.#longest = run;
    return run.length > 0 && run.length >= this.#enough ? run : null;
  }
}
