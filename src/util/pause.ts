import { setTimeout as delay } from 'node:timers/promises';

/** Resolves after the time, or as soon as the signal is aborted. */
export async function pause(timeMs: number, signal?: AbortSignal): Promise<void> {
  try {
    await delay(timeMs, undefined, signal === undefined ? {} : { signal });
  } catch {
    // Aborted: the caller looks at its signal.
  }
}
