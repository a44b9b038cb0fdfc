/**
 * Errors that the world can cause. Each has a code; nobody matches message text. Our own bugs are `assert`s instead.
 */
export type ErrorCode =
  | 'invalid-argument' // the request itself is wrong, whatever the state
  | 'not-found'
  | 'already-exists' // the name is taken by something else
  | 'in-use' // attached, mounted, or held by another process
  | 'busy' // the same call runs already; ask again
  | 'out-of-range' // a size that cannot be had
  | 'no-space' // the pool's space or its provisioning budget is used up
  | 'failed-precondition' // not in this state; the message names the remedy
  | 'unavailable' // a part of the system is away; ask again
  | 'data-loss'; // what was read is not what was written

export class StoreError extends Error {
  override readonly name = 'StoreError';
  readonly code: ErrorCode;

  constructor(code: ErrorCode, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.code = code;
  }
}
