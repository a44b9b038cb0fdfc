/** What is deleted gives its space back in the background, and not all that do so can be asked whether they are done. */
import { setTimeout as delay } from 'node:timers/promises';

const limitMs = 60_000;
/** Space that comes back comes faster than this. */
const stillMs = 300;

/** Ends when used space is what it was a moment before, or at the limit. */
export async function untilStill(usedBytes: () => Promise<number> | number): Promise<void> {
  const deadline = performance.now() + limitMs;
  for (let last = Number.NaN, now = await usedBytes(); now !== last && performance.now() < deadline;) {
    await delay(stillMs);
    last = now;
    now = await usedBytes();
  }
}
