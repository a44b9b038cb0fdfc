/** A pool that is full: what it says, and what those hear who want more of it. */
import { expect, test } from '@jest/globals';
import type { Fields, Manifest } from '../support/api.ts';
import * as manifests from '../support/manifests.ts';
import { describeOnCluster } from '../support/suite.ts';

const wordsLimitMs = 90_000;
const fillLimitMs = 180_000;
const mebibyte = 1024 * 1024;

describeOnCluster('a full pool', {}, ({ driver, inSpace, kube, timings }) => {
  test(
    'says so, and so does whoever is refused a volume or a snapshot in it',
    inSpace(async (space) => {
      const [node = ''] = await driver.nodes();
      const atOnce = `${space.name}-at-once`;
      const here = [{ matchLabelExpressions: [{ key: 'csi.chunkstore.dev/node', values: [node] }] }];
      await space.apply(manifests.storageClass({ name: atOnce, fields: { volumeBindingMode: 'Immediate', allowedTopologies: here } }));
      const { pool } = JSON.parse(await driver.command(node, 'space', '--output=json')) as { pool: Record<string, number> };
      const { freeBytes = NaN, reserveBytes = NaN } = pool;
      await space.claim({ name: 'small', size: '32Mi', storageClass: atOnce });
      await space.claim({
        name: 'large',
        size: String(Math.ceil(freeBytes / mebibyte) * mebibyte),
        volumeMode: 'Block',
        storageClass: atOnce,
      });
      // The scheduler may miss the binding of a claim that is bound while it looks at the pod.
      await space.claimBound('large');
      await space.pod({ name: 'filler', node, devices: { '/dev/large': 'large' } });
      // Into the reserve, but not to the last byte: those writes would wait for room, and the pod for them.
      const writtenBytes = String(freeBytes - reserveBytes / 2);
      const dd = ['dd', 'if=/dev/zero', 'of=/dev/large', 'bs=4M', 'oflag=direct', 'iflag=count_bytes', `count=${writtenBytes}`];
      await timings.time('pool filled', () => space.exec('filler', dd, { timeoutMs: fillLimitMs }));
      const full = (object: Manifest | null) => {
        const condition = object?.['status']?.conditions?.find((one: Fields) => one['type'] === 'Full');
        return condition?.status === 'True' || `it is ${JSON.stringify(object?.['status'])}`;
      };
      const { name } = (await driver.poolOf(node)).metadata;
      const said = await kube.waitFor({ kind: 'ChunkStorePool', name }, full, { what: 'is full', timeoutMs: wordsLimitMs });
      const words = said?.['status'].conditions.find((one: Fields) => one['type'] === 'Full').message;
      expect(words).toMatch(
        /^little of \S+ is free, and the last \S+ are kept for what exists: delete snapshots or volumes, or enlarge the pool/,
      );
      await space.claim({ name: 'more', size: '32Mi', storageClass: atOnce });
      await space.apply(manifests.snapshot({ name: 'cut', claim: 'small' }));
      await Promise.all([
        space.event({ kind: 'PersistentVolumeClaim', name: 'more' }, /ProvisioningFailed.*no room on node/, { timeoutMs: wordsLimitMs }),
        space.snapshotError('cut', /the pool is full: .* Delete snapshots or volumes, or enlarge the pool/, { timeoutMs: wordsLimitMs }),
      ]);
    }),
  );
});
