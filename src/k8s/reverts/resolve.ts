/**
 * From the names in a VolumeRevert to the volume and the snapshot that they stand for: claim → PersistentVolume → volume,
 * VolumeSnapshot → VolumeSnapshotContent → snapshot. Each pair must point at each other by UID: a name alone may be made
 * to point at what belongs to another namespace.
 *
 * What was found once is pinned in the status; whatever differs from that later is a failure, never taken instead.
 */
import { DRIVER_NAME, type PersistentVolume, type PersistentVolumeClaim, type VolumeRevert } from '../resources.ts';
import type { VolumeSnapshot, VolumeSnapshotContent } from '../resources.ts';
import { poolOfHandle } from './names.ts';
import { quoted } from './wording.ts';

/** What stands in the API now under the names, live; null for what is not there. */
export interface Named {
  readonly claim: PersistentVolumeClaim | null;
  /** The one that the claim names. */
  readonly volume: PersistentVolume | null;
  readonly snapshot: VolumeSnapshot | null;
  /** The one that the snapshot names. */
  readonly content: VolumeSnapshotContent | null;
}

type Status = NonNullable<VolumeRevert['status']>;
export type Pins = Pick<Status, 'claimUid' | 'volumeHandle' | 'sourceVolumeMode' | 'snapshotUid' | 'snapshotHandle'>;

export type Obstacle = { readonly kind: 'wait' | 'fail'; readonly reason: string; readonly message: string };

export interface Resolution {
  /** What is known for certain by now. */
  readonly pins: Pins;
  /** A failure if there is one, else what is waited for; null when both ends are known. */
  readonly obstacle: Obstacle | null;
}

export function resolve(revert: VolumeRevert, named: Named): Resolution {
  const volume = resolveVolume(revert, named);
  const snapshot = resolveSnapshot(revert, named);
  const pins = { ...volume.pins, ...snapshot.pins };
  const obstacles = [volume.obstacle, snapshot.obstacle, poolsDiffer(pins)].filter((obstacle) => obstacle !== null);
  return { pins, obstacle: obstacles.find(({ kind }) => kind === 'fail') ?? obstacles[0] ?? null };
}

function resolveVolume(revert: VolumeRevert, { claim, volume }: Named): Resolution {
  const { claimUid: pinnedUid, volumeHandle: pinnedHandle } = revert.status ?? {};
  const name = `the claim ${quoted(revert.spec.claimName)}`;
  if (claim === null) {
    if (pinnedUid !== undefined) return failed('ClaimDeleted', `${name} was deleted`);
    return waits('ClaimNotFound', `${name} does not exist in this namespace; make it, or delete this VolumeRevert`);
  }
  const { uid } = claim.metadata;
  if (uid === undefined || (pinnedUid !== undefined && pinnedUid !== uid)) {
    return failed('ClaimReplaced', `${name} is another one than the one that was to be reverted, which was deleted`);
  }
  if (claim.metadata.deletionTimestamp !== undefined) return failed('ClaimDeleted', `${name} is being deleted`);
  if (claim.status?.phase === 'Lost') return failed('VolumeGone', `${name} has lost its volume`);

  const pins = { claimUid: uid };
  const vanished = (message: string): Resolution =>
    pinnedHandle === undefined ? waits('ClaimNotBound', message, pins) : failed('VolumeGone', message, pins);
  const { volumeName } = claim.spec;
  if (volumeName === undefined || volumeName === '') return vanished(`${name} is not bound to a volume`);
  if (volume === null) return vanished(`the PersistentVolume ${quoted(volumeName)} of ${name} does not exist`);
  const boundUid = volume.spec.claimRef?.uid;
  if (boundUid === undefined || boundUid === '') return vanished(`the PersistentVolume ${quoted(volumeName)} is not bound to ${name}`);
  if (boundUid !== uid) {
    return failed('VolumeOfAnotherClaim', `the PersistentVolume ${quoted(volumeName)} belongs to another claim than ${name}`, pins);
  }
  const handle = volume.spec.csi?.volumeHandle;
  if (handle === undefined || volume.spec.csi?.driver !== DRIVER_NAME || poolOfHandle(handle) === null) {
    return failed('AnotherDriver', `${name} is not a volume of ${DRIVER_NAME}; only those can be reverted`, pins);
  }
  if (pinnedHandle !== undefined && pinnedHandle !== handle) {
    return failed('VolumeReplaced', `${name} has another volume than the one that was to be reverted`, pins);
  }
  if (volume.metadata.deletionTimestamp !== undefined) return failed('VolumeGone', `the volume of ${name} is being deleted`, pins);
  return { pins: { ...pins, volumeHandle: handle, sourceVolumeMode: volume.spec.volumeMode ?? 'Filesystem' }, obstacle: null };
}

function resolveSnapshot(revert: VolumeRevert, { snapshot, content }: Named): Resolution {
  const { snapshotUid: pinnedUid, snapshotHandle: pinnedHandle } = revert.status ?? {};
  const name = `the VolumeSnapshot ${quoted(revert.spec.snapshotName)}`;
  if (snapshot === null) {
    if (pinnedUid !== undefined) return failed('SnapshotDeleted', `${name} was deleted`);
    return waits('SnapshotNotFound', `${name} does not exist in this namespace; make it, or delete this VolumeRevert`);
  }
  const { uid } = snapshot.metadata;
  if (uid === undefined || (pinnedUid !== undefined && pinnedUid !== uid)) {
    return failed('SnapshotReplaced', `${name} is another one than the one that was asked for, which was deleted`);
  }
  if (snapshot.metadata.deletionTimestamp !== undefined) return failed('SnapshotDeleted', `${name} is being deleted`);

  const pins = { snapshotUid: uid };
  const vanished = (message: string): Resolution =>
    pinnedHandle === undefined ? waits('SnapshotNotBound', message, pins) : failed('SnapshotGone', message, pins);
  const contentName = snapshot.status?.boundVolumeSnapshotContentName;
  if (contentName === undefined || contentName === '') return vanished(`${name} has not been taken yet`);
  if (content === null) return vanished(`the VolumeSnapshotContent ${quoted(contentName)} of ${name} does not exist`);
  const { volumeSnapshotRef, source, driver } = content.spec;
  if (volumeSnapshotRef.uid === undefined || volumeSnapshotRef.uid === '') {
    return vanished(`the VolumeSnapshotContent ${quoted(contentName)} is not bound to ${name}`);
  }
  if (volumeSnapshotRef.uid !== uid || volumeSnapshotRef.namespace !== revert.metadata.namespace) {
    return failed('ContentOfAnotherSnapshot', `the VolumeSnapshotContent ${quoted(contentName)} belongs to another one than ${name}`, pins);
  }
  if (driver !== DRIVER_NAME) return failed('AnotherDriver', `${name} is not a snapshot of ${DRIVER_NAME}, but of ${quoted(driver)}`, pins);
  const handle = content.status?.snapshotHandle ?? source.snapshotHandle;
  if (handle === undefined || handle === '') return vanished(`${name} has not been taken yet`);
  if (poolOfHandle(handle) === null) return failed('AnotherDriver', `${name} has a handle that is none of ${DRIVER_NAME}`, pins);
  if (pinnedHandle !== undefined && pinnedHandle !== handle) {
    return failed('SnapshotReplaced', `${name} stands for another snapshot than the one that was asked for`, pins);
  }
  if (content.metadata.deletionTimestamp !== undefined) return failed('SnapshotDeleted', `${name} is being deleted`, pins);
  return { pins: { ...pins, snapshotHandle: handle }, obstacle: null };
}

function poolsDiffer({ volumeHandle, snapshotHandle }: Pins): Obstacle | null {
  if (volumeHandle === undefined || snapshotHandle === undefined) return null;
  if (poolOfHandle(volumeHandle) === poolOfHandle(snapshotHandle)) return null;
  const message = 'the snapshot is in another pool than the volume; restore it to a new claim instead';
  return { kind: 'fail', reason: 'SnapshotOfAnotherVolume', message };
}

function failed(reason: string, message: string, pins: Pins = {}): Resolution {
  return { pins, obstacle: { kind: 'fail', reason, message } };
}

function waits(reason: string, message: string, pins: Pins = {}): Resolution {
  return { pins, obstacle: { kind: 'wait', reason, message } };
}
