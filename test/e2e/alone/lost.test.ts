/** A node declared lost: what was on it can be deleted; when it comes back it is fenced, until it is taken back. */
import { expect, test } from '@jest/globals';
import type { Fields, Manifest } from '../support/api.ts';
import { Space } from '../support/space.ts';
import { describeOnCluster } from '../support/suite.ts';

const mebibyte = 1024 * 1024;
const limitMs = 90_000;
/** Those that lead have to be followed by others, if they were on the node: 15 s for each election. */
const deleteLimitMs = 120_000;

describeOnCluster('a node declared lost', { ownCluster: true }, (bed) => {
  const { cluster, driver, inSpace, kube, timings } = bed;
  const readiness = (object: Fields | null): Fields =>
    object?.['status']?.conditions?.find(({ type }: Fields) => type === 'Ready') ?? { status: 'unsaid', reason: 'unsaid' };
  const poolSays = (name: string, wanted: { readonly reason: string; readonly status: string }) => {
    const judge = (object: Manifest | null) => {
      const { status, reason } = readiness(object);
      return (status === wanted.status && reason === wanted.reason) || `it is ${status}, ${reason}`;
    };
    return kube.waitFor({ kind: 'ChunkStorePool', name }, judge, {
      what: `is Ready=${wanted.status}, ${wanted.reason}`,
      timeoutMs: limitMs,
    });
  };

  test(
    'lets go of everything, is fenced when it comes back, and is taken back with what was left alone',
    inSpace(async (kept) => {
      const node = await anyNodeBut(await snapshotControllersNode());
      const pool = (await driver.poolOf(node)).metadata.name;
      const data = { path: '/data/known', seed: 'kept', sizeBytes: 4 * mebibyte };
      await kept.claim({ name: 'data' });
      await kept.pod({ name: 'pod', node, mounts: { '/data': 'data' } });
      await kept.write('pod', data);
      await kept.remove('Pod', 'pod');

      const space = await Space.make(bed);
      await space.claim({ name: 'data' });
      await space.pod({ name: 'pod', node, mounts: { '/data': 'data' } });
      await space.write('pod', data);
      await space.snapshot({ name: 'cut', claim: 'data' });
      const content = (await space.get('VolumeSnapshot', 'cut'))['status'].boundVolumeSnapshotContentName as string;
      const volume = (await space.get('PersistentVolumeClaim', 'data'))['spec'].volumeName as string;

      try {
        await cluster.lose(node);
        try {
          await kube.api.change({ kind: 'ChunkStorePool', name: pool }, { spec: { lost: true } });
          // The kubelet cannot say that it has ended; a person has to.
          await kube.api.remove({ kind: 'Pod', name: 'pod', namespace: space.name }, { graceSeconds: 0 });
          await timings.time('namespace of a lost node to gone', async () => {
            await kube.api.remove({ kind: 'Namespace', name: space.name });
            await Promise.all(
              [
                { kind: 'VolumeSnapshot', name: 'cut', namespace: space.name },
                { kind: 'PersistentVolumeClaim', name: 'data', namespace: space.name },
                { kind: 'VolumeSnapshotContent', name: content },
                { kind: 'PersistentVolume', name: volume },
                { kind: 'Namespace', name: space.name },
              ].map((reference) => kube.waitUntilGone(reference, { timeoutMs: deleteLimitMs })),
            );
          });
        } finally {
          await cluster.back(node);
        }
        await cluster.waitUntilReady(node);
        await poolSays(pool, { status: 'False', reason: 'Lost' });
        await timings.time('node back to pool fenced', () => markedAsLost(node));
        await fenced(kept, node);
        // Kubernetes calls the pods of a silent node unready, and hears from them again only some time after the node.
        await driver.waitUntilReady();
        const left = (await driver.objects(node)).map(({ kind, name }) => `${kind} ${name}`);
        expect(left).toContain(`volume ${volume}`);
        expect(left.filter((one) => one.startsWith('snapshot '))).toHaveLength(1);
      } finally {
        await kube.api.change({ kind: 'ChunkStorePool', name: pool }, { spec: { lost: false } });
      }
      await poolSays(pool, { status: 'True', reason: 'Serving' });
      await kept.pod({ name: 'again', node, mounts: { '/data': 'data' } });
      await kept.verify('again', data);
      await deleteWhatKubernetesDoesNotKnow(node);
    }),
  );

  async function snapshotControllersNode(): Promise<string | undefined> {
    const [pod] = await kube.api.list('Pod', { namespace: driver.namespace, labels: 'app.kubernetes.io/component=snapshot-controller' });
    return pod?.['spec'].nodeName;
  }

  /** There is one snapshot-controller, and Kubernetes takes five minutes to start another for a node that went. */
  async function anyNodeBut(node: string | undefined): Promise<string> {
    const other = (await driver.nodes()).find((one) => one !== node);
    if (other === undefined) throw new Error(`there is no node but ${node}`);
    return other;
  }

  /** The controller says so of a pool whose store is away; the store has to hear of it first. */
  async function markedAsLost(node: string): Promise<void> {
    const marked = async () => {
      const files = await cluster.on(node, ['ls', '/var/lib/chunkstore/pool']);
      return files.split('\n').includes('lost') || 'the store has not marked its pool as lost';
    };
    await kube.until(`the pool on ${node} is fenced`, marked, { timeoutMs: limitMs });
  }

  /** Nothing is made there, and nothing attached. */
  async function fenced(space: Space, node: string): Promise<void> {
    await space.claim({ name: 'new', size: '64Mi' });
    await space.startPod({ name: 'wants-new', node, mounts: { '/data': 'new' } });
    await space.startPod({ name: 'wants-old', node, mounts: { '/data': 'data' } });
    await space.event({ kind: 'Pod', name: 'wants-old' }, /declared lost/, { timeoutMs: limitMs });
    await space.event({ kind: 'Pod', name: 'wants-new' }, /did not have enough free storage|declared lost/, { timeoutMs: limitMs });
    expect((await space.get('PersistentVolumeClaim', 'new'))['status'].phase).toBe('Pending');
    for (const name of ['wants-new', 'wants-old']) await kube.api.remove({ kind: 'Pod', name, namespace: space.name }, { graceSeconds: 0 });
    await space.remove('PersistentVolumeClaim', 'new');
  }

  /** As docs/pools.md says: by the operator's commands. */
  async function deleteWhatKubernetesDoesNotKnow(node: string): Promise<void> {
    const [volumes, contents] = await Promise.all([kube.api.list('PersistentVolume'), kube.api.list('VolumeSnapshotContent')]);
    const known = new Set([
      ...volumes.map(({ spec }: Fields) => spec?.['csi']?.volumeHandle),
      ...contents.map(({ status }: Fields) => status?.['snapshotHandle']),
    ]);
    for (const { id, name } of await driver.objects(node)) {
      if (!known.has(id)) await driver.command(node, 'delete', name);
    }
  }
});
