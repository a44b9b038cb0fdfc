/**
 * The VolumeSnapshot that keeps what a volume held before its revert, and the VolumeSnapshotContent behind it: a
 * pre-provisioned pair, as the snapshot API wants it (CRDs of external-snapshotter 8). The content names the snapshot
 * without UID; the snapshot controller binds the two, the sidecar asks the driver for the snapshot by its handle and sets
 * readyToUse, and with the policy Delete the deletion of the VolumeSnapshot deletes it in the store.
 */
import { DRIVER_NAME, type VolumeRevert, type VolumeSnapshot, type VolumeSnapshotClass, type VolumeSnapshotContent } from '../resources.ts';
import { assert } from '../../util/assert.ts';
import { CLAIM_ANNOTATION, REVERT_ANNOTATION, REVERT_UID_LABEL, safetyContentName, safetySnapshotName, uidOf } from './names.ts';
import { namespaceOf } from './observe.ts';

const DEFAULT_CLASS_ANNOTATION = 'snapshot.storage.kubernetes.io/is-default-class';

export function safetyContent(revert: VolumeRevert, className: string | null): VolumeSnapshotContent {
  const { status } = revert;
  assert(status?.safetySnapshotHandle !== undefined, 'the store has made the safety snapshot');
  const mode = status.sourceVolumeMode;
  return {
    apiVersion: 'snapshot.storage.k8s.io/v1',
    kind: 'VolumeSnapshotContent',
    metadata: { name: safetyContentName(uidOf(revert)), ...origin(revert) },
    spec: {
      driver: DRIVER_NAME,
      deletionPolicy: 'Delete',
      source: { snapshotHandle: status.safetySnapshotHandle },
      ...(mode === undefined ? {} : { sourceVolumeMode: mode }),
      ...(className === null ? {} : { volumeSnapshotClassName: className }),
      volumeSnapshotRef: {
        apiVersion: 'snapshot.storage.k8s.io/v1',
        kind: 'VolumeSnapshot',
        namespace: namespaceOf(revert),
        name: safetySnapshotName(revert),
      },
    },
  };
}

export function safetySnapshot(revert: VolumeRevert, content: VolumeSnapshotContent): VolumeSnapshot {
  const className = content.spec.volumeSnapshotClassName;
  return {
    apiVersion: 'snapshot.storage.k8s.io/v1',
    kind: 'VolumeSnapshot',
    metadata: { namespace: namespaceOf(revert), name: safetySnapshotName(revert), ...origin(revert) },
    spec: {
      source: { volumeSnapshotContentName: content.metadata.name },
      ...(className === undefined ? {} : { volumeSnapshotClassName: className }),
    },
  };
}

/** The class of our driver: the default one, else the first by name; null when there is none, which is fine. */
export function classNameFor(classes: readonly VolumeSnapshotClass[]): string | null {
  const ours = classes.filter(({ driver }) => driver === DRIVER_NAME);
  const isDefault = ({ metadata }: VolumeSnapshotClass): boolean => metadata.annotations?.[DEFAULT_CLASS_ANNOTATION] === 'true';
  const candidates = ours.some(isDefault) ? ours.filter(isDefault) : ours;
  return candidates.map(({ metadata }) => metadata.name).toSorted()[0] ?? null;
}

function origin(revert: VolumeRevert): { labels: Record<string, string>; annotations: Record<string, string> } {
  return {
    labels: { [REVERT_UID_LABEL]: uidOf(revert) },
    annotations: {
      [REVERT_ANNOTATION]: `${namespaceOf(revert)}/${revert.metadata.name}`,
      [CLAIM_ANNOTATION]: revert.spec.claimName,
    },
  };
}
