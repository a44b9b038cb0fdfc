/** Lists of part indices linked through one array: a part stands in one of them at most. Nothing is allocated. */

export interface PartList {
  head: number;
  tail: number;
}

export const NONE = -1;

export function emptyList(): PartList {
  return { head: NONE, tail: NONE };
}

export class PartLinks {
  readonly #next: Int32Array;

  constructor(parts: number) {
    this.#next = new Int32Array(parts).fill(NONE);
  }

  append(list: PartList, part: number): void {
    this.#next[part] = NONE;
    if (list.tail === NONE) list.head = part;
    else this.#next[list.tail] = part;
    list.tail = part;
  }

  /** Puts a part back in front. */
  prepend(list: PartList, part: number): void {
    this.#next[part] = list.head;
    list.head = part;
    if (list.tail === NONE) list.tail = part;
  }

  /** Takes the first, or NONE. */
  take(list: PartList): number {
    const part = list.head;
    if (part === NONE) return NONE;
    list.head = this.#next[part]!;
    if (list.head === NONE) list.tail = NONE;
    return part;
  }

  next(part: number): number {
    return this.#next[part]!;
  }
}

/**
 * The operations in flight in the order in which they began. A slot that was dropped at stamp s can be used again when
 * every operation with a stamp up to s is over.
 */
export class Flights {
  readonly #stamps: Float64Array;
  readonly #before: Int32Array;
  readonly #after: Int32Array;
  #oldest = NONE;
  #newest = NONE;
  #stamp = 1;

  constructor(operations: number) {
    this.#stamps = new Float64Array(operations);
    this.#before = new Int32Array(operations).fill(NONE);
    this.#after = new Int32Array(operations).fill(NONE);
  }

  begin(operation: number): void {
    this.#stamps[operation] = ++this.#stamp;
    this.#before[operation] = this.#newest;
    this.#after[operation] = NONE;
    if (this.#newest === NONE) this.#oldest = operation;
    else this.#after[this.#newest] = operation;
    this.#newest = operation;
  }

  end(operation: number): void {
    const before = this.#before[operation]!;
    const after = this.#after[operation]!;
    if (before === NONE) this.#oldest = after;
    else this.#after[before] = after;
    if (after === NONE) this.#newest = before;
    else this.#before[after] = before;
    this.#stamps[operation] = 0;
  }

  inFlight(operation: number): boolean {
    return this.#stamps[operation] !== 0;
  }

  /** The stamp of a drop that happens now. */
  get now(): number {
    return this.#stamp;
  }

  /** Stamp of the oldest operation in flight. */
  get oldestStamp(): number {
    return this.#oldest === NONE ? Infinity : this.#stamps[this.#oldest]!;
  }

  get oldest(): number {
    return this.#oldest;
  }

  after(operation: number): number {
    return this.#after[operation]!;
  }
}
