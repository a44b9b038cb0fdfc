/**
 * Block requests: read, write, zero, flush, and what wakes those that wait. A request waits for a page of the map, for a
 * slot (parking.ts), for room in the record ring, for an operation on its chunk, or for a cut (holds.ts).
 *
 * Nothing is allocated per read or write, except on the cold paths: a page to load, a full pool, a discard.
 */
import type { ChunkParts } from './chunk-parts.ts';
import { Holds } from './holds.ts';
import type { StoredObject } from './objects.ts';
import { Parking } from './parking.ts';
import { Reads } from './reads.ts';
import { Errno, RequestTable } from './request-table.ts';
import type { EngineState } from './state.ts';
import { Writes } from './writes.ts';
import { Zeros } from './zeros.ts';

export interface RequestsOptions {
  readonly maximumRequests: number;
  /** How long a write waits for space before it fails with ENOSPC. */
  readonly parkTimeoutMs: number;
  /** An entry has more layers than a read should visit. */
  readonly mergeWanted: (object: StoredObject, chunk: number) => void;
  readonly checkpointWanted: () => void;
}

export class Requests {
  readonly holds: Holds;
  readonly #state: EngineState;
  readonly #table: RequestTable;
  readonly #parking: Parking;
  readonly #reads: Reads;
  readonly #writes: Writes;
  readonly #zeros: Zeros;

  constructor(state: EngineState, parts: ChunkParts, options: RequestsOptions) {
    this.#state = state;
    const { mergeWanted, checkpointWanted } = options;
    const ended = (): void => this.#ended();
    const table = new RequestTable(options.maximumRequests, state.ports.listener);
    const holds = new Holds({
      links: parts.links,
      startWrite: (part) => this.#writes.startPart(part),
      startZero: (request) => this.#zeros.start(request),
    });
    const parking = new Parking(state, table, parts, {
      timeoutMs: options.parkTimeoutMs,
      start: (part) => this.#writes.tryPart(part),
      giveUp: (part, errno) => this.#writes.giveUp(part, errno),
    });
    this.holds = holds;
    this.#table = table;
    this.#parking = parking;
    this.#reads = new Reads(state, table, ended);
    this.#writes = new Writes({ state, table, parts, holds, parking, mergeWanted, checkpointWanted, ended });
    this.#zeros = new Zeros({ state, table, parts, holds, checkpointWanted, ended });
  }

  /** Parts of writes that wait for space. */
  get parkedWrites(): number {
    return this.#parking.count;
  }

  read(request: number, object: StoredObject, offsetBytes: number, lengthBytes: number, memoryOffset: number): void {
    this.#table.begin(request, object, offsetBytes, lengthBytes, memoryOffset);
    this.#reads.start(request);
  }

  write(request: number, object: StoredObject, offsetBytes: number, lengthBytes: number, memoryOffset: number): void {
    this.#table.begin(request, object, offsetBytes, lengthBytes, memoryOffset);
    this.#writes.start(request);
  }

  /** Discard and write-zeroes. */
  zero(request: number, object: StoredObject, offsetBytes: number, lengthBytes: number): void {
    this.#table.begin(request, object, offsetBytes, lengthBytes, 0);
    this.#zeros.start(request);
  }

  /** Ends when everything that was answered before is durable. */
  flush(request: number): void {
    this.#state.durability.flush((errno) => this.#state.ports.listener.completed(request, errno === 0 ? 0 : Errno.io));
  }

  /** Completion of the disk read or write with this tag (below FIRST_CALL_TAG). */
  diskCompleted(tag: number, result: number): void {
    if (tag < this.#table.count) this.#reads.diskCompleted(tag, result);
    else this.#writes.diskCompleted(tag - this.#table.count, result);
  }

  /** A merge is over: what waited for its chunk goes on. */
  endInFlight(part: number, object: StoredObject): void {
    this.#writes.endInFlight(part, object);
  }

  /** Slots may have become free. */
  slotsFreed(options: { readonly all: boolean } = { all: false }): void {
    this.#parking.retry(options);
  }

  /** The count after the start is over: what waits now waits for space, and its time begins. */
  counted(): void {
    this.#parking.restartTimes();
  }

  /** Ends writes that have waited too long for space. */
  expire(elapsedMs: number): void {
    if (this.#parking.count > 0 && this.#state.slots.counted) this.#parking.expire(elapsedMs);
  }

  /** The ring has room again. */
  ringTrimmed(): void {
    this.#writes.ringTrimmed();
    this.#zeros.ringTrimmed();
  }

  /** The pool has failed: what waits for space or for room in the ring ends with an error. */
  fail(): void {
    this.#parking.fail();
    this.#writes.fail();
    this.#zeros.ringTrimmed();
  }

  #ended(): void {
    if (this.#state.slots.wantsAdvance) this.#state.slots.advance();
    if (this.#parking.count > 0) this.#parking.retry({ all: false });
  }
}
