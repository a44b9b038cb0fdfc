/** A clock that stands still until a test moves it. Timers fire in order, each at its own time, and what they start is
 * given some turns of the event loop before the next one. */
import type { Clock } from '../../src/util/clock.ts';

export class ManualClock implements Clock {
  readonly #timers = new Set<{ atMs: number; readonly action: () => void }>();
  #nowMs: number;

  constructor(startMs: number = Date.UTC(2025, 0, 1)) {
    this.#nowMs = startMs;
  }

  /** How many timers are set. */
  get waiting(): number {
    return this.#timers.size;
  }

  nowMs(): number {
    return this.#nowMs;
  }

  /** As a time server does it: what is waited for comes no later. */
  setBack(byMs: number): void {
    this.#nowMs -= byMs;
    for (const timer of this.#timers) timer.atMs -= byMs;
  }

  after(delayMs: number, action: () => void): () => void {
    const timer = { atMs: this.#nowMs + Math.max(0, delayMs), action };
    this.#timers.add(timer);
    return () => this.#timers.delete(timer);
  }

  async advance(byMs: number): Promise<void> {
    const endMs = this.#nowMs + byMs;
    await turns();
    for (let next = this.#first(); next !== null && next.atMs <= endMs; next = this.#first()) {
      this.#timers.delete(next);
      this.#nowMs = Math.max(this.#nowMs, next.atMs);
      next.action();
      await turns();
    }
    this.#nowMs = endMs;
  }

  #first(): { readonly atMs: number; readonly action: () => void } | null {
    let first = null;
    for (const timer of this.#timers) if (first === null || timer.atMs < first.atMs) first = timer;
    return first;
  }
}

async function turns(): Promise<void> {
  for (let turn = 0; turn < 5; turn++) {
    await new Promise<void>((resolve) => {
      setImmediate(resolve);
    });
  }
}
