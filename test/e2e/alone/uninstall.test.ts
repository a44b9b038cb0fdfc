/** helm uninstall: refused while volumes are in use, and otherwise such that the next installation finds all of it. */
import { isDeepStrictEqual } from 'node:util';
import { expect, test } from '@jest/globals';
import type { Fields } from '../support/api.ts';
import { driverName } from '../support/driver.ts';
import { describeOnCluster } from '../support/suite.ts';

const mebibyte = 1024 * 1024;
const limitMs = 90_000;
const helmLimitMs = 240_000;

describeOnCluster('uninstalling', { ownCluster: true }, ({ cluster, driver, inSpace, kube, settings, timings }) => {
  const helm = (words: readonly string[]) => kube.helm(words, { timeoutMs: helmLimitMs });
  const releaseStatus = async () => {
    const { output } = await helm(['status', settings.release, `--namespace=${driver.namespace}`, '--output=json']);
    return (JSON.parse(output) as { info: { status: string } }).info.status;
  };
  const installed = async () => {
    const { status, errorOutput } = await driver.install();
    if (status !== 0) throw new Error(`helm could not install: ${errorOutput}`);
    await driver.waitUntilReady();
  };
  const poolIds = async () => (await driver.pools()).map(({ metadata }) => metadata.name).toSorted();

  test(
    'is refused while a pod uses a volume, and the release goes on as the words say; then it leaves all data, to be found again',
    inSpace(async (space) => {
      const data = { path: '/data/known', seed: 'stays', sizeBytes: 6 * mebibyte };
      const later = { path: '/data/later', seed: 'later', sizeBytes: mebibyte };
      await space.claim({ name: 'data' });
      await space.pod({ name: 'user', mounts: { '/data': 'data' } });
      await space.write('user', data);
      await space.snapshot({ name: 'cut', claim: 'data' });
      const { node } = await space.volume('data');
      const [pools, pods] = [await poolIds(), await driverPods()];

      const refused = await timings.time('helm uninstall, refused', () => driver.uninstall());
      const words = `${refused.output}${refused.errorOutput}`;
      expect(refused.status).not.toBe(0);
      expect(words).toContain('not uninstalled, and nothing was changed');
      expect(words).toContain(`pod ${space.name}/user on node ${node} uses data`);
      expect(await driverPods()).toEqual(pods);
      const resume = /run: (helm rollback .*)$/m.exec(words)?.[1];
      expect(resume).toBeDefined();
      const resumed = await helm((resume ?? '').split(' ').slice(1));
      expect(resumed).toMatchObject({ status: 0 });
      expect(await releaseStatus()).toBe('deployed');
      await installed();
      await space.verify('user', data);
      await space.write('user', later);

      await space.remove('Pod', 'user');
      await timings.time('pod gone to device known to be free', () =>
        kube.until('no device is in use any more', () => poolSays(node, { volumes: 1, snapshots: 1, attached: 0 }), { timeoutMs: limitMs }),
      );

      const gone = await timings.time('helm uninstall', () => driver.uninstall());
      try {
        expect(gone).toMatchObject({ status: 0 });
        const farewell = `${gone.output}${gone.errorOutput}`;
        expect(farewell).toContain('The data stays on the nodes');
        expect(farewell).toContain(`node ${node}, below /var/lib/chunkstore: 1 volume, 1 snapshot`);
        expect(farewell).toContain(`1 PersistentVolume and 1 VolumeSnapshotContent of ${driverName} stay too`);
        await whatStays();
      } finally {
        await timings.time('helm install again', installed);
      }

      expect(await poolIds()).toEqual(pools);
      await space.claim({ name: 'restored', source: { kind: 'VolumeSnapshot', name: 'cut' } });
      await Promise.all([
        space.pod({ name: 'user-again', mounts: { '/data': 'data' } }),
        space.pod({ name: 'restorer', mounts: { '/data': 'restored' } }),
      ]);
      for (const known of [data, later]) await space.verify('user-again', known);
      await space.verify('restorer', data);
      expect(await space.exec('restorer', ['ls', '/data'])).not.toContain('later');
    }),
  );

  async function driverPods(): Promise<string[]> {
    const labels = `app.kubernetes.io/instance=${settings.release},app.kubernetes.io/component in (controller,node,store,keeper)`;
    return (await kube.api.list('Pod', { namespace: driver.namespace, labels }))
      .map(({ metadata }) => metadata['uid'] as string)
      .toSorted();
  }

  /** Its figures are some seconds old, so that all of them are waited for. */
  async function poolSays(node: string, wanted: { readonly [figure: string]: number }): Promise<true | string> {
    const { status } = await driver.poolOf(node);
    const said = Object.fromEntries(Object.keys(wanted).map((figure) => [figure, status[figure]]));
    return isDeepStrictEqual(said, wanted) || `it says ${JSON.stringify(said)}`;
  }

  /** As docs/operations.md says. */
  async function whatStays(): Promise<void> {
    const labels = `app.kubernetes.io/instance=${settings.release}`;
    const namespace = driver.namespace;
    const noPods = async () => (await driverPods()).length === 0 || 'there are pods of the driver';
    await kube.until('the pods of the driver are gone', noPods, { timeoutMs: limitMs });
    for (const kind of ['Deployment', 'DaemonSet', 'Service', 'ServiceAccount', 'Role', 'RoleBinding', 'Job', 'CSIStorageCapacity']) {
      const left = (await kube.api.list(kind, { namespace, labels })).map(({ metadata }) => metadata.name);
      expect({ kind, left }).toEqual({ kind, left: [] });
    }
    for (const kind of ['CSIDriver', 'ClusterRole', 'ClusterRoleBinding', 'StorageClass', 'VolumeSnapshotClass']) {
      const left = (await kube.api.list(kind, { labels })).map(({ metadata }) => metadata.name);
      expect({ kind, left }).toEqual({ kind, left: [] });
    }
    const definitions = (await kube.api.list('CustomResourceDefinition')).map(({ metadata }) => metadata.name);
    expect(definitions).toEqual(expect.arrayContaining(['chunkstorepools.chunkstore.dev', 'volumereverts.chunkstore.dev']));
    expect(await kube.api.find({ kind: 'Secret', name: `${settings.release}-ca`, namespace })).not.toBeNull();
    for (const node of (await driver.pools()).map(({ spec }: Fields) => spec?.['node'] as string)) {
      expect((await cluster.on(node, ['ls', '/var/lib/chunkstore/pool'])).split('\n')).toEqual(
        expect.arrayContaining(['data', 'log', 'meta', 'pool.json']),
      );
    }
    expect(await driver.devices()).toEqual([]);
  }
});
