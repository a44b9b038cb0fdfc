/**
 * Moves of what a chunk holds from its slots into one of them or into a new one: what merges and defragmenting do.
 *
 * A move is an operation on a chunk like a write (chunk-parts.ts): writes to the chunk wait for it, and it does not start
 * while something is in flight there. It reads the granules into a buffer, writes them to the target, and makes a record of
 * the entry that is right when they have landed. Where the volume was deleted or reverted meanwhile, or the disk failed, it
 * makes none: what was there before still holds everything, and a new slot is given back.
 */
import { assert } from '../util/assert.ts';
import type { ChunkBuffers } from './chunk-buffers.ts';
import type { ChunkParts } from './chunk-parts.ts';
import { Entry } from './entry.ts';
import { markBeforeWriting } from './erase-first.ts';
import { GRANULE_BYTES } from './geometry.ts';
import type { StoredObject } from './objects.ts';
import { NONE } from './part-lists.ts';
import type { Requests } from './requests.ts';
import type { EngineState } from './state.ts';
import { EMPTY, indexAt, MISSING } from './tree.ts';

export interface ChunkMovesOptions {
  readonly state: EngineState;
  readonly parts: ChunkParts;
  readonly requests: Requests;
  /** Index of the first move among the flights' operations is that of its part plus this. */
  readonly firstFlight: number;
  readonly buffers: ChunkBuffers;
}

export interface ChunkMoveOptions {
  readonly object: StoredObject;
  readonly chunk: number;
  /** What the chunk has now, its path is in memory; nothing is in flight in it, and nobody holds the object. Read before
   * `begin` returns, and not kept. */
  readonly entry: Entry;
  /** One of the entry's slots that the object may write in place, or with `fresh` one that was taken for this. */
  readonly target: number;
  readonly fresh: boolean;
  /** The granules to move: some that the entry has in other slots. */
  readonly mask: number;
  /** Called when the chunk's entry was changed, with what it is now: not to be kept. */
  readonly recorded: (entry: Entry) => void;
  /** Called once at the end, whatever became of the move. */
  readonly ended: () => void;
}

interface Move {
  readonly part: number;
  readonly options: ChunkMoveOptions;
  readonly buffer: number;
  pending: number;
  failed: boolean;
}

export class ChunkMoves {
  readonly #options: ChunkMovesOptions;
  readonly #entry = new Entry();

  constructor(options: ChunkMovesOptions) {
    this.#options = options;
  }

  /** Moves that can begin now. */
  get available(): number {
    return this.#options.buffers.available;
  }

  /** Something of the chunk is under way, or is about to be: no move may begin. */
  isBusy(object: StoredObject, chunk: number): boolean {
    return object.holds > 0 || this.#options.parts.findInFlight(object, chunk) !== NONE;
  }

  /** Those of a set of layers that no scrub found damaged: moved elsewhere, what the disk changed would be taken for sound. */
  sound(entry: Entry, layers: number): number {
    const { damaged } = this.#options.state.seals;
    let sound = layers;
    if (damaged.size > 0) for (let layer = 0; layer < entry.count; layer++) if (damaged.has(entry.slots[layer]!)) sound &= ~(1 << layer);
    return sound;
  }

  /** There is a buffer, and room for a record. */
  begin(options: ChunkMoveOptions): void {
    const { parts, state, firstFlight, buffers } = this.#options;
    const { object, chunk, entry, target, fresh, mask } = options;
    if (!fresh) markBeforeWriting(state, object, chunk, target, entry);
    else if (state.slots.hasErasures(entry)) state.slots.markErasure(target); // also when it is given up
    const part = parts.allocate();
    parts.set(part, object, NONE, chunk, mask, 0);
    parts.begin(part, target, fresh);
    object.writesInFlight++;
    state.flights.begin(firstFlight + part);
    const buffer = buffers.take();
    assert(buffer !== null, 'a move begins when there is a buffer');
    const move: Move = { part, options, buffer, pending: 1, failed: false };
    const copy = (): void => this.#copy(move);
    // Each granule lies in one layer: the runs of all layers together are the mask.
    for (let layer = 0; layer < entry.count; layer++) {
      this.#eachRun(
        move,
        entry.slots[layer]!,
        entry.masks[layer]! & mask,
        (disk, length, memory, tag) => state.ports.data.read(disk, length, memory, tag),
        copy,
      );
    }
    move.pending--;
  }

  #copy(move: Move): void {
    const { state } = this.#options;
    if (move.failed) return this.#end(move);
    const { target, mask } = move.options;
    if (state.durability.isWitnessed(target, mask)) {
      return state.durability.confirm((errno) => {
        if (errno !== 0) move.failed = true;
        this.#copy(move);
      });
    }
    const record = (): void => {
      state.durability.landed();
      this.#record(move);
    };
    move.pending = 1;
    this.#eachRun(move, target, mask, (disk, length, memory, tag) => state.ports.data.write(disk, length, memory, tag), record);
    move.pending--;
  }

  /** Issues one disk operation for each run of granules in the mask. `done` is called when all that is pending is over;
   * completions come later, so the caller's own token keeps it from ending before everything was issued. */
  #eachRun(
    move: Move,
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
      move.pending++;
      const length = (to - granule) * GRANULE_BYTES;
      const over = (result: number): void => {
        if (result !== length) move.failed = true;
        if (--move.pending === 0) done();
      };
      issue(slot * chunkSizeBytes + at, length, move.buffer + at, state.calls.tag(over));
      granule = to;
    }
  }

  #record(move: Move): void {
    const { state, parts } = this.#options;
    const { object, chunk, target, mask, recorded } = move.options;
    if (move.failed || object.deleted || object.incarnation !== parts.incarnation[move.part]) return this.#end(move);
    const leaf = state.tree.find(object, chunk);
    if (leaf === MISSING) {
      return state.pages.load(
        state.pages.missing,
        () => this.#record(move),
        () => this.#end(move),
      );
    }
    if (leaf === EMPTY) return this.#end(move);
    leaf.read(indexAt(chunk, 0), this.#entry);
    const still = this.#entry.covered() & mask;
    if (still === 0) return this.#end(move);
    this.#entry.withLayer(target, still);
    state.tree.setEntry(object, chunk, this.#entry, state.journal.entry(object, chunk, this.#entry));
    parts.fresh[move.part] = 0; // the slot is referred to now
    recorded(this.#entry);
    this.#end(move);
  }

  #end(move: Move): void {
    const { parts, requests, state, buffers } = this.#options;
    const { object, target, ended } = move.options;
    if (parts.fresh[move.part] === 1) state.slots.giveBack(target, object);
    requests.endInFlight(move.part, object);
    parts.free(move.part);
    buffers.give(move.buffer);
    ended();
    requests.slotsFreed();
  }
}
