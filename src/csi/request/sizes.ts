/** Sizes of volumes: whole MiB, no smaller than a file system needs, within what the caller allows. */
import type { CapacityRange, Long } from '../generated/messages.ts';
import { StoreError } from '../../util/errors.ts';
import { DEFAULT_FILE_SYSTEM, type VolumeUse } from './capabilities.ts';
import { invalid } from './fields.ts';

const MIB = 1 << 20;
const DEFAULT_SIZE_BYTES = 1024 * MIB;

/**
 * The least that makes sense, found by trying on devices with 4 KiB sectors: mkfs.xfs 6.1 refuses less than 300 MiB and
 * mkfs.btrfs 6.2 less than 109 MiB, which are full at once; a small ext4 is mostly journal.
 */
const MINIMUM_SIZE_BYTES = { block: MIB, ext4: 16 * MIB, xfs: 300 * MIB, btrfs: 256 * MIB };

/** Null where the caller leaves it open. */
export interface SizeRange {
  readonly requiredBytes: number | null;
  readonly limitBytes: number | null;
}

export function requireSizeRange(range: CapacityRange | null, field: string): SizeRange {
  if (range === null) return { requiredBytes: null, limitBytes: null };
  const requiredBytes = optionalBytes(range.requiredBytes, `${field}.required_bytes`);
  const limitBytes = optionalBytes(range.limitBytes, `${field}.limit_bytes`);
  if (requiredBytes !== null && limitBytes !== null && requiredBytes > limitBytes) {
    throw new StoreError('out-of-range', `${field}.required_bytes (${requiredBytes}) is above ${field}.limit_bytes (${limitBytes})`);
  }
  return { requiredBytes, limitBytes };
}

export function minimumSizeBytes(use: VolumeUse): number {
  return use.access === 'block' ? MINIMUM_SIZE_BYTES.block : MINIMUM_SIZE_BYTES[use.fileSystem ?? DEFAULT_FILE_SYSTEM];
}

/**
 * The size of a new volume. Asked for nothing: the source's size, or 1 GiB. A restore that asks for less than its
 * source is refused, since the data might not fit; anything else too small is raised to the minimum.
 */
export function newVolumeSizeBytes(
  range: SizeRange,
  limits: { readonly minimumBytes: number; readonly sourceBytes: number | null },
): number {
  const { requiredBytes, limitBytes } = range;
  const { minimumBytes, sourceBytes } = limits;
  if (sourceBytes !== null && requiredBytes !== null && roundUp(requiredBytes) < sourceBytes) {
    throw new StoreError(
      'out-of-range',
      `capacity_range.required_bytes (${requiredBytes}) is below the size of the source (${sourceBytes}); a volume cannot be smaller than what it is made from`,
    );
  }
  const unasked = sourceBytes ?? Math.min(DEFAULT_SIZE_BYTES, limitBytes === null ? DEFAULT_SIZE_BYTES : roundDown(limitBytes));
  const sizeBytes = Math.max(requiredBytes === null ? unasked : roundUp(requiredBytes), minimumBytes, sourceBytes ?? 0);
  requireWithin(sizeBytes, limitBytes);
  return sizeBytes;
}

/** The size of a grown volume. One that is large enough stays as it is: volumes do not shrink. */
export function grownSizeBytes(range: SizeRange, presentBytes: number): number {
  if (range.requiredBytes === null && range.limitBytes === null)
    throw invalid('capacity_range', 'has neither required_bytes nor limit_bytes');
  const sizeBytes = Math.max(presentBytes, range.requiredBytes === null ? 0 : roundUp(range.requiredBytes));
  requireWithin(sizeBytes, range.limitBytes);
  return sizeBytes;
}

export function isWithin(sizeBytes: number, range: SizeRange): boolean {
  return sizeBytes >= (range.requiredBytes ?? 0) && sizeBytes <= (range.limitBytes ?? Number.POSITIVE_INFINITY);
}

export function roundDown(sizeBytes: number): number {
  return sizeBytes - (sizeBytes % MIB);
}

function roundUp(sizeBytes: number): number {
  return Math.ceil(sizeBytes / MIB) * MIB;
}

function requireWithin(sizeBytes: number, limitBytes: number | null): void {
  if (limitBytes !== null && sizeBytes > limitBytes) {
    throw new StoreError(
      'out-of-range',
      `the volume would have ${sizeBytes} bytes (whole MiB, and no less than its source or its file system needs), which is above capacity_range.limit_bytes (${limitBytes})`,
    );
  }
}

function optionalBytes(text: Long, field: string): number | null {
  const bytes = BigInt(text);
  if (bytes < 0n) throw invalid(field, 'is negative');
  // A MiB less, so that rounding up stays exact.
  if (bytes > BigInt(Number.MAX_SAFE_INTEGER - MIB))
    throw new StoreError('out-of-range', `${field} (${text}) is larger than any volume can be`);
  return bytes === 0n ? null : Number(bytes);
}
