/**
 * Writes zeros once into slots that were never written, while nothing else is to do.
 *
 * A pool's space is allocated when it is made, but a file system notes such space as unwritten, and the first write to each
 * piece costs it a change of its own metadata: random writes into new slots run at about half speed. Zeros written ahead
 * take that cost out of the way. What they overwrite is free space, so no crash can do harm; how far this came stands in
 * the checkpoint.
 *
 * Invariant: a slot is held while it is written, like any slot that was taken.
 */
import { NONE } from './part-lists.ts';
import type { EngineState } from './state.ts';

const SLOTS_AT_A_TIME = 16;

export interface PrewriterOptions {
  /** Offset in the shared memory of a chunk of zeros. */
  readonly zeroOffset: number;
  /** Called when slots were given back. */
  readonly freed: () => void;
  /** So many ticks without a request count as nothing else to do; a pause between two requests is none. */
  readonly afterTicks: number;
}

export class Prewriter {
  readonly #state: EngineState;
  readonly #zeroOffset: number;
  readonly #freed: () => void;
  #pending = 0;
  #stamp = 0;
  #quietTicks = 0;
  readonly #claimed: number[] = [];

  readonly #afterTicks: number;

  constructor(state: EngineState, options: PrewriterOptions) {
    this.#state = state;
    this.#zeroOffset = options.zeroOffset;
    this.#freed = options.freed;
    this.#afterTicks = options.afterTicks;
  }

  /** Looks whether requests came since the last tick. */
  tick(): void {
    const { now } = this.#state.flights;
    this.#quietTicks = now === this.#stamp ? this.#quietTicks + 1 : 0;
    this.#stamp = now;
  }

  /** Begins the next few slots if nothing else is under way. There is more to do when they are written, not at once. */
  step(): void {
    const state = this.#state;
    const { slots, flights, geometry, ports, calls } = state;
    if (this.#pending > 0 || state.prewrittenSlots >= slots.counts.slots || state.broken !== null) return;
    if (!slots.counted || !slots.settled || flights.oldest !== NONE || this.#quietTicks < this.#afterTicks) return;
    const to = Math.min(state.prewrittenSlots + SLOTS_AT_A_TIME, slots.counts.slots);
    for (let slot = Math.max(1, state.prewrittenSlots); slot < to; slot++) if (slots.claim(slot)) this.#claimed.push(slot);
    this.#pending = 1;
    for (const slot of this.#claimed) {
      this.#pending++;
      const tag = calls.tag(() => this.#written(to));
      ports.data.write(slot * geometry.chunkSizeBytes, geometry.chunkSizeBytes, this.#zeroOffset, tag);
    }
    this.#written(to);
  }

  /** Whether the writes went well does not matter: a disk that fails will say so to somebody who needs it. */
  #written(to: number): void {
    if (--this.#pending > 0) return;
    this.#state.prewrittenSlots = to;
    for (const slot of this.#claimed.splice(0)) this.#state.slots.giveBack(slot);
    this.#freed();
  }
}
