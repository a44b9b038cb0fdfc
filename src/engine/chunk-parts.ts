/**
 * The parts of writes (and merges): one operation on one chunk of one object each. A hash table finds what is in flight
 * on a chunk; parts that must wait for it stand in a list beside.
 */
import { assert } from '../util/assert.ts';
import type { StoredObject } from './objects.ts';
import { emptyList, NONE, type PartList, PartLinks } from './part-lists.ts';

const BUCKETS = 4096;

export class ChunkParts {
  readonly links: PartLinks;
  readonly object: (StoredObject | null)[];
  /** NONE for a merge. */
  readonly request: Int32Array;
  readonly chunk: Float64Array;
  readonly mask: Int32Array;
  /** Where the part's bytes begin in its request's memory. */
  readonly memoryAt: Float64Array;
  readonly slot: Float64Array;
  readonly fresh: Uint8Array;
  readonly incarnation: Float64Array;
  readonly #free: Int32Array;
  #freeCount: number;
  readonly #bucketHead = new Int32Array(BUCKETS).fill(NONE);
  readonly #bucketNext: Int32Array;
  readonly #flying: Uint8Array;
  readonly #waiting: PartList[] = Array.from({ length: BUCKETS }, emptyList);
  /** Reused to hand out a bucket's waiting parts. */
  readonly #taken: PartList = emptyList();
  #inFlight = 0;

  constructor(parts: number) {
    this.links = new PartLinks(parts);
    this.object = new Array<StoredObject | null>(parts).fill(null);
    this.request = new Int32Array(parts);
    this.chunk = new Float64Array(parts);
    this.mask = new Int32Array(parts);
    this.memoryAt = new Float64Array(parts);
    this.slot = new Float64Array(parts);
    this.fresh = new Uint8Array(parts);
    this.incarnation = new Float64Array(parts);
    this.#bucketNext = new Int32Array(parts).fill(NONE);
    this.#flying = new Uint8Array(parts);
    this.#free = new Int32Array(parts).map((_, index) => parts - 1 - index);
    this.#freeCount = parts;
  }

  get inFlight(): number {
    return this.#inFlight;
  }

  allocate(): number {
    assert(this.#freeCount > 0, 'there are parts for every request');
    return this.#free[--this.#freeCount]!;
  }

  free(part: number): void {
    this.object[part] = null;
    this.#free[this.#freeCount++] = part;
  }

  set(part: number, object: StoredObject, request: number, chunk: number, mask: number, memoryAt: number): void {
    this.object[part] = object;
    this.request[part] = request;
    this.chunk[part] = chunk;
    this.mask[part] = mask;
    this.memoryAt[part] = memoryAt;
  }

  /** The part is in flight from here to `end`. */
  begin(part: number, slot: number, fresh: boolean): void {
    const object = this.object[part]!;
    this.slot[part] = slot;
    this.fresh[part] = fresh ? 1 : 0;
    this.incarnation[part] = object.incarnation;
    const bucket = bucketOf(object, this.chunk[part]!);
    this.#bucketNext[part] = this.#bucketHead[bucket]!;
    this.#bucketHead[bucket] = part;
    this.#flying[part] = 1;
    this.#inFlight++;
  }

  /** The part's record is made. Returns the list of parts that waited for something in its bucket: try each again. */
  end(part: number): PartList {
    const bucket = bucketOf(this.object[part]!, this.chunk[part]!);
    if (this.#bucketHead[bucket] === part) this.#bucketHead[bucket] = this.#bucketNext[part]!;
    else {
      let before = this.#bucketHead[bucket]!;
      while (this.#bucketNext[before] !== part) before = this.#bucketNext[before]!;
      this.#bucketNext[before] = this.#bucketNext[part]!;
    }
    this.#bucketNext[part] = NONE;
    this.#flying[part] = 0;
    this.#inFlight--;
    const waiting = this.#waiting[bucket]!;
    const taken = waiting.head === NONE ? this.#taken : emptyList();
    taken.head = waiting.head;
    taken.tail = waiting.tail;
    waiting.head = NONE;
    waiting.tail = NONE;
    return taken;
  }

  /** Some part in flight on this chunk, or NONE. */
  findInFlight(object: StoredObject, chunk: number): number {
    for (let part = this.#bucketHead[bucketOf(object, chunk)]!; part !== NONE; part = this.#bucketNext[part]!) {
      if (this.chunk[part] === chunk && this.object[part] === object) return part;
    }
    return NONE;
  }

  /** Whether a write of these granules cannot run beside what is in flight on the chunk. */
  mustWait(object: StoredObject, chunk: number, mask: number): boolean {
    for (let part = this.#bucketHead[bucketOf(object, chunk)]!; part !== NONE; part = this.#bucketNext[part]!) {
      if (this.chunk[part] !== chunk || this.object[part] !== object) continue;
      if (this.fresh[part] === 1 || this.request[part] === NONE || (this.mask[part]! & mask) !== 0) return true;
      // The records of an earlier life of the volume will be dropped, their slots are not this tree's.
      if (this.incarnation[part] !== object.incarnation) return true;
    }
    return false;
  }

  waitForChunk(part: number): void {
    this.links.append(this.#waiting[bucketOf(this.object[part]!, this.chunk[part]!)]!, part);
  }

  anyInFlight(object: StoredObject, firstChunk: number, lastChunk: number): boolean {
    if (object.writesInFlight === 0) return false;
    for (let part = 0; part < this.#flying.length; part++) {
      if (this.#flying[part] === 1 && this.object[part] === object && this.chunk[part]! >= firstChunk && this.chunk[part]! <= lastChunk)
        return true;
    }
    return false;
  }
}

function bucketOf(object: StoredObject, chunk: number): number {
  return (Math.imul(chunk, 0x9e3779b1) ^ Math.imul(object.number, 0x85ebca6b)) >>> 20;
}
