/**
 * The rows of the checkpoint's tables `pool` and `objects`: a checksum, then JSON (docs/format.md, "Checkpoint").
 */
import { crc32 } from 'node:zlib';
import { StoreError } from '../util/errors.ts';
import type { ObjectRow } from './objects.ts';
import type { LogPosition } from './record-log.ts';
import type { Damage } from './seals.ts';
import { isObjectRow, isPoolRow } from './stored-shapes.ts';

/** Version 2 has what scrubbing needs; a pool that was never scrubbed stays at version 1, which older programs read. */
export const FIRST_CHECKPOINT_VERSION = 1;
export const CHECKPOINT_VERSION = 2;

/** How far scrubbing came. Times are milliseconds since the epoch, 0 for never; the rest are slots. */
export interface ScrubProgress {
  /** The verifying pass that is under way, or was stopped before its end. */
  startedAtMs: number;
  /** That pass has nothing left to do below this slot. */
  position: number;
  verified: number;
  sealed: number;
  /** The last verifying pass that came to its end, and what it compared. */
  completedAtMs: number;
  completed: number;
  /** When the last pass of either mode that came to its end began. */
  sealedAtMs: number;
}

export interface ScrubRow extends Readonly<ScrubProgress> {
  readonly damaged: readonly (readonly [slot: number, damage: Damage])[];
}

export const NO_SCRUB: ScrubRow = {
  startedAtMs: 0,
  position: 1,
  verified: 0,
  sealed: 0,
  completedAtMs: 0,
  completed: 0,
  sealedAtMs: 0,
  damaged: [],
};

export interface PoolRow {
  readonly version: number;
  readonly poolId: string;
  readonly chunkSizeBytes: number;
  /** The checkpoint contains every record up to this sequence, whose record had this checksum. */
  readonly sequence: number;
  readonly checksum: number;
  readonly log: LogPosition;
  readonly nextPageNumber: number;
  /** See record.ts, `life`. */
  readonly life: string;
  /** Free slots that can be taken before the count after a start is over. */
  readonly reserve: readonly number[];
  /** Slots below this number were written at least once. */
  readonly prewrittenSlots: number;
  /** Pages that nobody refers to and that were not taken apart yet: they still hold references. */
  readonly dropped: readonly number[];
  /** Exactly in version 2. */
  readonly scrub?: ScrubRow;
}

export function encodeRow(row: PoolRow | ObjectRow): Uint8Array {
  const json = new TextEncoder().encode(JSON.stringify(row));
  const bytes = new Uint8Array(4 + json.length);
  bytes.set(json, 4);
  new DataView(bytes.buffer).setUint32(0, crc32(json), true);
  return bytes;
}

/** @throws StoreError data-loss, failed-precondition for another version */
export function decodePoolRow(bytes: Uint8Array): PoolRow {
  const what = "the pool's checkpoint";
  const row = decode(bytes, what) as PoolRow | null;
  if (typeof row?.version === 'number' && row.version > CHECKPOINT_VERSION) {
    throw new StoreError(
      'failed-precondition',
      `the pool has format version ${row.version}; this program reads versions ${FIRST_CHECKPOINT_VERSION} to ${CHECKPOINT_VERSION}. Use the version that wrote it, or a newer one`,
    );
  }
  if (row === null || !isPoolRow(row)) throw malformed(what);
  return row;
}

export function decodeObjectRow(bytes: Uint8Array): ObjectRow {
  const what = 'an object of the checkpoint';
  const row = decode(bytes, what);
  if (!isObjectRow(row)) throw malformed(what);
  return row as ObjectRow;
}

function decode(bytes: Uint8Array, what: string): unknown {
  const json = bytes.subarray(4);
  if (bytes.length < 4 || new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true) !== crc32(json)) {
    throw new StoreError('data-loss', `${what} is damaged: its checksum does not match`);
  }
  try {
    return JSON.parse(new TextDecoder().decode(json));
  } catch (cause) {
    throw malformed(what, cause);
  }
}

function malformed(what: string, cause?: unknown): StoreError {
  return new StoreError('data-loss', `${what} is damaged: it is not what this program writes`, { cause });
}
