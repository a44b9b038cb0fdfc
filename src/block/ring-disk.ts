/**
 * Disks over the data thread's ring: files or block devices opened with O_DIRECT. Every operation is reported once, never
 * from inside the call that issued it; one that the kernel cut short is continued, one that it interrupted is repeated. A
 * read of pieces that does not go through as a whole is done again piece by piece, without those that nobody wants.
 */
import { assert } from '../util/assert.ts';
import { NOWHERE_PLACE_BYTES, NOWHERE_PLACES, Vector, VECTOR_ENTRIES, type Ring } from '../linux/ring.ts';
import { LONGEST_GAP_BYTES, MAXIMUM_PIECES, Pieces, UNWANTED } from '../util/pieces.ts';
import { Errno } from './fuse.ts';
import { Kind } from './user-data.ts';

/** What operations on disks need of a ring. */
export type DiskRing = Pick<Ring, 'read' | 'write' | 'readFixed' | 'writeFixed' | 'readVector' | 'nowhereAddress' | 'syncData'>;

export interface DiskOperationsOptions {
  readonly ring: DiskRing;
  /** Address of the shared memory, from which memory offsets count. */
  readonly memoryAddress: number;
  /** The part of the shared memory that the ring has registered; length 0: none. */
  readonly registered: { readonly offsetBytes: number; readonly lengthBytes: number };
  /** `result`: bytes (for a sync 0), or a negative errno. */
  readonly completed: (tag: number, result: number) => void;
}

/** The operations in flight of all disks of one ring. */
export class DiskOperations {
  inFlight = 0;

  readonly #ring: DiskRing;
  readonly #memoryAddress: number;
  readonly #registeredStart: number;
  readonly #registeredEnd: number;
  readonly #completed: (tag: number, result: number) => void;
  readonly #vector = new Vector();
  readonly #nowhere = new Int32Array(NOWHERE_PLACES).map((_, place) => place);
  /** The first so many of `#nowhere` are no operation's. */
  #nowhereFree = NOWHERE_PLACES;
  readonly #spare: ReadOfPieces[] = [];
  #capacity = 0;
  #operations: Operations = newOperations(0);

  constructor(options: DiskOperationsOptions) {
    this.#ring = options.ring;
    this.#memoryAddress = options.memoryAddress;
    this.#registeredStart = options.registered.offsetBytes;
    this.#registeredEnd = options.registered.offsetBytes + options.registered.lengthBytes;
    this.#completed = options.completed;
    assert(MAXIMUM_PIECES <= VECTOR_ENTRIES && LONGEST_GAP_BYTES <= NOWHERE_PLACE_BYTES, 'the ring takes any pieces');
    this.#grow();
  }

  start(kind: number, file: number, offsetBytes: number, lengthBytes: number, memoryOffset: number, tag: number): void {
    this.#submit(this.#allocate(kind, file, offsetBytes, lengthBytes, memoryOffset, tag));
  }

  /** False, and nothing is started, when too much that nobody wants is on its way already. */
  startPieces(file: number, offsetBytes: number, pieces: Pieces, tag: number): boolean {
    if (pieces.gaps > this.#nowhereFree) return false;
    const index = this.#allocate(kindReadPieces, file, offsetBytes, pieces.totalBytes, 0, tag);
    const read = this.#spare.pop() ?? new ReadOfPieces();
    read.pieces.copyFrom(pieces);
    for (let gap = 0; gap < pieces.gaps; gap++) read.nowhere[gap] = this.#nowhere[--this.#nowhereFree]!;
    this.#operations.pieces[index] = read;
    this.#submit(index);
    return true;
  }

  #allocate(kind: number, file: number, offsetBytes: number, lengthBytes: number, memoryOffset: number, tag: number): number {
    if (this.inFlight === this.#capacity) this.#grow();
    const operations = this.#operations;
    const index = operations.free[this.inFlight]!;
    this.inFlight++;
    operations.kind[index] = kind;
    operations.file[index] = file;
    operations.tag[index] = tag;
    operations.offset[index] = offsetBytes;
    operations.memory[index] = memoryOffset;
    operations.length[index] = lengthBytes;
    operations.done[index] = 0;
    operations.repeats[index] = 0;
    return index;
  }

  /** Takes the completion of a ring operation of `Kind.disk`. */
  complete(index: number, result: number): void {
    const operations = this.#operations;
    if (result < 0) {
      if ((result === -Errno.again || result === -Errno.interrupted) && operations.repeats[index]! < maximumRepeats) {
        operations.repeats[index]!++;
        return this.#submit(index);
      }
      return operations.kind[index] === kindReadPieces ? this.#readSingly(index, 0) : this.#finish(index, result);
    }
    if (operations.kind[index] === kindSync) return this.#finish(index, 0);
    if (operations.kind[index] === kindReadPieces) {
      const { totalBytes, wantedBytes } = operations.pieces[index]!.pieces;
      return result === totalBytes ? this.#finish(index, wantedBytes) : this.#readSingly(index, 0);
    }
    const done = operations.done[index]! + result;
    if (done >= operations.length[index]!) {
      const read = operations.pieces[index]!;
      return read === null ? this.#finish(index, done) : this.#readSingly(index, read.piece + 1);
    }
    // The end of the file is no place that a caller may reach: the file is shorter than it was.
    if (result === 0) return this.#finish(index, -Errno.inputOutput);
    operations.done[index] = done;
    this.#submit(index);
  }

  /** Reads what is wanted from this piece on, one piece after another. The operation's offset stands at the piece, or at the
   * one before it with its length. */
  #readSingly(index: number, from: number): void {
    const operations = this.#operations;
    const read = operations.pieces[index]!;
    const { pieces } = read;
    let offset = operations.offset[index]! + (from === 0 ? 0 : operations.length[index]!);
    let piece = from;
    for (; piece < pieces.count && pieces.memoryOffsets[piece] === UNWANTED; piece++) offset += pieces.lengths[piece]!;
    if (piece === pieces.count) return this.#finish(index, pieces.wantedBytes);
    operations.kind[index] = kindRead;
    read.piece = piece;
    operations.offset[index] = offset;
    operations.memory[index] = pieces.memoryOffsets[piece]!;
    operations.length[index] = pieces.lengths[piece]!;
    operations.done[index] = 0;
    operations.repeats[index] = 0;
    this.#submit(index);
  }

  #finish(index: number, result: number): void {
    const read = this.#operations.pieces[index]!;
    if (read !== null) {
      for (let gap = 0; gap < read.pieces.gaps; gap++) this.#nowhere[this.#nowhereFree++] = read.nowhere[gap]!;
      this.#operations.pieces[index] = null;
      this.#spare.push(read);
    }
    this.inFlight--;
    this.#operations.free[this.inFlight] = index;
    this.#completed(this.#operations.tag[index]!, result);
  }

  #submit(index: number): void {
    const operations = this.#operations;
    const file = operations.file[index]!;
    const userData = Kind.disk | index;
    const kind = operations.kind[index]!;
    if (kind === kindSync) return this.#ring.syncData(file, userData);
    if (kind === kindReadPieces) return this.#submitPieces(index);
    const done = operations.done[index]!;
    const length = operations.length[index]! - done;
    const offset = operations.offset[index]! + done;
    const memory = operations.memory[index]! + done;
    const address = this.#memoryAddress + memory;
    const offsetHigh = Math.floor(offset / 4294967296) | 0;
    const addressHigh = Math.floor(address / 4294967296) | 0;
    if (memory >= this.#registeredStart && memory + length <= this.#registeredEnd) {
      if (kind === kindRead) this.#ring.readFixed(file, offset | 0, offsetHigh, address | 0, addressHigh, length, userData);
      else this.#ring.writeFixed(file, offset | 0, offsetHigh, address | 0, addressHigh, length, userData);
    } else if (kind === kindRead) this.#ring.read(file, offset | 0, offsetHigh, address | 0, addressHigh, length, userData);
    else this.#ring.write(file, offset | 0, offsetHigh, address | 0, addressHigh, length, userData);
  }

  #submitPieces(index: number): void {
    const operations = this.#operations;
    const { pieces, nowhere } = operations.pieces[index]!;
    const vector = this.#vector;
    vector.clear();
    for (let piece = 0, gap = 0; piece < pieces.count; piece++) {
      const memory = pieces.memoryOffsets[piece]!;
      const address =
        memory === UNWANTED ? this.#ring.nowhereAddress + nowhere[gap++]! * NOWHERE_PLACE_BYTES : this.#memoryAddress + memory;
      vector.push(address | 0, Math.floor(address / 4294967296) | 0, pieces.lengths[piece]!);
    }
    const offset = operations.offset[index]!;
    this.#ring.readVector(operations.file[index]!, offset | 0, Math.floor(offset / 4294967296) | 0, vector, Kind.disk | index);
  }

  #grow(): void {
    const old = this.#operations;
    const capacity = Math.max(initialOperations, this.#capacity * 2);
    const grown = newOperations(capacity);
    for (const name of ['kind', 'file', 'tag', 'offset', 'memory', 'length', 'done', 'repeats', 'free'] as const)
      grown[name].set(old[name]);
    for (let index = 0; index < this.#capacity; index++) grown.pieces[index] = old.pieces[index]!;
    for (let index = this.#capacity; index < capacity; index++) grown.free[index] = index;
    this.#capacity = capacity;
    this.#operations = grown;
  }
}

/** One file. Implements the engine's port Disk. */
export class RingDisk {
  readonly sizeBytes: number;
  readonly #operations: DiskOperations;
  readonly #file: number;

  constructor(operations: DiskOperations, options: { readonly file: number; readonly sizeBytes: number }) {
    this.#operations = operations;
    this.#file = options.file;
    this.sizeBytes = options.sizeBytes;
  }

  read(offsetBytes: number, lengthBytes: number, memoryOffset: number, tag: number): void {
    assert(offsetBytes >= 0 && lengthBytes > 0 && offsetBytes + lengthBytes <= this.sizeBytes, 'disk read outside the disk');
    this.#operations.start(kindRead, this.#file, offsetBytes, lengthBytes, memoryOffset, tag);
  }

  readPieces(offsetBytes: number, pieces: Pieces, tag: number): boolean {
    assert(offsetBytes >= 0 && pieces.count > 0 && offsetBytes + pieces.totalBytes <= this.sizeBytes, 'disk read outside the disk');
    return this.#operations.startPieces(this.#file, offsetBytes, pieces, tag);
  }

  write(offsetBytes: number, lengthBytes: number, memoryOffset: number, tag: number): void {
    assert(offsetBytes >= 0 && lengthBytes > 0 && offsetBytes + lengthBytes <= this.sizeBytes, 'disk write outside the disk');
    this.#operations.start(kindWrite, this.#file, offsetBytes, lengthBytes, memoryOffset, tag);
  }

  sync(tag: number): void {
    this.#operations.start(kindSync, this.#file, 0, 0, 0, tag);
  }
}

/** Made for the most that are in flight at once, and used again. */
class ReadOfPieces {
  readonly pieces = new Pieces();
  /** The ring's places that the gaps are read into: this operation's alone, until it is over. */
  readonly nowhere = new Int32Array(MAXIMUM_PIECES);
  /** The one that is being read, once they are read singly. */
  piece = 0;
}

interface Operations {
  readonly kind: Uint8Array;
  readonly file: Int32Array;
  readonly tag: Int32Array;
  readonly offset: Float64Array;
  readonly memory: Float64Array;
  readonly length: Int32Array;
  readonly done: Int32Array;
  readonly repeats: Int32Array;
  readonly pieces: (ReadOfPieces | null)[];
  /** A stack of free indexes: those from `inFlight` on. */
  readonly free: Int32Array;
}

function newOperations(capacity: number): Operations {
  return {
    kind: new Uint8Array(capacity),
    file: new Int32Array(capacity),
    tag: new Int32Array(capacity),
    offset: new Float64Array(capacity),
    memory: new Float64Array(capacity),
    length: new Int32Array(capacity),
    done: new Int32Array(capacity),
    repeats: new Int32Array(capacity),
    pieces: new Array<ReadOfPieces | null>(capacity).fill(null),
    free: new Int32Array(capacity),
  };
}

const kindRead = 1;
const kindWrite = 2;
const kindSync = 3;
/** Becomes `kindRead` when it does not go through as a whole. */
const kindReadPieces = 4;
const initialOperations = 1024;
const maximumRepeats = 10000;
