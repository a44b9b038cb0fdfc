/**
 * Which opened files of a device are there, in shared memory, so that a successor knows which devices are in use. Each
 * handle is made from the id of its OPEN request: to do an OPEN or RELEASE again after a crash changes nothing.
 */
import { type Arena, deviceHandleWord, deviceHandles } from './arena.ts';

/** Notes an opened file; answers its handle, or 0 when there are too many. `uniqueLow` is the low word of the id of the
 * OPEN request, which is even and grows. */
export function addHandle(arena: Arena, device: number, uniqueLow: number): number {
  const handle = uniqueLow | 1;
  const first = arena.device(device) + deviceHandleWord;
  let free = -1;
  for (let at = first; at < first + deviceHandles; at++) {
    if (arena.words[at] === handle) return handle;
    if (arena.words[at] === 0 && free < 0) free = at;
  }
  if (free < 0) return 0;
  arena.words[free] = handle;
  return handle;
}

export function removeHandle(arena: Arena, device: number, handle: number): void {
  const first = arena.device(device) + deviceHandleWord;
  for (let at = first; at < first + deviceHandles; at++) {
    if (arena.words[at] === handle) arena.words[at] = 0;
  }
}

/** Whether any file is open. */
export function hasHandles(arena: Arena, device: number): boolean {
  const first = arena.device(device) + deviceHandleWord;
  for (let at = first; at < first + deviceHandles; at++) {
    if (arena.words[at] !== 0) return true;
  }
  return false;
}
