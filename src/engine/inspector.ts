/** Walks that answer questions: usage of an object, and the proof that every count is right. */
import type { CheckReport, Usage } from './control.ts';
import { FrozenWalk, type Visit } from './frozen-walk.ts';
import { FANOUT } from './geometry.ts';
import type { StoredObject } from './objects.ts';
import { isLeaf, type Page } from './page.ts';
import type { EngineState } from './state.ts';

const PROBLEMS_LIMIT = 100;

/** How much space an object uses, and how much of it nobody else does. */
export class UsageWalk extends FrozenWalk {
  readonly #done: (usage: Usage) => void;
  readonly #pageReferences: (number: number) => number;
  readonly #slotReferences: (slot: number) => number;
  #used = 0;
  #exclusive = 0;

  constructor(state: EngineState, object: StoredObject, done: (usage: Usage) => void) {
    super(state);
    this.#done = done;
    this.#pageReferences = state.pages.copyReferences();
    this.#slotReferences = state.slots.counts.copy();
    if (object.rootNumber === 0) return;
    const exclusive = this.#pageReferences(object.rootNumber) === 1;
    this.pin(object.rootNumber, { number: object.rootNumber, firstChunk: 0, exclusive, lineage: object.lineage });
  }

  protected visit(page: Page, visit: Visit): void {
    if (!isLeaf(page)) {
      this.eachChild(page, visit, (number, firstChunk) => {
        const exclusive = visit.exclusive && this.#pageReferences(number) === 1;
        this.push({ number, firstChunk, exclusive, lineage: visit.lineage });
      });
      return;
    }
    for (let index = 0; index < FANOUT; index++) {
      page.read(index, this.entry);
      this.#used += this.entry.count;
      if (!visit.exclusive) continue;
      for (let layer = 0; layer < this.entry.count; layer++) if (this.#slotReferences(this.entry.slots[layer]!) === 1) this.#exclusive++;
    }
  }

  protected finish(): void {
    const { chunkSizeBytes } = this.state.geometry;
    this.#done({ usedBytes: this.#used * chunkSizeBytes, exclusiveBytes: this.#exclusive * chunkSizeBytes });
  }
}

/**
 * Counts everything anew and compares: pages, slots, and that each slot is used for one chunk number of one lineage only
 * (two owners by mistake would look like sharing).
 */
export class CheckWalk extends FrozenWalk {
  readonly #done: (report: CheckReport) => void;
  readonly #problems: string[] = [];
  readonly #pageReferences: (number: number) => number;
  readonly #slotReferences: (slot: number) => number;
  readonly #pagesFound = new Map<number, number>();
  readonly #slotsFound: Uint32Array;
  readonly #chunkOf: Float64Array;
  readonly #lineageOf: Float64Array;
  readonly #objects: number;

  constructor(state: EngineState, done: (report: CheckReport) => void) {
    super(state);
    this.#done = done;
    const { pages, slots, objects } = state;
    this.#pageReferences = pages.copyReferences();
    this.#slotReferences = slots.counts.copy();
    this.#slotsFound = new Uint32Array(slots.counts.slots);
    this.#chunkOf = new Float64Array(slots.counts.slots).fill(-1);
    this.#lineageOf = new Float64Array(slots.counts.slots);
    this.#objects = objects.size;
    const { used } = slots.counts;
    const all = used + slots.available + slots.inLimbo + slots.held;
    if (all !== slots.counts.slots - 1) {
      this.#problem(
        `of ${slots.counts.slots - 1} slots ${used} are in use, ${slots.available} free, ${slots.inLimbo} waiting, ${slots.held} being written`,
      );
    }
    for (const object of objects.all()) if (object.rootNumber !== 0) this.#root(object.rootNumber, object.lineage);
  }

  #root(number: number, lineage: number): void {
    const before = this.#pagesFound.get(number);
    this.#pagesFound.set(number, (before ?? 0) + 1);
    if (before === undefined) this.pin(number, { number, firstChunk: 0, exclusive: false, lineage });
  }

  protected visit(page: Page, visit: Visit): void {
    if (!isLeaf(page)) {
      this.eachChild(page, visit, (number, firstChunk) => {
        const before = this.#pagesFound.get(number);
        this.#pagesFound.set(number, (before ?? 0) + 1);
        if (before === undefined) this.push({ number, firstChunk, exclusive: false, lineage: visit.lineage });
      });
      return;
    }
    for (let index = 0; index < FANOUT; index++) {
      page.read(index, this.entry);
      for (let layer = 0; layer < this.entry.count; layer++) this.#slot(this.entry.slots[layer]!, visit.firstChunk + index, visit.lineage);
    }
  }

  #slot(slot: number, chunk: number, lineage: number): void {
    if (slot >= this.#slotsFound.length) return this.#problem(`slot ${slot} lies outside the pool`);
    this.#slotsFound[slot]!++;
    if (this.#chunkOf[slot] === -1) {
      this.#chunkOf[slot] = chunk;
      this.#lineageOf[slot] = lineage;
    } else if (this.#chunkOf[slot] !== chunk || this.#lineageOf[slot] !== lineage) {
      this.#problem(
        `slot ${slot} holds chunk ${this.#chunkOf[slot]} of lineage ${this.#lineageOf[slot]} and chunk ${chunk} of lineage ${lineage}`,
      );
    }
  }

  #problem(text: string): void {
    if (this.#problems.length < PROBLEMS_LIMIT) this.#problems.push(text);
  }

  protected finish(): void {
    for (const [number, found] of this.#pagesFound) {
      const counted = this.#pageReferences(number);
      if (counted !== found) this.#problem(`page ${number} is referred to ${found} times and counted ${counted} times`);
    }
    let used = 0;
    for (let slot = 1; slot < this.#slotsFound.length; slot++) {
      const found = this.#slotsFound[slot]!;
      const counted = this.#slotReferences(slot);
      if (found > 0) used++;
      if (counted !== found) this.#problem(`slot ${slot} is referred to ${found} times and counted ${counted} times`);
    }
    this.#done({ objects: this.#objects, pages: this.#pagesFound.size, slotsUsed: used, problems: this.#problems });
  }
}
