/** Volumes and snapshots of the engine as messages of proto/store.proto. */
import type { ObjectId, ObjectInfo } from '../engine/control.ts';
import { assert } from '../util/assert.ts';
import { wireId } from './wire/ids.ts';
import type { SnapshotMessage, VolumeMessage } from './wire/messages.ts';

export function volumeMessage(poolId: ObjectId, object: ObjectInfo, options: { readonly attached: boolean }): VolumeMessage {
  const { name, sizeBytes, createdAtMs, attributes, lineage, incarnation, sourceId, sourceKind } = object;
  const source =
    sourceId === null
      ? null
      : { kind: sourceKind === 'snapshot' ? ('KIND_SNAPSHOT' as const) : ('KIND_VOLUME' as const), id: wireId(poolId, sourceId) };
  return {
    id: wireId(poolId, object.id),
    name,
    sizeBytes,
    createdAtMs,
    source,
    attributes,
    lineage,
    incarnation,
    attached: options.attached,
  };
}

export function snapshotMessage(poolId: ObjectId, object: ObjectInfo, options: { readonly attached: boolean }): SnapshotMessage {
  const { name, sizeBytes, createdAtMs, attributes, lineage, sourceId } = object;
  assert(sourceId !== null, `snapshot ${object.id} was cut from a volume`);
  return {
    id: wireId(poolId, object.id),
    name,
    sizeBytes,
    createdAtMs,
    sourceVolumeId: wireId(poolId, sourceId),
    attributes,
    lineage,
    attached: options.attached,
  };
}
