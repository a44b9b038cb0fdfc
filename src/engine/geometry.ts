/** Sizes that the whole engine shares. docs/format.md tells where each stands on disk. */
import { StoreError } from '../util/errors.ts';

/** The smallest piece that can be written, discarded or shared. */
export const GRANULE_BYTES = 4096;

/** Entries of a leaf page, children of an inner page. */
export const FANOUT_BITS = 8;
export const FANOUT = 1 << FANOUT_BITS;

/** Levels of a tree: leaves are level 0. Four levels of 256 reach 2^32 chunks. */
export const MAXIMUM_LEVEL = 3;

/** A mask has one bit a granule, so a chunk has at most this many layers. */
export const MAXIMUM_LAYERS = 16;

/** Slots and chunk indices are kept in 31 bits in memory (the format has 40 for slots): 128 TiB at 64 KiB. */
export const MAXIMUM_SLOTS = 2 ** 31 - 1;
export const MAXIMUM_CHUNKS = 2 ** 31;

/** Slot 0 is the pool's header and never holds a chunk, so slot number 0 says "none". */
export const HEADER_SLOT = 0;

export const CHUNK_SIZES_BYTES = [16384, 32768, 65536] as const;

/** How a pool cuts its bytes. */
export class Geometry {
  readonly chunkSizeBytes: number;
  readonly granulesPerChunk: number;
  readonly chunkBits: number;
  /** A mask with the bit of every granule set. */
  readonly fullMask: number;

  constructor(chunkSizeBytes: number) {
    if (!(CHUNK_SIZES_BYTES as readonly number[]).includes(chunkSizeBytes)) {
      throw new StoreError('invalid-argument', `chunk size ${chunkSizeBytes} is not one of ${CHUNK_SIZES_BYTES.join(', ')} bytes`);
    }
    this.chunkSizeBytes = chunkSizeBytes;
    this.granulesPerChunk = chunkSizeBytes / GRANULE_BYTES;
    this.chunkBits = Math.log2(chunkSizeBytes);
    this.fullMask = 2 ** this.granulesPerChunk - 1;
  }

  /** Chunks that a volume of this size has; the last may be partial. */
  chunksOf(sizeBytes: number): number {
    return Math.ceil(sizeBytes / this.chunkSizeBytes);
  }

  /** Whole slots in this many bytes of pool data, the header's included. */
  slotsOf(dataBytes: number): number {
    return Math.min(MAXIMUM_SLOTS, Math.floor(dataBytes / this.chunkSizeBytes));
  }
}

/** The mask of `count` granules from `first` on. */
export function maskOf(first: number, count: number): number {
  return ((1 << count) - 1) << first;
}

/** Granules in a mask. */
export function granulesIn(mask: number): number {
  let count = 0;
  for (let rest = mask; rest !== 0; rest &= rest - 1) count++;
  return count;
}
