/**
 * What every KubernetesApi keeps to; run on the fake one in memory, and on the client against a real cluster. It makes its
 * objects under names of its own in one namespace, and deletes them.
 */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import type { KubernetesApi, KubernetesObject, ObjectKey, Resource } from '../../src/k8s/api.ts';
import { certificateSigningRequests, configMaps, leases, persistentVolumes, type ConfigMap } from '../../src/k8s/resources.ts';
import { eventually } from '../support/eventually.ts';
import { CERTIFICATE_PEM, REQUEST_PEM } from './signing-fixtures.ts';

/** A kind with a status subresource that no cluster has of itself. */
export interface ContractThing extends KubernetesObject {
  readonly spec: { readonly size?: number; readonly colour?: string };
  readonly status?: { readonly phase?: string; readonly used?: number };
}
export const contractThings: Resource<ContractThing> = {
  group: 'test.chunkstore.dev',
  version: 'v1alpha1',
  kind: 'ContractThing',
  plural: 'contractthings',
  namespaced: true,
};
const missingThings: Resource<KubernetesObject> = {
  group: 'missing.chunkstore.dev',
  version: 'v1',
  kind: 'MissingThing',
  plural: 'missingthings',
  namespaced: true,
};

export interface ApiSubject {
  readonly api: KubernetesApi;
  /** Exists, and is the suite's own. */
  readonly namespace: string;
  /** `contractThings` is there, and `missingThings` is not. */
  close(): Promise<void>;
}

const code = (expected: string): object => expect.objectContaining({ name: 'StoreError', code: expected });

export function describeApi(what: string, open: (kinds: { readonly missing: Resource<KubernetesObject> }) => Promise<ApiSubject>): void {
  describe(`${what}`, () => {
    let subject: ApiSubject;
    let api: KubernetesApi;
    const run = `contract-${Math.random().toString(36).slice(2, 8)}`;
    let names = 0;
    const key = (): { name: string; namespace: string } => ({ name: `${run}-${++names}`, namespace: subject.namespace });

    beforeAll(async () => {
      subject = await open({ missing: missingThings });
      api = subject.api;
    });
    afterAll(() => subject.close());

    test('what was created is there, with what the server adds', async () => {
      const metadata = key();
      const created = await api.create(configMaps, { metadata: { ...metadata, labels: { a: 'b' } }, data: { text: 'ä\n' } });
      expect(created).toMatchObject({
        apiVersion: 'v1',
        kind: 'ConfigMap',
        metadata: { ...metadata, labels: { a: 'b' } },
        data: { text: 'ä\n' },
      });
      expect(created.metadata.uid).toMatch(/^[0-9a-f-]{36}$/);
      expect(Date.parse(created.metadata.creationTimestamp ?? '')).not.toBeNaN();
      expect(await api.get(configMaps, metadata)).toEqual(created);
      await api.delete(configMaps, metadata);
      expect(await api.get(configMaps, metadata)).toBeNull();
    });

    test('a name is taken once', async () => {
      const metadata = key();
      await api.create(configMaps, { metadata });
      await expect(api.create(configMaps, { metadata })).rejects.toEqual(code('already-exists'));
      await api.delete(configMaps, metadata);
    });

    test('nothing is replaced that has changed since it was read', async () => {
      const metadata = key();
      const first = await api.create(leases, { metadata, spec: { holderIdentity: 'one' } });
      const second = await api.replace(leases, { ...first, spec: { holderIdentity: 'two' } });
      expect(second.spec.holderIdentity).toBe('two');
      expect(second.metadata.resourceVersion).not.toBe(first.metadata.resourceVersion);
      await expect(api.replace(leases, { ...first, spec: { holderIdentity: 'three' } })).rejects.toEqual(code('busy'));
      await expect(api.patch(leases, metadata, { metadata: { resourceVersion: first.metadata.resourceVersion } })).rejects.toEqual(
        code('busy'),
      );
      expect(await api.get(leases, metadata)).toEqual(second);
      await api.delete(leases, metadata);
    });

    test('another object of the same name is not taken for the first', async () => {
      const metadata = key();
      const first = await api.create(configMaps, { metadata });
      await api.delete(configMaps, metadata);
      const { resourceVersion: _, ...unversioned } = first.metadata;
      await api.create(configMaps, { metadata, data: { second: '' } });
      await expect(api.replace(configMaps, { metadata: unversioned, data: { first: '' } })).rejects.toEqual(code('busy'));
      await api.delete(configMaps, metadata, first.metadata.uid === undefined ? {} : { uid: first.metadata.uid });
      expect((await api.get(configMaps, metadata))?.data).toEqual({ second: '' });
      await api.delete(configMaps, metadata);
    });

    test('what is not there: null, not-found, deleted', async () => {
      const metadata = key();
      expect(await api.get(configMaps, metadata)).toBeNull();
      await expect(api.replace(configMaps, { metadata, data: {} })).rejects.toEqual(code('not-found'));
      await expect(api.patch(configMaps, metadata, { data: {} })).rejects.toEqual(code('not-found'));
      await expect(api.delete(configMaps, metadata)).resolves.toBeUndefined();
      await expect(api.delete(configMaps, metadata, { uid: '00000000-0000-4000-8000-00000000dead' })).resolves.toBeUndefined();
    });

    test('a kind that is not installed', async () => {
      expect(await api.get(missingThings, key())).toBeNull();
      await expect(api.list(missingThings)).rejects.toEqual(code('failed-precondition'));
      await expect(api.create(missingThings, { metadata: key() })).rejects.toEqual(code('failed-precondition'));
      const informer = api.watch(missingThings);
      expect(informer.all()).toEqual([]);
      informer.close();
    });

    test('status and the rest are changed apart from each other', async () => {
      const metadata = key();
      const created = await api.create(contractThings, { metadata, spec: { size: 1 }, status: { phase: 'Forged' } });
      expect(created.status).toBeUndefined();
      expect(created.metadata.generation).toBe(1);
      const withStatus = await api.replaceStatus(contractThings, { ...created, spec: { size: 99 }, status: { phase: 'Ready', used: 5 } });
      expect(withStatus).toMatchObject({ spec: { size: 1 }, status: { phase: 'Ready', used: 5 }, metadata: { generation: 1 } });
      const replaced = await api.replace(contractThings, { ...withStatus, spec: { size: 2 }, status: { phase: 'Forged' } });
      expect(replaced).toMatchObject({ spec: { size: 2 }, status: { phase: 'Ready', used: 5 }, metadata: { generation: 2 } });
      await expect(api.replaceStatus(contractThings, { ...withStatus, status: {} })).rejects.toEqual(code('busy'));
      await api.patch(contractThings, metadata, { spec: { size: 3 }, status: { phase: 'Forged' } });
      const patched = await api.patch(contractThings, metadata, { spec: { size: 99 }, status: { used: null } }, { subresource: 'status' });
      expect(patched).toMatchObject({ spec: { size: 3 }, status: { phase: 'Ready' }, metadata: { generation: 3 } });
      expect(patched.status).not.toHaveProperty('used');
      await api.delete(contractThings, metadata);
    });

    test('a custom object is not replaced by one without a version', async () => {
      const metadata = key();
      await api.create(contractThings, { metadata, spec: { size: 1 } });
      await expect(api.replace(contractThings, { metadata, spec: { size: 2 } })).rejects.toEqual(code('failed-precondition'));
      await api.delete(contractThings, metadata);
    });

    test('a patch merges, null deletes, lists are replaced; no change makes no version', async () => {
      const metadata = key();
      await api.create(configMaps, { metadata: { ...metadata, annotations: { a: '1', b: '2' } }, data: { a: '1', b: '2' } });
      const patched = await api.patch(configMaps, metadata, { metadata: { annotations: { a: null, c: '3' } }, data: { b: null, c: '3' } });
      expect(patched.metadata.annotations).toEqual({ b: '2', c: '3' });
      expect(patched.data).toEqual({ a: '1', c: '3' });
      const again = await api.patch(configMaps, metadata, { data: { c: '3' } });
      expect(again.metadata.resourceVersion).toBe(patched.metadata.resourceVersion);
      await api.delete(configMaps, metadata);
    });

    test('with finalizers it is marked first, and gone with the last of them', async () => {
      const metadata = key();
      const finalizers = ['test.chunkstore.dev/one', 'test.chunkstore.dev/two'];
      await api.create(configMaps, { metadata: { ...metadata, finalizers } });
      await api.delete(configMaps, metadata);
      const marked = await api.get(configMaps, metadata);
      expect(marked?.metadata.deletionTimestamp).toBeDefined();
      await api.delete(configMaps, metadata);
      const adding = api.patch(configMaps, metadata, { metadata: { finalizers: [...finalizers, 'test.chunkstore.dev/three'] } });
      await expect(adding).rejects.toEqual(code('failed-precondition'));
      await api.patch(configMaps, metadata, { metadata: { finalizers: finalizers.slice(1) } });
      expect((await api.get(configMaps, metadata))?.metadata.finalizers).toEqual(finalizers.slice(1));
      await api.patch(configMaps, metadata, { metadata: { finalizers: null } });
      expect(await api.get(configMaps, metadata)).toBeNull();
    });

    test('lists what a selection names, whole', async () => {
      const label = `chosen-${run}`;
      const made = [key(), key(), key()];
      for (const [index, metadata] of made.entries()) {
        await api.create(configMaps, { metadata: { ...metadata, labels: { [label]: String(index) } }, data: { index: String(index) } });
      }
      const listed = async (selection: object): Promise<string[]> =>
        (await api.list(configMaps, selection)).map((object) => object.data?.['index'] ?? '').toSorted((a, b) => a.localeCompare(b));
      expect(await listed({ labelSelector: label })).toEqual(['0', '1', '2']);
      expect(await listed({ labelSelector: `${label}=1`, namespace: subject.namespace })).toEqual(['1']);
      expect(await listed({ labelSelector: `${label},${label}!=1` })).toEqual(['0', '2']);
      expect(await listed({ labelSelector: `${label} in (0,2)` })).toEqual(['0', '2']);
      expect(await listed({ labelSelector: label, namespace: 'default' })).toEqual([]);
      expect(await listed({ fieldSelector: `metadata.name=${made[2]!.name}`, namespace: subject.namespace })).toEqual(['2']);
      expect((await api.list(configMaps, { labelSelector: label }))[0]).toMatchObject({ apiVersion: 'v1', kind: 'ConfigMap' });
      for (const metadata of made) await api.delete(configMaps, metadata);
    });

    test('kinds without a namespace', async () => {
      const { name } = key();
      const spec = {
        capacity: { storage: '1Mi' },
        accessModes: ['ReadWriteOnce'],
        csi: { driver: 'test.chunkstore.dev', volumeHandle: 'x' },
      };
      await api.create(persistentVolumes, { metadata: { name }, spec });
      expect((await api.get(persistentVolumes, { name }))?.spec.csi?.volumeHandle).toBe('x');
      const listed = await api.list(persistentVolumes, { fieldSelector: `metadata.name=${name}` });
      expect(listed.map((volume) => volume.metadata.name)).toEqual([name]);
      await api.patch(persistentVolumes, { name }, { metadata: { finalizers: null } });
      await api.delete(persistentVolumes, { name });
    });

    test('a signing request: approval and certificate are set apart, and once', async () => {
      const { name } = key();
      const spec = { request: btoa(REQUEST_PEM), signerName: 'test.chunkstore.dev/none', usages: ['digital signature', 'server auth'] };
      await api.create(certificateSigningRequests, { metadata: { name }, spec });
      const patch = (subresource: string, status: object): Promise<unknown> =>
        api.patch(certificateSigningRequests, { name }, { status }, { subresource }).then((object) => object.status);
      const approved = { type: 'Approved', status: 'True', reason: 'Test', message: 'a test' };
      const certificate = btoa(CERTIFICATE_PEM);
      await patch('approval', { conditions: [approved], certificate: btoa('forged') });
      await expect(patch('status', { certificate })).resolves.toMatchObject({ conditions: [approved], certificate });
      await expect(patch('status', { certificate: null })).rejects.toEqual(code('failed-precondition'));
      const failed = { type: 'Failed', status: 'True', reason: 'Test', message: 'a test' };
      await expect(patch('status', { conditions: [failed] })).rejects.toEqual(code('failed-precondition'));
      await api.patch(certificateSigningRequests, { name }, { spec: { signerName: 'test.chunkstore.dev/other' } });
      const read = await api.get(certificateSigningRequests, { name });
      expect(read).toMatchObject({ spec, status: { conditions: [approved], certificate } });
      await api.delete(certificateSigningRequests, { name });
    });

    test('an informer shows what there is and tells what changes', async () => {
      const label = `watched-${run}`;
      const [before, after, other] = [key(), key(), key()];
      const labels = { [label]: 'yes' };
      await api.create(configMaps, { metadata: { ...before, labels }, data: { state: 'old' } });
      const informer = api.watch(configMaps, { namespace: subject.namespace, labelSelector: `${label}=yes` });
      const told: string[] = [];
      const end = informer.onChange(({ kind, object }) => told.push(`${kind} ${object.metadata.name} ${object.data?.['state']}`));
      try {
        await informer.ready;
        expect(informer.all().map((object) => object.metadata.name)).toEqual([before.name]);
        expect(told).toEqual([`set ${before.name} old`]);
        await api.create(configMaps, { metadata: other, data: { state: 'unseen' } });
        await api.create(configMaps, { metadata: { ...after, labels }, data: { state: 'new' } });
        await eventually('the new one is shown', () => informer.get(after) !== null);
        await api.patch(configMaps, before, { data: { state: 'changed' } });
        await eventually('the change is shown', () => informer.get(before)?.data?.['state'] === 'changed');
        await api.patch(configMaps, after, { metadata: { labels: { [label]: 'no' } } });
        await eventually('what is not selected any more goes', () => informer.get(after) === null);
        await api.delete(configMaps, before);
        await eventually('what is deleted goes', () => informer.all().length === 0);
        expect(told.filter((line) => line.includes(before.name))).toEqual([
          `set ${before.name} old`,
          `set ${before.name} changed`,
          `removed ${before.name} changed`,
        ]);
        expect(told.some((line) => line.includes(other.name))).toBe(false);
        end();
        await api.create(configMaps, { metadata: { ...before, labels } });
        await eventually('it goes on after one listener', () => informer.get(before) !== null);
        expect(told.at(-1)).toBe(`removed ${before.name} changed`);
      } finally {
        informer.close();
        for (const metadata of [before, after, other]) await api.delete(configMaps, metadata);
      }
    });

    test('of two that create or replace at once, one succeeds', async () => {
      const metadata: ObjectKey & { namespace: string } = key();
      const creations = await Promise.allSettled(
        ['a', 'b', 'c'].map((who) => api.create<ConfigMap>(configMaps, { metadata, data: { who } })),
      );
      expect(creations.filter((creation) => creation.status === 'fulfilled')).toHaveLength(1);
      const read = await api.get(configMaps, metadata);
      const replacements = await Promise.allSettled(['d', 'e', 'f'].map((who) => api.replace(configMaps, { ...read!, data: { who } })));
      expect(replacements.filter((replacement) => replacement.status === 'fulfilled')).toHaveLength(1);
      await api.delete(configMaps, metadata);
    });
  });
}
