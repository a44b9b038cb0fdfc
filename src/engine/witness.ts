/**
 * A witness is a record that says what granules of a slot hold. It lets a batch of the log go to the disk while the data
 * that the batch speaks of is still being synced, so that a flush does not wait for one sync after the other.
 *
 * Such a batch has two records: the entry of a write, and the witness of what was written. After a power cut it may be there
 * without that data. It can only be the last batch then: the next one is begun when both syncs are over. So recovery compares
 * what the last batch says with what the disk has, and takes the batch out of the log where they differ: nobody was told that
 * it is durable. A granule whose sectors the disk has lost (`LOST_SECTORS`) says nothing against it, because somebody may
 * have been told.
 *
 * Invariant: what the last batch's witness speaks of is not overwritten. Who would write there has a batch written after it
 * first, if need be one that says nothing new (`Durability.confirm`). After a start nothing is written in place, and no
 * slot is taken, before the record of the new life is durable (slots.ts), which stands behind all witnesses that were found.
 */
import { crc32 } from 'node:zlib';
import { StoreError } from '../util/errors.ts';
import type { DiskCalls } from './disk-calls.ts';
import { GRANULE_BYTES, granulesIn, HEADER_SLOT, maskOf } from './geometry.ts';
import type { Disk } from './ports.ts';
import type { Witness } from './record.ts';

/** A disk may fail to read once what it can read a moment later. */
const READ_TRIES = 3;
/** EIO and ENODATA (what the kernel makes of a medium error): the rest of the disk may be well. */
const LOST_SECTORS: readonly number[] = [5, 61];

/** With the sequence of its record. */
export interface PlacedWitness extends Witness {
  readonly sequence: number;
}

/** The witness of a write: its granules lie in a row, and are what `payload` has. */
export function witnessOf(slot: number, mask: number, payload: Uint8Array): Witness {
  const checksums: number[] = [];
  for (let at = 0; at < payload.length; at += GRANULE_BYTES) checksums.push(crc32(payload.subarray(at, at + GRANULE_BYTES)));
  return { slot, mask, checksums };
}

export interface WitnessReaderOptions {
  readonly data: Disk;
  readonly calls: DiskCalls;
  readonly memory: Uint8Array;
  /** Offset in the memory of room for a granule. */
  readonly roomOffset: number;
  readonly chunkSizeBytes: number;
}

/** Compares what witnesses say with what the disk has. */
export class WitnessReader {
  readonly #options: WitnessReaderOptions;

  constructor(options: WitnessReaderOptions) {
    this.#options = options;
  }

  /**
   * Calls back with whether the disk has what the witness says, as far as its sectors can be read; or with an error,
   * `unavailable`, when the disk answers none at the moment.
   * @throws StoreError data-loss when it speaks of what cannot be
   */
  compare(witness: Witness, done: (error: StoreError | null, isTrue: boolean) => void): void {
    const { data, calls, memory, roomOffset, chunkSizeBytes } = this.#options;
    const first = 31 - Math.clz32(witness.mask & -witness.mask);
    const count = granulesIn(witness.mask);
    const start = witness.slot * chunkSizeBytes + first * GRANULE_BYTES;
    const isInChunk = witness.mask === maskOf(first, count) && (first + count) * GRANULE_BYTES <= chunkSizeBytes;
    if (count === 0 || !isInChunk || witness.slot === HEADER_SLOT || start + count * GRANULE_BYTES > data.sizeBytes)
      throw new StoreError(
        'data-loss',
        `the record log ends with a witness of granules that cannot be (slot ${witness.slot}, mask ${witness.mask})`,
      );
    const compareFrom = (index: number, tries: number): void => {
      if (index === count) return done(null, true);
      const tag = calls.tag((result) => {
        if (result !== GRANULE_BYTES && tries < READ_TRIES) return compareFrom(index, tries + 1);
        if (result < 0 && !LOST_SECTORS.includes(-result)) return done(unreadable(-result), false);
        if (result !== GRANULE_BYTES) return compareFrom(index + 1, 1);
        const isTrue = crc32(memory.subarray(roomOffset, roomOffset + GRANULE_BYTES)) === witness.checksums[index];
        if (isTrue) compareFrom(index + 1, 1);
        else done(null, false);
      });
      data.read(start + index * GRANULE_BYTES, GRANULE_BYTES, roomOffset, tag);
    };
    compareFrom(0, 1);
  }
}

function unreadable(errno: number): StoreError {
  return new StoreError(
    'unavailable',
    `the pool's data could not be compared with the end of its record log (errno ${errno}): see to its disk, then start again`,
  );
}
