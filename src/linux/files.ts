/**
 * Files, locks, syncs and the ioctls of file systems and block devices that Node has no call for. What may block is
 * asynchronous and has a time limit.
 */
import fs from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { closeAfterUses } from './descriptor-uses.ts';
import { rawSystemCall, systemCall, systemCallAsync, systemCallNumber } from './libc.ts';
import { Structure } from './structure.ts';
import { SystemError, isSystemError } from './system-error.ts';

export interface TimeLimit {
  readonly timeoutMs: number;
}

/** Opens a file without the page cache (O_DIRECT), close-on-exec: offsets, lengths and memory must be multiples of the
 * logical block size. For regular files only; a block device is opened with `openDevice`, which has a time limit. */
export function openDirect(path: string, options: { readonly readOnly: boolean }): number {
  const { O_RDONLY, O_RDWR, O_DIRECT } = fs.constants;
  return fs.openSync(path, (options.readOnly ? O_RDONLY : O_RDWR) | O_DIRECT);
}

/** Opens a device, or anything whose open may wait for somebody; close-on-exec. The caller closes it. */
export async function openDevice(
  path: string,
  options: TimeLimit & { readonly readOnly: boolean; readonly direct?: boolean; readonly exclusive?: boolean },
): Promise<number> {
  const { O_RDONLY, O_RDWR, O_DIRECT, O_EXCL } = fs.constants;
  const flags =
    (options.readOnly ? O_RDONLY : O_RDWR) |
    closeOnExec |
    (options.direct === true ? O_DIRECT : 0) |
    (options.exclusive === true ? O_EXCL : 0);
  const name = new Structure(Buffer.byteLength(path) + 1);
  name.bytes.set(Buffer.from(path));
  return systemCallAsync('openat', [currentFolder, name.address, flags, 0], {
    purpose: `open ${path}`,
    timeoutMs: options.timeoutMs,
    memory: name,
    late: closeDescriptor,
  });
}

/** Closes now, or after the last asynchronous call that uses the descriptor. Never fails: by close(2) the descriptor is
 * gone whatever it answers. */
export function closeDescriptor(descriptor: number): void {
  closeAfterUses(descriptor, () => void rawSystemCall(systemCallNumber('close'), descriptor, 0, 0, 0, 0, 0));
}

/** Closes off the event loop, for descriptors whose last close may wait for somebody (block devices write out what is
 * cached). Rejects only when that takes too long; it goes on then. */
export async function closeSlowly(descriptor: number, options: TimeLimit): Promise<void> {
  const purpose = `close descriptor ${descriptor}`;
  const close = (): Promise<unknown> => systemCallAsync('close', [descriptor], { purpose, timeoutMs: options.timeoutMs, essential: true });
  let closed: Promise<unknown> = Promise.resolve();
  const now = closeAfterUses(descriptor, () => {
    closed = close();
    closed.catch(() => {});
  });
  if (now) await closed;
}

/** Modes of fallocate(2), from linux/falloc.h. */
export const Allocation = { preallocate: 0, punchHole: 0x03, zeroRange: 0x10, zeroRangeKeepSize: 0x11 } as const;
export type AllocationMode = (typeof Allocation)[keyof typeof Allocation];

/** fallocate(2): with `preallocate` the range holds space afterwards and the file is at least that long. */
export async function allocate(
  descriptor: number,
  options: TimeLimit & { readonly offsetBytes: number; readonly lengthBytes: number; readonly mode: AllocationMode },
): Promise<void> {
  const parameters = [descriptor, options.mode, options.offsetBytes, options.lengthBytes];
  await systemCallAsync('fallocate', parameters, { purpose: 'allocate space', timeoutMs: options.timeoutMs, descriptors: [descriptor] });
}

/** `allocate` with `preallocate`, on a thread that may wait for the disk. */
export function preallocateBlocking(descriptor: number, options: { readonly offsetBytes: number; readonly lengthBytes: number }): void {
  systemCall('fallocate', descriptor, Allocation.preallocate, options.offsetBytes, options.lengthBytes);
}

/**
 * Takes the exclusive flock of an open file and says whether it got it. The lock belongs to the open file, so copies of
 * the descriptor and I/O in flight on it hold it too; the kernel releases it with the last of them.
 */
export function tryLock(descriptor: number): boolean {
  try {
    systemCall('flock', descriptor, lockExclusive | lockNonBlocking);
    return true;
  } catch (error) {
    if (isSystemError(error, 'EAGAIN', 'EWOULDBLOCK')) return false;
    throw error;
  }
}

/** Like `tryLock`, but asks again until `timeoutMs` have passed. A waiting flock could not be called off, so it polls. */
export async function lock(descriptor: number, options: TimeLimit): Promise<boolean> {
  const deadline = performance.now() + options.timeoutMs;
  for (;;) {
    if (tryLock(descriptor)) return true;
    if (performance.now() >= deadline) return false;
    await delay(lockPollMs);
  }
}

/** Gives the lock of an open file back at once, whoever else still refers to that file: for a holder whose I/O is over. */
export function unlock(descriptor: number): void {
  systemCall('flock', descriptor, lockRelease);
}

/** Makes the file's data durable, and what is needed to read it. */
export async function syncData(descriptor: number, options: TimeLimit): Promise<void> {
  await systemCallAsync('fdatasync', [descriptor], { purpose: 'sync data', timeoutMs: options.timeoutMs, descriptors: [descriptor] });
}

/** Writes out everything of the file system that the descriptor lies on. */
export async function syncFileSystem(descriptor: number, options: TimeLimit): Promise<void> {
  await systemCallAsync('syncfs', [descriptor], { purpose: 'sync file system', timeoutMs: options.timeoutMs, descriptors: [descriptor] });
}

/** Blocks all changes of the file system until `thaw`; EBUSY when it is frozen already. */
export async function freeze(descriptor: number, options: TimeLimit): Promise<void> {
  await systemCallAsync('ioctl', [descriptor, ioctlFreeze], {
    purpose: 'freeze file system',
    timeoutMs: options.timeoutMs,
    descriptors: [descriptor],
    // A freeze that came too late must not stay.
    late: () => void thaw(descriptor, options).catch(() => {}),
  });
}

/** EINVAL when it is not frozen. */
export async function thaw(descriptor: number, options: TimeLimit): Promise<void> {
  const { timeoutMs } = options;
  await systemCallAsync('ioctl', [descriptor, ioctlThaw], {
    purpose: 'thaw file system',
    timeoutMs,
    descriptors: [descriptor],
    essential: true,
  });
}

/** The size in bytes of an open block device. The kernel answers at once, without asking the device. */
export function blockDeviceSize(descriptor: number): number {
  const size = new Structure(8);
  systemCall('ioctl', descriptor, ioctlGetSize, size.address);
  return Number(size.view.getBigUint64(0, true));
}

/** Reads at an offset off the event loop; answers the number of bytes. */
export async function readAt(
  descriptor: number,
  target: Structure,
  options: TimeLimit & { readonly offsetBytes: number },
): Promise<number> {
  return systemCallAsync('pread64', [descriptor, target.address, target.bytes.length, options.offsetBytes], {
    purpose: 'read',
    timeoutMs: options.timeoutMs,
    descriptors: [descriptor],
    memory: target,
  });
}

export interface Extent {
  readonly offsetBytes: number;
  readonly sizeBytes: number;
}

/** The first range at or after an offset that a sparse file holds data in, up to where a hole begins; null behind the
 * last. For files in memory, which answer at once. Moves the descriptor's position. */
export function nextExtent(descriptor: number, offsetBytes: number): Extent | null {
  try {
    const begin = systemCall('lseek', descriptor, offsetBytes, seekData);
    return { offsetBytes: begin, sizeBytes: systemCall('lseek', descriptor, begin, seekHole) - begin };
  } catch (error) {
    if (isSystemError(error, 'ENXIO')) return null;
    throw error;
  }
}

export interface FileStatus {
  readonly sizeBytes: number;
  /** The device number of the file system, as LOOP_GET_STATUS64 shows it (the kernel's new_encode_dev). */
  readonly fileSystemDevice: number;
}

/**
 * statx(2) of an open file, also one that is open as a path only. With `fresh`, a remote or FUSE file system is asked,
 * and the kernel's own idea of the size is brought up to date; without, it answers from what it knows and waits for
 * nobody (the size may then be old).
 */
export async function fileStatus(descriptor: number, options: TimeLimit & { readonly fresh: boolean }): Promise<FileStatus> {
  const status = new Structure(256);
  const name = new Structure(1);
  const flags = emptyPath | (options.fresh ? forceSync : doNotSync);
  await systemCallAsync('statx', [descriptor, name.address, flags, statusMask, status.address], {
    purpose: 'get file status',
    timeoutMs: options.timeoutMs,
    descriptors: [descriptor],
    memory: [status, name],
  });
  const major = status.view.getUint32(136, true);
  const minor = status.view.getUint32(140, true);
  return {
    sizeBytes: Number(status.view.getBigUint64(40, true)),
    fileSystemDevice: ((minor & 0xff) | (major << 8) | ((minor & ~0xff) << 12)) >>> 0,
  };
}

/** Whether the descriptor is open in this process. */
export function isOpen(descriptor: number): boolean {
  const result = rawSystemCall(systemCallNumber('fcntl'), descriptor, getDescriptorFlags, 0, 0, 0, 0);
  if (result < 0 && result !== -badDescriptor) throw new SystemError('fcntl', -result);
  return result >= 0;
}

const closeOnExec = 0o2000000; // O_CLOEXEC
const currentFolder = -100; // AT_FDCWD
const lockExclusive = 2; // LOCK_EX
const lockNonBlocking = 4; // LOCK_NB
const lockRelease = 8; // LOCK_UN
const lockPollMs = 10;
const getDescriptorFlags = 1; // F_GETFD
const seekData = 3; // SEEK_DATA
const seekHole = 4; // SEEK_HOLE
const badDescriptor = 9; // EBADF
// linux/stat.h and linux/fcntl.h
const emptyPath = 0x1000; // AT_EMPTY_PATH
const forceSync = 0x2000; // AT_STATX_FORCE_SYNC
const doNotSync = 0x4000; // AT_STATX_DONT_SYNC
const statusMask = 0x7ff; // STATX_BASIC_STATS
// linux/fs.h
const ioctlFreeze = 0xc0045877; // FIFREEZE
const ioctlThaw = 0xc0045878; // FITHAW
const ioctlGetSize = 0x80081272; // BLKGETSIZE64
