/** How many calls a server works on at once. Each holds its message and whatever it began; more are told to come again. */
import { StoreError } from './errors.ts';

export class CallLimit {
  readonly #maximum: number;
  #running = 0;

  constructor(options: { readonly maximum: number }) {
    this.#maximum = options.maximum;
  }

  /** Runs the call, or throws `unavailable` at once when as many as may run already. */
  async run<Result>(call: () => Promise<Result>): Promise<Result> {
    if (this.#running >= this.#maximum)
      throw new StoreError('unavailable', `${this.#running} calls run already, and no more may; ask again when some are over`);
    this.#running += 1;
    try {
      return await call();
    } finally {
      this.#running -= 1;
    }
  }
}
