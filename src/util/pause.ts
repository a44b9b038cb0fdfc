import type { Clock } from './clock.ts';

/** Resolves after the time, or as soon as one of the signals is aborted; it leaves neither timer nor listener behind. */
export async function pause(clock: Clock, delayMs: number, signals: readonly AbortSignal[]): Promise<void> {
  if (signals.some((signal) => signal.aborted)) return;
  const { promise, resolve } = Promise.withResolvers<void>();
  const wake = (): void => resolve();
  const end = clock.after(delayMs, wake);
  for (const signal of signals) signal.addEventListener('abort', wake, { once: true });
  await promise;
  for (const signal of signals) signal.removeEventListener('abort', wake);
  end();
}
