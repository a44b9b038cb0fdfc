/**
 * Takes dropped pages apart in the background: a deleted volume's space comes back piece by piece, however large it is.
 * The record of the delete is durable long before; after a crash the count finds the same slots free.
 *
 * Everything that takes time is done in slices, also with pages that were brought into memory for it: so it is the
 * background's share of the time that sets the pace beside a load.
 */
import type { DroppedPage } from './page-table.ts';
import type { EngineState } from './state.ts';

const PAGES_A_SLICE = 4;
/** Pages that are brought into memory, or wait there for their slice. */
const PAGES_AT_HAND = 8;

export interface DismantlerOptions {
  /** Called when slots may have been freed. */
  readonly freed: () => void;
}

export class Dismantler {
  readonly #state: Pick<EngineState, 'pages' | 'tree'>;
  readonly #options: DismantlerOptions;
  #loading = 0;
  readonly #ready: DroppedPage[] = [];

  constructor(state: Pick<EngineState, 'pages' | 'tree'>, options: DismantlerOptions) {
    this.#state = state;
    this.#options = options;
  }

  get idle(): boolean {
    return this.#loading + this.#ready.length + this.#state.pages.dropped.length === 0;
  }

  /** One slice; true when there is more to do at once. */
  step(): boolean {
    const { pages, tree } = this.#state;
    while (this.#mayTake) this.#bring(pages.nextDropped());
    let worked = false;
    for (let count = 0; count < PAGES_A_SLICE && this.#ready.length > 0; count++) {
      const dropped = this.#ready.shift()!;
      const page = pages.get(dropped.number);
      if (page === undefined) {
        this.#bring(dropped); // it has left memory again meanwhile
        continue;
      }
      tree.dismantle(page, dropped.sequence);
      worked = true;
    }
    if (worked) this.#options.freed();
    return this.#ready.length > 0 || this.#mayTake;
  }

  #bring(dropped: DroppedPage): void {
    const { pages } = this.#state;
    if (pages.get(dropped.number) !== undefined) {
      this.#ready.push(dropped);
      return;
    }
    this.#loading++;
    pages.load(dropped.number, () => {
      this.#loading--;
      this.#ready.push(dropped);
    });
  }

  get #mayTake(): boolean {
    return this.#state.pages.dropped.length > 0 && this.#loading + this.#ready.length < PAGES_AT_HAND;
  }
}
