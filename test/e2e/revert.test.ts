/**
 * VolumeRevert: it waits for pods, is undone by its safety snapshot, refuses what is not the claim's own, and is done once
 * and whole wherever its controller is killed.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { expect, test } from '@jest/globals';
import type { Fields, Manifest } from './support/api.ts';
import type { StoredObject } from './support/driver.ts';
import * as manifests from './support/manifests.ts';
import { heldReverts, messageOf, RevertHolds } from './support/revert-holds.ts';
import { Space } from './support/space.ts';
import { describeOnCluster, type ClusterBed } from './support/suite.ts';
import { SeededRandom } from '../support/seeded-random.ts';
import { spaceIn, type KnownData } from './support/volumes.ts';

const mebibyte = 1024 * 1024;
const reasonLimitMs = 60_000;
const completeLimit = '90s';
/** Of the moment at which the controller is killed once more. */
const seed = Number(process.env['E2E_SEED'] ?? 20_261_122);

const data = (seed: string, path = '/data/known'): KnownData => ({ path, seed, sizeBytes: 2 * mebibyte + 4321 });

function conditionOf(object: Manifest | null, type: string): Fields | undefined {
  return object?.['status']?.conditions?.find((one: Fields) => one['type'] === type);
}

/** What tests do with the VolumeReverts of a space. */
function revertsIn({ kube, timings }: ClusterBed, space: Space) {
  const reference = (name: string) => ({ kind: 'VolumeRevert', name, namespace: space.name });
  return {
    make: (options: Parameters<typeof manifests.revert>[0]) => space.apply(manifests.revert(options)),

    /** Waits until its status says so; answers what it says. */
    async says(name: string, phase: 'Waiting' | 'Complete' | 'Failed', pattern: RegExp): Promise<string> {
      let message = '';
      const judge = (object: Manifest | null) => {
        const { status, reason, message: words } = conditionOf(object, phase) ?? {};
        message = `${reason}: ${words}`;
        return (status === 'True' && pattern.test(message)) || `its status is ${JSON.stringify(object?.['status'])}`;
      };
      await kube.waitFor(reference(name), judge, { what: `is ${phase} with ${String(pattern)}`, timeoutMs: reasonLimitMs });
      return message;
    },

    /** As a person waits for it. */
    async complete(...names: readonly string[]): Promise<void> {
      await timings.time('revert to complete, the wait', () =>
        kube.kubectl(
          [
            'wait',
            '--for=condition=Complete',
            ...names.map((name) => `volumerevert/${name}`),
            `--namespace=${space.name}`,
            `--timeout=${completeLimit}`,
          ],
          { timeoutMs: 100_000 },
        ),
      );
    },
  };
}

describeOnCluster('a VolumeRevert', {}, (bed) => {
  const { inSpace, kube } = bed;

  test(
    'waits for the pod in its way, names it, is done when the pod is gone, and is undone by its safety snapshot',
    inSpace(async (space) => {
      const reverts = revertsIn(bed, space);
      await space.claim({ name: 'data', size: '64Mi' });
      await space.pod({ name: 'user', mounts: { '/data': 'data' } });
      await space.write('user', data('before'));
      await space.snapshot({ name: 'monday', claim: 'data' });
      await kube.api.change(
        { kind: 'PersistentVolumeClaim', name: 'data', namespace: space.name },
        { spec: { resources: { requests: { storage: '160Mi' } } } },
      );
      await space.write('user', data('after'));
      // The volume is larger from then on; the file system in it follows when the kubelet comes by, or at the next mount.
      await space.event({ kind: 'PersistentVolumeClaim', name: 'data' }, /FileSystemResizeRequired/);

      await reverts.make({ name: 'back', claim: 'data', snapshot: 'monday' });
      const words = await reverts.says('back', 'Waiting', /^InUse/);
      expect(words).toMatch(/the pod user uses the claim "data"\. The revert waits until the volume is detached: stop it/);
      await space.event({ kind: 'VolumeRevert', name: 'back' }, /RevertWaiting: the pod user uses the claim "data"/);
      await space.event({ kind: 'PersistentVolumeClaim', name: 'data' }, /RevertWaiting: VolumeRevert back: the pod user uses/);
      await space.verify('user', data('after'));

      await space.remove('Pod', 'user');
      await reverts.complete('back');
      await space.event(
        { kind: 'PersistentVolumeClaim', name: 'data' },
        /RevertComplete: VolumeRevert back: reverted; what the volume held/,
      );
      await space.pod({ name: 'second', mounts: { '/data': 'data' } });
      await space.verify('second', data('before'));
      // The snapshot is smaller than the volume has become.
      expect((await spaceIn(kube, { namespace: space.name, pod: 'second' }, '/data')).sizeBytes).toBeGreaterThan(120 * mebibyte);
      await space.write('second', data('later', '/data/later'));
      await space.remove('Pod', 'second');

      const safety: string = (await space.get('VolumeRevert', 'back'))['status'].safetySnapshotName;
      await space.snapshotReady(safety);
      await reverts.make({ name: 'undo', claim: 'data', snapshot: safety });
      await reverts.complete('undo');
      await space.pod({ name: 'third', mounts: { '/data': 'data' } });
      await space.verify('third', data('after'));
      expect(await space.exec('third', ['ls', '/data'])).not.toContain('later');
    }),
  );

  test(
    'refuses the snapshot of another claim, namespace or driver, and keeps nothing where nothing is to be kept',
    inSpace(async (space) => {
      const reverts = revertsIn(bed, space);
      const atOnce = `${space.name}-at-once`;
      await space.apply(manifests.storageClass({ name: atOnce, fields: { volumeBindingMode: 'Immediate' } }));
      for (const name of ['own', 'other']) await space.claim({ name, storageClass: atOnce });
      const [own, other] = await Promise.all(['own', 'other'].map((name) => space.volume(name)));
      await Promise.all(['own', 'other'].map((name) => space.snapshot({ name: `of-${name}`, claim: name })));

      await reverts.make({ name: 'of-other', claim: 'own', snapshot: 'of-other' });
      await applyForeignSnapshot(space);
      await reverts.make({ name: 'foreign', claim: 'own', snapshot: 'foreign' });
      await reverts.make({ name: 'nowhere', claim: 'own', snapshot: 'elsewhere' });
      await reverts.make({ name: 'dropping', claim: 'own', snapshot: 'of-own', keepSafetySnapshot: false });

      expect(await reverts.says('of-other', 'Failed', /./)).toMatch(
        own?.pool === other?.pool
          ? /^SnapshotOfAnotherVolume: the VolumeSnapshot "of-other" was not taken of the claim "own"; restore it to a new claim instead/
          : /^SnapshotOfAnotherVolume: the snapshot is in another pool than the volume; restore it to a new claim instead/,
      );
      expect(await reverts.says('foreign', 'Failed', /./)).toMatch(
        /^AnotherDriver: the VolumeSnapshot "foreign" is not a snapshot of csi\.chunkstore\.dev, but of "csi\.example\.com"/,
      );
      expect(await reverts.says('nowhere', 'Waiting', /SnapshotNotFound/)).toMatch(
        /the VolumeSnapshot "elsewhere" does not exist in this namespace; make it, or delete this VolumeRevert/,
      );

      await reverts.complete('dropping');
      expect((await space.get('VolumeRevert', 'dropping'))['status'].safetySnapshotName).toBeUndefined();
      const snapshots = await kube.api.list('VolumeSnapshot', { namespace: space.name });
      expect(snapshots.map(({ metadata }) => metadata.name).sort()).toEqual(['foreign', 'of-other', 'of-own']);
      const kept = (await allObjects(bed)).filter(({ name }) => name.startsWith('revert-'));
      expect(kept).toEqual([]);
      await dropForeignSnapshot(bed, space);
    }),
  );

  test(
    "does not take another namespace's snapshot, whatever a VolumeSnapshot says",
    inSpace(async (space) => {
      const reverts = revertsIn(bed, space);
      const atOnce = `${space.name}-at-once`;
      await space.apply(manifests.storageClass({ name: atOnce, fields: { volumeBindingMode: 'Immediate' } }));
      const victim = await Space.make(bed);
      try {
        await victim.claim({ name: 'data', storageClass: atOnce });
        await space.claim({ name: 'data', storageClass: atOnce });
        await Promise.all([victim.claimBound('data'), space.claimBound('data')]);
        await victim.snapshot({ name: 'secret', claim: 'data' });
        const content: string = (await victim.get('VolumeSnapshot', 'secret'))['status'].boundVolumeSnapshotContentName;

        // Whoever may make VolumeSnapshots can name any content; the other one forges what only the cluster's controller may write.
        await space.apply(stolenSnapshot('named', content), stolenSnapshot('forged', content));
        const forgery = { status: { boundVolumeSnapshotContentName: content, readyToUse: true } };
        await kube.api.change({ kind: 'VolumeSnapshot', name: 'forged', namespace: space.name }, forgery, { subresource: 'status' });
        for (const name of ['named', 'forged']) await reverts.make({ name, claim: 'data', snapshot: name });
        expect(await reverts.says('forged', 'Failed', /./)).toMatch(
          /^ContentOfAnotherSnapshot: .* belongs to another one than the VolumeSnapshot/,
        );
        expect(await reverts.says('named', 'Waiting', /./)).toMatch(/^SnapshotNotBound: the VolumeSnapshot "named" has not been taken yet/);
      } finally {
        await victim.close();
      }
    }),
  );

  test(
    'is not for whoever may edit a namespace, but for whoever is bound to the role of reverters',
    inSpace(async (space) => {
      const mayRevert = (user: string, verb = 'create') =>
        kube
          .kubectlAny(['auth', 'can-i', verb, 'volumereverts.chunkstore.dev', `--as=${user}`, `--namespace=${space.name}`])
          .then(({ output }) => output.trim());
      await space.apply(roleBinding('editor', 'edit'), roleBinding('reverter', `${bed.settings.release}-reverter`));
      // Roles are known everywhere a moment after they were bound: what each may do is waited for before what it may not.
      for (const [user, verb] of [
        ['editor', 'get'],
        ['reverter', 'create'],
      ] as const) {
        await kube.until(`${user} may ${verb} VolumeReverts`, async () => (await mayRevert(user, verb)) === 'yes' || 'it may not', {
          timeoutMs: 20_000,
        });
      }
      expect(await mayRevert('editor')).toBe('no');
      expect(await mayRevert('editor', 'update')).toBe('no');
    }),
  );
});

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

async function allObjects({ driver }: ClusterBed): Promise<readonly StoredObject[]> {
  return (await Promise.all((await driver.nodes()).map((node) => driver.objects(node)))).flat();
}

/** Bound to a content of another driver, as the cluster's snapshot controller leaves it while that driver is away. */
async function applyForeignSnapshot(space: Space): Promise<void> {
  await space.apply(
    {
      apiVersion: 'snapshot.storage.k8s.io/v1',
      kind: 'VolumeSnapshotContent',
      metadata: { name: `${space.name}-foreign` },
      spec: {
        driver: 'csi.example.com',
        deletionPolicy: 'Retain',
        source: { snapshotHandle: 'snapshot-1' },
        volumeSnapshotRef: { namespace: space.name, name: 'foreign' },
      },
    },
    stolenSnapshot('foreign', `${space.name}-foreign`),
  );
}

/** There is no driver that would take the finalizer from its content. */
async function dropForeignSnapshot({ kube }: ClusterBed, space: Space): Promise<void> {
  const content = { kind: 'VolumeSnapshotContent', name: `${space.name}-foreign` };
  await space.remove('VolumeSnapshot', 'foreign');
  await kube.api.remove(content);
  await kube.api.change(content, { metadata: { finalizers: null } });
}

function stolenSnapshot(name: string, content: string): Manifest {
  return {
    apiVersion: 'snapshot.storage.k8s.io/v1',
    kind: 'VolumeSnapshot',
    metadata: { name },
    spec: { source: { volumeSnapshotContentName: content } },
  };
}

function roleBinding(user: string, role: string): Manifest {
  return {
    apiVersion: 'rbac.authorization.k8s.io/v1',
    kind: 'RoleBinding',
    metadata: { name: user },
    roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: role },
    subjects: [{ apiGroup: 'rbac.authorization.k8s.io', kind: 'User', name: user }],
  };
}
