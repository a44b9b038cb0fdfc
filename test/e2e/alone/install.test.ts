/** Installed from the packaged chart: claims are bound, and their data outlives pods and every program of the driver. */
import { expect, test } from '@jest/globals';
import { describeOnCluster } from '../support/suite.ts';

const mebibyte = 1024 * 1024;

describeOnCluster('the installed driver', {}, ({ driver, inSpace, kube, timings }) => {
  test('has a pool on every node, which says that it is ready', async () => {
    for (const node of await driver.nodes()) {
      const { status } = await driver.poolOf(node);
      expect(status.conditions).toContainEqual(expect.objectContaining({ type: 'Ready', status: 'True' }));
    }
  });

  test(
    'keeps the data of a claim when its pod goes and all pods of the driver are replaced',
    inSpace(async (space) => {
      const data = { path: '/data/known', seed: 'first', sizeBytes: 24 * mebibyte };
      await space.claim({ name: 'data' });
      await timings.time('claim to running pod', () => space.pod({ name: 'writer', mounts: { '/data': 'data' } }));
      await space.write('writer', data);
      await space.remove('Pod', 'writer');

      await space.pod({ name: 'reader', mounts: { '/data': 'data' } });
      await space.verify('reader', data);
      await driver.restartAll();
      await space.verify('reader', data);
      const later = { ...data, path: '/data/later', seed: 'second' };
      await space.write('reader', later);
      await space.verify('reader', later);
      await space.remove('Pod', 'reader');
      await space.pod({ name: 'last', mounts: { '/data': 'data' } });
      for (const known of [data, later]) await space.verify('last', known);
    }),
  );

  test('holds nothing when all claims are gone', async () => {
    const ours = (await kube.api.list('PersistentVolume')).filter(({ spec }) => spec.csi?.driver === 'csi.chunkstore.dev');
    expect(ours).toEqual([]);
    await driver.waitUntilEmpty({ timeoutMs: 60_000 });
  });
});
