import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import type { RecordedEvent } from '../../src/k8s/events.ts';
import { ForeignSnapshots } from '../../src/k8s/foreign-snapshots.ts';
import { DRIVER_NAME, volumeSnapshotContents, type VolumeSnapshotContent } from '../../src/k8s/resources.ts';
import { FakeKubernetes } from '../support/fake-kubernetes.ts';

const volumeSnapshotRef = { namespace: 'shop', name: 'monday', uid: 'uid-1' };
const told: RecordedEvent[] = [];
let kubernetes: FakeKubernetes;
let watcher: ForeignSnapshots;

beforeEach(() => {
  kubernetes = new FakeKubernetes();
  told.length = 0;
  watcher = new ForeignSnapshots({
    api: kubernetes,
    record: (event) => told.push(event),
    isOurs: (handle) => handle === 'ours',
  });
});
afterEach(() => watcher.stop());

async function appears(name: string, spec: Partial<VolumeSnapshotContent['spec']>): Promise<void> {
  await kubernetes.create(volumeSnapshotContents, {
    apiVersion: 'snapshot.storage.k8s.io/v1',
    kind: 'VolumeSnapshotContent',
    metadata: { name },
    spec: { driver: 'csi.example.com', deletionPolicy: 'Delete', source: { volumeHandle: 'ours' }, volumeSnapshotRef, ...spec },
  });
  await kubernetes.settle();
}

describe('a snapshot of our volume by a class of another driver', () => {
  test('is told on the VolumeSnapshot, with the class, the drivers and the remedy', async () => {
    await appears('content', { volumeSnapshotClassName: 'fast' });
    expect(told).toEqual([
      expect.objectContaining({
        type: 'Warning',
        reason: 'ClassOfAnotherDriver',
        object: expect.objectContaining({ kind: 'VolumeSnapshot', metadata: { namespace: 'shop', name: 'monday', uid: 'uid-1' } }),
        note: expect.stringMatching(
          /"fast" is of the driver csi\.example\.com.*volume is of csi\.chunkstore\.dev.*VolumeSnapshotContent content$/,
        ),
      }),
    ]);
  });

  test("is not told of our driver's snapshots, nor of other drivers' volumes", async () => {
    await appears('own', { driver: DRIVER_NAME });
    await appears('theirs', { source: { volumeHandle: 'vol-1' } });
    await appears('provisioned', { source: { snapshotHandle: 'snapshot-1' } });
    expect(told).toEqual([]);
  });
});
