import { expect } from '@jest/globals';
import type { Pending, ScriptedPool } from './scripted-pool.ts';

/** Lets everything happen that is not held; these must be answered then, without an error. */
export function settled(pool: ScriptedPool, ...requests: readonly Pick<Pending, 'answered' | 'errno' | 'error'>[]): void {
  pool.settle();
  for (const { answered, errno, error } of requests) expect({ answered, errno, error }).toEqual({ answered: true, errno: 0, error: null });
}
