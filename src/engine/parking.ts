/**
 * Parking: writes that found no free slot wait here, in their order, their payloads outside the request buffers that other
 * volumes need. They go on when slots come free, and fail with ENOSPC when that takes too long.
 */
import type { ChunkParts } from './chunk-parts.ts';
import { emptyList, NONE, type PartList } from './part-lists.ts';
import { Errno, type RequestTable } from './request-table.ts';
import type { EngineState } from './state.ts';

export interface ParkingOptions {
  readonly timeoutMs: number;
  /** Tries a part again. Answers false when it found no slot and was not parked by that. */
  readonly start: (part: number) => boolean;
  /** Ends a part that is not in flight with an error. */
  readonly giveUp: (part: number, errno: number) => void;
}

export class Parking {
  readonly #state: EngineState;
  readonly #table: RequestTable;
  readonly #parts: ChunkParts;
  readonly #options: ParkingOptions;
  #parked: PartList = emptyList();
  #count = 0;
  readonly #sinceMs: Float64Array;
  /** Parts of a request that wait here, and those in flight. */
  readonly #parkedOf: Int32Array;
  readonly #flyingOf: Int32Array;
  /** The front-end was asked to move the payload out of its request buffers. */
  readonly #moved: Uint8Array;

  constructor(state: EngineState, table: RequestTable, parts: ChunkParts, options: ParkingOptions) {
    this.#state = state;
    this.#table = table;
    this.#parts = parts;
    this.#options = options;
    this.#sinceMs = new Float64Array(table.count);
    this.#parkedOf = new Int32Array(table.count);
    this.#flyingOf = new Int32Array(table.count);
    this.#moved = new Uint8Array(table.count);
  }

  /** Parts that wait. */
  get count(): number {
    return this.#count;
  }

  /** A new request takes this number. */
  begin(request: number): void {
    this.#sinceMs[request] = 0;
    this.#parkedOf[request] = 0;
    this.#flyingOf[request] = 0;
    this.#moved[request] = 0;
  }

  /** A part of the request is being written from where its payload lies. */
  flightBegan(request: number): void {
    this.#flyingOf[request]!++;
  }

  flightEnded(request: number): void {
    this.#flyingOf[request]!--;
    if (this.#parkedOf[request]! > 0) this.#movePayload(request);
  }

  park(part: number): void {
    const { slots, ports, durability, broken } = this.#state;
    const request = this.#parts.request[part]!;
    if (this.#sinceMs[request] === 0) this.#sinceMs[request] = ports.clock.elapsedMs();
    this.#parts.links.append(this.#parked, part);
    this.#count++;
    this.#parkedOf[request]!++;
    if (slots.wantsDurability && !durability.running && broken === null) durability.request(() => undefined);
    this.#movePayload(request);
  }

  /**
   * Slots may have come free: tries what waits in its order, until one finds none. With `all` every one is tried, since a
   * later one may have come to own the slot that it writes.
   */
  retry(options: { readonly all: boolean }): void {
    if (this.#count === 0) return;
    const waiting = this.#parked;
    this.#parked = emptyList();
    const kept = emptyList();
    for (let part = this.#parts.links.take(waiting); part !== NONE; part = this.#parts.links.take(waiting)) {
      this.#leave(part);
      if (this.#options.start(part)) continue;
      this.#stay(part, kept);
      if (!options.all) break;
    }
    for (let part = this.#parts.links.take(waiting); part !== NONE; part = this.#parts.links.take(waiting))
      this.#parts.links.append(kept, part);
    // What was parked meanwhile came after.
    const later = this.#parked;
    this.#parked = kept;
    for (let part = this.#parts.links.take(later); part !== NONE; part = this.#parts.links.take(later))
      this.#parts.links.append(kept, part);
  }

  /** The time of everything that waits begins anew. */
  restartTimes(): void {
    const elapsedMs = this.#state.ports.clock.elapsedMs();
    for (let part = this.#parked.head; part !== NONE; part = this.#parts.links.next(part))
      this.#sinceMs[this.#parts.request[part]!] = elapsedMs;
  }

  /** Ends what has waited too long. */
  expire(elapsedMs: number): void {
    this.#end(Errno.noSpace, (request) => this.#sinceMs[request]! + this.#options.timeoutMs <= elapsedMs);
  }

  /** Ends everything with an error. */
  fail(): void {
    this.#end(Errno.io, () => true);
  }

  #end(errno: number, isOver: (request: number) => boolean): void {
    const waiting = this.#parked;
    this.#parked = emptyList();
    for (let part = this.#parts.links.take(waiting); part !== NONE; part = this.#parts.links.take(waiting)) {
      this.#leave(part);
      if (isOver(this.#parts.request[part]!)) this.#options.giveUp(part, errno);
      else this.#stay(part, this.#parked);
    }
  }

  #leave(part: number): void {
    this.#count--;
    this.#parkedOf[this.#parts.request[part]!]!--;
  }

  #stay(part: number, list: PartList): void {
    this.#parts.links.append(list, part);
    this.#count++;
    this.#parkedOf[this.#parts.request[part]!]!++;
  }

  /** A waiting payload must not hold a request buffer; it moves once no part of it is being written from there. */
  #movePayload(request: number): void {
    if (this.#moved[request] === 1 || this.#flyingOf[request]! > 0) return;
    this.#moved[request] = 1;
    this.#table.memory[request] = this.#state.ports.listener.parked(request);
  }
}
