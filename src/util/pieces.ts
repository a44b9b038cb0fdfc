/**
 * One range of a disk that is read at once and goes to several places in memory: pieces that follow each other on the disk,
 * each with its place. Of some nothing is wanted: these gaps are read because that is quicker than to leave them out.
 */
import { assert } from './assert.ts';

export const MAXIMUM_PIECES = 256;
/** The longest piece of which nothing is wanted: less than a chunk has, so a read stays in slots that it has data in. Measured
 * (docs/performance.md): 16 KiB brings no more. */
export const LONGEST_GAP_BYTES = 8 * 1024;
/** The place of such a piece. */
export const UNWANTED = -1;

export class Pieces {
  readonly lengths = new Int32Array(MAXIMUM_PIECES);
  /** Offsets from the start of the shared memory, or UNWANTED. */
  readonly memoryOffsets = new Float64Array(MAXIMUM_PIECES);
  #count = 0;
  #totalBytes = 0;
  #wantedBytes = 0;
  #gaps = 0;

  get count(): number {
    return this.#count;
  }

  /** Length of the range on disk. */
  get totalBytes(): number {
    return this.#totalBytes;
  }

  get wantedBytes(): number {
    return this.#wantedBytes;
  }

  /** How many of the pieces nobody wants. */
  get gaps(): number {
    return this.#gaps;
  }

  clear(): void {
    this.#count = 0;
    this.#gaps = 0;
    this.#totalBytes = 0;
    this.#wantedBytes = 0;
  }

  push(lengthBytes: number, memoryOffset: number): void {
    assert(this.#count < MAXIMUM_PIECES, 'there is room for another piece');
    assert(memoryOffset !== UNWANTED || lengthBytes <= LONGEST_GAP_BYTES, 'a gap is short');
    this.lengths[this.#count] = lengthBytes;
    this.memoryOffsets[this.#count] = memoryOffset;
    this.#count++;
    this.#totalBytes += lengthBytes;
    if (memoryOffset === UNWANTED) this.#gaps++;
    else this.#wantedBytes += lengthBytes;
  }

  /** So many more bytes of the last piece, which is wanted. */
  growLast(lengthBytes: number): void {
    assert(this.#count > 0 && this.memoryOffsets[this.#count - 1] !== UNWANTED, 'what grows is wanted');
    this.lengths[this.#count - 1]! += lengthBytes;
    this.#totalBytes += lengthBytes;
    this.#wantedBytes += lengthBytes;
  }

  copyFrom(other: Pieces): void {
    for (let index = 0; index < other.#count; index++) {
      this.lengths[index] = other.lengths[index]!;
      this.memoryOffsets[index] = other.memoryOffsets[index]!;
    }
    this.#count = other.#count;
    this.#totalBytes = other.#totalBytes;
    this.#wantedBytes = other.#wantedBytes;
    this.#gaps = other.#gaps;
  }
}
