/** Waits until `probe` answers something true; fails with `what` after the limit. */
import { setTimeout as delay } from 'node:timers/promises';

export async function eventually(what: string, probe: () => unknown, limitMs = 5000): Promise<void> {
  const deadline = performance.now() + limitMs;
  while (!(await probe())) {
    if (performance.now() > deadline) throw new Error(`did not happen within ${limitMs} ms: ${what}`);
    await delay(5);
  }
}
