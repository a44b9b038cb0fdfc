/** An eventfd: a counter in the kernel that one thread waits on and any thread or process adds to. */
import { systemCall } from './libc.ts';
import { Structure } from './structure.ts';
import { isSystemError } from './system-error.ts';

/** A new eventfd, close-on-exec. With `blocking`, a read waits; without, it answers EAGAIN. */
export function createEventDescriptor(options: { readonly blocking: boolean }): number {
  return systemCall('eventfd2', 0, closeOnExec | (options.blocking ? 0 : nonBlocking));
}

/** Wakes whoever waits. Any number of signals before a read are one. */
export function signalEvent(descriptor: number): void {
  const one = new Structure(8);
  one.view.setBigUint64(0, 1n, true);
  systemCall('write', descriptor, one.address, 8);
}

/** Takes the count and resets it to zero; 0 when there was none (of a descriptor that does not block). */
export function takeEvents(descriptor: number): number {
  const count = new Structure(8);
  try {
    systemCall('read', descriptor, count.address, 8);
  } catch (error) {
    if (isSystemError(error, 'EAGAIN')) return 0;
    throw error;
  }
  return Number(count.view.getBigUint64(0, true));
}

const closeOnExec = 0o2000000; // EFD_CLOEXEC
const nonBlocking = 0o4000; // EFD_NONBLOCK
