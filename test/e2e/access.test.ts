/** Ways in which pods use claims: for one pod only, by a group, read-only, for the pod's life, one for each of a set. */
import { expect, test } from '@jest/globals';
import type { Fields } from './support/api.ts';
import { claimSpec } from './support/manifests.ts';
import { describeOnCluster } from './support/suite.ts';

const mebibyte = 1024 * 1024;
const limitMs = 120_000;
const known = (seed: string) => ({ path: '/data/known', seed, sizeBytes: 3 * mebibyte });

describeOnCluster('access to volumes', {}, ({ inSpace, kube, settings }) => {
  test.concurrent(
    'is for one pod with ReadWriteOncePod, whoever else asks',
    inSpace(async (space) => {
      await space.claim({ name: 'data', accessModes: ['ReadWriteOncePod'] });
      await space.pod({ name: 'owner', mounts: { '/data': 'data' } });
      await space.write('owner', known('owner'));
      const node = (await space.get('Pod', 'owner'))['spec'].nodeName;

      await space.startPod({ name: 'second', mounts: { '/data': 'data' } });
      // Past the scheduler, which knows of it.
      await space.startPod({ name: 'intruder', mounts: { '/data': 'data' }, spec: { nodeName: node } });
      await space.event({ kind: 'Pod', name: 'second' }, /ReadWriteOncePod/);
      await space.event({ kind: 'Pod', name: 'intruder' }, /ReadWriteOncePod/);
      for (const name of ['second', 'intruder']) expect((await space.get('Pod', name))['status'].phase).toBe('Pending');
      await space.remove('Pod', 'intruder');

      await space.remove('Pod', 'owner');
      await space.podReady('second');
      await space.verify('second', known('owner'));
    }),
  );

  test.concurrent(
    'is shared by pods of a node otherwise, and read-only where that is asked for',
    inSpace(async (space) => {
      await space.claim({ name: 'data' });
      await space.pod({ name: 'writer', mounts: { '/data': 'data' } });
      await space.write('writer', known('shared'));
      await space.snapshot({ name: 'moment', claim: 'data' });
      await space.claim({ name: 'restored', source: { kind: 'VolumeSnapshot', name: 'moment' } });

      const readOnly = (claimName: string): Fields => ({
        spec: { volumes: [{ name: 'data', persistentVolumeClaim: { claimName, readOnly: true } }] },
        container: { volumeMounts: [{ name: 'data', mountPath: '/data' }] },
      });
      await Promise.all([
        space.pod({ name: 'reader', ...readOnly('data') }),
        // Of a claim that nobody has ever mounted as writable.
        space.pod({ name: 'first', ...readOnly('restored') }),
        space.pod({ name: 'other', ...readOnly('restored') }),
        space.pod({ name: 'careful', mounts: { '/data': { claim: 'data', readOnly: true } } }),
      ]);
      for (const pod of ['reader', 'first', 'other', 'careful']) {
        await space.verify(pod, known('shared'));
        await expect(space.exec(pod, ['touch', '/data/mine'])).rejects.toThrow(/Read-only file system/);
      }
      await space.write('writer', known('changed'));
      await space.verify('reader', known('changed'));
      await space.verify('first', known('shared'));
    }),
  );

  test.concurrent(
    'is given to the group of a pod without rights of its own',
    inSpace(async (space) => {
      const asUser = (user: number, group: number): Fields => ({
        spec: { securityContext: { runAsUser: user, runAsGroup: user, runAsNonRoot: true, fsGroup: group } },
      });
      await space.claim({ name: 'data' });
      await space.pod({ name: 'first', mounts: { '/data': 'data' }, ...asUser(1000, 2000) });
      await space.write('first', known('first'));
      expect((await space.exec('first', ['stat', '--format=%u:%g', '/data/known'])).trim()).toBe('1000:2000');
      expect((await space.exec('first', ['stat', '--format=%g %A', '/data'])).trim()).toBe('2000 drwxrwsr-x');
      await space.remove('Pod', 'first');

      await space.pod({ name: 'second', mounts: { '/data': 'data' }, ...asUser(1001, 3000) });
      expect((await space.exec('second', ['stat', '--format=%u:%g', '/data/known'])).trim()).toBe('1000:3000');
      await space.verify('second', known('first'));
      await space.write('second', known('second'));
      await space.verify('second', known('second'));
    }),
  );

  test.concurrent(
    'lasts as long as its pod with an ephemeral volume',
    inSpace(async (space) => {
      await space.pod({
        name: 'pod',
        spec: { volumes: [{ name: 'scratch', ephemeral: { volumeClaimTemplate: { spec: claimSpec({}) } } }] },
        container: { volumeMounts: [{ name: 'scratch', mountPath: '/data' }] },
      });
      await space.write('pod', known('scratch'));
      await space.verify('pod', known('scratch'));
      const volume = (await space.claimBound('pod-scratch'))['spec'].volumeName;
      await space.remove('Pod', 'pod');
      await kube.waitUntilGone({ kind: 'PersistentVolumeClaim', name: 'pod-scratch', namespace: space.name }, { timeoutMs: limitMs });
      await kube.waitUntilGone({ kind: 'PersistentVolume', name: volume }, { timeoutMs: limitMs });
    }),
  );

  test.concurrent(
    'is each pod its own in a StatefulSet, wherever it goes',
    inSpace(async (space) => {
      const names = ['set-0', 'set-1', 'set-2'];
      await space.apply(statefulSet({ image: settings.toolsImage }));
      await Promise.all(names.map((name) => space.podReady(name)));
      await Promise.all(names.map((name) => space.write(name, known(name))));

      const before = await Promise.all(names.map(async (name) => (await space.get('Pod', name)).metadata['uid']));
      await Promise.all(names.map((name) => kube.api.remove({ kind: 'Pod', name, namespace: space.name })));
      await Promise.all(names.map((name, index) => podReplaced(name, before[index])));
      await Promise.all(names.map((name) => space.verify(name, known(name))));

      // Scaled down and up again, the last one finds its own.
      const set = { kind: 'StatefulSet', name: 'set', namespace: space.name };
      await kube.api.change(set, { spec: { replicas: 1 } });
      await Promise.all(
        ['set-1', 'set-2'].map((name) => kube.waitUntilGone({ kind: 'Pod', name, namespace: space.name }, { timeoutMs: limitMs })),
      );
      await kube.api.change(set, { spec: { replicas: 3 } });
      await Promise.all(['set-1', 'set-2'].map((name) => space.podReady(name)));
      await Promise.all(names.map((name) => space.verify(name, known(name))));

      // Its claims go with it, as its policy says.
      await space.remove('StatefulSet', 'set');
      await Promise.all(
        names.map((name) =>
          kube.waitUntilGone({ kind: 'PersistentVolumeClaim', name: `data-${name}`, namespace: space.name }, { timeoutMs: limitMs }),
        ),
      );

      async function podReplaced(name: string, uid: unknown): Promise<void> {
        const judge = (found: Fields | null) => (found !== null && found['metadata'].uid !== uid) || 'it is the former one';
        await kube.waitFor({ kind: 'Pod', name, namespace: space.name }, judge, { what: 'is replaced', timeoutMs: limitMs });
        await space.podReady(name);
      }
    }),
  );
});

function statefulSet({ image }: { readonly image: string }) {
  const labels = { app: 'set' };
  return {
    apiVersion: 'apps/v1',
    kind: 'StatefulSet',
    metadata: { name: 'set' },
    spec: {
      serviceName: 'set',
      replicas: 3,
      podManagementPolicy: 'Parallel',
      selector: { matchLabels: labels },
      persistentVolumeClaimRetentionPolicy: { whenDeleted: 'Delete', whenScaled: 'Retain' },
      template: {
        metadata: { labels },
        spec: {
          terminationGracePeriodSeconds: 1,
          containers: [
            {
              name: 'main',
              image,
              imagePullPolicy: 'IfNotPresent',
              command: ['sh', '-c', 'trap "exit 0" TERM; sleep infinity & wait'],
              volumeMounts: [{ name: 'data', mountPath: '/data' }],
            },
          ],
        },
      },
      volumeClaimTemplates: [{ metadata: { name: 'data' }, spec: claimSpec({ accessModes: ['ReadWriteOncePod'] }) }],
    },
  };
}
