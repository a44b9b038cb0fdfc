/**
 * Background merges: entries with many layers become short again, and two layers that one volume owns become one slot.
 *
 * A merge is a move of some of a chunk's granules (chunk-moves.ts). A few run at a time.
 */
import type { ChunkMoves } from './chunk-moves.ts';
import { Entry, planMerge, type MergePlan } from './entry.ts';
import { FANOUT, HEADER_SLOT } from './geometry.ts';
import { NumberQueue } from './number-queue.ts';
import type { StoredObject } from './objects.ts';
import { PageVisits } from './page-visits.ts';
import type { LeafPage } from './page.ts';
import type { EngineState } from './state.ts';
import { EMPTY, indexAt, MISSING } from './tree.ts';

/** Chunks that may be waiting for a merge; more are found again by the next sweep. */
const QUEUE_LIMIT = 65536;
/** Leaves that a sweep looks at in one slice. */
const LEAVES_A_SLICE = 4;

export interface MergerOptions {
  readonly state: EngineState;
  readonly moves: ChunkMoves;
  /** Everything dropped has been taken apart: what a volume owns is known. */
  readonly quiet: () => boolean;
}

export class Merger {
  readonly #options: MergerOptions;
  readonly #entry = new Entry();
  readonly #chunks = new NumberQueue();
  readonly #numbers = new NumberQueue();
  /** Chunks whose layers will be owned when what happened so far is durable and over. */
  readonly #laterChunks = new NumberQueue();
  readonly #laterNumbers = new NumberQueue();
  readonly #laterSequences = new NumberQueue();
  /** Merges under way. */
  #running = 0;
  /** Volumes to sweep, and how far that came. */
  readonly #sweeps = new Map<number, number>();
  readonly #sweepsWanted = new Set<number>();
  readonly #visits: PageVisits;

  constructor(options: MergerOptions) {
    this.#options = options;
    this.#visits = new PageVisits(options.state.pages);
  }

  get idle(): boolean {
    return this.#chunks.length === 0 && this.#sweeps.size + this.#sweepsWanted.size === 0 && this.#running === 0;
  }

  /** A chunk's entry has more layers than a read should visit. */
  want(object: StoredObject, chunk: number): void {
    if (this.#chunks.length >= QUEUE_LIMIT) return this.sweep(object);
    this.#chunks.push(chunk);
    this.#numbers.push(object.number);
  }

  /** Something that shared with this volume is gone: look through its whole map for layers that it owns now. Begins at the
   * next tick, so that several in a row are one, and none stands in the way of the call after it. */
  sweep(object: StoredObject): void {
    if (object.kind === 'volume') this.#sweepsWanted.add(object.number);
  }

  /** Looks again at chunks whose layers were not owned yet; now and then, since operations in flight may last. */
  tick(): void {
    for (const number of this.#sweepsWanted) this.#sweeps.set(number, 0);
    this.#sweepsWanted.clear();
    const { durable } = this.#options.state.durability;
    for (let count = this.#laterSequences.length; count > 0 && this.#laterSequences.first <= durable; count--) {
      this.#laterSequences.shift();
      this.#chunks.push(this.#laterChunks.shift());
      this.#numbers.push(this.#laterNumbers.shift());
    }
  }

  /** One slice of work; true when there may be more to do at once. */
  step(): boolean {
    const { state } = this.#options;
    if (!state.slots.counted || !state.slots.settled || state.broken !== null) return false;
    if (this.#chunks.length > 0) {
      if (this.#options.moves.available === 0 || !state.journal.hasRoom) return false;
      return this.#startNext();
    }
    return this.#sweepSome();
  }

  #startNext(): boolean {
    const { state, moves } = this.#options;
    const chunk = this.#chunks.shift();
    const object = state.objects.byNumber(this.#numbers.shift());
    if (object === undefined || object.kind !== 'volume') return this.#chunks.length > 0;
    if (moves.isBusy(object, chunk)) {
      this.want(object, chunk);
      return false;
    }
    const leaf = state.tree.find(object, chunk);
    if (leaf === EMPTY) return this.#chunks.length > 0;
    if (leaf === MISSING) {
      state.pages.load(state.pages.missing, () => this.want(object, chunk));
      return this.#chunks.length > 0;
    }
    leaf.read(indexAt(chunk, 0), this.#entry);
    const plan: MergePlan = { target: 0, mask: 0 };
    const owned = moves.sound(this.#entry, state.tree.ownedLayers(object, chunk, this.#entry));
    const soonOwned = moves.sound(this.#entry, state.tree.soonOwnedLayers(object, chunk, this.#entry));
    if (owned !== soonOwned && planMerge(this.#entry, soonOwned, state.tree.unsealedLayers(this.#entry, soonOwned), plan)) {
      this.#later(object, chunk);
      return this.#chunks.length > 0;
    }
    if (!planMerge(this.#entry, owned, state.tree.unsealedLayers(this.#entry, owned), plan)) return this.#chunks.length > 0;
    const fresh = plan.target === HEADER_SLOT;
    if (fresh) plan.target = state.slots.take();
    if (plan.target === HEADER_SLOT) return this.#chunks.length > 0;
    this.#running++;
    moves.begin({
      object,
      chunk,
      entry: this.#entry,
      ...plan,
      fresh,
      recorded: (after) => {
        if (after.count > 1) this.want(object, chunk);
      },
      ended: () => void this.#running--,
    });
    return moves.available > 0;
  }

  #later(object: StoredObject, chunk: number): void {
    if (this.#laterChunks.length >= QUEUE_LIMIT) return this.sweep(object);
    this.#laterChunks.push(chunk);
    this.#laterNumbers.push(object.number);
    this.#laterSequences.push(this.#options.state.journal.sequence);
  }

  #sweepSome(): boolean {
    const { state } = this.#options;
    if (this.#visits.isLoading || this.#sweeps.size === 0 || !this.#options.quiet()) return false;
    for (const [number, cursor] of this.#sweeps) {
      const object = state.objects.byNumber(number);
      const end = object === undefined ? 0 : state.geometry.chunksOf(object.sizeBytes);
      let chunk = cursor;
      for (let leaves = 0; leaves < LEAVES_A_SLICE && chunk < end; leaves++, chunk += FANOUT) {
        const leaf = state.tree.find(object!, chunk);
        if (leaf === EMPTY) continue;
        if (leaf === MISSING) {
          this.#visits.load();
          break;
        }
        if (!this.#wantFrom(object!, leaf, chunk)) this.#visits.leave(leaf);
      }
      if (chunk >= end) this.#sweeps.delete(number);
      else this.#sweeps.set(number, chunk);
      return true;
    }
    return false;
  }

  /** Whether there is something to merge in this leaf. */
  #wantFrom(object: StoredObject, leaf: LeafPage, firstChunk: number): boolean {
    const plan: MergePlan = { target: 0, mask: 0 };
    let isWanted = false;
    for (let index = 0; index < FANOUT; index++) {
      if (leaf.layersAt(index) < 2) continue;
      leaf.read(index, this.#entry);
      const { state, moves } = this.#options;
      const { tree } = state;
      const owned = moves.sound(this.#entry, tree.soonOwnedLayers(object, firstChunk + index, this.#entry));
      if (!planMerge(this.#entry, owned, tree.unsealedLayers(this.#entry, owned), plan)) continue;
      isWanted = true;
      this.want(object, firstChunk + index);
    }
    return isWanted;
  }
}
