/**
 * The gate before a store's calls: open while it serves. Once it is closed calls are `unavailable`, for the caller to try
 * again elsewhere, and those that were let in before can be waited for.
 */
import { StoreError } from '../../util/errors.ts';

export class Admission {
  #isOpen = true;
  #inside = 0;
  #waiting: (() => void)[] = [];

  async pass<Result>(call: () => Promise<Result>): Promise<Result> {
    if (!this.#isOpen) throw new StoreError('unavailable', 'this store is giving its pool up; ask again, for the one that serves it next');
    this.#inside += 1;
    try {
      return await call();
    } finally {
      this.#inside -= 1;
      if (this.#inside === 0) for (const wake of this.#waiting.splice(0)) wake();
    }
  }

  /** The same calls, behind the gate. */
  admit<Calls extends object>(calls: Calls): Calls {
    return new Proxy(calls, {
      get: (target, name) => {
        const call: unknown = Reflect.get(target, name);
        if (typeof call !== 'function') return call;
        return (...parameters: unknown[]) => this.pass(() => Reflect.apply(call, target, parameters) as Promise<unknown>);
      },
    });
  }

  open(): void {
    this.#isOpen = true;
  }

  close(): void {
    this.#isOpen = false;
  }

  /** Whether all calls that were let in ended within the limit. */
  async idle(options: { readonly timeoutMs: number }): Promise<boolean> {
    if (this.#inside === 0) return true;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#waiting.push(resolve);
    const timer = setTimeout(resolve, options.timeoutMs);
    await promise;
    clearTimeout(timer);
    return this.#inside === 0;
  }
}
