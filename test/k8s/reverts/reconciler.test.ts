import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { volumeReverts, type VolumeRevert } from '../../../src/k8s/resources.ts';
import { RevertReconciler } from '../../../src/k8s/reverts/reconciler.ts';
import type { RevertStores } from '../../../src/k8s/reverts/ports.ts';
import { StoreError } from '../../../src/util/errors.ts';
import { silentLogger } from '../../../src/util/log.ts';
import { eventually } from '../../support/eventually.ts';
import { RevertCluster } from '../../support/revert-cluster.ts';

let cluster: RevertCluster;
let reconcilers: RevertReconciler[];

beforeEach(() => {
  cluster = new RevertCluster();
  reconcilers = [];
});

afterEach(async () => {
  await Promise.all(reconcilers.map((reconciler) => reconciler.stop()));
});

function start(stores: RevertStores = { ofPool: async () => cluster.store }): RevertReconciler {
  const reconciler = new RevertReconciler({
    api: cluster.kubernetes,
    stores,
    record: () => {},
    clock: {
      nowMs: () => cluster.nowMs,
      // A thousand times as fast.
      after: (delayMs, action) => {
        const timer = setTimeout(() => {
          cluster.nowMs += delayMs;
          action();
        }, delayMs / 1_000);
        return () => clearTimeout(timer);
      },
    },
    random: () => 0.5,
    log: silentLogger(),
  });
  reconciler.start();
  reconcilers.push(reconciler);
  return reconciler;
}

async function phaseIs(revert: VolumeRevert, phase: string): Promise<void> {
  await eventually(`${revert.metadata.name} is ${phase}`, () => cluster.object(revert)?.status?.phase === phase);
}

test('it reverts what is there and what comes, one after another where it is the same claim', async () => {
  const volume = cluster.claim('default', 'data');
  cluster.snapshot('default', 'monday', volume);
  const before = cluster.revert('default', 'before', { claimName: 'data', snapshotName: 'monday' });
  start();
  await phaseIs(before, 'Complete');
  const reverts = [1, 2, 3, 4, 5, 6].map((number) =>
    cluster.revert('default', `r${number}`, { claimName: 'data', snapshotName: 'monday' }),
  );
  for (const revert of reverts) await phaseIs(revert, 'Complete');
  expect(cluster.store.committed.size).toBe(7);
});

test('it goes on by itself when the volume is detached', async () => {
  const volume = cluster.claim('default', 'data');
  cluster.snapshot('default', 'monday', volume);
  volume.attached = true;
  const revert = cluster.revert('default', 'undo', { claimName: 'data', snapshotName: 'monday' });
  start();
  await phaseIs(revert, 'Waiting');
  volume.attached = false;
  await phaseIs(revert, 'Complete');
});

test('two at once revert once, and one that has stopped begins nothing', async () => {
  const volume = cluster.claim('default', 'data');
  cluster.snapshot('default', 'monday', volume);
  const [first] = [start(), start()];
  const reverts = [1, 2, 3].map((number) => cluster.revert('default', `r${number}`, { claimName: 'data', snapshotName: 'monday' }));
  for (const revert of reverts) await eventually('it has ended', () => /Complete|Failed/.test(cluster.object(revert)?.status?.phase ?? ''));
  expect(cluster.store.committed.size).toBeGreaterThan(0);

  await Promise.all(reconcilers.map((reconciler) => reconciler.stop()));
  const late = cluster.revert('default', 'late', { claimName: 'data', snapshotName: 'monday' });
  await cluster.kubernetes.settle();
  expect(cluster.kubernetes.object(volumeReverts, { namespace: 'default', name: 'late' })?.status).toBeUndefined();
  expect(cluster.object(late)?.metadata.finalizers).toBeUndefined();
  expect(first).toBeDefined();
});

test('what it writes itself is no reason to look again at once, also when the words differ each time', async () => {
  const volume = cluster.claim('default', 'data');
  cluster.snapshot('default', 'monday', volume);
  let asked = 0;
  start({ ofPool: () => Promise.reject(new StoreError('unavailable', `attempt ${++asked} has failed`)) });
  cluster.revert('default', 'undo', { claimName: 'data', snapshotName: 'monday' });
  await eventually('it waits', () => asked > 0);
  const [startMs, before] = [cluster.nowMs, asked];
  await eventually('ten minutes have passed', () => cluster.nowMs >= startMs + 600_000);
  expect(asked - before).toBeLessThan(120);
});
