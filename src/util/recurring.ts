/**
 * Runs one action again and again: at once, when it asked for it, when it is poked, and after a failure with growing
 * pauses. It never runs twice at the same time; pokes that come while it runs make it run once more.
 */
import type { Clock } from './clock.ts';

export interface RecurringOptions {
  readonly clock: Clock;
  /** Answers in how many milliseconds it wants to run again at the latest. `stopping` is aborted by `stop`. */
  readonly action: (stopping: AbortSignal) => Promise<number>;
  readonly onError: (error: unknown) => void;
  readonly retryMs: { readonly first: number; readonly most: number };
}

export class Recurring {
  readonly #options: RecurringOptions;
  readonly #stopping = new AbortController();
  #running: Promise<void> | null = null;
  #poked = false;
  #failures = 0;
  #cancelTimer: () => void = () => {};

  constructor(options: RecurringOptions) {
    this.#options = options;
    this.poke();
  }

  /** Runs soon, also while it waits after a failure. */
  poke(): void {
    if (this.#stopping.signal.aborted) return;
    this.#poked = true;
    this.#cancelTimer();
    this.#running ??= this.#run();
  }

  /** Resolves once the action is over; it does not run again. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    this.#cancelTimer();
    await this.#running;
  }

  async #run(): Promise<void> {
    const { clock, retryMs } = this.#options;
    let pauseMs = 0;
    while (this.#poked && !this.#stopping.signal.aborted) {
      this.#poked = false;
      // Pokes of the same moment are one.
      await Promise.resolve();
      try {
        pauseMs = await this.#options.action(this.#stopping.signal);
        this.#failures = 0;
      } catch (error) {
        if (this.#stopping.signal.aborted) break;
        pauseMs = Math.min(retryMs.first * 2 ** Math.min(this.#failures++, 30), retryMs.most);
        this.#options.onError(error);
      }
    }
    // Not a moment later, or a poke in between would be lost.
    this.#running = null;
    if (!this.#stopping.signal.aborted) this.#cancelTimer = clock.after(pauseMs, () => this.poke());
  }
}
