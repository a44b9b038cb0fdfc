/** What a person did wrong, or what cannot be: each gets words, where that person looks, that say what and what to do. */
import { expect, test } from '@jest/globals';
import type { Manifest, Reference } from './support/api.ts';
import * as manifests from './support/manifests.ts';
import type { Space } from './support/space.ts';
import { describeOnCluster } from './support/suite.ts';

const helmLimitMs = 60_000;
const wordsLimitMs = 90_000;
const otherDriver =
  /ClassOfAnotherDriver: the VolumeSnapshotClass ".*-foreign" is of the driver csi\.example\.com, but the claim's volume is of csi\.chunkstore\.dev/;
const immediate = { volumeBindingMode: 'Immediate' };

const wrongValues: readonly { readonly set: readonly string[]; readonly says: RegExp }[] = [
  {
    set: ['pool.size='],
    says: /pool\.size is missing: say how large the pool of each node shall be, for instance --set pool\.size=100GiB/,
  },
  { set: ['pool.size=10 gigs'], says: /pool\.size is "10 gigs": it must be a size like 500GiB or 2TiB/ },
  { set: ['pool.sise=1GiB'], says: /at '\/pool': additional properties 'sise' not allowed/ },
  { set: ['pool.folder=../etc'], says: /pool\.folder is "\.\.\/etc": it must be a path below pool\.root/ },
  { set: ['storageClasses[0].name=a', 'storageClasses[0].fsType=zfs'], says: /value must be one of 'ext4', 'xfs', 'btrfs'/ },
];

describeOnCluster('mistakes', {}, ({ inSpace, kube, settings }) => {
  test.each(wrongValues)('in the values $set are told by helm, and nothing is installed', async ({ set, says }) => {
    const words = [
      'install',
      'mistaken',
      settings.chart,
      '--namespace=mistaken',
      '--set=pool.size=1GiB',
      ...set.map((one) => `--set=${one}`),
    ];
    const { status, errorOutput } = await kube.helm(words, { timeoutMs: helmLimitMs });
    expect({ status, errorOutput }).toEqual({ status: 1, errorOutput: expect.stringMatching(says) });
    expect(await kube.api.find({ kind: 'Namespace', name: 'mistaken' })).toBeNull();
  });

  test(
    'in classes are told in events of the claim, the pod and the snapshot',
    inSpace(async (space) => {
      const named = (name: string) => `${space.name}-${name}`;
      await space.apply(
        manifests.storageClass({ name: named('unknown'), parameters: { replicas: '2' }, fields: immediate }),
        manifests.storageClass({ name: named('misspelt'), parameters: { freeze: 'sometimes' }, fields: immediate }),
        manifests.storageClass({ name: named('file-system'), parameters: { 'csi.storage.k8s.io/fstype': 'zfs' }, fields: immediate }),
        manifests.storageClass({ name: named('mkfs'), parameters: { mkfsOptions: '--no-such-option' } }),
        manifests.storageClass({ name: named('good'), fields: immediate }),
        snapshotClass(named('parameters'), 'csi.chunkstore.dev', { compression: 'zstd' }),
      );
      for (const name of ['unknown', 'misspelt', 'file-system', 'mkfs', 'good']) await space.claim({ name, storageClass: named(name) });
      await space.claim({ name: 'no-class', storageClass: named('none') });
      await space.startPod({ name: 'formatted', mounts: { '/data': 'mkfs' } });
      await space.claimBound('good');
      for (const name of ['parameters', 'none']) {
        await space.apply(manifests.snapshot({ name, claim: 'good', snapshotClass: named(name) }));
      }

      await Promise.all([
        ofClaim(
          space,
          'unknown',
          /ProvisioningFailed.*has "replicas", which is not known; known are freeze, placement, mkfsOptions, erase/,
        ),
        ofClaim(space, 'misspelt', /ProvisioningFailed.*parameters\[freeze\] is "sometimes"; possible are true, false, auto/),
        ofClaim(space, 'file-system', /ProvisioningFailed.*is "zfs"; supported are ext4, xfs, btrfs/),
        ofClaim(space, 'no-class', /storageclass\.storage\.k8s\.io ".*-none" not found/),
        space.event({ kind: 'Pod', name: 'formatted' }, /FailedMount.*mkfs.*no-such-option/s, { timeoutMs: wordsLimitMs }),
        space.snapshotError('parameters', /has \\?"compression\\?", which is not known; known are freeze/, { timeoutMs: wordsLimitMs }),
        space.snapshotError('none', /volumesnapshotclass\.snapshot\.storage\.k8s\.io ".*-none" not found/, { timeoutMs: wordsLimitMs }),
      ]);
    }),
  );

  test(
    'a snapshot class of another driver is told in an event of the snapshot, with the way out',
    inSpace(async (space) => {
      const atOnce = `${space.name}-at-once`;
      const foreign = `${space.name}-foreign`;
      await space.apply(manifests.storageClass({ name: atOnce, fields: immediate }), snapshotClass(foreign, 'csi.example.com'));
      await space.claim({ name: 'good', storageClass: atOnce });
      await space.claimBound('good');
      await space.apply(manifests.snapshot({ name: 'cut', claim: 'good', snapshotClass: foreign }));
      const snapshot = { kind: 'VolumeSnapshot', name: 'cut', namespace: space.name };
      try {
        const told = await space.event(snapshot, otherDriver, { timeoutMs: wordsLimitMs });
        expect(told).toMatch(/Delete this VolumeSnapshot and make one with a class of csi\.chunkstore\.dev.*take the finalizers from/);
      } finally {
        const content = { kind: 'VolumeSnapshotContent', name: await boundContent(snapshot) };
        await kube.api.remove(snapshot);
        // Before it is being deleted, the snapshot controller would put the finalizer back.
        const isGoing = (object: Manifest | null) => object?.metadata['deletionTimestamp'] !== undefined || 'it is not';
        await kube.waitFor(content, isGoing, { what: 'is being deleted', timeoutMs: wordsLimitMs });
        await kube.api.change(content, { metadata: { finalizers: null } });
        await kube.waitUntilGone(snapshot, { timeoutMs: wordsLimitMs });
      }
    }),
  );

  test(
    'in restores and clones are told in events of the claim',
    inSpace(async (space) => {
      const atOnce = `${space.name}-at-once`;
      await space.apply(manifests.storageClass({ name: atOnce, fields: immediate }));
      await space.claim({ name: 'source', size: '64Mi', storageClass: atOnce });
      await space.claimBound('source');
      await space.snapshot({ name: 'cut', claim: 'source' });
      const cut = { kind: 'VolumeSnapshot', name: 'cut' } as const;
      const source = { kind: 'PersistentVolumeClaim', name: 'source' } as const;
      await space.claim({ name: 'as-block', size: '64Mi', volumeMode: 'Block', source: cut, storageClass: atOnce });
      await space.claim({ name: 'clone-as-block', size: '64Mi', volumeMode: 'Block', source, storageClass: atOnce });
      await space.claim({ name: 'smaller', size: '32Mi', source: cut, storageClass: atOnce });
      await space.claim({ name: 'smaller-clone', size: '32Mi', source, storageClass: atOnce });
      await space.claim({ name: 'of-nothing', size: '64Mi', source: { ...cut, name: 'nothing' }, storageClass: atOnce });
      await Promise.all([
        ofClaim(space, 'as-block', /modifies the mode of the source volume but does not have permission.*allow-volume-mode-change/),
        ofClaim(space, 'clone-as-block', /must have the same volume mode for cloning/),
        ofClaim(space, 'smaller', /requested volume size 33554432 is less than the size 67108864 for the source snapshot/),
        ofClaim(space, 'smaller-clone', /size/),
        ofClaim(space, 'of-nothing', /error getting snapshot nothing from api server.*not found/),
      ]);
    }),
  );

  test(
    'in sizes are told to the pod or the claim that cannot have them',
    inSpace(async (space) => {
      const atOnce = `${space.name}-at-once`;
      await space.apply(manifests.storageClass({ name: atOnce, fields: immediate }));
      await space.claim({ name: 'huge', size: '900Ti' });
      await space.startPod({ name: 'hopeful', mounts: { '/data': 'huge' } });
      await space.claim({ name: 'huge-at-once', size: '900Ti', storageClass: atOnce });
      await Promise.all([
        space.event({ kind: 'Pod', name: 'hopeful' }, /FailedScheduling.*did not have enough free storage/, { timeoutMs: wordsLimitMs }),
        ofClaim(space, 'huge-at-once', /ProvisioningFailed.*is larger than the \d+ bytes that this pool may promise/),
      ]);
    }),
  );

  async function boundContent(snapshot: Reference): Promise<string> {
    let name: string | undefined;
    const judge = (object: Manifest | null) => {
      name = object?.['status']?.boundVolumeSnapshotContentName;
      return name !== undefined || 'it is not';
    };
    await kube.waitFor(snapshot, judge, { what: 'is bound', timeoutMs: wordsLimitMs });
    return name ?? '';
  }

  async function ofClaim(space: Space, name: string, pattern: RegExp): Promise<string> {
    return space.event({ kind: 'PersistentVolumeClaim', name }, pattern, { timeoutMs: wordsLimitMs });
  }
});

function snapshotClass(name: string, driver: string, parameters?: Readonly<Record<string, string>>): Manifest {
  return {
    apiVersion: 'snapshot.storage.k8s.io/v1',
    kind: 'VolumeSnapshotClass',
    metadata: { name },
    driver,
    deletionPolicy: 'Delete',
    ...(parameters === undefined ? {} : { parameters }),
  };
}
