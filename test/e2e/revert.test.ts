/** VolumeRevert: it waits for pods, is undone by its safety snapshot, and refuses what is not the claim's own. */
import { expect, test } from '@jest/globals';
import { safetyName } from '../../src/k8s/reverts/names.ts';
import type { Manifest } from './support/api.ts';
import type { StoredObject } from './support/driver.ts';
import * as manifests from './support/manifests.ts';
import { revertsIn } from './support/reverts.ts';
import { Space } from './support/space.ts';
import { describeOnCluster, type ClusterBed } from './support/suite.ts';
import { spaceIn, type KnownData } from './support/volumes.ts';

const mebibyte = 1024 * 1024;

const data = (seed: string, path = '/data/known'): KnownData => ({ path, seed, sizeBytes: 2 * mebibyte + 4321 });

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
      expect(await safetySnapshotsOf(await space.get('VolumeRevert', 'dropping'), bed)).toEqual([]);
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

/** Of reverts in other namespaces there may be some. */
async function safetySnapshotsOf(revert: Manifest, { driver }: ClusterBed): Promise<readonly StoredObject[]> {
  const objects = await Promise.all((await driver.nodes()).map((node) => driver.objects(node)));
  return objects.flat().filter(({ name }) => name === safetyName(revert.metadata['uid'] as string));
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
