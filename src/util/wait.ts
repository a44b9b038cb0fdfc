import { setTimeout as delay } from 'node:timers/promises';

/** Resolves after the time, or as soon as the signal is aborted. Unlike a pause of a Clock it keeps the process alive. */
export async function wait(timeMs: number, signal?: AbortSignal): Promise<void> {
  try {
    await delay(timeMs, undefined, signal === undefined ? {} : { signal });
  } catch {
    // Aborted: the caller looks at its signal.
  }
}
