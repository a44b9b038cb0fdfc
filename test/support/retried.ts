/** Repeats a call as CSI's callers do: while a role is away (UNAVAILABLE), or a call on the same object is still under way (ABORTED). */
import { status } from '@grpc/grpc-js';
import { setTimeout as delay } from 'node:timers/promises';

const pauseMs = 100;

export async function retried<Answer>(
  call: () => Promise<Answer>,
  options: { readonly limitMs: number } = { limitMs: 30_000 },
): Promise<Answer> {
  const deadline = performance.now() + options.limitMs;
  for (;;) {
    try {
      return await call();
    } catch (error) {
      const { code } = error as { code?: unknown };
      const passing = code === status.UNAVAILABLE || code === status.ABORTED || code === 'unavailable' || code === 'busy';
      if (!passing || performance.now() > deadline) throw error;
      await delay(pauseMs);
    }
  }
}
