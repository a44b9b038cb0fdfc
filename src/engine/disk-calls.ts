/** Tags for the disk operations that are not requests of a volume: syncs, log writes, recovery. They may allocate. */
import { assert } from '../util/assert.ts';

/** Tags from here on belong to this table; lower ones to the request tables. */
export const FIRST_CALL_TAG = 2 ** 20;
const TAGS = 2 ** 20;

export type DiskDone = (result: number) => void;

export class DiskCalls {
  readonly #pending = new Map<number, DiskDone>();
  #next = 0;

  /** A tag whose completion runs `done` with the number of bytes or a negative errno. */
  tag(done: DiskDone): number {
    while (this.#pending.has(FIRST_CALL_TAG + this.#next)) this.#next = (this.#next + 1) % TAGS;
    const tag = FIRST_CALL_TAG + this.#next;
    this.#next = (this.#next + 1) % TAGS;
    this.#pending.set(tag, done);
    return tag;
  }

  completed(tag: number, result: number): void {
    const done = this.#pending.get(tag);
    assert(done !== undefined, 'a disk operation completes once');
    this.#pending.delete(tag);
    done(result);
  }
}
