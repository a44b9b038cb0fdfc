/** What the block layer needs from whatever stores the bytes. */

/** Operations of a request; the numbers stand in the shared arena, so they never change meaning. */
export const Operation = { read: 1, write: 2, zero: 3, flush: 4 } as const;
export type OperationCode = (typeof Operation)[keyof typeof Operation];

/**
 * The target of block requests: the engine, or a plain memory in tests. Offsets and lengths are multiples of 4,096 and
 * lie inside the device. `request` is an index below `maximumRequests` that the caller owns until
 * `completed(request, errno)`. `memoryOffset` counts from the start of the shared memory: a read's bytes are stored
 * there, a write's are taken from there. `zero` serves discard and write-zeroes: the range reads as zeros afterwards.
 */
export interface RequestTarget {
  submit(request: number, operation: OperationCode, device: number, offsetBytes: number, lengthBytes: number, memoryOffset: number): void;
}

/** What the target tells the front-end. */
export interface RequestListener {
  /** `errno` is 0 or a positive error number. */
  completed(request: number, errno: number): void;
  /** A write waits for space. Answers where its payload lies from now on. */
  parked(request: number): number;
}
