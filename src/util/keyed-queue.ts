/** Runs tasks of the same key one after another, in the order in which they came; tasks of different keys at once. */
import { StoreError } from './errors.ts';

export class KeyedQueue {
  readonly #maximumWaiting: number;
  readonly #lines = new Map<string, { tail: Promise<unknown>; waiting: number }>();

  constructor(options: { readonly maximumWaiting: number }) {
    this.#maximumWaiting = options.maximumWaiting;
  }

  /** Answers what the task answers. StoreError `busy` when too many wait for this key already. */
  async run<Result>(key: string, task: () => Promise<Result>): Promise<Result> {
    const line = this.#lines.get(key) ?? { tail: Promise.resolve(), waiting: 0 };
    if (line.waiting > this.#maximumWaiting) throw new StoreError('busy', `${line.waiting} calls for ${key} wait already`);
    this.#lines.set(key, line);
    line.waiting++;
    const result = line.tail.then(task);
    line.tail = result.catch(() => {});
    try {
      return await result;
    } finally {
      line.waiting--;
      if (line.waiting === 0) this.#lines.delete(key);
    }
  }
}
