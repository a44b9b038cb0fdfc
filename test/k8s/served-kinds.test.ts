import { expect, test } from '@jest/globals';
import { volumeSnapshotClasses } from '../../src/k8s/resources.ts';
import { untilServed } from '../../src/k8s/served-kinds.ts';
import { StoreError } from '../../src/util/errors.ts';

function clusterThatServesAfter(servedAtMs: number) {
  let nowMs = 0;
  return {
    api: {
      list: () =>
        nowMs >= servedAtMs
          ? Promise.resolve([])
          : Promise.reject(new StoreError('failed-precondition', 'the server could not find the requested resource')),
    },
    nowMs: () => nowMs,
    sleep: (delayMs: number) => Promise.resolve((nowMs += delayMs)),
  };
}

test('a kind whose CRD is new is waited for', async () => {
  const cluster = clusterThatServesAfter(7_000);
  await untilServed(cluster, volumeSnapshotClasses, { timeoutMs: 10_000 });
  expect(cluster.nowMs()).toBeGreaterThanOrEqual(7_000);
});

test('a kind that never comes is named, with the reason, when the time is over', async () => {
  const cluster = clusterThatServesAfter(Number.POSITIVE_INFINITY);
  await expect(untilServed(cluster, volumeSnapshotClasses, { timeoutMs: 10_000 })).rejects.toThrow(
    'the cluster does not serve VolumeSnapshotClass of snapshot.storage.k8s.io/v1 after 10 s: the server could not find the requested resource',
  );
  expect(cluster.nowMs()).toBe(10_000);
});
