import { beforeEach, describe, expect, test } from '@jest/globals';
import {
  namespaces,
  persistentVolumeClaims,
  persistentVolumes,
  volumeReverts,
  volumeSnapshotClasses,
  volumeSnapshotContents,
  volumeSnapshots,
  type VolumeRevert,
} from '../../../src/k8s/resources.ts';
import { CALL_SURELY_OVER_MS } from '../../../src/k8s/reverts/decide.ts';
import { safetyContentName, safetyHandle, safetyName, safetyObjectId, safetySnapshotName, uidOf } from '../../../src/k8s/reverts/names.ts';
import type { RecordedEvent } from '../../../src/k8s/events.ts';
import type { RevertStores } from '../../../src/k8s/reverts/ports.ts';
import { takeOn, type Outcome } from '../../../src/k8s/reverts/steps.ts';
import { StoreError } from '../../../src/util/errors.ts';
import { silentLogger } from '../../../src/util/log.ts';
import { POOL, RevertCluster } from '../../support/revert-cluster.ts';
import type { ModelVolume } from '../../support/revert-store.ts';

const NAMESPACE = 'default';
const SPEC = { claimName: 'data', snapshotName: 'monday' };

let cluster: RevertCluster;
let volume: ModelVolume;
let events: RecordedEvent[];
let stores: RevertStores;

beforeEach(() => {
  cluster = new RevertCluster();
  volume = cluster.claim(NAMESPACE, 'data');
  volume.content = 'on monday';
  cluster.snapshot(NAMESPACE, 'monday', volume);
  volume.content = 'on tuesday';
  events = [];
  stores = { ofPool: async () => cluster.store };
});

function go(revert: VolumeRevert, options: { readonly stopped?: () => boolean } = {}): Promise<Outcome> {
  return takeOn(
    {
      api: cluster.kubernetes,
      stores: { ofPool: (poolId) => stores.ofPool(poolId) },
      nowMs: () => cluster.nowMs,
      reverts: () => cluster.kubernetes.objects(volumeReverts),
      record: (event) => void events.push(event),
      log: silentLogger(),
      stopped: options.stopped ?? (() => false),
    },
    { namespace: NAMESPACE, name: revert.metadata.name },
  );
}

function statusOf(revert: VolumeRevert): NonNullable<VolumeRevert['status']> {
  return cluster.object(revert)?.status ?? {};
}

function verdictOf(revert: VolumeRevert): { phase: string | undefined; reason: string | undefined; message: string } {
  const status = statusOf(revert);
  const condition = status.conditions?.find(({ type }) => type === status.phase);
  return { phase: status.phase, reason: condition?.reason, message: condition?.message ?? '' };
}

describe('a revert', () => {
  test('makes the volume what the snapshot is, and keeps what it was as a VolumeSnapshot', async () => {
    cluster.kubernetes.seed(volumeSnapshotClasses, { metadata: { name: 'other' }, driver: 'other.example.com', deletionPolicy: 'Delete' });
    cluster.kubernetes.seed(volumeSnapshotClasses, { metadata: { name: 'ours' }, driver: 'csi.chunkstore.dev', deletionPolicy: 'Delete' });
    const revert = cluster.revert(NAMESPACE, 'undo', SPEC);
    expect(await go(revert)).toBe('finished');

    const uid = uidOf(revert);
    expect(volume.content).toBe('on monday');
    const safety = cluster.store.snapshots.get(safetyHandle(POOL, uid));
    expect(safety).toMatchObject({ name: `revert-${uid}`, content: 'on tuesday', sourceVolumeId: volume.id });
    const name = safetySnapshotName(revert);
    expect(name).toBe(`undo-before-${uid.slice(0, 8)}`);
    expect(statusOf(revert)).toMatchObject({
      phase: 'Complete',
      observedGeneration: 1,
      claimUid: volume.claimUid,
      volumeHandle: volume.id,
      safetySnapshotHandle: safety?.id,
      safetySnapshotName: name,
      completedAt: '2026-01-01T00:00:00Z',
    });
    expect(statusOf(revert).conditions).toMatchObject([
      { type: 'Waiting', status: 'False', reason: 'Reverted' },
      { type: 'Complete', status: 'True', reason: 'Reverted', observedGeneration: 1 },
      { type: 'Failed', status: 'False', reason: 'Reverted' },
    ]);
    const marks = {
      labels: { 'chunkstore.dev/volume-revert-uid': uid },
      annotations: { 'chunkstore.dev/volume-revert': 'default/undo', 'chunkstore.dev/claim': 'data' },
    };
    expect(cluster.kubernetes.object(volumeSnapshotContents, { name: safetyContentName(uid) })).toMatchObject({
      metadata: marks,
      spec: {
        driver: 'csi.chunkstore.dev',
        deletionPolicy: 'Delete',
        source: { snapshotHandle: safety?.id },
        sourceVolumeMode: 'Filesystem',
        volumeSnapshotClassName: 'ours',
        volumeSnapshotRef: { kind: 'VolumeSnapshot', namespace: NAMESPACE, name },
      },
    });
    expect(cluster.kubernetes.object(volumeSnapshots, { namespace: NAMESPACE, name })).toMatchObject({
      metadata: marks,
      spec: { source: { volumeSnapshotContentName: safetyContentName(uid) }, volumeSnapshotClassName: 'ours' },
    });
    const { labels, finalizers } = cluster.object(revert)!.metadata;
    expect(labels).toMatchObject({ 'velero.io/exclude-from-backup': 'true' });
    expect(finalizers).toEqual([]);
    expect(events.map(({ resource, reason, type }) => [resource.kind, reason, type])).toEqual([
      ['VolumeRevert', 'RevertComplete', 'Normal'],
      ['PersistentVolumeClaim', 'RevertComplete', 'Normal'],
    ]);
  });

  test('is undone by another one to its safety snapshot', async () => {
    const first = cluster.revert(NAMESPACE, 'undo', SPEC);
    await go(first);
    // As the snapshot controller binds it.
    const name = safetySnapshotName(first);
    const contentName = safetyContentName(uidOf(first));
    const uid = cluster.kubernetes.object(volumeSnapshots, { namespace: NAMESPACE, name })!.metadata.uid!;
    cluster.kubernetes.change(volumeSnapshots, { namespace: NAMESPACE, name }, { status: { boundVolumeSnapshotContentName: contentName } });
    cluster.kubernetes.change(volumeSnapshotContents, { name: contentName }, { spec: { volumeSnapshotRef: { uid } } });
    await go(cluster.revert(NAMESPACE, 'redo', { claimName: 'data', snapshotName: name }));
    expect(volume.content).toBe('on tuesday');
  });

  test('without a safety snapshot leaves none', async () => {
    const revert = cluster.revert(NAMESPACE, 'undo', { ...SPEC, keepSafetySnapshot: false });
    expect(await go(revert)).toBe('finished');
    expect(volume.content).toBe('on monday');
    expect(verdictOf(revert)).toMatchObject({ phase: 'Complete' });
    expect(cluster.store.committed.size).toBe(1);
    expect(cluster.store.snapshots.size).toBe(1);
    expect(cluster.kubernetes.objects(volumeSnapshotContents)).toHaveLength(1);
    expect(statusOf(revert).safetySnapshotName).toBeUndefined();
  });

  test('waits while the volume is attached, and names the pods, bounded', async () => {
    volume.attached = true;
    for (let number = 1; number <= 7; number++) cluster.pod(NAMESPACE, `web-${number}`, { claimName: 'data' });
    cluster.pod(NAMESPACE, 'other', { claimName: 'logs' });
    const revert = cluster.revert(NAMESPACE, 'undo', SPEC);
    expect(await go(revert)).toBe('waiting');
    expect(verdictOf(revert)).toMatchObject({
      phase: 'Waiting',
      reason: 'InUse',
      message: expect.stringContaining('the pods web-1, web-2, web-3, web-4, web-5 and 2 more use the claim "data"'),
    });
    expect(events.map(({ resource, reason }) => [resource.kind, reason])).toEqual([
      ['VolumeRevert', 'RevertWaiting'],
      ['PersistentVolumeClaim', 'RevertWaiting'],
    ]);
    const writes = cluster.kubernetes.calls.length;
    expect(await go(revert)).toBe('waiting');
    expect(cluster.kubernetes.calls.length).toBe(writes);

    volume.attached = false;
    expect(await go(revert)).toBe('finished');
    expect(volume.content).toBe('on monday');
  });

  test('names the pod of an ephemeral volume', async () => {
    const ephemeral = cluster.claim(NAMESPACE, 'web-0-scratch');
    cluster.snapshot(NAMESPACE, 'scratch', ephemeral);
    ephemeral.attached = true;
    cluster.pod(NAMESPACE, 'web-0', { ephemeral: 'scratch' });
    const revert = cluster.revert(NAMESPACE, 'undo', { claimName: 'web-0-scratch', snapshotName: 'scratch' });
    await go(revert);
    expect(verdictOf(revert).message).toContain('the pod web-0 uses the claim "web-0-scratch"');
  });

  test('waits with words while the store is away, and for what may still come', async () => {
    const revert = cluster.revert(NAMESPACE, 'undo', { claimName: 'data', snapshotName: 'later' });
    await go(revert);
    expect(verdictOf(revert)).toMatchObject({ phase: 'Waiting', reason: 'SnapshotNotFound' });
    cluster.snapshot(NAMESPACE, 'later', volume);
    stores = { ofPool: () => Promise.reject(new StoreError('unavailable', 'node-a is away')) };
    await go(revert);
    expect(verdictOf(revert)).toMatchObject({ phase: 'Waiting', reason: 'StoreAway', message: 'node-a is away' });
    stores = { ofPool: async () => cluster.store };
    expect(await go(revert)).toBe('finished');
  });

  test('says so when the API does not let it', async () => {
    const revert = cluster.revert(NAMESPACE, 'undo', SPEC);
    cluster.kubernetes.fail({ verb: 'get', resource: volumeSnapshots, error: new StoreError('failed-precondition', 'get is not allowed') });
    expect(await go(revert)).toBe('waiting');
    expect(verdictOf(revert)).toMatchObject({ phase: 'Waiting', reason: 'Refused', message: 'get is not allowed' });
  });
});

describe('refused are', () => {
  test.each<[string, string, () => VolumeRevert]>([
    [
      'a snapshot of another claim',
      'SnapshotOfAnotherVolume',
      () => {
        cluster.snapshot(NAMESPACE, 'of-logs', cluster.claim(NAMESPACE, 'logs'));
        return cluster.revert(NAMESPACE, 'undo', { claimName: 'data', snapshotName: 'of-logs' });
      },
    ],
    [
      "a claim that names another claim's volume",
      'VolumeOfAnotherClaim',
      () => {
        const { spec } = cluster.kubernetes.object(persistentVolumeClaims, { namespace: NAMESPACE, name: 'data' })!;
        cluster.kubernetes.seed(persistentVolumeClaims, {
          metadata: { namespace: NAMESPACE, name: 'thief' },
          spec,
          status: { phase: 'Bound' },
        });
        return cluster.revert(NAMESPACE, 'undo', { claimName: 'thief', snapshotName: 'monday' });
      },
    ],
    [
      "a snapshot that names another snapshot's content",
      'ContentOfAnotherSnapshot',
      () => {
        const { spec, status } = cluster.kubernetes.object(volumeSnapshots, { namespace: NAMESPACE, name: 'monday' })!;
        cluster.kubernetes.seed(volumeSnapshots, { metadata: { namespace: NAMESPACE, name: 'thief' }, spec, status: status! });
        return cluster.revert(NAMESPACE, 'undo', { claimName: 'data', snapshotName: 'thief' });
      },
    ],
    [
      'a volume of another driver',
      'AnotherDriver',
      () => {
        const { metadata } = cluster.kubernetes.objects(persistentVolumes)[0]!;
        cluster.kubernetes.change(persistentVolumes, { name: metadata.name }, { spec: { csi: { driver: 'other.example.com' } } });
        return cluster.revert(NAMESPACE, 'undo', SPEC);
      },
    ],
    [
      'what was restored from a backup',
      'Replayed',
      () => cluster.revert(NAMESPACE, 'undo', SPEC, { labels: { 'velero.io/restore-name': 'nightly' } }),
    ],
    [
      'a copy of another VolumeRevert',
      'Replayed',
      () => cluster.revert(NAMESPACE, 'undo', SPEC, { labels: { 'chunkstore.dev/volume-revert-uid': 'another' } }),
    ],
    [
      'a pool that is gone for good',
      'VolumeGone',
      () => {
        stores = { ofPool: async () => null };
        return cluster.revert(NAMESPACE, 'undo', SPEC);
      },
    ],
  ])('%s', async (_what, reason, make) => {
    const revert = make();
    expect(await go(revert)).toBe('finished');
    expect(verdictOf(revert)).toMatchObject({ phase: 'Failed', reason });
    expect(cluster.object(revert)!.metadata.finalizers ?? []).toEqual([]);
    expect(cluster.store.committed.size).toBe(0);
    expect(await go(revert)).toBe('finished');
  });

  test('a claim or a snapshot that was made anew under the same name', async () => {
    volume.attached = true;
    const [claims, snapshots] = [cluster.revert(NAMESPACE, 'one', SPEC), cluster.revert(NAMESPACE, 'two', SPEC)];
    await go(claims);
    cluster.deleteClaim(NAMESPACE, 'data');
    const another = cluster.claim(NAMESPACE, 'data');
    await go(claims);
    expect(verdictOf(claims)).toMatchObject({ phase: 'Failed', reason: 'ClaimReplaced' });

    cluster.deleteSnapshot(NAMESPACE, 'monday');
    cluster.snapshot(NAMESPACE, 'monday', another);
    another.attached = true;
    await go(snapshots);
    cluster.deleteSnapshot(NAMESPACE, 'monday');
    cluster.snapshot(NAMESPACE, 'monday', another);
    await go(snapshots);
    expect(verdictOf(snapshots)).toMatchObject({ phase: 'Failed', reason: 'SnapshotReplaced' });
  });
});

describe('when the outcome of a call is open', () => {
  /** The call is lost on its way; it may arrive later. */
  async function loseCall(revert: VolumeRevert): Promise<() => Promise<unknown>> {
    let arrive: (() => Promise<unknown>) | null = null;
    const { store } = cluster;
    stores = {
      ofPool: async () => ({
        getVolume: (id) => store.getVolume(id),
        getSnapshot: (id) => store.getSnapshot(id),
        deleteSnapshot: (id) => store.deleteSnapshot(id),
        revertVolume: (request) => {
          arrive = () => store.revertVolume(request);
          return Promise.reject(new StoreError('unavailable', 'no answer in time'));
        },
      }),
    };
    expect(await go(revert)).toBe('waiting');
    expect(verdictOf(revert)).toMatchObject({ phase: 'Waiting', reason: 'StoreRefused', message: 'no answer in time' });
    stores = { ofPool: async () => store };
    return arrive!;
  }

  test('a late call after the repeated one reverts nothing, though the safety snapshot is gone', async () => {
    const revert = cluster.revert(NAMESPACE, 'undo', { ...SPEC, keepSafetySnapshot: false });
    const arrive = await loseCall(revert);
    expect(await go(revert)).toBe('finished');
    volume.content = 'written since';
    await expect(arrive()).rejects.toMatchObject({ code: 'failed-precondition' });
    expect(volume.content).toBe('written since');
  });

  test('it is not given up before the call is surely over', async () => {
    const revert = cluster.revert(NAMESPACE, 'undo', { ...SPEC, keepSafetySnapshot: false });
    const arrive = await loseCall(revert);
    await cluster.kubernetes.delete(volumeReverts, { namespace: NAMESPACE, name: 'undo' });
    expect(await go(revert)).toBe('waiting');
    expect(verdictOf(revert)).toMatchObject({ reason: 'Settling' });
    await arrive();
    expect(await go(revert)).toBe('finished');
    expect(cluster.object(revert)).toBeNull();
    expect([...cluster.store.snapshots.values()].map(({ name }) => name)).not.toContain(safetyName(uidOf(revert)));
  });

  test('a deleted VolumeRevert goes once nothing can come any more', async () => {
    const revert = cluster.revert(NAMESPACE, 'undo', SPEC);
    await loseCall(revert);
    await cluster.kubernetes.delete(volumeReverts, { namespace: NAMESPACE, name: 'undo' });
    await go(revert);
    cluster.nowMs += CALL_SURELY_OVER_MS;
    expect(await go(revert)).toBe('finished');
    expect(cluster.object(revert)).toBeNull();
    expect(volume.content).toBe('on tuesday');
  });

  test('another revert of the same volume waits', async () => {
    const first = cluster.revert(NAMESPACE, 'first', SPEC);
    await loseCall(first);
    const second = cluster.revert(NAMESPACE, 'second', SPEC);
    expect(await go(second)).toBe('waiting');
    expect(verdictOf(second)).toMatchObject({ reason: 'AnotherRevert' });
    await go(first);
    expect(await go(second)).toBe('finished');
    expect(cluster.store.committed.size).toBe(2);
  });

  test('a safety snapshot that somebody deleted meanwhile makes it fail, not revert again', async () => {
    const revert = cluster.revert(NAMESPACE, 'undo', SPEC);
    const arrive = await loseCall(revert);
    await arrive();
    volume.content = 'written since';
    cluster.dropSnapshot(safetyHandle(POOL, uidOf(revert)));
    expect(await go(revert)).toBe('finished');
    expect(verdictOf(revert)).toMatchObject({ phase: 'Failed', reason: 'RevertedMeanwhile' });
    expect(volume.content).toBe('written since');
  });
});

describe('a controller that is killed', () => {
  class Killed extends Error {}

  /** Counts the calls of every kind, and dies at one of them: before it is sent, or before its answer is there. */
  function mortal(atCall: number, when: 'before' | 'after') {
    let calls = 0;
    const wrap = <Port extends object>(port: Port): Port =>
      new Proxy(port, {
        get: (target, name) => {
          const method = Reflect.get(target, name) as unknown;
          if (typeof method !== 'function') return method;
          return async (...given: unknown[]) => {
            const dies = ++calls === atCall;
            if (dies && when === 'before') throw new Killed();
            const answer: unknown = await Reflect.apply(method, target, given);
            if (dies) throw new Killed();
            return answer;
          };
        },
      });
    return { wrap, survived: () => calls < atCall };
  }

  test.each([
    { keep: true, when: 'before' },
    { keep: true, when: 'after' },
    { keep: false, when: 'before' },
    { keep: false, when: 'after' },
  ] as const)('at any call is followed by one that ends what it began: %o', async ({ keep, when }) => {
    let survived = false;
    let call = 0;
    while (!survived) {
      call++;
      const name = `undo-${call}`;
      volume.content = 'on tuesday';
      const revert = cluster.revert(NAMESPACE, name, { ...SPEC, keepSafetySnapshot: keep });
      const life = mortal(call, when);
      const killed = takeOn(
        {
          api: life.wrap(cluster.kubernetes),
          stores: { ofPool: async () => life.wrap(cluster.store) },
          nowMs: () => cluster.nowMs,
          reverts: () => cluster.kubernetes.objects(volumeReverts),
          record: () => {},
          log: silentLogger(),
          stopped: () => false,
        },
        { namespace: NAMESPACE, name },
      );
      await killed.catch((error: unknown) => expect(error).toBeInstanceOf(Killed));
      survived = life.survived();
      const reverted = volume.content === 'on monday';
      expect(['on monday', 'on tuesday']).toContain(volume.content);
      if (reverted) volume.content = 'written since';

      expect(await go(revert)).toBe('finished');
      expect(verdictOf(revert)).toMatchObject({ phase: 'Complete' });
      expect(volume.content).toBe(reverted ? 'written since' : 'on monday');
      const safety = cluster.store.snapshots.get(safetyHandle(POOL, uidOf(revert)));
      expect(safety?.content).toBe(keep ? 'on tuesday' : undefined);
      const snapshot = cluster.kubernetes.object(volumeSnapshots, { namespace: NAMESPACE, name: safetySnapshotName(revert) });
      expect(snapshot !== null).toBe(keep);
    }
    expect(call).toBeGreaterThan(30);
  });
});

describe('a namespace that is deleted in the middle', () => {
  test('takes the safety snapshot with it', async () => {
    const revert = cluster.revert(NAMESPACE, 'undo', SPEC);
    cluster.kubernetes.fail({ verb: 'create', resource: volumeSnapshots, error: new StoreError('failed-precondition', 'it is ending') });
    expect(await go(revert)).toBe('waiting');
    expect(cluster.kubernetes.object(volumeSnapshotContents, { name: safetyContentName(uidOf(revert)) })).not.toBeNull();
    cluster.kubernetes.change(namespaces, { name: NAMESPACE }, { metadata: { deletionTimestamp: '2026-01-01T00:00:00Z' } });
    await cluster.kubernetes.delete(volumeReverts, { namespace: NAMESPACE, name: 'undo' });
    expect(await go(revert)).toBe('finished');
    expect(cluster.object(revert)).toBeNull();
    expect(cluster.kubernetes.object(volumeSnapshotContents, { name: safetyContentName(uidOf(revert)) })).toBeNull();
    expect(cluster.store.snapshots.has(safetyHandle(POOL, uidOf(revert)))).toBe(false);
  });
});

test('the id of the safety snapshot is well formed, and never changes between versions', () => {
  expect(safetyObjectId('5c2e0f4e-7a34-4d0c-9a57-3f0f5ad6c0b1')).toMatch(/^[a-z2-7]{25}[a-h]$/);
  expect(safetyObjectId('5c2e0f4e-7a34-4d0c-9a57-3f0f5ad6c0b1')).toMatchInlineSnapshot(`"3ncbq7ou4qfn4a53syjxbwsgpe"`);
});
