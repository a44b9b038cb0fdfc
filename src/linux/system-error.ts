/**
 * What a system call answered instead of a result. SystemError is for code that looks at the errno; what leaves
 * src/linux and src/block for the rest of the system is a StoreError, made by `storeErrorOf`.
 */
import os from 'node:os';
import { StoreError, type ErrorCode } from '../util/errors.ts';

export class SystemError extends Error {
  override readonly name = 'SystemError';
  /** Positive. */
  readonly errno: number;
  /** The errno's name, for instance EBUSY. */
  readonly code: string;

  constructor(operation: string, errno: number) {
    const code = errnoName(errno);
    super(`${operation}: ${code}`);
    this.errno = errno;
    this.code = code;
  }
}

/** The name of a positive errno, for instance EBUSY; `errno 4095` for one without a name. */
export function errnoName(errno: number): string {
  for (const [name, value] of Object.entries(os.constants.errno)) {
    if (value === errno && name !== 'EWOULDBLOCK' && name !== 'EOPNOTSUPP') return name;
  }
  return `errno ${errno}`;
}

/** Whether the error is a failed system call, ours or Node's own, with one of these names. Node's own are no instances
 * of Error where the caller runs in a context of its own, as under jest. */
export function isSystemError(error: unknown, ...codes: readonly string[]): boolean {
  return typeof error === 'object' && error !== null && 'code' in error && typeof error.code === 'string' && codes.includes(error.code);
}

/** A StoreError about `subject` for whatever a system call threw; a StoreError is passed on as it is. */
export function storeErrorOf(error: unknown, subject: string): StoreError {
  if (error instanceof StoreError) return error;
  const code = error instanceof Error && 'code' in error ? String(error.code) : '';
  const detail = error instanceof Error ? error.message : String(error);
  return new StoreError(codeByErrno[code] ?? 'unavailable', `${subject}: ${detail}`, { cause: error });
}

const codeByErrno: Readonly<Record<string, ErrorCode>> = {
  EACCES: 'failed-precondition',
  EPERM: 'failed-precondition',
  ENOENT: 'not-found',
  EEXIST: 'already-exists',
  EBUSY: 'in-use',
  ENOSPC: 'no-space',
  EDQUOT: 'no-space',
  EFBIG: 'out-of-range',
  EINVAL: 'failed-precondition',
  ENOTTY: 'failed-precondition',
  EOPNOTSUPP: 'failed-precondition',
  ENOTSUP: 'failed-precondition',
};
