/** Raw block volumes: no file system, the same snapshots, clones and growth. */
import { expect, test } from '@jest/globals';
import { describeOnCluster } from './support/suite.ts';

const mebibyte = 1024 * 1024;

describeOnCluster('raw block volumes', {}, ({ inSpace, kube }) => {
  test(
    'are written, cut, restored, cloned and grown',
    inSpace(async (space) => {
      const block = { size: '64Mi', volumeMode: 'Block' } as const;
      const head = (seed: string) => ({ path: '/dev/data', seed, sizeBytes: 5 * mebibyte });
      const tail = (seed: string) => ({ path: '/dev/data', seed, sizeBytes: 2 * mebibyte, offsetBytes: 62 * mebibyte });
      const sizeSeenBy = async (pod: string) => Number(await space.exec(pod, ['blockdev', '--getsize64', '/dev/data']));

      await space.claim({ name: 'disk', ...block });
      await space.pod({ name: 'live', devices: { '/dev/data': 'disk' } });
      expect(await sizeSeenBy('live')).toBe(64 * mebibyte);
      await Promise.all([space.write('live', head('head')), space.write('live', tail('before'))]);
      await space.snapshot({ name: 'moment', claim: 'disk' });
      await space.write('live', tail('after'));

      await space.claim({ name: 'restored', ...block, source: { kind: 'VolumeSnapshot', name: 'moment' } });
      await space.claim({ name: 'clone', ...block, size: '96Mi', source: { kind: 'PersistentVolumeClaim', name: 'disk' } });
      await Promise.all([
        space.pod({ name: 'restorer', devices: { '/dev/data': 'restored' } }),
        space.pod({ name: 'cloner', devices: { '/dev/data': 'clone' } }),
      ]);
      expect(await Promise.all(['restorer', 'cloner'].map(sizeSeenBy))).toEqual([64 * mebibyte, 96 * mebibyte]);
      await Promise.all(['live', 'restorer', 'cloner'].map((pod) => space.verify(pod, head('head'))));
      await Promise.all([
        space.verify('live', tail('after')),
        space.verify('restorer', tail('before')),
        space.verify('cloner', tail('after')),
      ]);
      // What nobody wrote is zeros, also beyond the source's end.
      const zeros = 'dd if=/dev/data bs=1M skip=64 status=none | tr -d "\\000" | wc -c';
      expect((await space.exec('cloner', ['sh', '-c', zeros])).trim()).toBe('0');

      await Promise.all(['live', 'restorer', 'cloner'].map((pod) => space.write(pod, head(pod))));
      const claim = { kind: 'PersistentVolumeClaim', name: 'disk', namespace: space.name };
      await kube.api.change(claim, { spec: { resources: { requests: { storage: '128Mi' } } } });
      const seen = async () => {
        const sizeBytes = await sizeSeenBy('live');
        return sizeBytes === 128 * mebibyte || `it has ${sizeBytes} bytes`;
      };
      await kube.until('the running pod sees the larger device', seen, { timeoutMs: 120_000, namespaces: [space.name] });
      await Promise.all(['live', 'restorer', 'cloner'].map((pod) => space.verify(pod, head(pod))));
      await space.verify('live', tail('after'));
    }),
  );
});
