/**
 * How long it takes until a claim, a snapshot and a clone can be used: the whole as a person sees it, and of it the
 * driver's own call, as its controller logs it. Nothing is judged: the table at the end of the run shows them.
 */
import { expect, test } from '@jest/globals';
import { snapshot, storageClass } from '../support/manifests.ts';
import type { Space } from '../support/space.ts';
import { describeOnCluster } from '../support/suite.ts';

const rounds = 3;
const mebibyte = 1024 * 1024;

describeOnCluster('a claim, a snapshot and a clone, one at a time', {}, ({ driver, inSpace, kube, timings }) => {
  test(
    'take so long',
    inSpace(async (space) => {
      // Bound at once, so that no time of a pod or the scheduler is in it. A pod uses the source, as is usual.
      const storageClassName = `${space.name}-immediate`;
      await space.apply(storageClass({ name: storageClassName, fields: { volumeBindingMode: 'Immediate' } }));
      await space.claim({ name: 'data', storageClass: storageClassName });
      // The scheduler may miss the binding of a claim that is bound while it looks at the pod, and not look again for minutes.
      await space.claimBound('data');
      await space.pod({ name: 'user', mounts: { '/data': 'data' } });
      await space.write('user', { path: '/data/known', seed: 'times', sizeBytes: 16 * mebibyte });

      for (let round = 0; round < rounds; round += 1) {
        const names = { claim: `claim-${round}`, snapshot: `snapshot-${round}`, clone: `clone-${round}`, restore: `restore-${round}` };
        await timed(space, 'PVC to bound', { kind: 'PersistentVolumeClaim', name: names.claim, call: 'CreateVolume' }, async () => {
          await space.claim({ name: names.claim, storageClass: storageClassName });
          await space.claimBound(names.claim);
        });
        await timed(space, 'snapshot to ready', { kind: 'VolumeSnapshot', name: names.snapshot, call: 'CreateSnapshot' }, async () => {
          await space.apply(snapshot({ name: names.snapshot, claim: 'data' }));
          await space.snapshotReady(names.snapshot);
        });
        const sources = [
          ['clone to bound', names.clone, { kind: 'PersistentVolumeClaim', name: 'data' }],
          ['restore to bound', names.restore, { kind: 'VolumeSnapshot', name: names.snapshot }],
        ] as const;
        for (const [what, name, source] of sources) {
          await timed(space, what, { kind: 'PersistentVolumeClaim', name, call: 'CreateVolume' }, async () => {
            await space.claim({ name, storageClass: storageClassName, source });
            await space.claimBound(name);
          });
        }
      }
    }),
  );

  async function timed(
    space: Space,
    what: string,
    object: { readonly kind: string; readonly name: string; readonly call: string },
    action: () => Promise<void>,
  ): Promise<void> {
    await timings.time(`${what}, alone`, action);
    const { uid } = (await space.get(object.kind, object.name)).metadata as { readonly uid?: string };
    const prefix = object.kind === 'VolumeSnapshot' ? 'snapshot' : 'pvc';
    const ownMs = await durationOf(object.call, `${prefix}-${uid}`);
    expect(ownMs).not.toBeNull();
    timings.record(`${what}, alone: the driver's ${object.call}`, ownMs ?? 0);
  }

  /** Of the first call for a name that succeeded, by any of the controllers. */
  async function durationOf(method: string, name: string): Promise<number | null> {
    let durationMs: number | null = null;
    const probe = async () => {
      const pods = await driver.pods('controller');
      const logs = await Promise.all(
        pods.map(({ metadata }) => kube.api.logs({ namespace: driver.namespace, pod: metadata.name, container: 'controller', lines: 300 })),
      );
      const lines = logs.flatMap((text) => text.split('\n')).filter((line) => line.includes(name) && line.includes(`"${method}"`));
      const calls = lines.map((line) => JSON.parse(line) as { readonly code?: string; readonly durationMs?: number });
      durationMs = calls.find(({ code }) => code === 'OK')?.durationMs ?? null;
      return durationMs !== null || `no controller has logged ${method} of ${name}`;
    };
    await kube.until(`${method} of ${name} is in a log`, probe, { timeoutMs: 20_000 });
    return durationMs;
  }
});
