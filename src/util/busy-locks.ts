/**
 * Locks on names and objects that never wait: whoever comes second is told `busy` and asks again. That is what CSI
 * demands, and it bounds what a slow call can hold up. Shared holders go together; an exclusive one stands alone.
 */
import { assert } from './assert.ts';
import { StoreError } from './errors.ts';

export interface LockRequest {
  readonly exclusive?: readonly string[];
  readonly shared?: readonly string[];
}

export class BusyLocks {
  /** -1: held exclusively; otherwise the number of shared holders. */
  readonly #held = new Map<string, number>();

  /** Runs `action` under the locks, or throws `busy` when one of them is not to be had. */
  async with<Result>(request: LockRequest, action: () => Promise<Result>): Promise<Result> {
    const exclusive = [...new Set(request.exclusive ?? [])];
    const shared = [...new Set(request.shared ?? [])].filter((key) => !exclusive.includes(key));
    const taken = exclusive.find((key) => this.#held.has(key)) ?? shared.find((key) => this.#held.get(key) === -1);
    if (taken !== undefined) throw new StoreError('busy', `another call on ${taken} is still running; ask again when it is over`);
    for (const key of exclusive) this.#held.set(key, -1);
    for (const key of shared) this.#held.set(key, (this.#held.get(key) ?? 0) + 1);
    try {
      return await action();
    } finally {
      for (const key of exclusive) this.#held.delete(key);
      for (const key of shared) this.#releaseShared(key);
    }
  }

  #releaseShared(key: string): void {
    const holders = this.#held.get(key);
    assert(holders !== undefined && holders > 0, `shared lock on ${key} is held`);
    if (holders === 1) this.#held.delete(key);
    else this.#held.set(key, holders - 1);
  }
}

/** One at a time, in order of arrival. */
export class Turns {
  #last: Promise<unknown> = Promise.resolve();

  take<Result>(action: () => Promise<Result>): Promise<Result> {
    const turn = this.#last.then(action, action);
    this.#last = turn.catch(() => {});
    return turn;
  }
}
