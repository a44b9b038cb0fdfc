/**
 * Whether JSON of the checkpoint and of control records has the shape that this program writes. A checksum says that the
 * bytes are those that were written, not by whom: what follows relies on the shape, and must not fail in its middle.
 */
import { MAXIMUM_LEVEL } from './geometry.ts';
import { isObjectId } from './object-id.ts';

type Fields = Readonly<Record<string, unknown>>;

export function isControlChange(value: unknown): boolean {
  if (!isFields(value)) return false;
  const { change, object, safety } = value;
  switch (change) {
    case 'create':
      return isDescription(object);
    case 'share':
      return isDescription(object) && isCount(value['sourceNumber']);
    case 'revert':
      return isCount(value['volumeNumber']) && isCount(value['snapshotNumber']) && (safety === null || isDescription(safety));
    case 'delete':
      return isCount(value['number']);
    case 'resize':
      return isCount(value['number']) && isCount(value['sizeBytes']);
    case 'life':
      return isLife(value['life']);
    default:
      return false;
  }
}

export function isPoolRow(value: unknown): boolean {
  if (!isFields(value) || !isFields(value['log'])) return false;
  const { poolId, chunkSizeBytes, sequence, checksum, log, nextPageNumber, life, reserve, prewrittenSlots, dropped, version } = value;
  const { block, chain } = log;
  return (
    [chunkSizeBytes, sequence, checksum, nextPageNumber, prewrittenSlots, block, chain].every(isCount) &&
    isId(poolId) &&
    isLife(life) &&
    [reserve, dropped].every((list) => Array.isArray(list) && list.every(isCount)) &&
    (version === 1 || (version === 2 && isScrubRow(value['scrub'])))
  );
}

function isScrubRow(value: unknown): boolean {
  if (!isFields(value)) return false;
  const { startedAtMs, position, verified, sealed, completedAtMs, completed, sealedAtMs, damaged } = value;
  return (
    [startedAtMs, position, verified, sealed, completedAtMs, completed, sealedAtMs].every(isCount) &&
    Array.isArray(damaged) &&
    damaged.every((one) => Array.isArray(one) && one.length === 2 && isCount(one[0]) && (one[1] === 'changed' || one[1] === 'unreadable'))
  );
}

export function isObjectRow(value: unknown): boolean {
  if (!isFields(value) || !isDescription(value['description'])) return false;
  const { number, incarnation, lineage, rootNumber, rootLevel } = value;
  return [number, incarnation, lineage, rootNumber, rootLevel].every(isCount) && (rootLevel as number) <= MAXIMUM_LEVEL;
}

function isDescription(value: unknown): boolean {
  if (!isFields(value) || !isFields(value['attributes'])) return false;
  const { id, kind, name, sizeBytes, createdAtMs, sourceId, sourceKind, attributes } = value;
  return (
    isId(id) &&
    isKind(kind) &&
    typeof name === 'string' &&
    isCount(sizeBytes) &&
    typeof createdAtMs === 'number' &&
    (sourceId === null || isId(sourceId)) &&
    (sourceKind === null || isKind(sourceKind)) &&
    Object.values(attributes).every((text) => typeof text === 'string')
  );
}

function isFields(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

function isId(value: unknown): boolean {
  return typeof value === 'string' && isObjectId(value);
}

/** It stands in 32 bytes of the record ring. */
function isLife(value: unknown): boolean {
  return typeof value === 'string' && value.length <= 32;
}

function isKind(value: unknown): boolean {
  return value === 'volume' || value === 'snapshot';
}
