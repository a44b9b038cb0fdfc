/**
 * Takes dropped pages apart in the background: a deleted volume's space comes back piece by piece, however large it is.
 * The record of the delete is durable long before; after a crash the count finds the same slots free.
 */
import type { EngineState } from './state.ts';

const PAGES_A_SLICE = 4;
const LOADS_AT_A_TIME = 8;

export class Dismantler {
  readonly #state: EngineState;
  readonly #freed: () => void;
  #loading = 0;

  /** @param freed called when slots may have been freed */
  constructor(state: EngineState, freed: () => void) {
    this.#state = state;
    this.#freed = freed;
  }

  get idle(): boolean {
    return this.#loading === 0 && this.#state.pages.dropped.length === 0;
  }

  /** One slice; true when there is more to do at once. */
  step(): boolean {
    const { pages, tree } = this.#state;
    let worked = false;
    for (let count = 0; count < PAGES_A_SLICE && pages.dropped.length > 0 && this.#loading < LOADS_AT_A_TIME; count++) {
      const { number, sequence } = pages.nextDropped();
      const page = pages.get(number);
      if (page !== undefined) tree.dismantle(page, sequence);
      else {
        this.#loading++;
        pages.load(number, () => {
          this.#loading--;
          tree.dismantle(pages.get(number)!, sequence);
          this.#freed();
        });
      }
      worked = true;
    }
    if (worked) this.#freed();
    return pages.dropped.length > 0 && this.#loading < LOADS_AT_A_TIME;
  }
}
