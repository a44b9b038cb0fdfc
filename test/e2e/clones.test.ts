/** Claims made from live claims: copies of the moment, which go their own way afterwards. */
import { expect, test } from '@jest/globals';
import { describeOnCluster } from './support/suite.ts';
import { spaceIn } from './support/volumes.ts';

const mebibyte = 1024 * 1024;

describeOnCluster('clones of claims', {}, ({ inSpace, kube, timings }) => {
  test(
    'hold what a live claim holds, diverge from it, and outlive it',
    inSpace(async (space) => {
      const shared = { path: '/data/known', seed: 'shared', sizeBytes: 8 * mebibyte };
      // Rewritten on each side in its middle, and not at the borders of chunks.
      const middle = { path: '/data/known', sizeBytes: 2 * mebibyte + 4096, offsetBytes: 3 * mebibyte - 12_288 };
      const end = middle.offsetBytes + middle.sizeBytes;

      await space.claim({ name: 'data' });
      await space.pod({ name: 'live', mounts: { '/data': 'data' } });
      await space.write('live', shared);
      await space.claim({ name: 'copy', source: { kind: 'PersistentVolumeClaim', name: 'data' } });
      await space.claim({ name: 'larger', size: '256Mi', source: { kind: 'PersistentVolumeClaim', name: 'data' } });
      await timings.time('clones to running pods', () =>
        Promise.all([
          space.pod({ name: 'copier', mounts: { '/data': 'copy' } }),
          space.pod({ name: 'grower', mounts: { '/data': 'larger' } }),
        ]),
      );
      await Promise.all(['live', 'copier', 'grower'].map((pod) => space.verify(pod, shared)));
      const [source, larger] = await Promise.all(['live', 'grower'].map((pod) => spaceIn(kube, { namespace: space.name, pod }, '/data')));
      expect(larger!.sizeBytes).toBeGreaterThan(1.8 * source!.sizeBytes);

      await Promise.all(['live', 'copier'].map((pod) => space.write(pod, { ...middle, seed: pod })));
      await Promise.all(['live', 'copier'].map((pod) => space.verify(pod, { ...middle, seed: pod })));
      await space.verify('grower', shared);
      // Around it both hold what they shared.
      const around = `head -c ${middle.offsetBytes} /data/known; tail -c +${end + 1} /data/known`;
      const rests = await Promise.all(['live', 'copier', 'grower'].map((pod) => space.exec(pod, ['sh', '-c', `(${around}) | sha256sum`])));
      expect(new Set(rests).size).toBe(1);

      await space.remove('Pod', 'live');
      await space.remove('PersistentVolumeClaim', 'data');
      await space.claim({ name: 'copy-of-copy', source: { kind: 'PersistentVolumeClaim', name: 'copy' } });
      await space.pod({ name: 'second', mounts: { '/data': 'copy-of-copy' } });
      await space.verify('second', { ...middle, seed: 'copier' });
      await space.verify('copier', { ...middle, seed: 'copier' });
    }),
  );
});
