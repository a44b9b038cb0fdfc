/** VolumeReverts whose controller is killed: each is done once and whole, wherever that was. */
import { setTimeout as delay } from 'node:timers/promises';
import { expect, test } from '@jest/globals';
import { SeededRandom } from '../../support/seeded-random.ts';
import type { Manifest } from '../support/api.ts';
import { heldReverts, messageOf, RevertHolds } from '../support/revert-holds.ts';
import { conditionOf, revertsIn } from '../support/reverts.ts';
import type { Space } from '../support/space.ts';
import { describeOnCluster } from '../support/suite.ts';
import type { KnownData } from '../support/volumes.ts';

const mebibyte = 1024 * 1024;
const reasonLimitMs = 60_000;
/** Of the moment at which the controller is killed once more. */
const seed = Number(process.env['E2E_SEED'] ?? 20_261_122);

const data = (name: string, path: string): KnownData => ({ path, seed: name, sizeBytes: 2 * mebibyte + 4321 });

describeOnCluster('a VolumeRevert whose controller is killed', { ownCluster: true }, (bed) => {
  const { driver, inSpace, kube } = bed;

  test(
    'before each of its steps, and once more at random, is done once and whole',
    inSpace(async (space) => {
      const reverts = revertsIn(bed, space);
      const paths = Object.fromEntries(heldReverts.map((name) => [`/data/${name}`, name]));
      const known = (seed: string) => heldReverts.map((name) => data(`${name} ${seed}`, `/data/${name}/known`));
      for (const name of heldReverts) await space.claim({ name, size: '32Mi' });
      await space.pod({ name: 'first', mounts: paths });
      await Promise.all(known('before').map((one) => space.write('first', one)));
      await Promise.all(heldReverts.map((name) => space.snapshot({ name: `of-${name}`, claim: name })));
      await Promise.all(known('after').map((one) => space.write('first', one)));
      await space.remove('Pod', 'first');
      const { node } = await space.volume(heldReverts[0] ?? '');

      const holds = await RevertHolds.lay({ kube, driver, namespace: space.name });
      try {
        for (const name of heldReverts) {
          await reverts.make({ name, claim: name, snapshot: `of-${name}`, keepSafetySnapshot: !name.endsWith('dropping') });
        }
        await Promise.all(heldReverts.map((name) => isHeld(space, name)));
        await driver.killLeader();
      } finally {
        await holds.lift();
      }
      // The steps of all ten take a few hundred milliseconds; this may come before, in between or after.
      const random = new SeededRandom(seed);
      await delay(random.below(600));
      await driver.killLeader();
      await reverts.complete(...heldReverts);
      await kube.until('all finalizers are gone', async () => (await finalizersLeft(space)).join(', ') || true, { timeoutMs: 60_000 });

      const stored = await driver.objects(node);
      const kept = heldReverts.filter((name) => !name.endsWith('dropping'));
      expect(stored.filter(({ name }) => name.startsWith('revert-'))).toHaveLength(kept.length);
      await space.pod({ name: 'second', mounts: paths });
      await Promise.all(known('before').map((one) => space.verify('second', one)));
      await space.remove('Pod', 'second');

      for (const name of kept) {
        const snapshot: string = (await space.get('VolumeRevert', name))['status'].safetySnapshotName;
        await space.snapshotReady(snapshot);
        await reverts.make({ name: `undo-${name}`, claim: name, snapshot, keepSafetySnapshot: false });
      }
      await reverts.complete(...kept.map((name) => `undo-${name}`));
      await space.pod({ name: 'third', mounts: paths });
      const undone = known('after').filter((_, index) => kept.includes(heldReverts[index] ?? ''));
      await Promise.all(undone.map((one) => space.verify('third', one)));
    }),
  );

  async function isHeld(space: Space, name: string): Promise<void> {
    const judge = (object: Manifest | null) => {
      // What is complete has nothing more to say.
      if (name === 'releasing') return object?.['status']?.phase === 'Complete' || 'it is not complete';
      const message: string | undefined = conditionOf(object, 'Waiting')?.['message'];
      return message?.includes(messageOf(name)) === true || `it says: ${message}`;
    };
    const limit = { what: 'is held', timeoutMs: reasonLimitMs };
    await kube.waitFor({ kind: 'VolumeRevert', name, namespace: space.name }, judge, limit);
  }

  async function finalizersLeft(space: Space): Promise<string[]> {
    const all = await kube.api.list('VolumeRevert', { namespace: space.name });
    return all.filter(({ metadata }) => (metadata['finalizers'] ?? []).length > 0).map(({ metadata }) => metadata.name);
  }
});
