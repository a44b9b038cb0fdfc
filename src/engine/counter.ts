/**
 * The background count after a start: walks every tree of the checkpoint once and finds out how often each page and slot
 * is referred to. Meanwhile pages of the checkpoint are never changed (page-table.ts) and the changes of counts are kept
 * apart, so the walk sees one frozen cut although requests are served.
 */
import { StoreError } from '../util/errors.ts';
import { decodeReferences, MAXIMUM_SLOTS_OF_LEAF } from './page.ts';
import type { EngineState } from './state.ts';

/** Enough that they go many at a time to whoever keeps the pages. */
const READS_AT_A_TIME = 192;
const PAGES_A_SLICE = 192;

export class Counter {
  readonly #state: EngineState;
  readonly #done: () => void;
  readonly #failed: (error: Error) => void;
  readonly #found = new Map<number, number>();
  readonly #toRead: number[] = [];
  readonly #slots = new Uint32Array(MAXIMUM_SLOTS_OF_LEAF);
  #dropped: number[] = [];
  #reading = 0;
  #over = false;

  /**
   * @param roots the root page of every object of the checkpoint, as often as objects have it
   * @param dropped pages of the checkpoint that perhaps nobody refers to and that then still hold references
   */
  constructor(state: EngineState, roots: readonly number[], dropped: readonly number[], done: () => void, failed: (error: Error) => void) {
    this.#state = state;
    this.#done = done;
    this.#failed = failed;
    for (const root of roots) this.#visit(root);
    this.#dropped = [...dropped];
  }

  /** One slice; true when there is more to do at once. */
  step(): boolean {
    if (this.#over) return false;
    for (let count = 0; count < PAGES_A_SLICE && this.#toRead.length > 0 && this.#reading < READS_AT_A_TIME; count++)
      this.#read(this.#toRead.pop()!);
    if (this.#toRead.length > 0) return this.#reading < READS_AT_A_TIME;
    if (this.#reading > 0) return false;
    if (this.#dropped.length > 0) {
      // Only after the walk is it known whether something refers to them. What they refer to is counted like the rest.
      for (const number of this.#dropped.splice(0)) {
        if (this.#found.has(number)) continue;
        this.#found.set(number, 0);
        this.#toRead.push(number);
      }
      return true;
    }
    this.#over = true;
    const { pages, slots, journal } = this.#state;
    slots.finishCount(journal.sequence);
    pages.finishCount(this.#found, journal.sequence);
    this.#done();
    return true;
  }

  #visit(number: number): void {
    const before = this.#found.get(number);
    this.#found.set(number, (before ?? 0) + 1);
    if (before === undefined) this.#toRead.push(number);
  }

  #read(number: number): void {
    this.#reading++;
    this.#state.ports.metadata.readPage(number, (error, bytes) => {
      this.#reading--;
      try {
        if (error !== null) throw error;
        if (bytes === null) throw new StoreError('data-loss', `page ${number} of the pool's metadata is missing`);
        const references = decodeReferences(number, bytes, this.#slots);
        if (typeof references === 'number') this.#countSlots(number, references);
        else for (const child of references.children) if (child !== 0) this.#visit(child);
      } catch (cause) {
        this.#over = true;
        this.#failed(cause as Error);
      }
    });
  }

  #countSlots(page: number, count: number): void {
    const { counts } = this.#state.slots;
    for (let index = 0; index < count; index++) {
      const slot = this.#slots[index]!;
      if (slot >= counts.slots)
        throw new StoreError('data-loss', `page ${page} of the pool's metadata names slot ${slot} of ${counts.slots}`);
    }
    counts.foundAll(this.#slots, count);
  }
}
