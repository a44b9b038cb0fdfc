/**
 * What the engine needs from the world. Every port is passed in, so that tests can give simulated ones that
 * drop, reorder and tear what was not synced.
 *
 * The engine runs on a thread that never returns to an event loop. So no port uses promises: a request carries a
 * tag or a callback, and its completion is delivered by the thread's own loop.
 */

import type { Pieces } from '../util/pieces.ts';

/**
 * The pool's data or its record log: a range of bytes with a volatile cache. Offsets, lengths and memory offsets are
 * multiples of 4,096. `memoryOffset` counts from the start of the shared memory. Operations complete in any order; each
 * is reported once by `Engine.diskCompleted(tag, result)`, never from inside the call that issued it. `result` is the
 * number of bytes (for `sync`: 0), or a negative errno.
 */
export interface Disk {
  readonly sizeBytes: number;
  read(offsetBytes: number, lengthBytes: number, memoryOffset: number, tag: number): void;
  write(offsetBytes: number, lengthBytes: number, memoryOffset: number, tag: number): void;
  /** Makes durable every write that was complete when this was issued. */
  sync(tag: number): void;
}

/** The disk of the pool's data. */
export interface DataDisk extends Disk {
  /** Reads one range into several places; what is in the pieces must not be kept. `result` counts what is wanted. Where the
   * range cannot be read as a whole, what is wanted of it may be all the same. False: not now, nothing was issued; `read`
   * will do. */
  readPieces(offsetBytes: number, pieces: Pieces, tag: number): boolean;
}

/** One key-value change of a metadata transaction: `value` null removes the key. */
export interface MetadataChange {
  readonly table: MetadataTable;
  /** An object number, a page number or the number of a group of slots; 0 in the table `pool`. */
  readonly key: number;
  readonly value: Uint8Array | null;
}
export type MetadataTable = 'pool' | 'objects' | 'pages' | 'seals' | 'checksums' | 'erasures';

/** What a start needs of the checkpoint. */
export interface MetadataImage {
  /** The row of `pool`; null in a pool whose creation did not finish. */
  readonly pool: Uint8Array | null;
  /** The tables `objects`, `seals` and `erasures`, ordered by key. */
  readonly objects: readonly MetadataRow[];
  readonly seals: readonly MetadataRow[];
  readonly erasures: readonly MetadataRow[];
}

export interface MetadataRow {
  readonly key: number;
  readonly value: Uint8Array;
}

/**
 * The checkpoint: an ordered key-value store with atomic, durable transactions (LMDB). It lives on another thread;
 * callbacks are run by the data thread's loop, never from inside the call. `error` names what the world did.
 */
export interface MetadataStore {
  /** Makes what can be read durable first (a commit that a kill cut off can be readable and not durable), then reads
   * the tables `pool`, `objects`, `seals` and `erasures` whole. `image` is null exactly when there is an error. */
  load(done: (error: Error | null, image: MetadataImage | null) => void): void;
  /** One page, or null when there is none of that number. The bytes are the caller's until `done` returns. */
  readPage(key: number, done: (error: Error | null, value: Uint8Array | null) => void): void;
  /** One row of checksums, or null when there is none of that number. The bytes are the caller's until `done` returns. */
  readChecksums(key: number, done: (error: Error | null, value: Uint8Array | null) => void): void;
  /** Atomic, and durable when `done` is called without an error. The values must not be changed until then. */
  commit(changes: readonly MetadataChange[], done: (error: Error | null) => void): void;
}

/**
 * Memory that survives the death of this process, but not a reboot. `bytes` is the whole of it; the engine may use
 * only [engineOffset, engineOffset + engineBytes). Request buffers of the front-end lie elsewhere in `bytes`.
 */
export interface SharedMemory {
  readonly bytes: Uint8Array;
  readonly engineOffset: number;
  readonly engineBytes: number;
}

export interface Clock {
  /** Milliseconds since the epoch, to be told to people: somebody may set it. */
  nowMs(): number;
  /** Milliseconds since some moment, for measuring time: nobody can set it. Above 0. */
  elapsedMs(): number;
}

export interface Random {
  /** Fills `target` with random bytes. */
  fill(target: Uint8Array): void;
}

/** What the engine tells its front-end. `errno` is 0 or a positive error number. Never called from inside `submit`
 * of the same request for reads and writes that need the disk, but may be for those that do not. */
export interface RequestListener {
  completed(request: number, errno: number): void;
  /**
   * A write found no free slot and waits. The front-end may move its payload: it returns the new memory offset
   * (or the old one), so that parked writes do not hold the buffers that other volumes need.
   */
  parked(request: number): number;
}

export interface EnginePorts {
  readonly data: DataDisk;
  readonly log: Disk;
  readonly metadata: MetadataStore;
  readonly memory: SharedMemory;
  readonly clock: Clock;
  readonly random: Random;
  readonly listener: RequestListener;
}
