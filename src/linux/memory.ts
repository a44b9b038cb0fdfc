/**
 * Memory that outlives the process: a memfd, mapped shared. Two processes that hold its descriptor see the same bytes,
 * and the bytes last as long as one of them lives. It can never be made smaller, so no access can fail with SIGBUS.
 */
import fs from 'node:fs';
import koffi from 'koffi';
import { StoreError } from '../util/errors.ts';
import { rawSystemCall, systemCall, systemCallNumber } from './libc.ts';
import { cString } from './structure.ts';
import { errnoName, storeErrorOf } from './system-error.ts';

export class SharedMemory {
  /** The whole of it. The buffer lies outside V8's heap and stays mapped until `unmap`, or the end of the process. */
  readonly bytes: Uint8Array;
  /** Where the first byte lies in this process; below 2^48, so a number holds it exactly. */
  readonly address: number;
  readonly descriptor: number;

  private constructor(descriptor: number, sizeBytes: number) {
    this.descriptor = descriptor;
    this.address = systemCall('mmap', 0, sizeBytes, readable | writable, mapShared, descriptor, 0);
    this.bytes = new Uint8Array(koffi.view(BigInt(this.address), sizeBytes));
  }

  /** Zeroed memory of `sizeBytes`, close-on-exec. `name` shows in /proc/<pid>/maps. */
  static create(options: { readonly name: string; readonly sizeBytes: number }): SharedMemory {
    try {
      const descriptor = systemCall('memfd_create', cString(options.name).address, closeOnExec | allowSealing);
      fs.ftruncateSync(descriptor, options.sizeBytes);
      systemCall('fcntl', descriptor, addSeals, sealShrink);
      return new SharedMemory(descriptor, options.sizeBytes);
    } catch (error) {
      throw storeErrorOf(error, `cannot make shared memory of ${options.sizeBytes} bytes`);
    }
  }

  /** Maps what another process made. The descriptor stays the caller's. */
  static map(descriptor: number): SharedMemory {
    const sizeBytes = fs.fstatSync(descriptor).size;
    if (sizeBytes === 0) throw new StoreError('failed-precondition', `descriptor ${descriptor} is no shared memory, or an empty one`);
    try {
      return new SharedMemory(descriptor, sizeBytes);
    } catch (error) {
      throw storeErrorOf(error, `cannot map shared memory of ${sizeBytes} bytes`);
    }
  }

  /** Takes it out of this process's memory; `bytes` and all views of it must not be touched afterwards. What it holds lasts
   * with the descriptor. */
  unmap(): void {
    systemCall('munmap', this.address, this.bytes.length);
  }

  /** Has every page of the range present, so that the kernel's copies into it cannot fail for want of memory. Keeps what
   * the pages hold. Offset and length are multiples of the page size. */
  prefault(offsetBytes: number, lengthBytes: number): void {
    const result = rawSystemCall(systemCallNumber('madvise'), this.address + offsetBytes, lengthBytes, populateWrite, 0, 0, 0);
    if (result === 0) return;
    if (result !== -invalidArgument) throw new StoreError('unavailable', `no memory for ${lengthBytes} bytes: ${errnoName(-result)}`);
    // Kernels before 5.14: a write touches each page.
    for (let at = offsetBytes; at < offsetBytes + lengthBytes; at += pageBytes) Atomics.add(this.bytes, at, 0);
  }

  /** Keeps the range from being paged out. Answers null, or the name of the errno when that is not allowed: worth a
   * warning, not a reason to stop. */
  lock(offsetBytes: number, lengthBytes: number): string | null {
    const result = rawSystemCall(systemCallNumber('mlock'), this.address + offsetBytes, lengthBytes, 0, 0, 0, 0);
    return result === 0 ? null : errnoName(-result);
  }
}

/** The descriptor of a sparse file in memory, close-on-exec, of any size: what is written to it takes memory until the
 * descriptor is closed. */
export function openMemoryFile(options: { readonly name: string; readonly sizeBytes: number }): number {
  try {
    const descriptor = systemCall('memfd_create', cString(options.name).address, closeOnExec);
    fs.ftruncateSync(descriptor, options.sizeBytes);
    return descriptor;
  } catch (error) {
    throw storeErrorOf(error, `cannot make a file of ${options.sizeBytes} bytes in memory`);
  }
}

const closeOnExec = 1; // MFD_CLOEXEC
const allowSealing = 2; // MFD_ALLOW_SEALING
const addSeals = 1033; // F_ADD_SEALS
const sealShrink = 2; // F_SEAL_SHRINK
const readable = 1; // PROT_READ
const writable = 2; // PROT_WRITE
const mapShared = 1; // MAP_SHARED
const populateWrite = 23; // MADV_POPULATE_WRITE
const invalidArgument = 22; // EINVAL
const pageBytes = 4096;
