/** Where volumes are made: where their pod runs, and a copy with its source; a pod that must run elsewhere is told why it cannot. */
import { expect, test } from '@jest/globals';
import { preferring, storageClass } from './support/manifests.ts';
import { describeOnCluster } from './support/suite.ts';

const mebibyte = 1024 * 1024;
const topologyKey = 'csi.chunkstore.dev/node';

describeOnCluster('topology', {}, ({ driver, inSpace, kube, timings }) => {
  const twoNodes = async (): Promise<[string, string]> => {
    const [first, second] = await driver.nodes();
    if (first === undefined || second === undefined) throw new Error('these tests need two nodes with a pool');
    return [first, second];
  };
  test(
    'a claim that waits for its pod is made where the pod runs, on every node',
    inSpace(async (space) => {
      const nodes = await driver.nodes();
      const check = async (node: string) => {
        const data = { path: '/data/known', seed: `on ${node}`, sizeBytes: 3 * mebibyte };
        await space.claim({ name: `of-${node}` });
        await timings.time('PVC to running pod', () => space.pod({ name: `on-${node}`, node, mounts: { '/data': `of-${node}` } }));
        await space.write(`on-${node}`, data);
        await space.verify(`on-${node}`, data);
        const { handle, node: place } = await space.volume(`of-${node}`);
        expect(place).toBe(node);
        expect(await driver.objects(node)).toContainEqual(expect.objectContaining({ id: handle, kind: 'volume' }));
        const name: string = (await space.get('PersistentVolumeClaim', `of-${node}`))['spec'].volumeName;
        const { spec } = await kube.get({ kind: 'PersistentVolume', name });
        expect(spec.nodeAffinity.required.nodeSelectorTerms).toEqual([
          { matchExpressions: [{ key: topologyKey, operator: 'In', values: [node] }] },
        ]);
      };
      await Promise.all(nodes.map(check));
    }),
  );

  test(
    'a restore is made where its snapshot is, and the claim says so to a pod that must run elsewhere',
    inSpace(async (space) => {
      const [elsewhere, home] = await twoNodes();
      const data = { path: '/data/known', seed: 'home', sizeBytes: 5 * mebibyte };
      const source = { kind: 'VolumeSnapshot', name: 'cut' } as const;
      await space.apply(
        storageClass({
          name: `${space.name}-there`,
          fields: { allowedTopologies: [{ matchLabelExpressions: [{ key: topologyKey, values: [elsewhere] }] }] },
        }),
      );
      await space.claim({ name: 'source' });
      await space.pod({ name: 'writer', node: home, mounts: { '/data': 'source' } });
      await space.write('writer', data);
      await space.snapshot({ name: 'cut', claim: 'source' });

      await space.claim({ name: 'follower', source });
      await space.claim({ name: 'stuck', source });
      await space.claim({ name: 'forbidden', source, storageClass: `${space.name}-there` });
      await Promise.all([
        (async () => {
          await space.pod({ name: 'follower', mounts: { '/data': 'follower' }, spec: preferring(elsewhere) });
          expect((await space.get('Pod', 'follower'))['spec'].nodeName).toBe(home);
          expect((await space.volume('follower')).node).toBe(home);
          await space.verify('follower', data);
        })(),
        (async () => {
          await space.startPod({ name: 'stuck', node: elsewhere, mounts: { '/data': 'stuck' } });
          await space.event(
            { kind: 'PersistentVolumeClaim', name: 'stuck' },
            new RegExp(`PlacedElsewhere: the volume is on node ${home}, where its source is, and not on node ${elsewhere}`),
          );
          await space.event(
            { kind: 'Pod', name: 'stuck' },
            /FailedScheduling: .*(volume node affinity conflict|PersistentVolume's node affinity)/,
          );
        })(),
        (async () => {
          await space.startPod({ name: 'forbidden', mounts: { '/data': 'forbidden' } });
          await space.event(
            { kind: 'PersistentVolumeClaim', name: 'forbidden' },
            new RegExp(
              `ProvisioningFailed: .*the source is on node ${home}, and a volume made from it can only be there; asked for was ${elsewhere}`,
            ),
          );
        })(),
      ]);
    }),
  );
});
