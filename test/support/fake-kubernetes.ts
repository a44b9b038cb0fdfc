/**
 * A Kubernetes API in memory, for tests, with the rules of the real one that controllers trip over: resource versions and
 * conflicts, status apart from the rest, finalizers, no event for a change of nothing. test/k8s/api-contract.ts holds it to
 * what the real one does.
 *
 *     const kubernetes = new FakeKubernetes({ now: () => clock.nowMs });
 *     kubernetes.seed(persistentVolumes, {...});            // with status, not logged: as if others had made it
 *     kubernetes.fail({ verb: 'replaceStatus', resource: volumeReverts });
 *     await kubernetes.settle();                            // informers have told everything, and what follows is done
 *     expect(kubernetes.calls).toEqual([...]);              // mutating calls only
 *
 * Not modelled: namespaces, owner references, validation, defaults, permissions.
 */
import { isDeepStrictEqual } from 'node:util';
import type { KubernetesApi, KubernetesObject, ObjectKey, ObjectMetadata, Resource, Selection } from '../../src/k8s/api.ts';
import { assert } from '../../src/util/assert.ts';
import { StoreError } from '../../src/util/errors.ts';
import { FakeFaults, type CallPattern, type Fault, type HeldCall, type Verb } from './fake-kubernetes-faults.ts';
import { FakeInformer, keyOf } from './fake-kubernetes-informer.ts';
import { selects } from './kubernetes-selection.ts';
import { asSigningRequest } from './fake-signing-requests.ts';
import { mergePatch } from './merge-patch.ts';

export interface MutatingCall {
  readonly verb: Verb;
  readonly kind: string;
  readonly name: string;
  readonly namespace?: string;
  readonly subresource?: string;
  /** The object or patch that was sent. */
  readonly body?: unknown;
}

type AnyObject = KubernetesObject & { readonly status?: object };
type Change = 'all but status' | 'status' | 'approval';

/** Kinds whose status is changed by `replaceStatus` and patches of "status" only. */
const KINDS_WITH_STATUS: readonly string[] = [
  'ChunkStorePool',
  'VolumeRevert',
  'Pod',
  'PersistentVolumeClaim',
  'PersistentVolume',
  'VolumeSnapshot',
  'VolumeSnapshotContent',
  'CertificateSigningRequest',
];

export class FakeKubernetes implements KubernetesApi {
  /** The mutating calls that reached the API, also those that it refused. */
  readonly calls: MutatingCall[] = [];
  readonly #now: () => number;
  readonly #kindsWithStatus: ReadonlySet<string>;
  readonly #faults = new FakeFaults();
  readonly #stored = new Map<string, Map<string, AnyObject>>();
  readonly #informers = new Set<FakeInformer<never>>();
  readonly #missingKinds = new Set<string>();
  #watchesPaused = false;
  #version = 1000;
  #uids = 0;
  #activity = 0;

  /** `kindsWithStatus` are kinds of a test's own whose status is a subresource. */
  constructor(options: { readonly now?: () => number; readonly kindsWithStatus?: readonly string[] } = {}) {
    this.#now = options.now ?? (() => Date.UTC(2025, 0, 1));
    this.#kindsWithStatus = new Set([...KINDS_WITH_STATUS, ...(options.kindsWithStatus ?? [])]);
  }

  // What the driver sees.

  get<Type extends KubernetesObject>(resource: Resource<Type>, key: ObjectKey): Promise<Type | null> {
    return this.#call('get', resource, key, () => this.object(resource, key));
  }

  list<Type extends KubernetesObject>(resource: Resource<Type>, selection: Selection = {}): Promise<readonly Type[]> {
    return this.#call('list', resource, null, () => {
      this.#demandKind(resource);
      return this.objects(resource, selection);
    });
  }

  create<Type extends KubernetesObject>(resource: Resource<Type>, object: Type): Promise<Type> {
    return this.#mutate('create', resource, object.metadata, object, () => {
      const { status: _dropped, ...rest } = object as AnyObject;
      return this.#insert(resource, (this.#kindsWithStatus.has(resource.kind) ? rest : object) as Type);
    });
  }

  replace<Type extends KubernetesObject>(resource: Resource<Type>, object: Type): Promise<Type> {
    return this.#mutate('replace', resource, object.metadata, object, () =>
      this.#update(resource, object.metadata, 'all but status', () => object),
    );
  }

  replaceStatus<Type extends KubernetesObject>(resource: Resource<Type>, object: Type): Promise<Type> {
    return this.#mutate('replaceStatus', resource, object.metadata, object, () =>
      this.#update(resource, object.metadata, 'status', () => object),
    );
  }

  patch<Type extends KubernetesObject>(
    resource: Resource<Type>,
    key: ObjectKey,
    patch: object,
    options: { readonly subresource?: string } = {},
  ): Promise<Type> {
    const change = options.subresource ?? 'all but status';
    assert(change === 'all but status' || change === 'status' || change === 'approval', `subresource ${change} is known to the fake`);
    return this.#mutate(
      'patch',
      resource,
      key,
      patch,
      () => this.#update(resource, key, change, (before) => mergePatch(before, patch) as AnyObject),
      options.subresource,
    );
  }

  async delete<Type extends KubernetesObject>(
    resource: Resource<Type>,
    key: ObjectKey,
    options: { readonly uid?: string } = {},
  ): Promise<void> {
    await this.#mutate('delete', resource, key, undefined, () => {
      const object = this.object(resource, key);
      if (object === null || (options.uid !== undefined && object.metadata.uid !== options.uid)) return;
      if ((object.metadata.finalizers ?? []).length === 0) this.remove(resource, key);
      else if (object.metadata.deletionTimestamp === undefined) {
        const { generation } = object.metadata;
        this.#store(resource, {
          ...object,
          metadata: {
            ...object.metadata,
            deletionTimestamp: this.#timestamp(),
            ...(generation !== undefined && { generation: generation + 1 }),
          },
        });
      }
    });
  }

  watch<Type extends KubernetesObject>(resource: Resource<Type>, selection: Selection = {}): FakeInformer<Type> {
    const current = (): ReadonlyMap<string, Type> | null => {
      if (this.#faults.away || this.#watchesPaused || this.#missingKinds.has(kindKey(resource))) return null;
      this.#activity++;
      return new Map(this.objects(resource, selection).map((object) => [keyOf(object.metadata), object]));
    };
    const informer = new FakeInformer<Type>(current, (closed) => this.#informers.delete(closed as unknown as FakeInformer<never>));
    this.#informers.add(informer as unknown as FakeInformer<never>);
    return informer;
  }

  // What tests see and do.

  /** The resource version of the last change. */
  get version(): number {
    return this.#version;
  }

  /** What is stored; null when it is not there. */
  object<Type extends KubernetesObject>(resource: Resource<Type>, key: ObjectKey): Type | null {
    return (this.#kind(resource).get(keyOf(key)) as Type | undefined) ?? null;
  }

  objects<Type extends KubernetesObject>(resource: Resource<Type>, selection: Selection = {}): readonly Type[] {
    const all = [...this.#kind(resource).entries()].toSorted(([left], [right]) => (left < right ? -1 : 1));
    return all.map(([, object]) => object).filter((object) => selects(resource, selection, object)) as unknown as Type[];
  }

  /** Makes an object as others would have, with its status. What `metadata` has of uid and creationTimestamp is kept. */
  seed<Type extends KubernetesObject>(resource: Resource<Type>, object: Type): Type {
    return this.#insert(resource, object);
  }

  /** Changes an object as others would have, also its status. */
  change<Type extends KubernetesObject>(resource: Resource<Type>, key: ObjectKey, patch: object): Type {
    const before = this.object(resource, key);
    assert(before !== null, `${resource.kind} ${key.name} is there to be changed`);
    return this.#store(resource, mergePatch(before, patch) as Type);
  }

  /** Takes an object away whatever its finalizers. */
  remove<Type extends KubernetesObject>(resource: Resource<Type>, key: ObjectKey): void {
    this.#kind(resource).delete(keyOf(key));
    this.#version++;
    this.#wakeInformers();
  }

  fail(fault: Fault): void {
    this.#faults.fail(fault);
  }

  clearFaults(): void {
    this.#faults.clear();
  }

  /** The next call that fits waits until it is released. */
  hold(pattern: CallPattern): HeldCall {
    return this.#faults.hold(pattern);
  }

  /** No call is answered, nothing is watched. */
  goAway(): void {
    this.#faults.away = true;
  }

  comeBack(): void {
    this.#faults.away = false;
    this.#wakeInformers();
  }

  /** Calls work, but informers keep what they have: a stale picture. */
  pauseWatches(): void {
    this.#watchesPaused = true;
  }

  resumeWatches(): void {
    this.#watchesPaused = false;
    this.#wakeInformers();
  }

  /** As if the cluster had no such kind. */
  uninstallKind(resource: Resource<KubernetesObject>): void {
    this.#missingKinds.add(kindKey(resource));
  }

  installKind(resource: Resource<KubernetesObject>): void {
    this.#missingKinds.delete(kindKey(resource));
    this.#wakeInformers();
  }

  /** Waits until the informers have told what there is, and nobody calls any more. Timers are not waited for. */
  async settle(): Promise<void> {
    let quietTurns = 0;
    for (let turn = 0; quietTurns < 5; turn++) {
      assert(turn < 10_000, 'the callers of the fake API come to rest');
      const before = this.#activity;
      await new Promise<void>((resolve) => {
        setImmediate(resolve);
      });
      const quiet = this.#activity === before && ![...this.#informers].some((informer) => informer.pending);
      quietTurns = quiet ? quietTurns + 1 : 0;
    }
  }

  // Below: how it is kept.

  #call<Result>(verb: Verb, resource: Resource<KubernetesObject>, key: ObjectKey | null, effect: () => Result): Promise<Result> {
    this.#activity++;
    return this.#faults.around({ verb, resource, name: key?.name }, () => {
      this.#activity++;
      return effect();
    });
  }

  #mutate<Result>(
    verb: Verb,
    resource: Resource<KubernetesObject>,
    key: ObjectKey,
    body: unknown,
    effect: () => Result,
    subresource?: string,
  ): Promise<Result> {
    assert(
      resource.namespaced === (key.namespace !== undefined),
      `${resource.kind} ${key.name} has a namespace if and only if its kind has`,
    );
    return this.#call(verb, resource, key, () => {
      this.calls.push({
        verb,
        kind: resource.kind,
        name: key.name,
        ...(key.namespace !== undefined && { namespace: key.namespace }),
        ...(subresource !== undefined && { subresource }),
        ...(body !== undefined && { body: asOnTheWire(body) }),
      });
      if (verb !== 'delete') this.#demandKind(resource);
      return effect();
    });
  }

  #insert<Type extends KubernetesObject>(resource: Resource<Type>, object: Type): Type {
    assert(object.metadata.name !== '', `${resource.kind} has a name`);
    if (this.object(resource, object.metadata) !== null) {
      throw new StoreError('already-exists', `${resource.kind} ${object.metadata.name} exists already`);
    }
    const uid = `00000000-0000-4000-8000-${String(++this.#uids).padStart(12, '0')}`;
    const defaults = { uid, creationTimestamp: this.#timestamp(), ...(isCustom(resource) && { generation: 1 }) };
    return this.#store(resource, {
      apiVersion: resource.group === '' ? resource.version : `${resource.group}/${resource.version}`,
      kind: resource.kind,
      ...object,
      metadata: { ...defaults, ...object.metadata },
    });
  }

  #update<Type extends KubernetesObject>(
    resource: Resource<Type>,
    key: ObjectKey,
    change: Change,
    make: (before: AnyObject) => KubernetesObject,
  ): Type {
    const before = this.object(resource, key) as AnyObject | null;
    if (before === null) throw new StoreError('not-found', `there is no ${resource.kind} ${key.name}`);
    let wanted = asOnTheWire(make(before) as AnyObject);
    if (resource.kind === 'CertificateSigningRequest') wanted = asSigningRequest(before, wanted, change);
    const { resourceVersion, uid } = wanted.metadata;
    if (resourceVersion !== undefined && resourceVersion !== before.metadata.resourceVersion) {
      throw new StoreError('busy', `${resource.kind} ${key.name} has changed since it was read`);
    }
    if (uid !== undefined && uid !== before.metadata.uid)
      throw new StoreError('busy', `${resource.kind} ${key.name} is another one by now`);
    if (resourceVersion === undefined && (isCustom(resource) || resource.kind === 'Lease')) {
      throw new StoreError('failed-precondition', `${resource.kind} ${key.name}: metadata.resourceVersion must be specified for an update`);
    }
    const after = asOnTheWire(
      change === 'all but status' ? this.#withoutStatusChange(resource, before, wanted) : withStatus(before, wanted, change),
    );
    if (isDeepStrictEqual(after, before)) return before as unknown as Type;
    if (after.metadata.deletionTimestamp !== undefined && (after.metadata.finalizers ?? []).length === 0) {
      this.remove(resource, key);
      return after as unknown as Type;
    }
    return this.#store(resource, after as unknown as Type);
  }

  #withoutStatusChange(resource: Resource<KubernetesObject>, before: AnyObject, wanted: AnyObject): AnyObject {
    const { status: wantedStatus, ...rest } = wanted;
    const status = this.#kindsWithStatus.has(resource.kind) ? before.status : wantedStatus;
    const after = { ...rest, ...(status !== undefined && { status }), metadata: keptMetadata(before.metadata, wanted.metadata) };
    const added = (after.metadata.finalizers ?? []).filter((name) => !(before.metadata.finalizers ?? []).includes(name));
    if (before.metadata.deletionTimestamp !== undefined && added.length > 0) {
      throw new StoreError(
        'failed-precondition',
        `no new finalizers can be added to ${resource.kind} ${before.metadata.name}: it is being deleted`,
      );
    }
    const { generation } = before.metadata;
    const changed = !isDeepStrictEqual({ ...after, metadata: null, status: null }, { ...before, metadata: null, status: null });
    return generation === undefined || !changed ? after : { ...after, metadata: { ...after.metadata, generation: generation + 1 } };
  }

  #store<Type extends KubernetesObject>(resource: Resource<Type>, object: Type): Type {
    this.#activity++;
    const stored = asOnTheWire({ ...object, metadata: { ...object.metadata, resourceVersion: String(++this.#version) } });
    deepFreeze(stored);
    this.#kind(resource).set(keyOf(stored.metadata), stored);
    this.#wakeInformers();
    return stored;
  }

  #kind(resource: Resource<KubernetesObject>): Map<string, AnyObject> {
    const key = kindKey(resource);
    const objects = this.#stored.get(key) ?? new Map<string, AnyObject>();
    this.#stored.set(key, objects);
    return objects;
  }

  #demandKind(resource: Resource<KubernetesObject>): void {
    if (this.#missingKinds.has(kindKey(resource)))
      throw new StoreError('failed-precondition', `the cluster has no kind ${resource.kind}; install it`);
  }

  #wakeInformers(): void {
    for (const informer of this.#informers) informer.wake();
  }

  /** As the API writes it: without fractions of seconds. */
  #timestamp(): string {
    return new Date(this.#now()).toISOString().replace(/\.\d+Z$/, 'Z');
  }
}

function kindKey(resource: Resource<KubernetesObject>): string {
  return `${resource.group}/${resource.plural}`;
}

/** Kinds defined by CRDs count generations and demand a resource version for each replacement. */
function isCustom(resource: Resource<KubernetesObject>): boolean {
  return resource.group.endsWith('chunkstore.dev') || resource.group === 'snapshot.storage.k8s.io';
}

/** The status that is wanted, on the object as it was. Approval touches conditions only. */
function withStatus(before: AnyObject, wanted: AnyObject, change: 'status' | 'approval'): AnyObject {
  const { status: _before, ...rest } = before;
  const conditions = (wanted.status as { conditions?: unknown } | undefined)?.conditions;
  const status = change === 'approval' ? { ...before.status, ...(conditions !== undefined && { conditions }) } : wanted.status;
  return { ...rest, ...(status !== undefined && { status }) } as AnyObject;
}

/** What nobody can change, kept; what may be left out and is the server's, too. */
function keptMetadata(before: ObjectMetadata, wanted: ObjectMetadata): ObjectMetadata {
  const { uid, creationTimestamp, deletionTimestamp, generation, resourceVersion } = before;
  const fixed = Object.entries({ uid, creationTimestamp, deletionTimestamp, generation, resourceVersion });
  const { deletionTimestamp: _forged, ...rest } = wanted;
  return { ...rest, ...Object.fromEntries(fixed.filter(([, value]) => value !== undefined)) } as ObjectMetadata;
}

/** A copy, without what JSON leaves out. */
function asOnTheWire<Type>(value: Type): Type {
  return JSON.parse(JSON.stringify(value)) as Type;
}

function deepFreeze(value: unknown): void {
  if (typeof value !== 'object' || value === null || Object.isFrozen(value)) return;
  Object.freeze(value);
  for (const part of Object.values(value)) deepFreeze(part);
}
