/**
 * Takes dropped pages apart in the background: a deleted volume's space comes back piece by piece, however large it is.
 * The record of the delete is durable long before; after a crash the count finds the same slots free.
 *
 * A page costs two threads some ten microseconds each. While many requests come only so many pages are taken apart between
 * two ticks, so that they keep nine tenths of what they had; unless somebody waits for the space or for the end of this.
 */
import type { EngineState } from './state.ts';

const PAGES_A_SLICE = 4;
const LOADS_AT_A_TIME = 8;
/** Requests since the last tick: with more than about a thousand a second they are many. */
const MANY_REQUESTS = 100;
/** 30 GiB of full chunks a second, at ten ticks. */
const PAGES_A_BUSY_TICK = 192;

export interface DismantlerOptions {
  /** Called when slots may have been freed. */
  readonly freed: () => void;
  /** Somebody waits: as fast as it goes. */
  readonly urgent: () => boolean;
}

export class Dismantler {
  readonly #state: Pick<EngineState, 'pages' | 'tree' | 'flights'>;
  readonly #options: DismantlerOptions;
  #loading = 0;
  #stamp = 0;
  /** Pages that may still be taken apart before the next tick. */
  #allowed = Infinity;

  constructor(state: Pick<EngineState, 'pages' | 'tree' | 'flights'>, options: DismantlerOptions) {
    this.#state = state;
    this.#options = options;
  }

  /** Looks how many requests came since the last tick. */
  tick(): void {
    const { now } = this.#state.flights;
    this.#allowed = now - this.#stamp < MANY_REQUESTS || this.#options.urgent() ? Infinity : PAGES_A_BUSY_TICK;
    this.#stamp = now;
  }

  get idle(): boolean {
    return this.#loading === 0 && this.#state.pages.dropped.length === 0;
  }

  /** One slice; true when there is more to do at once. */
  step(): boolean {
    const { pages, tree } = this.#state;
    let worked = false;
    for (let count = 0; count < PAGES_A_SLICE && this.#mayGoOn; count++) {
      this.#allowed--;
      const { number, sequence } = pages.nextDropped();
      const page = pages.get(number);
      if (page !== undefined) tree.dismantle(page, sequence);
      else {
        this.#loading++;
        pages.load(number, () => {
          this.#loading--;
          tree.dismantle(pages.get(number)!, sequence);
          this.#options.freed();
        });
      }
      worked = true;
    }
    if (worked) this.#options.freed();
    return this.#mayGoOn;
  }

  get #mayGoOn(): boolean {
    return this.#state.pages.dropped.length > 0 && this.#loading < LOADS_AT_A_TIME && this.#allowed > 0;
  }
}
