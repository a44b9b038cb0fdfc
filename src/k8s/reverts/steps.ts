/**
 * Takes one VolumeRevert on: look, decide, do, until it is finished or something must be waited for. It may be killed, or
 * another controller may do the same, at every call.
 *
 * Every write of the status is bound to the version of the object that the decision was made on, so of two controllers
 * that decide at once one has to look again.
 */
import type { KubernetesApi } from '../api.ts';
import {
  persistentVolumeClaims,
  pods,
  volumeReverts,
  volumeSnapshotClasses,
  volumeSnapshotContents,
  volumeSnapshots,
  type VolumeRevert,
} from '../resources.ts';
import { timestamp } from '../times.ts';
import { assert } from '../../util/assert.ts';
import { StoreError } from '../../util/errors.ts';
import type { Logger } from '../../util/log.ts';
import { decide, isTerminal, type Action, type Observation } from './decide.ts';
import {
  NO_BACKUP_LABEL,
  poolOfHandle,
  REVERT_FINALIZER,
  REVERT_UID_LABEL,
  safetyHandle,
  safetyName,
  safetyObjectId,
  uidOf,
} from './names.ts';
import { namespaceOf, observe, type ObservePorts } from './observe.ts';
import type { RecordEvent, RevertStore } from './ports.ts';
import { classNameFor, safetyContent, safetySnapshot } from './safety-objects.ts';
import { says, withVerdict, type Verdict } from './status.ts';
import { claimObject, inUse, podsUsing } from './wording.ts';

export interface StepPorts extends ObservePorts {
  readonly record: RecordEvent;
  readonly log: Logger;
  /** This controller leads no more: nothing new is begun. */
  readonly stopped: () => boolean;
}

/** `waiting`: to be looked at again after a while. */
export type Outcome = 'finished' | 'waiting';

type Status = NonNullable<VolumeRevert['status']>;
type Done = 'again' | Outcome;

/** A revert takes about ten. */
const MOST_STEPS = 20;
/** Between the note of an attempt and the call: see CALL_SURELY_OVER_MS. A process that stood still in between looks again. */
const LATEST_CALL_MS = 10_000;

export async function takeOn(ports: StepPorts, key: { readonly namespace: string; readonly name: string }): Promise<Outcome> {
  for (let step = 0; step < MOST_STEPS && !ports.stopped(); step++) {
    const revert = await ports.api.get(volumeReverts, key);
    if (revert === null) return 'finished';
    const done = await takeStep(ports, revert);
    if (done !== 'again') return done;
  }
  return 'waiting';
}

async function takeStep(ports: StepPorts, revert: VolumeRevert): Promise<Done> {
  try {
    const seen = await observe(ports, revert);
    return ports.stopped() ? 'waiting' : await act(ports, seen, decide(seen));
  } catch (error) {
    // The API refuses it for a reason that does not pass by itself: a missing right or kind, a namespace that ends.
    if (!(error instanceof StoreError) || error.code !== 'failed-precondition') throw error;
    const { metadata } = revert;
    const now = await ports.api.get(volumeReverts, { namespace: namespaceOf(revert), name: metadata.name });
    if (now !== null && now.metadata.uid === metadata.uid && !isTerminal(now)) await tell(ports, now, waiting('Refused', error.message));
    return 'waiting';
  }
}

async function act(ports: StepPorts, seen: Observation, action: Action): Promise<Done> {
  const { api, log } = ports;
  const { revert } = seen;
  switch (action.kind) {
    case 'none':
      return 'finished';
    case 'adopt':
      await adopt(api, revert);
      return 'again';
    case 'pin':
      log.info({ ...identity(revert), ...action.pins }, 'found what is to be reverted');
      await write(ports, revert, { ...revert.status, ...action.pins }, waiting('Preparing', 'the claim and the snapshot are looked up'));
      return 'again';
    case 'wait':
      await tell(ports, revert, waiting(action.reason, action.message));
      return 'waiting';
    case 'wait-for-detach':
      await tell(ports, revert, waiting('InUse', inUse(revert.spec.claimName, await usersOf(ports, revert))));
      return 'waiting';
    case 'revert':
      return attempt(ports, seen, action);
    case 'note-reverted':
      await noteReverted(ports, revert);
      return 'again';
    case 'create-content': {
      const className = classNameFor(await api.list(volumeSnapshotClasses));
      await unlessThere(api.create(volumeSnapshotContents, safetyContent(revert, className)));
      return 'again';
    }
    case 'create-snapshot':
      assert(seen.safety.content !== null, 'the content is made before its snapshot');
      await unlessThere(api.create(volumeSnapshots, safetySnapshot(revert, seen.safety.content)));
      return 'again';
    case 'delete-content': {
      const name = seen.safety.content?.metadata.name;
      assert(name !== undefined, 'only what is there is deleted');
      await api.delete(volumeSnapshotContents, { name }, action.uid === undefined ? {} : { uid: action.uid });
      return 'again';
    }
    case 'delete-safety':
      return deleteSafety(ports, revert);
    case 'complete': {
      const name = action.safetySnapshotName === null ? {} : { safetySnapshotName: action.safetySnapshotName };
      const verdict: Verdict = { phase: 'Complete', reason: 'Reverted', message: action.message };
      await write(ports, revert, { ...revert.status, ...name, completedAt: timestamp(ports.nowMs()) }, verdict);
      return 'again';
    }
    case 'fail':
      await write(ports, revert, { ...revert.status }, { phase: 'Failed', reason: action.reason, message: action.message });
      return 'again';
    case 'release':
      await release(api, revert);
      return 'finished';
  }
}

async function adopt(api: KubernetesApi, revert: VolumeRevert): Promise<void> {
  const { metadata } = revert;
  const finalizers = [...(metadata.finalizers ?? []).filter((name) => name !== REVERT_FINALIZER), REVERT_FINALIZER];
  const labels = { [NO_BACKUP_LABEL]: 'true', [REVERT_UID_LABEL]: uidOf(revert) };
  await patchMetadata(api, revert, { finalizers, labels });
}

async function release(api: KubernetesApi, revert: VolumeRevert): Promise<void> {
  const finalizers = (revert.metadata.finalizers ?? []).filter((name) => name !== REVERT_FINALIZER);
  await patchMetadata(api, revert, { finalizers });
}

async function patchMetadata(api: KubernetesApi, revert: VolumeRevert, metadata: object): Promise<void> {
  const { name, uid, resourceVersion } = revert.metadata;
  await api.patch(volumeReverts, { namespace: namespaceOf(revert), name }, { metadata: { ...metadata, uid, resourceVersion } });
}

async function attempt(ports: StepPorts, seen: Observation, action: Action & { kind: 'revert' }): Promise<Done> {
  const { revert } = seen;
  const startedMs = ports.nowMs();
  const noted = await write(
    ports,
    revert,
    { ...revert.status, volumeIncarnation: action.incarnation, attemptedAt: timestamp(startedMs) },
    waiting('Reverting', 'the store is asked to revert the volume'),
  );
  const { volumeHandle, snapshotHandle, volumeIncarnation, attemptedAt } = noted.status ?? {};
  if (volumeIncarnation !== action.incarnation || attemptedAt === undefined) {
    throw new StoreError('failed-precondition', 'the definition of VolumeRevert in this cluster is too old; upgrade the CRDs of the chart');
  }
  assert(volumeHandle !== undefined && snapshotHandle !== undefined, 'volume and snapshot are pinned before the store is asked');
  const store = await storeOf(ports, noted);
  const sinceMs = ports.nowMs() - startedMs;
  if (store === null || ports.stopped() || sinceMs < 0 || sinceMs > LATEST_CALL_MS) return 'again';
  const uid = uidOf(noted);
  const safety = { name: safetyName(uid), objectId: safetyObjectId(uid), attributes: action.attributes };
  try {
    await store.revertVolume({ id: volumeHandle, snapshotId: snapshotHandle, safety, expectedIncarnation: volumeIncarnation });
  } catch (error) {
    if (!(error instanceof StoreError)) throw error;
    ports.log.warn({ ...identity(noted), code: error.code, err: error }, 'the store did not revert the volume');
    await tell(ports, noted, waiting('StoreRefused', error.message));
    return 'waiting';
  }
  await noteReverted(ports, noted);
  return 'again';
}

async function noteReverted(ports: StepPorts, revert: VolumeRevert): Promise<void> {
  const { volumeHandle } = revert.status ?? {};
  const poolId = volumeHandle === undefined ? null : poolOfHandle(volumeHandle);
  assert(poolId !== null, 'only handles of ours are pinned');
  const status: Status = {
    ...revert.status,
    revertedAt: timestamp(ports.nowMs()),
    safetySnapshotHandle: safetyHandle(poolId, uidOf(revert)),
  };
  const verdict = waiting('Finishing', 'the volume is reverted; the safety snapshot is yet to be seen to');
  await write(ports, revert, status, verdict);
  ports.log.info({ ...identity(revert), volume: volumeHandle, snapshot: status.snapshotHandle }, 'the volume is reverted');
}

async function deleteSafety(ports: StepPorts, revert: VolumeRevert): Promise<Done> {
  const { safetySnapshotHandle } = revert.status ?? {};
  assert(safetySnapshotHandle !== undefined, 'the status says that the store has reverted');
  try {
    await (await storeOf(ports, revert))?.deleteSnapshot(safetySnapshotHandle);
    return 'again';
  } catch (error) {
    if (!(error instanceof StoreError)) throw error;
    await tell(ports, revert, waiting('StoreAway', `reverted; the safety snapshot is yet to be deleted: ${error.message}`));
    return 'waiting';
  }
}

function storeOf(ports: StepPorts, revert: VolumeRevert): Promise<RevertStore | null> {
  const poolId = poolOfHandle(revert.status?.volumeHandle ?? '');
  assert(poolId !== null, 'only handles of ours are pinned');
  return ports.stores.ofPool(poolId);
}

/** The names of the pods that use the claim; null when they could not be listed. */
async function usersOf({ api, log }: StepPorts, revert: VolumeRevert): Promise<readonly string[] | null> {
  try {
    return podsUsing(revert.spec.claimName, await api.list(pods, { namespace: namespaceOf(revert) }));
  } catch (error) {
    log.warn({ ...identity(revert), err: error }, 'the pods that use the claim could not be listed');
    return null;
  }
}

/** Writes a verdict unless the status says so already. */
async function tell(ports: StepPorts, revert: VolumeRevert, verdict: Verdict): Promise<void> {
  if (!says(revert, verdict)) await write(ports, revert, { ...revert.status }, verdict);
}

async function write(ports: StepPorts, revert: VolumeRevert, status: Status, verdict: Verdict): Promise<VolumeRevert> {
  const wanted = { ...revert, status: withVerdict({ ...revert, status }, verdict, { nowMs: ports.nowMs() }) };
  const written = await ports.api.replaceStatus(volumeReverts, wanted);
  announce(ports, written, verdict);
  return written;
}

/** What people wait for is also told as events: on the VolumeRevert, and on the claim, where its users look. */
function announce({ record, log }: StepPorts, revert: VolumeRevert, verdict: Verdict): void {
  const { phase, reason, message } = verdict;
  log.info({ ...identity(revert), phase, reason }, message);
  if (reason === 'Preparing' || reason === 'Reverting' || reason === 'Finishing') return;
  const type = phase === 'Failed' || reason === 'StoreRefused' ? 'Warning' : 'Normal';
  const event = { type, reason: phase === 'Waiting' ? `RevertWaiting` : `Revert${phase}`, action: 'Revert' } as const;
  record({ ...event, resource: volumeReverts, object: revert, note: message });
  const { claimUid } = revert.status ?? {};
  if (claimUid === undefined || (phase === 'Waiting' && reason !== 'InUse')) return;
  const claim = claimObject(namespaceOf(revert), revert.spec.claimName, claimUid);
  record({
    ...event,
    resource: persistentVolumeClaims,
    object: claim,
    note: `VolumeRevert ${revert.metadata.name}: ${message}`.slice(0, 1000),
  });
}

function waiting(reason: string, message: string): Verdict {
  return { phase: 'Waiting', reason, message };
}

function identity(revert: VolumeRevert): { namespace: string; volumeRevert: string; uid: string } {
  return { namespace: namespaceOf(revert), volumeRevert: revert.metadata.name, uid: uidOf(revert) };
}

/** What is there already was made by whoever was killed, or is looked at again. */
async function unlessThere(creation: Promise<unknown>): Promise<void> {
  try {
    await creation;
  } catch (error) {
    if (!(error instanceof StoreError) || error.code !== 'already-exists') throw error;
  }
}
