/** How the engine cuts its part of the shared memory (docs/format.md, "Shared memory"). */
import { RECORD_UNIT_BYTES } from './record.ts';
import { RING_HEADER_BYTES } from './record-ring.ts';

/** Records since the last checkpoint: 16 MiB. */
export const RING_UNITS = 2 ** 18;
/** The largest batch of the record log, and the window in which it is read at a start. */
export const STAGING_BYTES = 1024 * 1024;
/** Chunks that the background may be merging at a time. */
export const MERGE_BUFFERS = 4;
export const MERGE_BUFFER_BYTES = 65536;

/** A chunk of zeros, never written: what is written ahead into free slots. */
export const ZERO_BYTES = 65536;

export interface EngineMemoryOptions {
  /** A power of two. */
  readonly ringUnits: number;
}

export interface EngineMemoryLayout {
  readonly ringOffset: number;
  readonly stagingOffset: number;
  readonly mergeOffset: number;
  readonly zeroOffset: number;
  readonly totalBytes: number;
}

/** Offsets from the start of the engine's part. */
export function engineMemoryLayout(options: EngineMemoryOptions): EngineMemoryLayout {
  const stagingOffset = RING_HEADER_BYTES + options.ringUnits * RECORD_UNIT_BYTES;
  const mergeOffset = stagingOffset + STAGING_BYTES;
  const zeroOffset = mergeOffset + MERGE_BUFFERS * MERGE_BUFFER_BYTES;
  return { ringOffset: 0, stagingOffset, mergeOffset, zeroOffset, totalBytes: zeroOffset + ZERO_BYTES };
}
