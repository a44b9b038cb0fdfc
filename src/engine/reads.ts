/**
 * Reads: each granule from the layer that has it, zeros where none has. From its start to its end a read keeps the slots that
 * it may be reading from being used again.
 */
import { UNWANTED, type Pieces } from '../util/pieces.ts';
import { Entry } from './entry.ts';
import { GRANULE_BYTES, HEADER_SLOT } from './geometry.ts';
import { ReadRuns } from './read-runs.ts';
import { Errno, type RequestTable } from './request-table.ts';
import type { EngineState } from './state.ts';
import { EMPTY, indexAt, MISSING } from './tree.ts';

export class Reads {
  readonly #state: EngineState;
  readonly #table: RequestTable;
  readonly #ended: () => void;
  readonly #entry = new Entry();
  /** Bytes of a read that have been issued. */
  readonly #progress: Float64Array;
  /** Bytes that its disk operations have still to bring. */
  readonly #missing: Float64Array;
  readonly #runs = new ReadRuns((request, disk, pieces) => this.#issue(request, disk, pieces));

  /** @param ended called when a read is over */
  constructor(state: EngineState, table: RequestTable, ended: () => void) {
    this.#state = state;
    this.#table = table;
    this.#ended = ended;
    this.#progress = new Float64Array(table.count);
    this.#missing = new Float64Array(table.count);
  }

  /** The request stands in the table. */
  start(request: number): void {
    this.#progress[request] = 0;
    this.#missing[request] = 0;
    this.#state.flights.begin(request);
    this.#continue(request);
  }

  diskCompleted(request: number, result: number): void {
    if (result < 0) this.#table.errno[request] = Errno.io;
    else this.#missing[request]! -= result;
    this.#done(request);
  }

  #continue(request: number): void {
    const { tree, pages, geometry } = this.#state;
    const object = this.#table.objects[request]!;
    const { chunkSizeBytes } = geometry;
    const start = this.#table.offset[request]!;
    const length = this.#table.length[request]!;
    let at = this.#progress[request]!;
    while (at < length) {
      const chunk = Math.floor((start + at) / chunkSizeBytes);
      const leaf = tree.find(object, chunk);
      if (leaf === MISSING) {
        this.#progress[request] = at;
        this.#runs.finish(request);
        const failed = (): void => {
          this.#table.errno[request] = Errno.io;
          this.#done(request);
        };
        return pages.load(pages.missing, () => this.#continue(request), failed);
      }
      if (leaf === EMPTY) this.#entry.clear();
      else leaf.read(indexAt(chunk, 0), this.#entry);
      const within = start + at - chunk * chunkSizeBytes;
      const end = Math.min(chunkSizeBytes, within + length - at);
      this.#readChunk(request, within, end, this.#table.memory[request]! + at - within);
      at += end - within;
    }
    this.#runs.finish(request);
    this.#done(request);
  }

  /** Reads [within, end) of the chunk whose entry is in hand; byte 0 of the chunk would go to `memory`. */
  #readChunk(request: number, within: number, end: number, memory: number): void {
    const { ports, geometry } = this.#state;
    const last = end / GRANULE_BYTES;
    let granule = within / GRANULE_BYTES;
    while (granule < last) {
      const slot = this.#slotOf(granule);
      let to = granule + 1;
      while (to < last && this.#slotOf(to) === slot) to++;
      const at = memory + granule * GRANULE_BYTES;
      const bytes = (to - granule) * GRANULE_BYTES;
      if (slot === HEADER_SLOT) ports.memory.bytes.fill(0, at, at + bytes);
      else this.#runs.add(request, slot * geometry.chunkSizeBytes + granule * GRANULE_BYTES, at, bytes);
      granule = to;
    }
  }

  /** The slot of a granule in the entry in hand, or 0. */
  #slotOf(granule: number): number {
    const entry = this.#entry;
    for (let layer = 0; layer < entry.count; layer++) if ((entry.masks[layer]! >> granule) & 1) return entry.slots[layer]!;
    return HEADER_SLOT;
  }

  #issue(request: number, disk: number, pieces: Pieces): void {
    const { data } = this.#state.ports;
    this.#missing[request]! += pieces.wantedBytes;
    if (pieces.count > 1 && data.readPieces(disk, pieces, request)) return this.#table.expect(request);
    let at = disk;
    for (let piece = 0; piece < pieces.count; piece++) {
      const length = pieces.lengths[piece]!;
      const memory = pieces.memoryOffsets[piece]!;
      if (memory !== UNWANTED) {
        this.#table.expect(request);
        data.read(at, length, memory, request);
      }
      at += length;
    }
  }

  #done(request: number): void {
    if (!this.#table.isLast(request)) return this.#table.done(request);
    // A read that came up short has not filled its buffer, whatever its result says.
    if (this.#missing[request] !== 0) this.#table.errno[request] = Errno.io;
    this.#state.flights.end(request);
    this.#table.done(request);
    this.#ended();
  }
}
