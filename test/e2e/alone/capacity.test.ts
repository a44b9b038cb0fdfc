/** The scheduler knows the room of each node's pool: a pod goes where its claim fits, and is told why it cannot be elsewhere. */
import { expect, test } from '@jest/globals';
import type { Fields } from '../support/api.ts';
import { preferring, storageClass } from '../support/manifests.ts';
import { readQuantity } from '../support/quantity.ts';
import { describeOnCluster } from '../support/suite.ts';

const mebibyte = 1024 * 1024;
const topologyKey = 'csi.chunkstore.dev/node';
/** The provisioner asks for capacities every half minute. */
const capacityLimitMs = 90_000;

describeOnCluster('capacity', {}, ({ driver, inSpace, kube, settings }) => {
  const capacitiesOf = async (node: string) =>
    (await kube.api.list('CSIStorageCapacity', { namespace: driver.namespace })).filter(
      ({ storageClassName, nodeTopology }: Fields) =>
        storageClassName === 'chunkstore' && nodeTopology?.matchLabels?.[topologyKey] === node,
    );
  /** The provisioning budget of a node's pool; the tests before left nothing in it. */
  const budgetOf = async (node: string) => readQuantity((await driver.poolOf(node))['status'].provisionLimit);
  const twoNodes = async (): Promise<[string, string]> => {
    const [first, second] = await driver.nodes();
    if (first === undefined || second === undefined) throw new Error('these tests need two nodes with a pool');
    return [first, second];
  };
  test(
    'a pod that does not fit one node goes to another; one that must be there is told why it cannot',
    inSpace(async (space) => {
      const [small, large] = await twoNodes();
      const deployment = await kube.get({ kind: 'Deployment', name: `${settings.release}-controller`, namespace: driver.namespace });
      const knownRoom = async (node: string) => {
        const found = await capacitiesOf(node);
        expect(found).toHaveLength(1);
        const { metadata, capacity, maximumVolumeSize } = found[0]!;
        expect(metadata['ownerReferences']).toEqual([
          expect.objectContaining({ kind: 'Deployment', name: deployment.metadata.name, uid: deployment.metadata['uid'] }),
        ]);
        expect(maximumVolumeSize).toBe(capacity);
        return readQuantity(capacity);
      };
      const capacityIs = (node: string, what: string, judge: (bytes: number) => boolean) =>
        kube.until(
          `the scheduler knows that ${node} has ${what}`,
          async () => {
            const bytes = await knownRoom(node);
            return judge(bytes) || `its capacity is ${bytes / mebibyte} MiB`;
          },
          { timeoutMs: capacityLimitMs, namespaces: [driver.namespace] },
        );

      // All but a quarter is taken on one node, by a raw volume: nothing of it is written.
      const [budget, room] = [await budgetOf(small), Math.min(await budgetOf(small), await budgetOf(large))];
      const sizeOf = (part: number) => `${Math.floor((room * part) / mebibyte)}Mi`;
      await space.claim({ name: 'filler', size: `${Math.floor((budget - room * 0.25) / mebibyte)}Mi`, volumeMode: 'Block' });
      await space.pod({ name: 'filler', node: small, devices: { '/dev/volume': 'filler' } });
      expect((await space.volume('filler')).node).toBe(small);
      await space.apply(
        storageClass({ name: `${space.name}-any`, parameters: { placement: 'any' }, fields: { volumeBindingMode: 'Immediate' } }),
      );

      const block = { size: sizeOf(0.35), volumeMode: 'Block' as const };
      await space.claim({ name: 'spilled', ...block });
      await space.claim({ name: 'stuck', ...block });
      await space.claim({ name: 'anywhere', ...block, size: sizeOf(0.3), storageClass: `${space.name}-any` });
      await Promise.all([
        (async () => {
          await space.pod({ name: 'spilled', devices: { '/dev/volume': 'spilled' }, spec: preferring(small) });
          expect((await space.volume('spilled')).node).not.toBe(small);
        })(),
        (async () => {
          await space.startPod({ name: 'stuck', node: small, devices: { '/dev/volume': 'stuck' } });
          await space.event({ kind: 'Pod', name: 'stuck' }, /FailedScheduling: .*(not have enough free storage|not enough free storage)/, {
            timeoutMs: capacityLimitMs,
          });
        })(),
        (async () => {
          await space.claimBound('anywhere');
          expect((await space.volume('anywhere')).node).not.toBe(small);
        })(),
        // Budgets are rounded to three digits in a pool's status.
        capacityIs(small, 'room for a quarter', (bytes) => Math.abs(bytes - room * 0.25) < budget * 0.01),
      ]);
      // There was never room, so nothing was made.
      expect((await space.get('PersistentVolumeClaim', 'stuck'))['status'].phase).toBe('Pending');
    }),
  );
});
