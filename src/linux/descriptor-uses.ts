/**
 * Which descriptors are in the hands of asynchronous system calls. A call that ran into its time limit may still wait
 * in the kernel, or even for a pool thread; if its descriptor were closed and the number given out again, the call would
 * hit another file when it goes on. So a close waits for the last call that uses the descriptor.
 *
 * One table for the process, because the numbers are the process's.
 */
import { assert } from '../util/assert.ts';

interface Uses {
  calls: number;
  /** Set when the owner closed it meanwhile. */
  close: (() => void) | null;
}

const table = new Map<number, Uses>();

export function beginUse(descriptors: readonly number[]): void {
  for (const descriptor of descriptors) {
    const uses = table.get(descriptor);
    if (uses === undefined) table.set(descriptor, { calls: 1, close: null });
    else uses.calls++;
  }
}

export function endUse(descriptors: readonly number[]): void {
  for (const descriptor of descriptors) {
    const uses = table.get(descriptor);
    assert(uses !== undefined, 'a use that ends has begun');
    uses.calls--;
    if (uses.calls > 0) continue;
    table.delete(descriptor);
    uses.close?.();
  }
}

/** Runs `close` now when nothing uses the descriptor (true), else after the last call that does (false). */
export function closeAfterUses(descriptor: number, close: () => void): boolean {
  const uses = table.get(descriptor);
  if (uses === undefined) {
    close();
    return true;
  }
  uses.close = close;
  return false;
}
