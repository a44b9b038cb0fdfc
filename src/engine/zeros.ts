/**
 * Discard and write-zeroes: the range reads as zeros afterwards, exactly, and needs no slot. A zero waits for the writes in
 * flight in its range, and then happens at once: partial chunks lose granules, whole ones their entry, whole subtrees are
 * dropped in one step.
 */
import { assert } from '../util/assert.ts';
import type { ChunkParts } from './chunk-parts.ts';
import { Entry } from './entry.ts';
import { GRANULE_BYTES, maskOf } from './geometry.ts';
import type { Holds } from './holds.ts';
import type { StoredObject } from './objects.ts';
import { Errno, type RequestTable } from './request-table.ts';
import type { EngineState } from './state.ts';
import { EMPTY, indexAt, MISSING } from './tree.ts';

export interface ZerosOptions {
  readonly state: EngineState;
  readonly table: RequestTable;
  readonly parts: ChunkParts;
  readonly holds: Holds;
  readonly checkpointWanted: () => void;
  /** Called when one is over. */
  readonly ended: () => void;
}

export class Zeros {
  readonly #options: ZerosOptions;
  readonly #entry = new Entry();
  readonly #after = new Entry();
  readonly #waitingForRing: number[] = [];

  constructor(options: ZerosOptions) {
    this.#options = options;
  }

  /** The request stands in the table, with one token. */
  start(request: number): void {
    const { state, table, parts, holds, checkpointWanted } = this.#options;
    const object = table.objects[request]!;
    if (state.broken !== null || object.deleted) return this.#perform(request, { held: false });
    if (object.holds > 0) return holds.waitWithZero(object, request);
    if (!state.journal.hasRoom) {
      this.#waitingForRing.push(request);
      return checkpointWanted();
    }
    const { chunkSizeBytes } = state.geometry;
    const from = table.offset[request]!;
    const firstChunk = Math.floor(from / chunkSizeBytes);
    const lastChunk = Math.floor((from + table.length[request]! - 1) / chunkSizeBytes);
    if (!parts.anyInFlight(object, firstChunk, lastChunk)) return this.#perform(request, { held: false });
    // Holding the others back keeps a stream of writes from starving a discard of the whole device.
    holds.hold(object, () => this.#perform(request, { held: true }));
  }

  /** The ring has room again, or the pool has failed. */
  ringTrimmed(): void {
    if (this.#options.state.journal.hasRoom || this.#options.state.broken !== null)
      for (const request of this.#waitingForRing.splice(0)) this.start(request);
  }

  #perform(request: number, options: { readonly held: boolean }): void {
    const { state, table } = this.#options;
    const { tree, pages } = state;
    const object = table.objects[request]!;
    const { chunkSizeBytes } = state.geometry;
    if (state.broken !== null) table.errno[request] = Errno.io;
    if (state.broken !== null || object.deleted) return this.#end(request, object, options);
    const from = table.offset[request]!;
    const to = from + table.length[request]!;
    const firstChunk = Math.floor(from / chunkSizeBytes);
    const lastChunk = Math.floor((to - 1) / chunkSizeBytes);
    const wholeFrom = Math.ceil(from / chunkSizeBytes);
    const wholeTo = Math.floor(to / chunkSizeBytes);
    const again = (): void => (options.held ? this.#perform(request, options) : this.start(request));
    const canTrim = wholeFrom >= wholeTo || tree.canTrim(object, wholeFrom, wholeTo - wholeFrom);
    if (!canTrim || tree.find(object, firstChunk) === MISSING || tree.find(object, lastChunk) === MISSING) {
      return pages.load(pages.missing, again, again); // the pool is broken by then, if it failed
    }
    if (wholeFrom > wholeTo) this.#clear(object, firstChunk, from - firstChunk * chunkSizeBytes, to - firstChunk * chunkSizeBytes);
    else {
      if (firstChunk < wholeFrom) this.#clear(object, firstChunk, from - firstChunk * chunkSizeBytes, chunkSizeBytes);
      if (wholeFrom < wholeTo) this.#unmap(object, wholeFrom, wholeTo - wholeFrom);
      if (lastChunk >= wholeTo) this.#clear(object, lastChunk, 0, to - lastChunk * chunkSizeBytes);
    }
    this.#end(request, object, options);
  }

  /** Clears the granules of [fromBytes, toBytes) of one chunk. */
  #clear(object: StoredObject, chunk: number, fromBytes: number, toBytes: number): void {
    const { tree, journal } = this.#options.state;
    const leaf = tree.find(object, chunk);
    assert(leaf !== MISSING, 'a discard begins with its pages in memory');
    if (leaf === EMPTY) return;
    leaf.read(indexAt(chunk, 0), this.#entry);
    this.#after.copyFrom(this.#entry);
    this.#after.without(maskOf(fromBytes / GRANULE_BYTES, (toBytes - fromBytes) / GRANULE_BYTES));
    if (this.#after.equals(this.#entry)) return;
    tree.setEntry(object, chunk, this.#after, journal.entry(object, chunk, this.#after));
  }

  #unmap(object: StoredObject, firstChunk: number, chunks: number): void {
    const { tree, journal, geometry } = this.#options.state;
    if (object.rootNumber === 0) return;
    if (chunks === 1) return this.#clear(object, firstChunk, 0, geometry.chunkSizeBytes);
    tree.trim(object, firstChunk, chunks, journal.trim(object, firstChunk, chunks));
  }

  #end(request: number, object: StoredObject, options: { readonly held: boolean }): void {
    const { table, holds, ended } = this.#options;
    if (options.held) holds.release(object);
    table.done(request);
    ended();
  }
}
