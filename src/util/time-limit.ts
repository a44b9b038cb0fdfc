/** A limit for what others take their time with. */
import { StoreError } from './errors.ts';

/** Promises what `promise` does if it comes in time, and `unavailable` otherwise. What comes later is dropped. */
export async function withinTime<Result>(
  promise: Promise<Result>,
  options: { readonly timeoutMs: number; /** The subject of the error's sentence. */ readonly what: string },
): Promise<Result> {
  const { timeoutMs, what } = options;
  const { promise: late, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => reject(new StoreError('unavailable', `${what} did not answer within ${timeoutMs} ms`)), timeoutMs);
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
