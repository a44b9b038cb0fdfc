/** Time and timers as a port, so that tests run through years in milliseconds. */

export interface Clock {
  nowMs(): number;
  /** Runs `action` once, after a delay of any length; returns the end of it. It does not keep the process alive. */
  after(delayMs: number, action: () => void): () => void;
}

/** The longest delay that setTimeout takes; with a longer one it would fire at once. */
const LONGEST_TIMEOUT_MS = 2 ** 31 - 1;

export const systemClock: Clock = {
  nowMs: () => Date.now(),
  after: (delayMs, action) => {
    let timer: NodeJS.Timeout;
    const wait = (remainingMs: number): void => {
      const stepMs = Math.max(0, Math.min(remainingMs, LONGEST_TIMEOUT_MS));
      timer = setTimeout(() => (remainingMs > stepMs ? wait(remainingMs - stepMs) : action()), stepMs).unref();
    };
    wait(delayMs);
    return () => clearTimeout(timer);
  },
};
