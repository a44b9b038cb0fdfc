import { describe, expect, test } from '@jest/globals';
import {
  chunkStorePools,
  persistentVolumes,
  pods,
  volumeReverts,
  volumeSnapshotContents,
  type PersistentVolume,
  type Pod,
} from '../../src/k8s/resources.ts';
import { findingsOf, readInstalled, wordsOfFarewell, wordsOfRefusal, type UninstallFindings } from '../../src/k8s/uninstall-check.ts';
import { StoreError } from '../../src/util/errors.ts';
import { FakeKubernetes } from '../support/fake-kubernetes.ts';

const POOL = 'abcdefghijklmnopqrstuvwxyz';

function volume(name: string, claim: string, driver = 'csi.chunkstore.dev'): PersistentVolume {
  return { metadata: { name }, spec: { csi: { driver, volumeHandle: `${POOL}.${name}` }, claimRef: { namespace: 'shop', name: claim } } };
}

function pod(name: string, volumes: Pod['spec']['volumes'], more: { readonly nodeName?: string; readonly phase?: string } = {}): Pod {
  const { nodeName = 'node1', phase = 'Running' } = more;
  return {
    metadata: { namespace: 'shop', name },
    spec: { ...(nodeName !== '' && { nodeName }), ...(volumes !== undefined && { volumes }) },
    status: { phase },
  };
}

async function find(kubernetes: FakeKubernetes, told: string[] = []): Promise<UninstallFindings> {
  return findingsOf(await readInstalled(kubernetes, (words) => told.push(words)));
}

const claim = (claimName: string) => [{ name: 'data', persistentVolumeClaim: { claimName } }];

describe('uninstalling', () => {
  test('is refused while a pod uses a volume of this driver, and names both', async () => {
    const kubernetes = new FakeKubernetes();
    kubernetes.seed(persistentVolumes, volume('one', 'database'));
    kubernetes.seed(pods, pod('db-0', claim('database')));
    const findings = await find(kubernetes);
    expect(findings.obstacles).toEqual(['pod shop/db-0 on node node1 uses database']);
    const words = wordsOfRefusal(findings, { resume: 'helm rollback chunkstore 3' });
    expect(words).toContain('pod shop/db-0 on node node1 uses database');
    expect(words).toContain('run: helm rollback chunkstore 3');
  });

  test('is refused while a pod has a generic ephemeral volume', async () => {
    const kubernetes = new FakeKubernetes();
    kubernetes.seed(persistentVolumes, volume('one', 'job-scratch'));
    kubernetes.seed(pods, pod('job', [{ name: 'scratch', ephemeral: {} }]));
    expect((await find(kubernetes)).obstacles).toEqual(['pod shop/job on node node1 uses job-scratch']);
  });

  test('is not refused for pods that have ended, have no node, or use volumes of others', async () => {
    const kubernetes = new FakeKubernetes();
    kubernetes.seed(persistentVolumes, volume('one', 'database'));
    kubernetes.seed(persistentVolumes, volume('two', 'elsewhere', 'csi.example.com'));
    kubernetes.seed(pods, pod('done', claim('database'), { phase: 'Succeeded' }));
    kubernetes.seed(pods, pod('waits', claim('database'), { nodeName: '', phase: 'Pending' }));
    kubernetes.seed(pods, pod('other', claim('elsewhere')));
    expect((await find(kubernetes)).obstacles).toEqual([]);
  });

  test('is refused while a node has devices in use that no pod explains, unless its pool is lost', async () => {
    const kubernetes = new FakeKubernetes();
    kubernetes.seed(chunkStorePools, { metadata: { name: POOL }, spec: { node: 'node1' }, status: { attached: 2 } });
    kubernetes.seed(chunkStorePools, {
      metadata: { name: POOL.replace('a', '2') },
      spec: { node: 'node2', lost: true },
      status: { attached: 5 },
    });
    const { obstacles } = await find(kubernetes);
    expect(obstacles).toEqual([expect.stringContaining(`2 block devices in use on node node1 (pool ${POOL})`)]);
  });

  test('names the remedy when nobody is there who could say that a device is gone', async () => {
    const kubernetes = new FakeKubernetes();
    const ready = { type: 'Ready', status: 'Unknown', reason: 'Unreachable', message: '', lastTransitionTime: '' } as const;
    kubernetes.seed(chunkStorePools, { metadata: { name: POOL }, spec: { node: 'node1' }, status: { attached: 2, conditions: [ready] } });
    expect((await find(kubernetes)).obstacles).toEqual([expect.stringMatching(/its store does not answer: .*spec\.lost/)]);
  });

  test('is refused while a revert is not finished: nobody would take its finalizer away', async () => {
    const kubernetes = new FakeKubernetes();
    const spec = { claimName: 'database', snapshotName: 'before' };
    kubernetes.seed(volumeReverts, { metadata: { namespace: 'shop', name: 'waits', finalizers: ['chunkstore.dev/revert'] }, spec });
    kubernetes.seed(volumeReverts, { metadata: { namespace: 'shop', name: 'done' }, spec });
    expect((await find(kubernetes)).obstacles).toEqual(['VolumeRevert shop/waits is not finished: wait for it, or delete it']);
  });

  test('tells whose data stays, and where', async () => {
    const kubernetes = new FakeKubernetes();
    kubernetes.seed(persistentVolumes, volume('one', 'database'));
    kubernetes.seed(chunkStorePools, {
      metadata: { name: POOL },
      spec: { node: 'node1' },
      status: { volumes: 1, snapshots: 2, used: '3Gi' },
    });
    kubernetes.seed(volumeSnapshotContents, {
      metadata: { name: 'content' },
      spec: { driver: 'csi.chunkstore.dev', deletionPolicy: 'Delete', source: {}, volumeSnapshotRef: {} },
    });
    const words = wordsOfFarewell(await find(kubernetes), { poolRoot: '/var/lib/chunkstore' });
    expect(words).toContain('node node1, below /var/lib/chunkstore: 1 volume, 2 snapshots, 3Gi in use');
    expect(words).toContain('1 PersistentVolume and 1 VolumeSnapshotContent of csi.chunkstore.dev stay too');
  });

  test('names a few of many, and counts the rest', () => {
    const obstacles = Array.from({ length: 25 }, (_, index) => `obstacle ${index}`);
    const words = wordsOfRefusal({ obstacles, pools: [], volumeCount: 0, snapshotCount: 0 }, { resume: null });
    expect(words).toContain('obstacle 19');
    expect(words).not.toContain('obstacle 20');
    expect(words).toContain('and 5 more');
  });

  test('goes on where a kind is not installed, and says so', async () => {
    const kubernetes = new FakeKubernetes();
    const missing = new StoreError('failed-precondition', 'this cluster has no VolumeSnapshotContent');
    kubernetes.fail({ verb: 'list', resource: volumeSnapshotContents, error: missing });
    const told: string[] = [];
    expect((await find(kubernetes, told)).obstacles).toEqual([]);
    expect(told).toEqual([missing.message]);
  });

  test('is not allowed when the cluster cannot be asked', async () => {
    const kubernetes = new FakeKubernetes();
    kubernetes.fail({ verb: 'list', resource: pods, error: new StoreError('unavailable', 'no answer') });
    await expect(find(kubernetes)).rejects.toMatchObject({ code: 'unavailable' });
  });
});
