/** VolumeSnapshots of claims in use, and what is restored from them: the data of the moment, whatever became of its source. */
import { expect, test } from '@jest/globals';
import { describeOnCluster } from './support/suite.ts';
import { spaceIn } from './support/volumes.ts';

const mebibyte = 1024 * 1024;
const known = (seed: string) => ({ path: '/data/known', seed, sizeBytes: 6 * mebibyte });

/** Numbers the lines of a file from 1, as fast as it may, without ever syncing. */
const counting = ['sh', '-c', 'i=0; while :; do i=$((i + 1)); echo $i >>/data/count; sleep 0.01; done'];

describeOnCluster('snapshots', {}, ({ inSpace, kube, timings }) => {
  test.concurrent(
    'hold what a claim in use held at their moment, and are restored to claims as large or larger',
    inSpace(async (space) => {
      await space.claim({ name: 'data' });
      await space.pod({ name: 'writer', mounts: { '/data': 'data' }, command: counting });
      await space.write('writer', known('before'));
      const countedBefore = (await countIn('writer', '/data')).length;
      await space.snapshot({ name: 'moment', claim: 'data' });
      const countedAfter = (await countIn('writer', '/data')).length;
      await space.write('writer', known('after'));

      const source = { kind: 'VolumeSnapshot', name: 'moment' } as const;
      await space.claim({ name: 'same', source });
      await space.claim({ name: 'larger', size: '384Mi', source });
      await timings.time('restores to running pod', () =>
        space.pod({ name: 'reader', mounts: { '/data': 'same', '/larger': 'larger', '/source': 'data' } }),
      );
      await Promise.all([
        space.verify('reader', known('before')),
        space.verify('reader', { ...known('before'), path: '/larger/known' }),
        space.verify('reader', { ...known('after'), path: '/source/known' }),
      ]);
      for (const folder of ['/data', '/larger']) {
        const counted = await countIn('reader', folder);
        expect(counted).toEqual(counted.map((_, index) => String(index + 1)));
        expect(counted.length).toBeGreaterThanOrEqual(countedBefore);
        expect(counted.length).toBeLessThanOrEqual(countedAfter);
      }

      const where = { namespace: space.name, pod: 'reader' };
      const [original, same, larger] = await Promise.all(['/source', '/data', '/larger'].map((path) => spaceIn(kube, where, path)));
      expect(same!.sizeBytes).toBe(original!.sizeBytes);
      // Three times the device, less what the file system keeps for itself.
      expect(larger!.sizeBytes).toBeGreaterThan(2.8 * original!.sizeBytes);
      expect((await space.claimBound('larger'))['status'].capacity.storage).toBe('384Mi');

      // The new room can be used, and what is written there is nobody else's.
      await space.write('reader', { path: '/larger/more', seed: 'more', sizeBytes: 160 * mebibyte });
      await space.verify('reader', { path: '/larger/more', seed: 'more', sizeBytes: 160 * mebibyte });
      await space.verify('reader', known('before'));

      async function countIn(pod: string, folder: string): Promise<string[]> {
        const text = await space.exec(pod, ['cat', `${folder}/count`]);
        // The last line may have been cut in its middle.
        return text.split('\n').slice(0, -1);
      }
    }),
  );

  test.concurrent(
    'outlive their claim, and the snapshots before and after them',
    inSpace(async (space) => {
      await space.claim({ name: 'data' });
      await space.pod({ name: 'writer', mounts: { '/data': 'data' } });
      for (const name of ['first', 'second', 'third']) {
        await space.write('writer', known(name));
        await space.snapshot({ name, claim: 'data' });
      }
      await space.remove('Pod', 'writer');
      await Promise.all([
        space.remove('PersistentVolumeClaim', 'data'),
        space.remove('VolumeSnapshot', 'first'),
        space.remove('VolumeSnapshot', 'third'),
      ]);

      await space.claim({ name: 'restored', source: { kind: 'VolumeSnapshot', name: 'second' } });
      await space.pod({ name: 'reader', mounts: { '/data': 'restored' } });
      await space.verify('reader', known('second'));

      // And what was restored outlives its snapshot.
      await space.remove('VolumeSnapshot', 'second');
      await space.write('reader', { ...known('new'), path: '/data/new' });
      await space.verify('reader', known('second'));
    }),
  );
});
