/**
 * A namespace for one test, with the objects that the test makes in it. At the end it is deleted, and that everything in
 * it went, the volumes behind it too, is part of the test.
 */
import { randomBytes } from 'node:crypto';
import type { Fields, Manifest } from './api.ts';
import { isNamespaced } from './api.ts';
import type { Driver } from './driver.ts';
import { describePod } from './explain.ts';
import type { CommandOptions, Kube } from './kube.ts';
import * as manifests from './manifests.ts';
import type { Settings } from './settings.ts';
import type { Timings } from './timings.ts';
import { verifyKnown, writeKnown, type KnownData } from './volumes.ts';

const boundLimitMs = 60_000;
const readyLimitMs = 120_000;
const goneLimitMs = 120_000;
const workloads = ['StatefulSet', 'Deployment', 'DaemonSet', 'Job'];

export interface Bed {
  readonly settings: Settings;
  readonly kube: Kube;
  readonly driver: Driver;
  readonly timings: Timings;
}

export class Space {
  readonly name: string;
  readonly #bed: Bed;
  readonly #clusterObjects: Manifest[] = [];

  private constructor(bed: Bed, name: string) {
    this.#bed = bed;
    this.name = name;
  }

  static async make(bed: Bed): Promise<Space> {
    const name = `e2e-${randomBytes(4).toString('hex')}`;
    await bed.kube.api.create({ apiVersion: 'v1', kind: 'Namespace', metadata: { name, labels: { 'chunkstore-e2e': 'space' } } });
    return new Space(bed, name);
  }

  /** In their order. Objects of the cluster, a StorageClass for instance, are deleted with the space. */
  async apply(...objects: readonly Manifest[]): Promise<void> {
    for (const object of objects) {
      if (!isNamespaced(object.kind)) this.#clusterObjects.push(object);
      await this.#bed.kube.apply(this.#placed(object));
    }
  }

  /** Makes a claim. With WaitForFirstConsumer it is bound when a pod uses it. */
  async claim(options: manifests.ClaimOptions): Promise<void> {
    await this.apply(manifests.claim(options));
  }

  /** Makes a pod with the tools and waits until it runs. */
  async pod(options: Omit<manifests.PodOptions, 'image'>): Promise<void> {
    await this.apply(manifests.pod({ image: this.#bed.settings.toolsImage, ...options }));
    await this.podReady(options.name);
  }

  /** Makes a pod with the tools, and waits for nothing. */
  async startPod(options: Omit<manifests.PodOptions, 'image'>): Promise<void> {
    await this.apply(manifests.pod({ image: this.#bed.settings.toolsImage, ...options }));
  }

  /** Cuts a snapshot and waits until it can be used. */
  async snapshot(options: { readonly name: string; readonly claim: string; readonly snapshotClass?: string }): Promise<void> {
    await this.#bed.timings.time('snapshot to ready', async () => {
      await this.apply(manifests.snapshot(options));
      await this.snapshotReady(options.name);
    });
  }

  get(kind: string, name: string): Promise<Manifest> {
    return this.#bed.kube.get({ kind, name, namespace: this.name });
  }

  async claimBound(name: string, options: { readonly timeoutMs?: number } = {}): Promise<Manifest> {
    const judge = (found: Fields | null) => found?.['status']?.phase === 'Bound' || `it is ${found?.['status']?.phase}`;
    return this.#waitFor('PersistentVolumeClaim', name, judge, { what: 'is bound', timeoutMs: options.timeoutMs ?? boundLimitMs });
  }

  async snapshotReady(name: string, options: { readonly timeoutMs?: number } = {}): Promise<Manifest> {
    const judge = (found: Fields | null) =>
      found?.['status']?.readyToUse === true || `its error is ${JSON.stringify(found?.['status']?.error?.message)}`;
    return this.#waitFor('VolumeSnapshot', name, judge, { what: 'is ready to use', timeoutMs: options.timeoutMs ?? boundLimitMs });
  }

  /** Waits until a snapshot has an error like this, which is where a person is told of it; answers its words. */
  async snapshotError(name: string, pattern: RegExp, options: { readonly timeoutMs: number }): Promise<string> {
    const messageIn = (found: Fields | null) => String(found?.['status']?.error?.message);
    const judge = (found: Fields | null) => pattern.test(messageIn(found)) || `its error is ${messageIn(found)}`;
    return messageIn(await this.#waitFor('VolumeSnapshot', name, judge, { what: `has an error like ${String(pattern)}`, ...options }));
  }

  async podReady(name: string, options: { readonly timeoutMs?: number } = {}): Promise<Manifest> {
    const judge = (found: Manifest | null) =>
      found?.['status']?.conditions?.some((one: Fields) => one['type'] === 'Ready' && one['status'] === 'True') === true ||
      (found === null ? 'it is not there' : describePod(found));
    return this.#waitFor('Pod', name, judge, { what: 'is ready', timeoutMs: options.timeoutMs ?? readyLimitMs });
  }

  /** Waits until a pod has ended by itself; fails when its program failed. */
  async podSucceeded(name: string, options: { readonly timeoutMs: number }): Promise<void> {
    const ended = await this.#waitFor(
      'Pod',
      name,
      (found) => ['Succeeded', 'Failed'].includes(found?.['status']?.phase) || (found === null ? 'it is not there' : describePod(found)),
      { what: 'has ended', ...options },
    );
    if (ended['status'].phase === 'Succeeded') return;
    const log = await this.#bed.kube.api.logs({ namespace: this.name, pod: name, lines: 40 });
    throw new Error(`${describePod(ended)}; its log:\n${log}`);
  }

  /** Waits for an event about an object; answers its message. */
  async event(
    about: { readonly kind: string; readonly name: string },
    pattern: RegExp,
    options: { readonly timeoutMs?: number } = {},
  ): Promise<string> {
    let message = '';
    await this.#bed.kube.until(
      `an event of ${about.kind} ${about.name} like ${String(pattern)}`,
      async () => {
        const events = await this.#bed.kube.api.list('Event', {
          namespace: this.name,
          fields: `involvedObject.kind=${about.kind},involvedObject.name=${about.name}`,
        });
        const messages = events.map((event) => `${event['reason']}: ${event['message']}`);
        message = messages.find((text) => pattern.test(text)) ?? '';
        return message !== '' || `there are ${JSON.stringify(messages)}`;
      },
      { timeoutMs: options.timeoutMs ?? readyLimitMs, namespaces: [this.name] },
    );
    return message;
  }

  /** Deletes an object of this namespace and waits until it is gone. */
  async remove(kind: string, name: string, options: { readonly timeoutMs?: number } = {}): Promise<void> {
    await this.#bed.kube.remove({ kind, name, namespace: this.name }, { timeoutMs: options.timeoutMs ?? goneLimitMs });
  }

  /** The standard output of a command in a pod. */
  exec(pod: string, command: readonly string[], options: CommandOptions = {}): Promise<string> {
    return this.#bed.kube.exec({ namespace: this.name, pod }, command, options);
  }

  write(pod: string, data: KnownData): Promise<void> {
    return writeKnown(this.#bed.kube, { namespace: this.name, pod }, data);
  }

  verify(pod: string, data: KnownData): Promise<void> {
    return verifyKnown(this.#bed.kube, { namespace: this.name, pod }, data);
  }

  /** The volume behind a claim: the driver's id of it, its pool and its node. */
  async volume(claim: string): Promise<{ readonly handle: string; readonly pool: string; readonly node: string }> {
    const name: string = (await this.claimBound(claim))['spec'].volumeName;
    const handle: string = (await this.#bed.kube.get({ kind: 'PersistentVolume', name }))['spec'].csi.volumeHandle;
    const pool = handle.split('.')[0] ?? '';
    return { handle, pool, node: (await this.#bed.kube.get({ kind: 'ChunkStorePool', name: pool }))['spec'].node };
  }

  /** Deletes all of it; fails when something of it stays. */
  async close(): Promise<void> {
    const { kube } = this.#bed;
    // Pods' makers first, or they make others; then what holds volumes; the namespace itself takes seconds, and holds nothing.
    for (const kinds of [workloads, ['Pod'], ['VolumeRevert', 'VolumeSnapshot', 'PersistentVolumeClaim']]) await this.#removeAll(kinds);
    await kube.until(`the volumes and snapshots of ${this.name} are gone`, () => this.#volumesLeft(), {
      timeoutMs: goneLimitMs,
      namespaces: [this.#bed.settings.namespace],
    });
    await kube.api.remove({ kind: 'Namespace', name: this.name });
    for (const { kind, metadata } of this.#clusterObjects.toReversed()) {
      await kube.remove({ kind, name: metadata.name }, { timeoutMs: goneLimitMs });
    }
  }

  async #removeAll(kinds: readonly string[]): Promise<void> {
    const { kube } = this.#bed;
    const find = async () => (await Promise.all(kinds.map((kind) => kube.api.list(kind, { namespace: this.name })))).flat();
    for (const { kind, name } of (await Promise.all(kinds.map((kind) => this.#names(kind)))).flat()) {
      // Nothing in a pod is worth waiting for.
      await kube.api.remove({ kind, name, namespace: this.name }, kind === 'Pod' ? { graceSeconds: 1 } : {});
    }
    const probe = async () => {
      const left = await find();
      return left.length === 0 || left.map(({ metadata }) => `${metadata.name} ${JSON.stringify(metadata['finalizers'] ?? [])}`).join(', ');
    };
    await kube.until(`no ${kinds.join(', ')} is left in ${this.name}`, probe, { timeoutMs: goneLimitMs, namespaces: [this.name] });
  }

  async #names(kind: string): Promise<{ readonly kind: string; readonly name: string }[]> {
    const objects = await this.#bed.kube.api.list(kind, { namespace: this.name });
    return objects.map(({ metadata }) => ({ kind, name: metadata.name }));
  }

  async #volumesLeft(): Promise<true | string> {
    const { api } = this.#bed.kube;
    const [volumes, contents] = await Promise.all([api.list('PersistentVolume'), api.list('VolumeSnapshotContent')]);
    const ours = [
      ...volumes.filter(
        ({ spec }: Fields) => spec?.['claimRef']?.namespace === this.name && spec['persistentVolumeReclaimPolicy'] === 'Delete',
      ),
      ...contents.filter(({ spec }: Fields) => spec?.['volumeSnapshotRef']?.namespace === this.name && spec['deletionPolicy'] === 'Delete'),
    ];
    return ours.length === 0 || ours.map(({ metadata }) => metadata.name).join(', ');
  }

  #placed(object: Manifest): Manifest {
    if (!isNamespaced(object.kind)) return object;
    return { ...object, metadata: { namespace: this.name, ...object.metadata } };
  }

  async #waitFor(
    kind: string,
    name: string,
    judge: (object: Manifest | null) => true | string,
    options: { readonly what: string; readonly timeoutMs: number },
  ): Promise<Manifest> {
    const found = await this.#bed.kube.waitFor({ kind, name, namespace: this.name }, judge, options);
    if (found === null) throw new Error(`${kind} ${name} is not there`);
    return found;
  }
}
