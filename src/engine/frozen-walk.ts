/**
 * Walks over one frozen cut of the pool. The roots are given an extra reference for the time of the walk, so every page below
 * is shared and therefore never changed; requests go on. A walk begins only when the counts are known and nothing dropped is
 * left to be taken apart, and one runs at a time.
 */
import { FANOUT } from './geometry.ts';
import { Entry } from './entry.ts';
import { PageVisits } from './page-visits.ts';
import { isLeaf, type InnerPage, type Page } from './page.ts';
import type { EngineState } from './state.ts';
import { reachOf } from './tree.ts';

const PAGES_A_SLICE = 16;

export interface Visit {
  readonly number: number;
  readonly firstChunk: number;
  /** Every page on the path is referred to once. */
  readonly exclusive: boolean;
  readonly lineage: number;
}

/** A walk in slices. `step` returns true while there is more to do at once. */
export interface Walker {
  step(): boolean;
  readonly over: boolean;
}

export abstract class FrozenWalk implements Walker {
  protected readonly state: EngineState;
  protected readonly entry = new Entry();
  readonly #stack: Visit[] = [];
  readonly #pinned: number[] = [];
  readonly #visits: PageVisits;
  over = false;

  constructor(state: EngineState) {
    this.state = state;
    this.#visits = new PageVisits(state.pages);
  }

  protected pin(number: number, visit: Visit): void {
    this.state.pages.pin(number);
    this.#pinned.push(number);
    this.push(visit);
  }

  protected push(visit: Visit): void {
    this.#stack.push(visit);
  }

  protected abstract visit(page: Page, visit: Visit): void;
  protected abstract finish(): void;

  step(): boolean {
    if (this.#visits.isLoading || this.over) return false;
    const { pages } = this.state;
    for (let count = 0; count < PAGES_A_SLICE && this.#stack.length > 0; count++) {
      const next = this.#stack.at(-1)!;
      const page = pages.get(next.number);
      if (page === undefined) {
        this.#visits.load();
        return false;
      }
      this.#stack.pop();
      this.visit(page, next);
      if (isLeaf(page)) this.#visits.leave(page);
    }
    if (this.#stack.length > 0) return true;
    this.over = true;
    for (const number of this.#pinned) pages.unpin(number, this.state.journal.sequence);
    this.finish();
    return false;
  }

  /** Calls `take` with each child of an inner page and the first chunk that it maps. */
  protected eachChild(page: InnerPage, visit: Visit, take: (child: number, firstChunk: number) => void): void {
    const reach = reachOf(page.level - 1);
    for (let index = 0; index < FANOUT; index++) {
      const child = page.children[index]!;
      if (child !== 0) take(child, visit.firstChunk + index * reach);
    }
  }
}
