/**
 * Random walks of reverting: controllers that are killed between any two calls, answers that are lost, calls that arrive
 * late, two controllers at once, and users who attach, write, delete and make anew meanwhile. The order of everything is
 * drawn from the seed: a call takes place only when the walk lets it.
 */
import { pino } from 'pino';
import type { KubernetesApi, KubernetesObject, Resource } from '../../src/k8s/api.ts';
import {
  namespaces,
  persistentVolumeClaims,
  persistentVolumes,
  volumeReverts,
  volumeSnapshotContents,
  volumeSnapshots,
  type VolumeRevert,
} from '../../src/k8s/resources.ts';
import { NO_BACKUP_LABEL, safetyContentName, safetyHandle, safetyName, safetySnapshotName, uidOf } from '../../src/k8s/reverts/names.ts';
import { isKept, isTerminal } from '../../src/k8s/reverts/decide.ts';
import type { RevertStore } from '../../src/k8s/reverts/ports.ts';
import { takeOn, type StepPorts } from '../../src/k8s/reverts/steps.ts';
import { AssertionError } from '../../src/util/assert.ts';
import { StoreError } from '../../src/util/errors.ts';
import { POOL, RevertCluster } from './revert-cluster.ts';
import { SeededRandom } from './seeded-random.ts';
import { Violation } from './violation.ts';

/** Bugs that the walks must find. */
export type RevertBug =
  'any incarnation' | 'forgets what it pinned' | 'believes every PersistentVolume' | 'deletes the safety snapshot early';

/** After this a call that was sent has failed, and takes no effect any more: 30 s, and what a store needs to answer. */
const LATEST_ARRIVAL_MS = 40_000;
const NAMESPACES = ['one', 'two'];
const CLAIMS = ['data', 'logs'];

interface Call {
  readonly controller: number;
  /** What is called; of a revert, the name of its safety snapshot. */
  readonly name: string;
  readonly sentMs: number;
  /** Takes place now, with what is to go wrong. */
  readonly take: (fault: 'none' | 'before' | 'after') => void;
  readonly effect: () => Promise<unknown>;
}

interface Controller {
  readonly id: number;
  alive: boolean;
  /** Reverts that it is at. */
  readonly busy: Set<string>;
}

export class RevertWalk {
  readonly cluster = new RevertCluster(NAMESPACES);
  readonly #random: SeededRandom;
  readonly #bug: RevertBug | null;
  readonly #calls: Call[] = [];
  /** Of dead controllers: on their way, and may arrive. */
  readonly #late: Call[] = [];
  readonly #controllers: Controller[] = [];
  readonly #all = new Map<string, VolumeRevert>();
  /** What each VolumeRevert found first. */
  readonly #pinned = new Map<string, { claimUid?: string; volumeHandle?: string }>();
  #faulty = true;
  #storeAway = false;
  #apiAway = false;
  #made = 0;
  #error: Error | null = null;

  constructor(seed: number, bug: RevertBug | null = null) {
    this.#random = new SeededRandom(seed);
    this.#bug = bug;
    this.cluster.store.objection = ({ safety, id }, volume) => {
      const revert = [...this.#all.values()].find((candidate) => safetyName(uidOf(candidate)) === safety.name);
      if (revert === undefined || this.cluster.object(revert) === null) return 'reverted for a VolumeRevert that is gone';
      if (volume.namespace !== revert.metadata.namespace) return `reverted the volume ${id} of another namespace`;
      const pinned = this.#pinned.get(uidOf(revert));
      return pinned?.volumeHandle === id && pinned.claimUid === volume.claimUid ? null : 'reverted another volume than the one found first';
    };
    for (const namespace of NAMESPACES) {
      for (const name of CLAIMS) this.#makeClaim(namespace, name);
    }
    this.#startController();
  }

  async run(steps: number): Promise<void> {
    for (let step = 0; step < steps; step++) await this.#step();
    await this.#finish();
  }

  async #step(): Promise<void> {
    const what = this.#random.weighted({ call: 130, begin: 14, user: 6, time: 2, late: 16, controller: 1, fault: 1 });
    if (what === 'call') this.#takeCall();
    else if (what === 'begin') this.#begin();
    else if (what === 'user') this.#user();
    else if (what === 'time') this.cluster.nowMs += this.#random.pick([500, 500, 3_000, 10_000, 60_000]);
    else if (what === 'late') this.#arriveLate();
    else if (what === 'controller') this.#startController();
    else this.#toggle();
    await this.#quiet();
  }

  /** Nothing goes wrong any more, and nobody is in the way: now everything must come to an end. */
  async #finish(): Promise<void> {
    this.#faulty = false;
    this.#storeAway = false;
    this.#apiAway = false;
    while (this.#calls.length > 0) {
      this.#takeCall();
      await this.#quiet();
    }
    for (const controller of this.#controllers) controller.alive = false;
    this.#startController();
    for (const volume of this.cluster.store.volumes.values()) volume.attached = false;
    for (const namespace of NAMESPACES) {
      for (const name of CLAIMS) {
        this.#removeDangling(namespace, name);
        if (this.cluster.kubernetes.object(persistentVolumeClaims, { namespace, name }) === null) this.#makeClaim(namespace, name);
        if (this.cluster.kubernetes.object(volumeSnapshots, { namespace, name: `${name}-snapshot` }) === null)
          this.#makeSnapshot(namespace, name);
      }
    }
    for (let round = 0; round < 300 && ![...this.#all.values()].every((revert) => this.#isOver(revert)); round++) {
      this.cluster.nowMs += 10_000;
      this.#arriveLate();
      this.#begin();
      do {
        this.#takeCall();
        await this.#quiet();
      } while (this.#calls.length > 0);
    }
    for (const revert of this.#all.values()) this.#prove(revert);
  }

  #isOver(revert: VolumeRevert): boolean {
    const now = this.cluster.object(revert);
    return now === null || (isTerminal(now) && (now.metadata.finalizers ?? []).length === 0);
  }

  #prove(made: VolumeRevert): void {
    const uid = uidOf(made);
    const now = this.cluster.object(made);
    const say = (text: string): never => {
      throw new Violation(`${made.metadata.namespace}/${made.metadata.name} (${uid}): ${text}; ${JSON.stringify(now?.status)}`);
    };
    if (now !== null && (!isTerminal(now) || (now.metadata.finalizers ?? []).length > 0)) say('did not come to an end');
    if (now?.metadata.deletionTimestamp !== undefined) say('was not released');
    const name = safetyName(uid);
    const committed = this.cluster.store.committed.get(name);
    const spoiled = this.cluster.spoiled.has(name);
    const kept = this.cluster.store.snapshots.get(safetyHandle(POOL, uid));
    const phase = now?.status?.phase;
    if (phase === 'Complete' && committed === undefined) say('is Complete, but nothing was reverted');
    if (phase === 'Failed' && committed !== undefined && !spoiled) say('is Failed, but the volume was reverted');
    const { namespace } = made.metadata;
    const snapshot = this.cluster.kubernetes.object(volumeSnapshots, { namespace: namespace!, name: safetySnapshotName(made) });
    const content = this.cluster.kubernetes.object(volumeSnapshotContents, { name: safetyContentName(uid) });
    if (!isKept(made) && (kept !== undefined || snapshot !== null || content !== null)) say('left a safety snapshot behind');
    if (kept !== undefined && (snapshot === null || content === null)) say('left a safety snapshot that nobody can see');
    if (kept !== undefined && kept.content !== committed?.before) say('kept something else than what the volume held');
    if (phase === 'Complete' && isKept(made) && !spoiled && kept === undefined) say('is Complete without its safety snapshot');
    if (content !== null && (snapshot === null || content.spec.source.snapshotHandle !== safetyHandle(POOL, uid)))
      say('left a content behind');
  }

  // ---- users and other controllers --------------------------------------------------------------------

  #user(): void {
    const { cluster } = this;
    const namespace = this.#random.pick(NAMESPACES);
    const claim = this.#random.pick(CLAIMS);
    const volumes = [...cluster.store.volumes.values()];
    const reverts = [...this.#all.values()];
    const does = this.#random.weighted({
      revert: 30,
      attach: 8,
      detach: 25,
      write: 20,
      deleteClaim: 4,
      makeClaim: 8,
      deleteSnapshot: 4,
      makeSnapshot: 8,
      deleteRevert: 8,
      deleteSafety: 5,
      dropSafety: 2,
      label: 4,
      steal: 3,
      endNamespace: 1,
    });
    if (does === 'revert') this.#makeRevert(namespace, claim);
    else if (does === 'attach' && volumes.length > 0) this.#random.pick(volumes).attached = true;
    else if (does === 'detach' && volumes.length > 0) this.#random.pick(volumes).attached = false;
    else if (does === 'write' && volumes.length > 0) this.#random.pick(volumes).content = `written ${++this.#made}`;
    else if (does === 'deleteClaim') cluster.deleteClaim(namespace, claim);
    else if (does === 'makeClaim') this.#makeClaim(namespace, claim);
    else if (does === 'deleteSnapshot') cluster.deleteSnapshot(namespace, `${claim}-snapshot`);
    else if (does === 'makeSnapshot') this.#makeSnapshot(namespace, claim);
    else if (does === 'steal') this.#steal(namespace, claim);
    else if (does === 'endNamespace') this.#endNamespace(namespace);
    else if (reverts.length > 0) this.#meddle(does, this.#random.pick(reverts));
  }

  #meddle(does: string, revert: VolumeRevert): void {
    const { cluster } = this;
    const { namespace = '', name } = revert.metadata;
    const now = cluster.object(revert);
    if (does === 'deleteRevert' && now !== null) void cluster.kubernetes.delete(volumeReverts, { namespace, name });
    else if (does === 'deleteSafety') cluster.deleteSnapshot(namespace, safetySnapshotName(revert));
    else if (does === 'dropSafety') cluster.dropSnapshot(safetyHandle(POOL, uidOf(revert)));
    else if (does === 'label' && now !== null) {
      cluster.kubernetes.change(volumeReverts, { namespace, name }, { metadata: { labels: { touched: String(++this.#made) } } });
    }
  }

  #makeRevert(namespace: string, claimName: string): void {
    if (this.#isEnding(namespace)) return;
    const foreign = this.#random.chance(0.1);
    const snapshotName = `${foreign ? this.#random.pick(CLAIMS) : claimName}-snapshot`;
    const keep = this.#random.pick([true, false, undefined]);
    const spec = { claimName, snapshotName, ...(keep === undefined ? {} : { keepSafetySnapshot: keep }) };
    const revert = this.cluster.revert(namespace, `revert-${++this.#made}`, spec);
    this.#all.set(uidOf(revert), revert);
  }

  #makeClaim(namespace: string, name: string): void {
    if (this.#isEnding(namespace) || this.cluster.kubernetes.object(persistentVolumeClaims, { namespace, name }) !== null) return;
    const volume = this.cluster.claim(namespace, name);
    if (this.cluster.kubernetes.object(volumeSnapshots, { namespace, name: `${name}-snapshot` }) === null) {
      this.cluster.snapshot(namespace, `${name}-snapshot`, volume);
    }
  }

  #makeSnapshot(namespace: string, claimName: string): void {
    const claim = this.cluster.kubernetes.object(persistentVolumeClaims, { namespace, name: claimName });
    const volume = [...this.cluster.store.volumes.values()].find(({ claimUid }) => claimUid === claim?.metadata.uid);
    const name = `${claimName}-snapshot`;
    if (volume === undefined || this.#isEnding(namespace) || this.cluster.kubernetes.object(volumeSnapshots, { namespace, name }) !== null)
      return;
    this.cluster.snapshot(namespace, name, volume);
  }

  /** A claim that names the PersistentVolume of another namespace, and a snapshot that names its content. */
  #steal(namespace: string, name: string): void {
    const other = NAMESPACES.find((candidate) => candidate !== namespace)!;
    const claim = this.cluster.kubernetes.object(persistentVolumeClaims, { namespace: other, name });
    const snapshot = this.cluster.kubernetes.object(volumeSnapshots, { namespace: other, name: `${name}-snapshot` });
    if (claim === null || snapshot === null || this.#isEnding(namespace)) return;
    this.cluster.deleteClaim(namespace, name);
    this.cluster.deleteSnapshot(namespace, `${name}-snapshot`);
    this.cluster.kubernetes.seed(persistentVolumeClaims, { metadata: { namespace, name }, spec: claim.spec, status: { phase: 'Bound' } });
    const { spec, status } = snapshot;
    this.cluster.kubernetes.seed(volumeSnapshots, {
      metadata: { namespace, name: `${name}-snapshot` },
      spec,
      ...(status !== undefined && { status }),
    });
  }

  /** What was stolen, and its owner may have deleted. */
  #removeDangling(namespace: string, name: string): void {
    const { kubernetes } = this.cluster;
    const claim = kubernetes.object(persistentVolumeClaims, { namespace, name });
    const volume = kubernetes.object(persistentVolumes, { name: claim?.spec.volumeName ?? '' });
    if (volume?.spec.claimRef?.uid !== claim?.metadata.uid) this.cluster.deleteClaim(namespace, name);
    const snapshot = kubernetes.object(volumeSnapshots, { namespace, name: `${name}-snapshot` });
    const contentName = snapshot?.status?.boundVolumeSnapshotContentName ?? '';
    if (kubernetes.object(volumeSnapshotContents, { name: contentName }) === null)
      this.cluster.deleteSnapshot(namespace, `${name}-snapshot`);
  }

  #endNamespace(name: string): void {
    const { kubernetes } = this.cluster;
    kubernetes.change(namespaces, { name }, { metadata: { deletionTimestamp: '2026-01-01T00:00:00Z' } });
    for (const snapshot of kubernetes.objects(volumeSnapshots, { namespace: name }))
      this.cluster.deleteSnapshot(name, snapshot.metadata.name);
    for (const claim of kubernetes.objects(persistentVolumeClaims, { namespace: name }))
      this.cluster.deleteClaim(name, claim.metadata.name);
    for (const revert of kubernetes.objects(volumeReverts, { namespace: name })) {
      void kubernetes.delete(volumeReverts, { namespace: name, name: revert.metadata.name });
    }
  }

  #isEnding(name: string): boolean {
    return this.cluster.kubernetes.object(namespaces, { name })?.metadata.deletionTimestamp !== undefined;
  }

  #toggle(): void {
    if (this.#random.chance(0.5)) this.#storeAway = !this.#storeAway && this.#random.chance(0.5);
    else this.#apiAway = !this.#apiAway && this.#random.chance(0.5);
  }

  // ---- controllers and their calls ----------------------------------------------------------------------

  /** At times the old one lives on: it does not know yet that it leads no more. */
  #startController(): void {
    for (const controller of this.#controllers) if (!this.#faulty || this.#random.chance(0.7)) controller.alive = false;
    this.#controllers.push({ id: this.#controllers.length, alive: true, busy: new Set() });
  }

  #begin(): void {
    const alive = this.#controllers.filter((controller) => controller.alive);
    for (const controller of alive) {
      const open = [...this.#all.values()].filter((revert) => !this.#isOver(revert));
      const first = this.#random.below(open.length + 1);
      for (const revert of [...open.slice(first), ...open.slice(0, first)]) {
        const uid = uidOf(revert);
        // Reverts of one claim take turns, as in the reconciler.
        const claim = `${revert.metadata.namespace}/${revert.spec.claimName}`;
        if (controller.busy.has(claim) || (this.#faulty && this.#random.chance(0.6)) || this.cluster.object(revert) === null) continue;
        controller.busy.add(claim);
        void this.#takeOn(controller, revert).then(
          () => controller.busy.delete(claim),
          (error: unknown) => {
            controller.busy.delete(claim);
            if (!(error instanceof StoreError)) this.#error ??= error instanceof Error ? error : new Error(`${uid}: not an error`);
          },
        );
      }
    }
  }

  async #takeOn(controller: Controller, revert: VolumeRevert): Promise<void> {
    const { namespace = '', name } = revert.metadata;
    const ports: StepPorts = {
      api: this.#api(controller),
      stores: { ofPool: () => this.#send(controller, 'ofPool', async () => this.#store(controller)) },
      nowMs: () => this.cluster.nowMs,
      reverts: () => this.cluster.kubernetes.objects(volumeReverts),
      record: () => {},
      log: pino({ level: 'silent' }),
      stopped: () => false,
    };
    await takeOn(ports, { namespace, name });
  }

  #api(controller: Controller): KubernetesApi {
    const { kubernetes } = this.cluster;
    const send = <Result>(name: string, effect: () => Promise<Result>): Promise<Result> => this.#send(controller, name, effect);
    return {
      get: (resource, key) => send(`get ${resource.kind}`, async () => this.#planted(resource, await kubernetes.get(resource, key))),
      list: (resource, selection) => send('list', () => kubernetes.list(resource, selection)),
      create: (resource, object) =>
        send(`create ${resource.kind}`, async () => {
          if (resource.namespaced && this.#isEnding(object.metadata.namespace ?? '')) {
            throw new StoreError('failed-precondition', 'the namespace is being deleted');
          }
          return kubernetes.create(resource, object);
        }),
      replace: (resource, object) => send('replace', () => kubernetes.replace(resource, object)),
      replaceStatus: (resource, object) => send('replaceStatus', () => kubernetes.replaceStatus(resource, object)),
      patch: (resource, key, patch, options) => send('patch', () => kubernetes.patch(resource, key, patch, options)),
      delete: (resource, key, options) => send('delete', () => kubernetes.delete(resource, key, options)),
      watch: (resource, selection) => kubernetes.watch(resource, selection),
    };
  }

  #store(controller: Controller): RevertStore {
    const { store } = this.cluster;
    const send = <Result>(name: string, effect: () => Promise<Result>): Promise<Result> =>
      this.#send(controller, name, async () => {
        if (this.#storeAway) throw new StoreError('unavailable', 'the store is away');
        return effect();
      });
    return {
      getVolume: (id) => send('getVolume', () => store.getVolume(id)),
      getSnapshot: (id) => send('getSnapshot', () => store.getSnapshot(id)),
      deleteSnapshot: (id) => send('deleteSnapshot', () => store.deleteSnapshot(id)),
      revertVolume: (request) =>
        send(request.safety.name, async () => {
          const planted = this.#bug === 'any incarnation' ? { ...request, expectedIncarnation: 0 } : request;
          const answer = await store.revertVolume(planted);
          if (this.#bug === 'deletes the safety snapshot early') store.snapshots.delete(answer.safety?.id ?? '');
          return answer;
        }),
    };
  }

  #planted<Type extends KubernetesObject>(resource: Resource<Type>, object: Type | null): Type | null {
    if (object === null) return null;
    const kind = resource.kind;
    if (this.#bug === 'forgets what it pinned' && kind === 'VolumeRevert') {
      const {
        claimUid: _claim,
        volumeHandle: _volume,
        snapshotUid: _snapshot,
        snapshotHandle: _handle,
        ...status
      } = (object as unknown as VolumeRevert).status ?? {};
      const keeps = status.attemptedAt !== undefined || !this.#random.chance(0.5);
      return keeps ? object : ({ ...object, status } as unknown as Type);
    }
    if (this.#bug === 'believes every PersistentVolume' && (kind === 'PersistentVolume' || kind === 'VolumeSnapshotContent')) {
      return this.#forged(object);
    }
    return object;
  }

  /** As it would have to be for the namespace that asks: the checks of the two-way binding see nothing. */
  #forged<Type extends KubernetesObject>(object: Type): Type {
    const { kubernetes } = this.cluster;
    const spec = (object as unknown as { spec: Record<string, object> }).spec;
    const thief = [...kubernetes.objects(persistentVolumeClaims)].find(
      (claim) => claim.spec.volumeName === object.metadata.name && claim.metadata.uid !== (spec['claimRef'] as { uid?: string })?.uid,
    );
    const robbed = [...kubernetes.objects(volumeSnapshots)].find(
      (snapshot) =>
        snapshot.status?.boundVolumeSnapshotContentName === object.metadata.name &&
        snapshot.metadata.uid !== (spec['volumeSnapshotRef'] as { uid?: string })?.uid,
    );
    const claimRef = thief === undefined ? {} : { claimRef: { uid: thief.metadata.uid } };
    const reference = robbed === undefined ? {} : { volumeSnapshotRef: { uid: robbed.metadata.uid, namespace: robbed.metadata.namespace } };
    return { ...object, spec: { ...spec, ...claimRef, ...reference } };
  }

  #send<Result>(controller: Controller, name: string, effect: () => Promise<Result>): Promise<Result> {
    const { promise, resolve, reject } = Promise.withResolvers<Result>();
    const take = (fault: 'none' | 'before' | 'after'): void => {
      const lost = new StoreError('unavailable', `${name}: no answer`);
      if (fault === 'before') return reject(lost);
      effect().then((result) => (fault === 'after' ? reject(lost) : resolve(result)), reject);
    };
    this.#calls.push({ controller: controller.id, name, sentMs: this.cluster.nowMs, take, effect });
    return promise;
  }

  #takeCall(): void {
    this.#buryDead();
    if (this.#calls.length === 0) return;
    const call = this.#calls.splice(this.#random.below(this.#calls.length), 1)[0]!;
    if (!this.#faulty) return call.take('none');
    if (this.#random.chance(0.01)) {
      // The controller is killed, and this call may have arrived.
      this.#controllers[call.controller]!.alive = false;
      if (this.#random.chance(0.4)) this.#late.push(call);
      else if (this.#random.chance(0.5)) call.effect().catch((error: unknown) => this.#note(error));
      return this.#buryDead();
    }
    if (this.#apiAway && !/^(ofPool|getVolume|getSnapshot|revert-.*|deleteSnapshot)$/.test(call.name)) return call.take('before');
    if (this.cluster.nowMs - call.sentMs > LATEST_ARRIVAL_MS) return call.take('before');
    if (call.name.startsWith('revert-') && this.#random.chance(0.4)) {
      this.#late.push(call);
      return call.take('before');
    }
    call.take(this.#random.weighted({ none: 94, before: 3, after: 3 }));
  }

  #arriveLate(): void {
    // The worst moment is when the traces of the same revert, done by another call, are gone.
    const worst = this.#late.findIndex(({ name }) => this.#isForgotten(name));
    if (this.#late.length === 0 || (this.#faulty && worst < 0 && this.#random.chance(0.95))) return;
    const call = this.#late.splice(worst < 0 ? this.#random.below(this.#late.length) : worst, 1)[0]!;
    if (this.cluster.nowMs - call.sentMs <= LATEST_ARRIVAL_MS) call.effect().catch((error: unknown) => this.#note(error));
  }

  #isForgotten(callName: string): boolean {
    const { committed, snapshots } = this.cluster.store;
    return committed.has(callName) && ![...snapshots.values()].some(({ name }) => name === callName);
  }

  #note(error: unknown): void {
    if (error instanceof Violation || error instanceof AssertionError) this.#error ??= error;
  }

  /** What a dead controller has not sent never happens. */
  #buryDead(): void {
    const living = this.#calls.filter(({ controller }) => this.#controllers[controller]!.alive);
    this.#calls.splice(0, this.#calls.length, ...living);
  }

  async #quiet(): Promise<void> {
    await new Promise<void>((resolve) => {
      setImmediate(resolve);
    });
    if (this.#error !== null) throw this.#error;
    for (const revert of this.#all.values()) {
      const { claimUid, volumeHandle } = this.cluster.object(revert)?.status ?? {};
      const known = this.#pinned.get(uidOf(revert)) ?? {};
      const pinned = { ...(claimUid !== undefined && { claimUid }), ...(volumeHandle !== undefined && { volumeHandle }), ...known };
      this.#pinned.set(uidOf(revert), pinned);
      const now = this.cluster.object(revert);
      if (now?.status?.volumeHandle !== undefined && now.metadata.labels?.[NO_BACKUP_LABEL] !== 'true') {
        throw new Violation(`${revert.metadata.name} is not kept out of backups`);
      }
    }
  }
}
