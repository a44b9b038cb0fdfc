/**
 * Looks at everything that a decision about a VolumeRevert needs. Objects are read from the API itself, not from a picture
 * that may be old: a decision to throw data away is not made on yesterday's claim.
 */
import type { KubernetesApi } from '../api.ts';
import {
  namespaces,
  persistentVolumeClaims,
  persistentVolumes,
  volumeSnapshotContents,
  volumeSnapshots,
  type VolumeRevert,
} from '../resources.ts';
import { assert } from '../../util/assert.ts';
import { StoreError } from '../../util/errors.ts';
import { isKept, isTerminal, type Observation, type SafetyObjects, type StoreView } from './decide.ts';
import { poolOfHandle, safetyContentName, safetyHandle, safetySnapshotName, uidOf } from './names.ts';
import type { RevertStores } from './ports.ts';
import type { Named } from './resolve.ts';

export interface ObservePorts {
  readonly api: KubernetesApi;
  readonly stores: RevertStores;
  readonly nowMs: () => number;
  /** All VolumeReverts, as far as known. */
  readonly reverts: () => readonly VolumeRevert[];
}

const NOTHING_NAMED: Named = { claim: null, volume: null, snapshot: null, content: null };
const NOTHING_SAFE: SafetyObjects = { content: null, snapshot: null, namespaceTerminating: false };

export async function observe(ports: ObservePorts, revert: VolumeRevert): Promise<Observation> {
  const nowMs = ports.nowMs();
  const { status, metadata } = revert;
  if (isTerminal(revert)) {
    return { revert, nowMs, named: NOTHING_NAMED, store: { kind: 'unasked' }, before: null, safety: NOTHING_SAFE };
  }
  const reverted = status?.revertedAt !== undefined;
  const named = reverted || metadata.deletionTimestamp !== undefined ? NOTHING_NAMED : await readNamed(ports.api, revert);
  const store = await askStore(ports.stores, revert);
  const safety = reverted && isKept(revert) ? await readSafety(ports.api, revert) : NOTHING_SAFE;
  return { revert, nowMs, named, store, before: goesBefore(revert, ports.reverts()), safety };
}

export function namespaceOf(revert: VolumeRevert): string {
  assert(revert.metadata.namespace !== undefined, 'a VolumeRevert has a namespace');
  return revert.metadata.namespace;
}

async function readNamed(api: KubernetesApi, revert: VolumeRevert): Promise<Named> {
  const namespace = namespaceOf(revert);
  const [claim, snapshot] = await Promise.all([
    api.get(persistentVolumeClaims, { namespace, name: revert.spec.claimName }),
    api.get(volumeSnapshots, { namespace, name: revert.spec.snapshotName }),
  ]);
  const volumeName = claim?.spec.volumeName ?? '';
  const contentName = snapshot?.status?.boundVolumeSnapshotContentName ?? '';
  const [volume, content] = await Promise.all([
    volumeName === '' ? null : api.get(persistentVolumes, { name: volumeName }),
    contentName === '' ? null : api.get(volumeSnapshotContents, { name: contentName }),
  ]);
  return { claim, volume, snapshot, content };
}

async function readSafety(api: KubernetesApi, revert: VolumeRevert): Promise<SafetyObjects> {
  const namespace = namespaceOf(revert);
  const [snapshot, content, home] = await Promise.all([
    api.get(volumeSnapshots, { namespace, name: safetySnapshotName(revert) }),
    api.get(volumeSnapshotContents, { name: safetyContentName(uidOf(revert)) }),
    api.get(namespaces, { name: namespace }),
  ]);
  return { snapshot, content, namespaceTerminating: home?.metadata.deletionTimestamp !== undefined };
}

/** By the pinned handles only, so that it is always the same volume that is spoken of. */
async function askStore(stores: RevertStores, { status, metadata }: VolumeRevert): Promise<StoreView> {
  const { volumeHandle, snapshotHandle } = status ?? {};
  if (volumeHandle === undefined || snapshotHandle === undefined) return { kind: 'unasked' };
  const poolId = poolOfHandle(volumeHandle);
  assert(poolId !== null && metadata.uid !== undefined, 'only handles of ours are pinned');
  try {
    const store = await stores.ofPool(poolId);
    if (store === null) return { kind: 'gone' };
    const volume = await unlessGone(store.getVolume(volumeHandle));
    const snapshot = await unlessGone(store.getSnapshot(snapshotHandle));
    const safety = await unlessGone(store.getSnapshot(safetyHandle(poolId, metadata.uid)));
    return { kind: 'answered', volume, snapshot, safety };
  } catch (error) {
    if (error instanceof StoreError) return { kind: 'away', message: error.message };
    throw error;
  }
}

async function unlessGone<Result>(answer: Promise<Result>): Promise<Result | null> {
  try {
    return await answer;
  } catch (error) {
    if (error instanceof StoreError && error.code === 'not-found') return null;
    throw error;
  }
}

/** While the outcome of one call is open, no other revert of that volume begins: it would be in doubt, too. */
function goesBefore(revert: VolumeRevert, all: readonly VolumeRevert[]): string | null {
  const { volumeHandle, attemptedAt } = revert.status ?? {};
  if (volumeHandle === undefined || attemptedAt !== undefined) return null;
  const other = all.find(
    (candidate) =>
      candidate.metadata.uid !== revert.metadata.uid &&
      candidate.status?.volumeHandle === volumeHandle &&
      candidate.status.attemptedAt !== undefined &&
      candidate.status.revertedAt === undefined &&
      !isTerminal(candidate),
  );
  return other?.metadata.name ?? null;
}
