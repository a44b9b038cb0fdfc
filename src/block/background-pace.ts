/**
 * When the background may have a slice of the data thread's time: at once while nobody asks for anything, else so that all
 * slices together take no more than a share of the time: a request that comes in the middle of a slice waits for its end, and
 * what slices begin (a merge reads and writes up to a chunk in pieces) goes on beside the requests, on the same disk.
 */
export class BackgroundPace {
  #notBeforeMs = -Infinity;

  /** @param lastRequestMs when the last request came; all times are of the performance clock */
  isDue(nowMs: number, lastRequestMs: number): boolean {
    return nowMs >= this.#notBeforeMs || nowMs - lastRequestMs >= IDLE_AFTER_MS;
  }

  /** A slice is over. */
  took(startMs: number, endMs: number): void {
    this.#notBeforeMs = endMs + (endMs - startMs) * (1 / SHARE - 1);
  }
}

/** Of the thread's time, while requests come. */
const SHARE = 1 / 64;
/** Without a request for so long nobody is there to be disturbed. */
const IDLE_AFTER_MS = 10;
