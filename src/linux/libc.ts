/**
 * The one way into the kernel: `syscall(2)` of the C library, called through koffi.
 *
 * Three forms. `rawSystemCall` allocates nothing and answers a negative errno: for the data thread. `systemCall` throws
 * a SystemError: for calls that never block. `systemCallAsync` runs on libuv's thread pool under a time limit: for
 * calls that may block. A call that has run into its limit keeps its pool thread until the kernel lets go of it; so at
 * most `maximumStuckCalls` such threads are tolerated before new calls are refused (Node's pool has four threads unless
 * UV_THREADPOOL_SIZE says otherwise).
 */
import koffi from 'koffi';
import { StoreError } from '../util/errors.ts';
import { beginUse, endUse } from './descriptor-uses.ts';
import { SystemError } from './system-error.ts';

const library = koffi.load('libc.so.6');
const syscall = library.func('long syscall(long, intptr, intptr, intptr, intptr, intptr, intptr)');

/** From the kernel's arch/x86/entry/syscalls/syscall_64.tbl and scripts/syscall.tbl (arm64). */
const numbers = {
  accept4: { x64: 288, arm64: 242 },
  bind: { x64: 49, arm64: 200 },
  close: { x64: 3, arm64: 57 },
  connect: { x64: 42, arm64: 203 },
  eventfd2: { x64: 290, arm64: 19 },
  fallocate: { x64: 285, arm64: 47 },
  fcntl: { x64: 72, arm64: 25 },
  fdatasync: { x64: 75, arm64: 83 },
  flock: { x64: 73, arm64: 32 },
  fsconfig: { x64: 431, arm64: 431 },
  fsmount: { x64: 432, arm64: 432 },
  fsopen: { x64: 430, arm64: 430 },
  io_uring_enter: { x64: 426, arm64: 426 },
  io_uring_register: { x64: 427, arm64: 427 },
  io_uring_setup: { x64: 425, arm64: 425 },
  ioctl: { x64: 16, arm64: 29 },
  listen: { x64: 50, arm64: 201 },
  lseek: { x64: 8, arm64: 62 },
  madvise: { x64: 28, arm64: 233 },
  memfd_create: { x64: 319, arm64: 279 },
  mlock: { x64: 149, arm64: 228 },
  mmap: { x64: 9, arm64: 222 },
  munmap: { x64: 11, arm64: 215 },
  openat: { x64: 257, arm64: 56 },
  ppoll: { x64: 271, arm64: 73 },
  prctl: { x64: 157, arm64: 167 },
  pread64: { x64: 17, arm64: 67 },
  pwrite64: { x64: 18, arm64: 68 },
  read: { x64: 0, arm64: 63 },
  recvmsg: { x64: 47, arm64: 212 },
  sendmsg: { x64: 46, arm64: 211 },
  setsockopt: { x64: 54, arm64: 208 },
  socket: { x64: 41, arm64: 198 },
  statx: { x64: 332, arm64: 291 },
  syncfs: { x64: 306, arm64: 267 },
  write: { x64: 1, arm64: 64 },
} as const;
export type SystemCallName = keyof typeof numbers;

/** The number of a system call on this machine, for `rawSystemCall`. */
export function systemCallNumber(name: SystemCallName): number {
  if (process.arch === 'x64') return numbers[name].x64;
  if (process.arch === 'arm64') return numbers[name].arm64;
  throw new StoreError('failed-precondition', `this machine's processor (${process.arch}) is not supported; use x64 or arm64`);
}

/** Answers what the kernel answers: a result, or a negative errno. Addresses are results too. */
export function rawSystemCall(number: number, a: number, b: number, c: number, d: number, e: number, f: number): number {
  const result = Number(syscall(number, a, b, c, d, e, f));
  return result === -1 ? -koffi.errno() : result;
}

/** Throws a SystemError; repeats a call that a signal interrupted. For calls that do not block. */
export function systemCall(name: SystemCallName, ...parameters: readonly number[]): number {
  const number = systemCallNumber(name);
  for (;;) {
    const [a = 0, b = 0, c = 0, d = 0, e = 0, f = 0] = parameters;
    const result = rawSystemCall(number, a, b, c, d, e, f);
    if (result >= 0) return result;
    if (result !== -interrupted) throw new SystemError(name, -result);
  }
}

export interface AsyncCallOptions {
  /** Infinity waits as long as it takes. */
  readonly timeoutMs: number;
  /** What the call is done for, to name it in errors: "configure loop7". */
  readonly purpose: string;
  /** Whatever owns the memory behind the parameters: kept reachable until the kernel is done, also after a timeout. */
  readonly memory?: unknown;
  /** The descriptors among the parameters: `closeDescriptor` and `closeSlowly` wait for the call. */
  readonly descriptors?: readonly number[];
  /** Never refused because of other calls that hang: for calls that give something back. */
  readonly essential?: boolean;
  /** Called if the call succeeds after its time was up: undoes what nobody waits for any more. */
  readonly late?: (result: number) => void;
}

/**
 * Runs a call that may block on a pool thread. Rejects with a SystemError, or with a StoreError `unavailable` when the
 * time is up or too many earlier calls hang.
 */
export function systemCallAsync(name: SystemCallName, parameters: readonly number[], options: AsyncCallOptions): Promise<number> {
  if (options.essential !== true && stuck.calls >= maximumStuckCalls) {
    const message = `${options.purpose}: refused, because ${stuck.calls} earlier system calls hang; see the kernel log, and restart this process once the devices answer`;
    return Promise.reject(new StoreError('unavailable', message));
  }
  const [a = 0, b = 0, c = 0, d = 0, e = 0, f = 0] = parameters;
  const descriptors = options.descriptors ?? [];
  beginUse(descriptors);
  return new Promise((resolve, reject) => {
    // The callback's closure holds `options`, and so the memory, until the kernel is done.
    let late = false;
    const timeUp = (): void => {
      late = true;
      stuck.calls++;
      reject(new StoreError('unavailable', `${options.purpose}: ${name} did not end within ${options.timeoutMs} ms`));
    };
    const timer = options.timeoutMs === Infinity ? null : setTimeout(timeUp, options.timeoutMs);
    syscall.async(systemCallNumber(name), a, b, c, d, e, f, (failure: unknown, raw: number | bigint) => {
      // koffi carries the pool thread's errno over for as long as this callback runs.
      const errno = koffi.errno();
      const result = Number(raw);
      if (late) {
        stuck.calls--;
        if (failure === null && result >= 0) options.late?.(result);
        endUse(descriptors);
        return;
      }
      endUse(descriptors);
      if (timer !== null) clearTimeout(timer);
      if (failure !== null) reject(new StoreError('unavailable', `${options.purpose}: ${name} could not be started`, { cause: failure }));
      else if (result === -1) reject(new SystemError(`${options.purpose}: ${name}`, errno));
      else resolve(result);
    });
  });
}

const interrupted = 4; // EINTR
const maximumStuckCalls = 2;
// Of the process, because the pool of threads is the process's.
const stuck = { calls: 0 };
