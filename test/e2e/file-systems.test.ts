/** XFS and btrfs, whose kernels mind two of the same identity: clones and restores mounted beside their source. */
import { expect, test } from '@jest/globals';
import { storageClass } from './support/manifests.ts';
import { describeOnCluster } from './support/suite.ts';

const mebibyte = 1024 * 1024;

describeOnCluster('clones and restores', {}, ({ inSpace }) => {
  for (const fileSystem of ['xfs', 'btrfs']) {
    test.concurrent(
      `of ${fileSystem} are mounted beside their source on one node, and diverge`,
      inSpace(async (space) => {
        const className = `${space.name}-${fileSystem}`;
        const at = (folder: string, seed: string) => ({ path: `${folder}/known`, seed, sizeBytes: 6 * mebibyte });
        const made = { storageClass: className, size: '320Mi' };
        await space.apply(storageClass({ name: className, parameters: { 'csi.storage.k8s.io/fstype': fileSystem } }));
        await space.claim({ name: 'data', ...made });
        await space.pod({ name: 'live', mounts: { '/source': 'data' } });
        await space.write('live', at('/source', 'before'));
        await space.snapshot({ name: 'moment', claim: 'data' });
        await space.write('live', at('/source', 'after'));

        await space.claim({ name: 'clone', ...made, source: { kind: 'PersistentVolumeClaim', name: 'data' } });
        await space.claim({ name: 'restored', ...made, source: { kind: 'VolumeSnapshot', name: 'moment' } });
        // A snapshot of a mounted file system leaves its log to be replayed, here twice.
        await space.claim({ name: 'again', ...made, source: { kind: 'VolumeSnapshot', name: 'moment' } });
        const mounts = { '/source': 'data', '/clone': 'clone', '/restored': 'restored', '/again': 'again' };
        await space.pod({ name: 'beside', mounts });
        const types = await space.exec('beside', ['stat', '--file-system', '--format=%T', ...Object.keys(mounts)]);
        expect(types.trim().split('\n')).toEqual(Object.keys(mounts).map(() => fileSystem));
        const holds = { '/source': 'after', '/clone': 'after', '/restored': 'before', '/again': 'before' };
        await Promise.all(Object.entries(holds).map(([folder, seed]) => space.verify('beside', at(folder, seed))));

        await Promise.all(Object.keys(mounts).map((folder) => space.write('beside', at(folder, folder))));
        await Promise.all(Object.keys(mounts).map((folder) => space.verify('beside', at(folder, folder))));
        await space.verify('live', at('/source', '/source'));
      }),
    );
  }
});
