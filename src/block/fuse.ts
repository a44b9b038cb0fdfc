/**
 * The part of the FUSE protocol that a file system of one regular file needs: the kernel speaks 7.38 or later to us.
 * Everything works on 32-bit words (little endian) in place, so that a request costs no allocation. Numbers and layouts
 * are from linux/fuse.h.
 *
 * Request: a header of 40 bytes, then the operation's arguments, then a write's payload. `at` is always the index of the
 * header's first word. Reply: a header of 16 bytes {length, -errno, unique}, then the operation's body.
 */

export const Opcode = {
  forget: 2,
  getAttributes: 3,
  open: 14,
  read: 15,
  write: 16,
  statistics: 17,
  release: 18,
  sync: 20,
  flush: 25,
  initialize: 26,
  interrupt: 36,
  destroy: 38,
  batchForget: 42,
  allocate: 43,
} as const;

/** Errnos that this layer answers or meets. */
export const Errno = {
  notPermitted: 1, // EPERM
  interrupted: 4, // EINTR
  inputOutput: 5, // EIO
  badDescriptor: 9, // EBADF
  again: 11, // EAGAIN
  outOfMemory: 12, // ENOMEM
  noDevice: 19, // ENODEV
  invalid: 22, // EINVAL
  tooManyFiles: 24, // EMFILE
  readOnly: 30, // EROFS
  notImplemented: 38, // ENOSYS
  notSupported: 95, // EOPNOTSUPP
  connectionAborted: 103, // ECONNABORTED
  canceled: 125, // ECANCELED
} as const;

/** Before the arguments. */
export const headerBytes = 40;
/** Request header and the arguments of a read or write: where a write's payload begins. */
export const requestHeaderBytes = 80;
export const replyHeaderBytes = 16;
/** Header and the longest body (GETATTR's). */
export const maximumReplyBytes = replyHeaderBytes + 104;
/** The most that one request reads or writes. */
export const maximumDataBytes = 1 << 20;
/** The unit of all I/O, and what STATFS reports: the loop device takes it as discard granularity. */
export const granuleBytes = 4096;

/** Asynchronous requests of one connection that the kernel keeps in flight, and where it calls itself congested. */
const maximumBackground = 64;
const congestionThreshold = 48;

const argument = 10;

export function requestLength(words: Int32Array, at: number): number {
  return words[at]!;
}

/** The least that a request of this operation has: header, and those arguments that are looked at. */
export function leastLength(opcode: number): number {
  switch (opcode) {
    case Opcode.read:
    case Opcode.write:
      return requestHeaderBytes;
    case Opcode.allocate:
      return headerBytes + 32; // struct fuse_fallocate_in
    case Opcode.release:
      return headerBytes + 24; // struct fuse_release_in
    default:
      return headerBytes;
  }
}

export function requestOpcode(words: Int32Array, at: number): number {
  return words[at + 1]!;
}

/** The request's id is 64 bits wide; 0 says that no request is there. */
export function uniqueLow(words: Int32Array, at: number): number {
  return words[at + 2]!;
}

export function uniqueHigh(words: Int32Array, at: number): number {
  return words[at + 3]!;
}

export function clearUnique(words: Int32Array, at: number): void {
  words[at + 2] = 0;
  words[at + 3] = 0;
}

/** Offset of READ, WRITE and FALLOCATE in bytes; beyond 2^53 it is only roughly right, and so beyond any device. */
export function offsetOf(words: Int32Array, at: number): number {
  return (words[at + argument + 3]! >>> 0) * 4294967296 + (words[at + argument + 2]! >>> 0);
}

/** Length of READ and WRITE in bytes. */
export function lengthOf(words: Int32Array, at: number): number {
  return words[at + argument + 4]! >>> 0;
}

/** Length of FALLOCATE in bytes. */
export function allocationLengthOf(words: Int32Array, at: number): number {
  return (words[at + argument + 5]! >>> 0) * 4294967296 + (words[at + argument + 4]! >>> 0);
}

/** Whether a FALLOCATE asks that a range reads as zeros and the file keeps its size: what a loop device sends for
 * discard (punch hole) and write-zeroes (zero range). */
export function isZeroing(words: Int32Array, at: number): boolean {
  const mode = words[at + argument + 6]!;
  return mode === punchHoleKeepSize || mode === zeroRangeKeepSize;
}

/** The handle that OPEN answered, in RELEASE. */
export function handleOf(words: Int32Array, at: number): number {
  return words[at + argument]!;
}

/** A reply's header. `reply` is its first word. */
export function writeReplyHeader(words: Int32Array, reply: number, at: number, errno: number, bodyBytes: number): void {
  words[reply] = replyHeaderBytes + bodyBytes;
  words[reply + 1] = -errno;
  words[reply + 2] = words[at + 2]!;
  words[reply + 3] = words[at + 3]!;
}

/** Body of WRITE's reply; answers its length. */
export function writeWritten(words: Int32Array, reply: number, lengthBytes: number): number {
  words[reply + 4] = lengthBytes;
  words[reply + 5] = 0;
  return 8;
}

/** Body of INIT's reply; answers its length. */
export function writeInitialized(words: Int32Array, reply: number): number {
  const body = clear(words, reply, 64);
  words[body] = protocolVersion.major;
  words[body + 1] = protocolVersion.minor;
  words[body + 2] = maximumDataBytes; // read-ahead
  words[body + 3] = flagAsyncRead | flagBigWrites | flagAsyncDirect | flagMaximumPages;
  words[body + 4] = maximumBackground | (congestionThreshold << 16);
  words[body + 5] = maximumDataBytes; // write
  words[body + 6] = 1; // time granularity in nanoseconds
  words[body + 7] = maximumDataBytes / 4096; // pages, the low half of the word
  return 64;
}

/** 68 years. */
const attributesValidSeconds = 0x7fffffff;

/**
 * Body of GETATTR's reply; answers its length. It stays valid: the kernel asks for a file's attributes whenever somebody
 * asks a loop device what it is, and that must be answered while the server is busy, away or dead. Who grows a device
 * has the kernel ask anew (statx with AT_STATX_FORCE_SYNC).
 */
export function writeAttributes(words: Int32Array, reply: number, sizeBytes: number, options: { readonly readOnly: boolean }): number {
  const body = clear(words, reply, 104);
  words[body] = attributesValidSeconds;
  const attributes = body + 4;
  words[attributes] = 1; // inode
  words[attributes + 2] = sizeBytes | 0;
  words[attributes + 3] = Math.floor(sizeBytes / 4294967296);
  const sectors = sizeBytes / 512;
  words[attributes + 4] = sectors | 0;
  words[attributes + 5] = Math.floor(sectors / 4294967296);
  words[attributes + 15] = options.readOnly ? 0o100400 : 0o100600;
  words[attributes + 16] = 1; // links
  words[attributes + 20] = granuleBytes;
  return 104;
}

/** Body of OPEN's reply; answers its length. */
export function writeOpened(words: Int32Array, reply: number, handle: number): number {
  const body = clear(words, reply, 16);
  words[body] = handle;
  words[body + 2] = openDirect | openNoFlush | openParallelWrites;
  return 16;
}

/** Body of STATFS's reply; answers its length. */
export function writeStatistics(words: Int32Array, reply: number, sizeBytes: number): number {
  const body = clear(words, reply, 80);
  const blocks = sizeBytes / granuleBytes;
  words[body] = blocks | 0;
  words[body + 1] = Math.floor(blocks / 4294967296);
  words[body + 6] = 1; // files
  words[body + 10] = granuleBytes;
  words[body + 11] = 255; // longest name
  words[body + 12] = granuleBytes;
  return 80;
}

function clear(words: Int32Array, reply: number, lengthBytes: number): number {
  words.fill(0, reply + 4, reply + 4 + lengthBytes / 4);
  return reply + 4;
}

const protocolVersion = { major: 7, minor: 38 } as const;
const flagAsyncRead = 1 << 0;
const flagBigWrites = 1 << 5;
const flagAsyncDirect = 1 << 15;
const flagMaximumPages = 1 << 22;
const openDirect = 1 << 0; // FOPEN_DIRECT_IO
/**
 * FOPEN_NOFLUSH (Linux 5.16): a close asks nothing. Otherwise every process that is started from one that has the file
 * open hangs in its exec, which closes its copy of the descriptor, until a store serves; and with it whoever starts it.
 */
const openNoFlush = 1 << 5;
const openParallelWrites = 1 << 6; // FOPEN_PARALLEL_DIRECT_WRITES
// linux/falloc.h
const punchHoleKeepSize = 0x03;
const zeroRangeKeepSize = 0x11;
