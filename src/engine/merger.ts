/**
 * Background merges: entries with many layers become short again, and two layers that one volume owns become one slot.
 *
 * A merge is an operation on a chunk like a write (chunk-parts.ts): writes to the chunk wait for it, and it does not start
 * while something is in flight there. It copies at most one chunk, and a few run at a time.
 */
import { assert } from '../util/assert.ts';
import type { ChunkBuffers } from './chunk-buffers.ts';
import type { ChunkParts } from './chunk-parts.ts';
import { Entry, planMerge, type MergePlan } from './entry.ts';
import { markBeforeWriting } from './erase-first.ts';
import { FANOUT, GRANULE_BYTES, HEADER_SLOT } from './geometry.ts';
import { NumberQueue } from './number-queue.ts';
import type { StoredObject } from './objects.ts';
import type { LeafPage } from './page.ts';
import { NONE } from './part-lists.ts';
import type { Requests } from './requests.ts';
import type { EngineState } from './state.ts';
import { EMPTY, indexAt, MISSING } from './tree.ts';

/** Chunks that may be waiting for a merge; more are found again by the next sweep. */
const QUEUE_LIMIT = 65536;
/** Leaves that a sweep looks at in one slice. */
const LEAVES_A_SLICE = 4;

export interface MergerOptions {
  readonly state: EngineState;
  readonly parts: ChunkParts;
  readonly requests: Requests;
  /** Index of the first merge among the flights' operations is that of its part plus this. */
  readonly firstFlight: number;
  /** Everything dropped has been taken apart: what a volume owns is known. */
  readonly quiet: () => boolean;
  readonly buffers: ChunkBuffers;
}

interface Merge {
  readonly part: number;
  readonly object: StoredObject;
  readonly chunk: number;
  readonly plan: MergePlan;
  readonly buffer: number;
  pending: number;
  failed: boolean;
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
  #loading = false;
  /** The page that the sweep brought in last. */
  #loaded = 0;

  constructor(options: MergerOptions) {
    this.#options = options;
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
      if (this.#options.buffers.available === 0 || !state.journal.hasRoom) return false;
      return this.#startNext();
    }
    return this.#sweepSome();
  }

  #startNext(): boolean {
    const { state } = this.#options;
    const chunk = this.#chunks.shift();
    const object = state.objects.byNumber(this.#numbers.shift());
    if (object === undefined || object.kind !== 'volume') return this.#chunks.length > 0;
    if (object.holds > 0 || this.#options.parts.findInFlight(object, chunk) !== NONE) {
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
    const owned = this.#sound(state.tree.ownedLayers(object, chunk, this.#entry));
    const soonOwned = this.#sound(state.tree.soonOwnedLayers(object, chunk, this.#entry));
    if (owned !== soonOwned && planMerge(this.#entry, soonOwned, state.tree.unsealedLayers(this.#entry, soonOwned), plan)) {
      this.#later(object, chunk);
      return this.#chunks.length > 0;
    }
    if (!planMerge(this.#entry, owned, state.tree.unsealedLayers(this.#entry, owned), plan)) return this.#chunks.length > 0;
    const fresh = plan.target === HEADER_SLOT;
    if (fresh) plan.target = state.slots.take();
    if (plan.target === HEADER_SLOT) return this.#chunks.length > 0;
    if (!fresh) markBeforeWriting(state, object, chunk, plan.target, this.#entry);
    else if (state.slots.hasErasures(this.#entry)) state.slots.markErasure(plan.target); // also when it is given up
    this.#begin(object, chunk, plan, fresh);
    return this.#options.buffers.available > 0;
  }

  /** Those of a set of layers that no scrub found damaged: moved elsewhere, what the disk changed would be taken for sound. */
  #sound(layers: number): number {
    const { damaged } = this.#options.state.seals;
    let sound = layers;
    if (damaged.size > 0)
      for (let layer = 0; layer < this.#entry.count; layer++) if (damaged.has(this.#entry.slots[layer]!)) sound &= ~(1 << layer);
    return sound;
  }

  #later(object: StoredObject, chunk: number): void {
    if (this.#laterChunks.length >= QUEUE_LIMIT) return this.sweep(object);
    this.#laterChunks.push(chunk);
    this.#laterNumbers.push(object.number);
    this.#laterSequences.push(this.#options.state.journal.sequence);
  }

  #begin(object: StoredObject, chunk: number, plan: MergePlan, fresh: boolean): void {
    const { parts, state, firstFlight } = this.#options;
    const part = parts.allocate();
    parts.set(part, object, NONE, chunk, plan.mask, 0);
    parts.begin(part, plan.target, fresh);
    object.writesInFlight++;
    state.flights.begin(firstFlight + part);
    const buffer = this.#options.buffers.take();
    assert(buffer !== null, 'a merge begins when there is a buffer');
    this.#running++;
    const merge: Merge = { part, object, chunk, plan, buffer, pending: 1, failed: false };
    const copy = (): void => this.#copy(merge);
    // Each granule of the plan lies in one layer: the runs of all layers together are the plan's mask.
    for (let layer = 0; layer < this.#entry.count; layer++) {
      const mask = this.#entry.masks[layer]! & plan.mask;
      this.#eachRun(
        merge,
        this.#entry.slots[layer]!,
        mask,
        (disk, length, memory, tag) => state.ports.data.read(disk, length, memory, tag),
        copy,
      );
    }
    merge.pending--;
  }

  #copy(merge: Merge): void {
    const { state } = this.#options;
    if (merge.failed) return this.#end(merge);
    const { target, mask } = merge.plan;
    const record = (): void => {
      state.durability.landed();
      this.#record(merge);
    };
    merge.pending = 1;
    this.#eachRun(merge, target, mask, (disk, length, memory, tag) => state.ports.data.write(disk, length, memory, tag), record);
    merge.pending--;
  }

  /** Issues one disk operation for each run of granules in the mask. `done` is called when all that is pending is over;
   * completions come later, so the caller's own token keeps it from ending before everything was issued. */
  #eachRun(
    merge: Merge,
    slot: number,
    mask: number,
    issue: (disk: number, length: number, memory: number, tag: number) => void,
    done: () => void,
  ): void {
    const { state } = this.#options;
    const { granulesPerChunk, chunkSizeBytes } = state.geometry;
    for (let granule = 0; granule < granulesPerChunk; granule++) {
      if (!((mask >> granule) & 1)) continue;
      let to = granule + 1;
      while (to < granulesPerChunk && (mask >> to) & 1) to++;
      const at = granule * GRANULE_BYTES;
      merge.pending++;
      const length = (to - granule) * GRANULE_BYTES;
      const over = (result: number): void => {
        if (result !== length) merge.failed = true;
        if (--merge.pending === 0) done();
      };
      issue(slot * chunkSizeBytes + at, length, merge.buffer + at, state.calls.tag(over));
      granule = to;
    }
  }

  #record(merge: Merge): void {
    const { state } = this.#options;
    const { object, chunk, plan, part } = merge;
    if (merge.failed || object.deleted || object.incarnation !== this.#options.parts.incarnation[part]) return this.#end(merge);
    const leaf = state.tree.find(object, chunk);
    if (leaf === MISSING) {
      return state.pages.load(
        state.pages.missing,
        () => this.#record(merge),
        () => this.#end(merge),
      );
    }
    if (leaf === EMPTY) return this.#end(merge);
    leaf.read(indexAt(chunk, 0), this.#entry);
    const still = this.#entry.covered() & plan.mask;
    if (still === 0) return this.#end(merge);
    this.#entry.withLayer(plan.target, still);
    state.tree.setEntry(object, chunk, this.#entry, state.journal.entry(object, chunk, this.#entry));
    this.#options.parts.fresh[part] = 0; // the slot is referred to now
    if (this.#entry.count > 1) this.want(object, chunk);
    this.#end(merge);
  }

  #end(merge: Merge): void {
    const { parts, requests, state } = this.#options;
    if (parts.fresh[merge.part] === 1) state.slots.giveBack(merge.plan.target, merge.object);
    requests.endInFlight(merge.part, merge.object);
    parts.free(merge.part);
    this.#options.buffers.give(merge.buffer);
    this.#running--;
    requests.slotsFreed();
  }

  #sweepSome(): boolean {
    const { state } = this.#options;
    if (this.#loading || this.#sweeps.size === 0 || !this.#options.quiet()) return false;
    for (const [number, cursor] of this.#sweeps) {
      const object = state.objects.byNumber(number);
      const end = object === undefined ? 0 : state.geometry.chunksOf(object.sizeBytes);
      let chunk = cursor;
      for (let leaves = 0; leaves < LEAVES_A_SLICE && chunk < end; leaves++, chunk += FANOUT) {
        const leaf = state.tree.find(object!, chunk);
        if (leaf === EMPTY) continue;
        if (leaf === MISSING) {
          this.#loading = true;
          const { missing } = state.pages;
          state.pages.load(missing, () => {
            this.#loading = false;
            this.#loaded = missing;
          });
          break;
        }
        const isWanted = this.#wantFrom(object!, leaf, chunk);
        if (!isWanted && leaf.number === this.#loaded) state.pages.evictSeen(leaf);
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
      const { tree } = this.#options.state;
      const owned = this.#sound(tree.soonOwnedLayers(object, firstChunk + index, this.#entry));
      if (!planMerge(this.#entry, owned, tree.unsealedLayers(this.#entry, owned), plan)) continue;
      isWanted = true;
      this.want(object, firstChunk + index);
    }
    return isWanted;
  }
}
