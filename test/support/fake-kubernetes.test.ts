import { describe, expect, test } from '@jest/globals';
import { chunkStorePools, configMaps, persistentVolumes } from '../../src/k8s/resources.ts';
import { describeApi } from '../k8s/api-contract.ts';
import { FakeKubernetes } from './fake-kubernetes.ts';

describeApi('the fake Kubernetes API', ({ missing }) => {
  const api = new FakeKubernetes({ kindsWithStatus: ['ContractThing'] });
  api.uninstallKind(missing);
  return Promise.resolve({ api, namespace: 'contract', close: () => Promise.resolve() });
});

const metadata = { name: 'x', namespace: 'y' };

describe('the fake Kubernetes API, for tests', () => {
  test('fails what it is told to fail, before or after the effect', async () => {
    const kubernetes = new FakeKubernetes();
    kubernetes.fail({ verb: 'create', resource: configMaps, times: 2 });
    kubernetes.fail({ verb: 'create', afterEffect: true });
    for (const there of [false, false, true]) {
      await expect(kubernetes.create(configMaps, { metadata })).rejects.toThrow(expect.objectContaining({ code: 'unavailable' }));
      expect(kubernetes.object(configMaps, metadata) !== null).toBe(there);
    }
    await expect(kubernetes.create(configMaps, { metadata })).rejects.toThrow(expect.objectContaining({ code: 'already-exists' }));
  });

  test('holds a call until it is let go', async () => {
    const kubernetes = new FakeKubernetes();
    const held = kubernetes.hold({ verb: 'create' });
    const creating = kubernetes.create(configMaps, { metadata });
    await held.reached;
    await kubernetes.settle();
    expect(kubernetes.object(configMaps, metadata)).toBeNull();
    held.release();
    await creating;
    expect(kubernetes.object(configMaps, metadata)).not.toBeNull();
  });

  test('away, it answers nothing and shows nothing; back, informers catch up', async () => {
    const kubernetes = new FakeKubernetes();
    kubernetes.seed(configMaps, { metadata });
    const informer = kubernetes.watch(configMaps);
    const told: string[] = [];
    informer.onChange(({ kind, object }) => told.push(`${kind} ${object.metadata.uid?.slice(-1)}`));
    await kubernetes.settle();
    kubernetes.goAway();
    await expect(kubernetes.list(configMaps)).rejects.toThrow(expect.objectContaining({ code: 'unavailable' }));
    kubernetes.remove(configMaps, metadata);
    kubernetes.seed(configMaps, { metadata });
    await kubernetes.settle();
    expect(told).toEqual(['set 1']);
    kubernetes.comeBack();
    await kubernetes.settle();
    expect(told).toEqual(['set 1', 'removed 1', 'set 2']);
    informer.close();
  });

  test('keeps a stale picture when told so', async () => {
    const kubernetes = new FakeKubernetes();
    const informer = kubernetes.watch(configMaps);
    await informer.ready;
    kubernetes.pauseWatches();
    kubernetes.seed(configMaps, { metadata });
    await kubernetes.settle();
    expect(informer.all()).toEqual([]);
    expect(await kubernetes.list(configMaps)).toHaveLength(1);
    kubernetes.resumeWatches();
    await kubernetes.settle();
    expect(informer.all()).toHaveLength(1);
    informer.close();
  });

  test('logs what was asked to change, and seeds what others made', async () => {
    const kubernetes = new FakeKubernetes({ now: () => Date.UTC(2030, 1, 2, 3, 4, 5, 678) });
    const seeded = kubernetes.seed(persistentVolumes, { metadata: { name: 'v' }, spec: {}, status: { phase: 'Bound' } });
    expect(seeded).toMatchObject({ status: { phase: 'Bound' }, metadata: { creationTimestamp: '2030-02-02T03:04:05Z' } });
    await kubernetes.patch(persistentVolumes, { name: 'v' }, { status: { phase: 'Failed' } }, { subresource: 'status' });
    await kubernetes.get(persistentVolumes, { name: 'v' });
    await kubernetes.delete(persistentVolumes, { name: 'v' });
    expect(kubernetes.calls).toEqual([
      { verb: 'patch', kind: 'PersistentVolume', name: 'v', subresource: 'status', body: { status: { phase: 'Failed' } } },
      { verb: 'delete', kind: 'PersistentVolume', name: 'v' },
    ]);
  });

  test('a kind that is installed later is watched from then on', async () => {
    const kubernetes = new FakeKubernetes();
    kubernetes.uninstallKind(chunkStorePools);
    kubernetes.seed(chunkStorePools, { metadata: { name: 'p' }, spec: { node: 'n' } });
    const informer = kubernetes.watch(chunkStorePools);
    await kubernetes.settle();
    expect(informer.all()).toEqual([]);
    kubernetes.installKind(chunkStorePools);
    await informer.ready;
    expect(informer.all()).toHaveLength(1);
    informer.close();
  });
});
