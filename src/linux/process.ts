/** What a process can ask the kernel for itself: its place in memory reclaim, its end with its parent. */
import os from 'node:os';
import { rawSystemCall, systemCall, systemCallNumber } from './libc.ts';
import { SystemError } from './system-error.ts';

/**
 * Marks the calling thread as one that serves I/O, or takes the mark away: its memory allocations then never wait for
 * I/O that it would have to serve itself (PR_SET_IO_FLUSHER, prctl(2)). Needs CAP_SYS_RESOURCE; answers the error, for
 * a warning, because the system works without.
 *
 * Node starts threads before any JavaScript runs, so a process cannot mark itself as it is. The mark is inherited over
 * fork and exec: either a parent marks its own main thread, spawns, and takes the mark away again, or the process marks
 * itself and then starts its program once more (src/roles/process/io-flusher.ts).
 */
export function setIoFlusher(options: { readonly enabled: boolean }): SystemError | null {
  const result = rawSystemCall(systemCallNumber('prctl'), setIoFlusherOption, options.enabled ? 1 : 0, 0, 0, 0, 0);
  return result < 0 ? new SystemError('prctl(PR_SET_IO_FLUSHER)', -result) : null;
}

/** Whether the calling thread bears that mark; false also where the kernel does not let us ask (CAP_SYS_RESOURCE). */
export function isIoFlusher(): boolean {
  return rawSystemCall(systemCallNumber('prctl'), getIoFlusherOption, 0, 0, 0, 0, 0) === 1;
}

/**
 * Has the kernel send this process the signal when its parent ends. Answers false when the parent has ended already
 * (it is not `parentId` any more): then the caller ends itself. To be called on the main thread.
 */
export function endWithParent(options: { readonly signal: NodeJS.Signals; readonly parentId: number }): boolean {
  systemCall('prctl', setParentDeathSignal, os.constants.signals[options.signal]);
  return process.ppid === options.parentId;
}

// linux/prctl.h
const setParentDeathSignal = 1;
const setIoFlusherOption = 57;
const getIoFlusherOption = 58;
