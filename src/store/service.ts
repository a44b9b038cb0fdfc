/**
 * What a store does for its callers, without the wire: rules over the engine's control calls that concern more than one
 * object. Locks and "never twice" live here, by name and by object, because several controllers may call at once.
 *
 * Sizes are in bytes and multiples of 4,096. Every call is idempotent; the answer of a call that finds its name taken
 * says so and describes what is there, and the caller compares.
 */
import { randomFillSync } from 'node:crypto';
import {
  type ControlRequest,
  ERASE_ATTRIBUTE,
  type ObjectAnswer,
  type ObjectId,
  type ObjectInfo,
  type ObjectKind,
  type PoolInfo,
  type Usage,
} from '../engine/control.ts';
import { isObjectId, newObjectId } from '../engine/object-id.ts';
import { BusyLocks, Turns } from '../util/busy-locks.ts';
import { StoreError } from '../util/errors.ts';
import type { Logger } from '../util/log.ts';
import type { Attachments } from './attachments.ts';
import type { EngineControl, MetadataWatch } from './data-thread/control.ts';
import { snapshotMessage, volumeMessage } from './object-messages.ts';
import type { Fence } from './pool/fence.ts';
import type { Scrubber } from './scrub/scrubber.ts';
import { objectIdIn, parseWireId, wireId } from './wire/ids.ts';
import type { AttachMessage, Attributes, CheckMessage, DefragmentMessage, PoolMessage, StoreCalls, UsageMessage } from './wire/messages.ts';
import type { NodeSessions } from './wire/node-sessions.ts';
import { defragmentMessage } from './wire/defragment-messages.ts';
import { damageMessage, scrubMessage, scrubModeOf } from './wire/scrub-messages.ts';

export interface StoreServiceOptions {
  readonly engine: EngineControl;
  readonly metadata: MetadataWatch;
  readonly attachments: Attachments;
  readonly nodes: NodeSessions;
  readonly fence: Fence;
  readonly scrubber: Scrubber;
  /** Raises the version of the pool's format, which is durable when this returns. */
  readonly raiseVersion: () => void;
  readonly poolId: ObjectId;
  readonly node: string;
  /** How many times the pool's size all volumes together may be large. */
  readonly overprovisioningRatio: number;
  /** Whether a cut of this volume shall freeze its file system, not only sync it. */
  readonly freezes: (volume: ObjectInfo, cutAttributes: Attributes) => boolean;
  readonly log: Logger;
}

const GRANULE_BYTES = 4096;
/** Of the pool this part is kept for writes to what exists: nothing new is made from it. */
const RESERVE_PART = 64;
const LONGEST_NAME_BYTES = 256;
const MOST_ATTRIBUTES_BYTES = 2048;

type DefragmentRequest = Extract<ControlRequest, { kind: 'defragment-start' | 'defragment-stop' | 'defragment-status' }>;
type Request<Name extends keyof StoreCalls> = StoreCalls[Name]['request'];
type Response<Name extends keyof StoreCalls> = StoreCalls[Name]['response'];

export class StoreService {
  readonly #options: StoreServiceOptions;
  readonly #engine: EngineControl;
  readonly #locks = new BusyLocks();
  /** Between reading the sum of sizes and adding to it nobody else adds. */
  readonly #provisioning = new Turns();

  constructor(options: StoreServiceOptions) {
    this.#options = options;
    this.#engine = options.engine;
  }

  async getPool(): Promise<PoolMessage> {
    const pool = await this.#engine.call({ kind: 'pool' });
    const { node, fence } = this.#options;
    return { ...pool, node, provisionLimitBytes: this.#provisionLimitBytes(pool), reserveBytes: reserveBytesOf(pool), lost: fence.lost };
  }

  async createVolume(request: Request<'createVolume'>): Promise<Response<'createVolume'>> {
    const { name, sizeBytes, attributes } = request;
    this.#options.fence.demandOpen();
    checkName(name);
    checkAttributes(attributes);
    checkSize(sizeBytes, { zeroAllowed: request.source !== null });
    const source = request.source === null ? null : this.#sourceId(request.source);
    const locks = { exclusive: [nameLock('volume', name)], shared: source === null ? [] : [objectLock(source.id)] };
    return this.#locks.with(locks, async () => {
      const existing = await this.#engine.call({ kind: 'named', objectKind: 'volume', name });
      if (existing === null) await this.#refuseWhenFull();
      // A volume of that name needs no room; the engine is asked all the same, because its answer is durable.
      const origin = source === null || existing !== null ? null : await this.#find(source.id, source.kind, request.source?.id ?? '');
      if (origin !== null && sizeBytes !== 0 && sizeBytes < origin.sizeBytes) {
        throw new StoreError('out-of-range', `a volume of ${sizeBytes} bytes cannot hold its source of ${origin.sizeBytes} bytes`);
      }
      const create = async (): Promise<ObjectAnswer> => {
        const id = newId();
        this.#raiseFor(attributes);
        if (source === null) return this.#engine.call({ kind: 'create', id, name, sizeBytes, attributes });
        return this.#engine.call({ kind: 'clone', id, name, sourceId: source.id, sizeBytes, attributes });
      };
      const addedBytes = existing === null ? sizeBytes || (origin?.sizeBytes ?? 0) : 0;
      const provision = (): Promise<ObjectAnswer> => this.#provision(addedBytes, { volumeBytes: addedBytes }, create);
      const answer = origin?.kind === 'volume' ? await this.#cut(origin, attributes, provision) : await provision();
      return { volume: await this.#volume(answer.object), existed: answer.existed };
    });
  }

  async deleteVolume(request: Request<'deleteVolume'>): Promise<Response<'deleteVolume'>> {
    return this.#delete(request.id, 'volume');
  }

  async getVolume(request: Request<'getVolume'>): Promise<Response<'getVolume'>> {
    return this.#volume(await this.#object(request.id, 'volume'));
  }

  async findVolume(request: Request<'findVolume'>): Promise<Response<'findVolume'>> {
    const volume = await this.#engine.call({ kind: 'named', objectKind: 'volume', name: request.name });
    return { volume: volume === null ? null : await this.#volume(volume) };
  }

  async listVolumes(): Promise<Response<'listVolumes'>> {
    const [objects, attached] = await Promise.all([this.#objects(), this.#options.attachments.attached()]);
    const { poolId } = this.#options;
    const volumes = objects.filter((object) => object.kind === 'volume');
    return { volumes: volumes.map((object) => volumeMessage(poolId, object, { attached: attached.has(object.id) })) };
  }

  async resizeVolume(request: Request<'resizeVolume'>): Promise<Response<'resizeVolume'>> {
    this.#options.fence.demandOpen();
    checkSize(request.sizeBytes, { zeroAllowed: false });
    const id = this.#id(request.id);
    return this.#locks.with({ exclusive: [objectLock(id)] }, async () => {
      const volume = await this.#object(request.id, 'volume');
      const addedBytes = Math.max(0, request.sizeBytes - volume.sizeBytes);
      const answer = await this.#provision(addedBytes, { volumeBytes: request.sizeBytes }, () =>
        this.#engine.call({ kind: 'resize', id, sizeBytes: request.sizeBytes }),
      );
      await this.#options.attachments.resized(answer.object);
      return this.#volume(answer.object);
    });
  }

  async revertVolume(request: Request<'revertVolume'>): Promise<Response<'revertVolume'>> {
    this.#options.fence.demandOpen();
    const id = this.#id(request.id);
    const snapshotId = this.#id(request.snapshotId);
    checkAttributes(request.safetyAttributes);
    if (request.safetyName !== '') checkName(request.safetyName);
    const safety = request.discardPresentState ? null : safetyOf(request);
    if (safety !== null) this.#raiseFor(safety.attributes);
    const exclusive = [objectLock(id), deviceLock(id), ...(safety === null ? [] : [nameLock('snapshot', safety.name)])];
    return this.#locks.with({ exclusive, shared: [objectLock(snapshotId)] }, async () => {
      const volume = await this.#object(request.id, 'volume');
      // A call that was done already is only answered again, whatever became of the snapshot and of the device since.
      const made = safety === null ? null : await this.#engine.call({ kind: 'named', objectKind: 'snapshot', name: safety.name });
      if (made !== null) return this.#revertedBefore(volume, made);
      if (request.expectedIncarnation !== 0 && request.expectedIncarnation !== volume.incarnation) {
        throw new StoreError(
          'failed-precondition',
          `volume ${request.id} has been reverted since its incarnation was ${request.expectedIncarnation}; it is ${volume.incarnation} now`,
        );
      }
      await this.#object(request.snapshotId, 'snapshot');
      await this.#options.attachments.release(id, { what: `volume ${request.id}` });
      const answer = await this.#engine.call({ kind: 'revert', id, snapshotId, safety });
      return {
        volume: await this.#volume(answer.object),
        safety: answer.safety === null ? null : snapshotMessage(this.#options.poolId, answer.safety, { attached: false }),
        existed: answer.existed,
      };
    });
  }

  async createSnapshot(request: Request<'createSnapshot'>): Promise<Response<'createSnapshot'>> {
    const { name, attributes } = request;
    this.#options.fence.demandOpen();
    checkName(name);
    checkAttributes(attributes);
    const sourceId = this.#id(request.sourceVolumeId);
    return this.#locks.with({ exclusive: [nameLock('snapshot', name)], shared: [objectLock(sourceId)] }, async () => {
      const existing = await this.#engine.call({ kind: 'named', objectKind: 'snapshot', name });
      if (existing === null) await this.#refuseWhenFull();
      const cut = (): Promise<ObjectAnswer> => {
        this.#raiseFor(attributes);
        return this.#engine.call({ kind: 'snapshot', id: newId(), name, sourceId, attributes });
      };
      const answer =
        existing === null
          ? await this.#cut(await this.#find(sourceId, 'volume', request.sourceVolumeId), attributes, cut)
          : await this.#existing(existing);
      const attached = await this.#options.attachments.attached();
      return {
        snapshot: snapshotMessage(this.#options.poolId, answer.object, { attached: attached.has(answer.object.id) }),
        existed: answer.existed,
      };
    });
  }

  async deleteSnapshot(request: Request<'deleteSnapshot'>): Promise<Response<'deleteSnapshot'>> {
    return this.#delete(request.id, 'snapshot');
  }

  async getSnapshot(request: Request<'getSnapshot'>): Promise<Response<'getSnapshot'>> {
    const object = await this.#object(request.id, 'snapshot');
    const attached = await this.#options.attachments.attached();
    return snapshotMessage(this.#options.poolId, object, { attached: attached.has(object.id) });
  }

  async listSnapshots(): Promise<Response<'listSnapshots'>> {
    const [objects, attached] = await Promise.all([this.#objects(), this.#options.attachments.attached()]);
    const { poolId } = this.#options;
    const snapshots = objects.filter((object) => object.kind === 'snapshot');
    return { snapshots: snapshots.map((object) => snapshotMessage(poolId, object, { attached: attached.has(object.id) })) };
  }

  async attach(request: Request<'attach'>): Promise<AttachMessage> {
    this.#options.fence.demandOpen();
    const id = this.#id(request.id);
    // Nor may it grow meanwhile: the device would keep the size that was read before.
    return this.#locks.with({ exclusive: [deviceLock(id)], shared: [objectLock(id)] }, async () => {
      const object = await this.#find(id, null, request.id);
      const { keeperKey, readOnly } = await this.#options.attachments.attach(object, { source: request.id });
      return { keeperKey, readOnly, sizeBytes: object.sizeBytes, attributes: object.attributes };
    });
  }

  async detach(request: Request<'detach'>): Promise<Response<'detach'>> {
    const parsed = parseWireId(request.id);
    // A pool that was here before, on a disk that was replaced: its pods could not end otherwise.
    if (parsed === null || parsed.poolId !== this.#options.poolId) return {};
    const id = parsed.objectId;
    await this.#locks.with({ exclusive: [deviceLock(id)] }, () => this.#options.attachments.detach(id));
    return {};
  }

  async getUsage(request: Request<'getUsage'>): Promise<UsageMessage> {
    const usage = await this.#engine.call({ kind: 'usage', id: this.#id(request.id) });
    return { id: request.id, ...usage };
  }

  async listUsage(): Promise<Response<'listUsage'>> {
    const usages: UsageMessage[] = [];
    for (const object of await this.#objects()) {
      const usage = await this.#usageUnlessGone(object.id);
      if (usage !== null) usages.push({ id: wireId(this.#options.poolId, object.id), ...usage });
    }
    return { usages };
  }

  async check(): Promise<CheckMessage> {
    return this.#engine.call({ kind: 'check' });
  }

  async startScrub(request: Request<'startScrub'>): Promise<Response<'startScrub'>> {
    const { mode, bytesPerSecond } = request;
    return scrubMessage(await this.#options.scrubber.start({ mode: scrubModeOf(mode) ?? 'verify', bytesPerSecond }));
  }

  async stopScrub(): Promise<Response<'stopScrub'>> {
    return scrubMessage(await this.#options.scrubber.stop());
  }

  async getScrub(): Promise<Response<'getScrub'>> {
    return scrubMessage(await this.#options.scrubber.status());
  }

  async listDamage(): Promise<Response<'listDamage'>> {
    return damageMessage(this.#options.poolId, await this.#options.scrubber.damage());
  }

  async startDefragment(request: Request<'startDefragment'>): Promise<Response<'startDefragment'>> {
    const id = this.#id(request.id);
    // What snapshots share takes new slots, and new pages of the map.
    await this.#refuseWhenFull();
    return this.#defragment({ kind: 'defragment-start', id });
  }

  async stopDefragment(request: Request<'stopDefragment'>): Promise<Response<'stopDefragment'>> {
    return this.#defragment({ kind: 'defragment-stop', id: this.#id(request.id) });
  }

  async getDefragment(request: Request<'getDefragment'>): Promise<Response<'getDefragment'>> {
    return this.#defragment({ kind: 'defragment-status', id: request.id === '' ? null : this.#id(request.id) });
  }

  async #defragment(request: DefragmentRequest): Promise<DefragmentMessage> {
    return defragmentMessage(this.#options.poolId, await this.#engine.call(request));
  }

  /** Runs `create` if the pool's budget has room for `addedBytes` more, and nobody else adds meanwhile. */
  #provision<Result>(addedBytes: number, options: { readonly volumeBytes: number }, create: () => Promise<Result>): Promise<Result> {
    if (addedBytes === 0) return create();
    return this.#provisioning.take(async () => {
      const pool = await this.#engine.call({ kind: 'pool' });
      const limitBytes = this.#provisionLimitBytes(pool);
      if (options.volumeBytes > limitBytes) {
        throw new StoreError(
          'out-of-range',
          `a volume of ${options.volumeBytes} bytes is larger than the ${limitBytes} bytes that this pool may promise`,
        );
      }
      if (pool.provisionedBytes + addedBytes > limitBytes) {
        const leftBytes = Math.max(0, limitBytes - pool.provisionedBytes);
        throw new StoreError(
          'no-space',
          `the pool has promised ${pool.provisionedBytes} of ${limitBytes} bytes; ${leftBytes} are left, ${addedBytes} are asked for`,
        );
      }
      return create();
    });
  }

  #provisionLimitBytes(pool: PoolInfo): number {
    const limit = Math.floor(pool.sizeBytes * this.#options.overprovisioningRatio);
    return limit - (limit % GRANULE_BYTES);
  }

  /** A cut of a volume: when its block device is open, the node role writes out its file system first. */
  async #cut<Result>(volume: ObjectInfo, attributes: Attributes, cut: () => Promise<Result>): Promise<Result> {
    const attached = await this.#options.attachments.attached();
    if (!attached.has(volume.id)) return cut();
    // Writes that wait for room cannot be written out, and a freeze would wait for them with the whole file system.
    const freeze = this.#options.freezes(volume, attributes) && (await this.#engine.call({ kind: 'pool' })).parkedWrites === 0;
    return this.#options.nodes.beforeCut(wireId(this.#options.poolId, volume.id), { freeze }, cut);
  }

  async #revertedBefore(volume: ObjectInfo, safety: ObjectInfo): Promise<Response<'revertVolume'>> {
    const { poolId, attachments } = this.#options;
    if (safety.sourceId !== volume.id) {
      throw new StoreError('already-exists', `the snapshot ${JSON.stringify(safety.name)} exists already, but of another volume`);
    }
    const attached = await attachments.attached();
    return {
      volume: await this.#volume(volume),
      safety: snapshotMessage(poolId, safety, { attached: attached.has(safety.id) }),
      existed: true,
    };
  }

  /** An older program would not erase what an object with this attribute leaves: it must not get the pool any more. */
  #raiseFor(attributes: Attributes): void {
    if (attributes[ERASE_ATTRIBUTE] === 'true') this.#options.raiseVersion();
  }

  /** Repeats the cut of a snapshot that exists: the engine answers with it as soon as it is durable. */
  #existing(snapshot: ObjectInfo): Promise<ObjectAnswer> {
    const { name, attributes, sourceId } = snapshot;
    return this.#engine.call({ kind: 'snapshot', id: newId(), name, sourceId: sourceId ?? snapshot.id, attributes });
  }

  #delete(id: string, kind: ObjectKind): Promise<Record<string, never>> {
    const parsed = parseWireId(id);
    if (parsed === null) return Promise.resolve({});
    const objectId = this.#id(id);
    return this.#locks.with({ exclusive: [objectLock(objectId), deviceLock(objectId)] }, async () => {
      const object = await this.#engine.call({ kind: 'find', id: objectId });
      // An object of the other kind is not the one that is meant, so that one is gone.
      if (object !== null && object.kind !== kind) return {};
      await this.#options.attachments.release(objectId, { what: `${kind} ${id}` });
      await this.#engine.call({ kind: 'delete', id: objectId });
      return {};
    });
  }

  async #usageUnlessGone(id: ObjectId): Promise<Usage | null> {
    try {
      return await this.#engine.call({ kind: 'usage', id });
    } catch (error) {
      if (error instanceof StoreError && error.code === 'not-found') return null;
      throw error;
    }
  }

  #objects(): Promise<readonly ObjectInfo[]> {
    return this.#engine.call({ kind: 'list' });
  }

  async #object(id: string, kind: ObjectKind): Promise<ObjectInfo> {
    return this.#find(this.#id(id), kind, id);
  }

  async #find(id: ObjectId, kind: ObjectKind | null, shown: string): Promise<ObjectInfo> {
    const object = await this.#engine.call({ kind: 'find', id });
    if (object === null || (kind !== null && object.kind !== kind))
      throw new StoreError('not-found', `there is no ${kind ?? 'volume or snapshot'} ${shown}`);
    return object;
  }

  /** After a snapshot the first write to each chunk needs a slot: what is made in a full pool would stop its own source. So
   * would metadata that cannot grow, and worse: a checkpoint that fails ends all writes. */
  async #refuseWhenFull(): Promise<void> {
    const { problem } = await this.#options.metadata.metadataSpace({ fresh: true });
    if (problem !== null) {
      throw new StoreError('no-space', `the metadata of the pool have no room to grow: ${problem}. Make room in that file system`);
    }
    const pool = await this.#engine.call({ kind: 'pool' });
    const reserveBytes = reserveBytesOf(pool);
    if (!pool.counted || pool.freeBytes >= reserveBytes) return;
    throw new StoreError(
      'no-space',
      `the pool is full: ${pool.freeBytes} of ${pool.sizeBytes} bytes are free, and the last ${reserveBytes} are kept for what exists. Delete snapshots or volumes, or enlarge the pool`,
    );
  }

  async #volume(object: ObjectInfo): Promise<Response<'getVolume'>> {
    const attached = await this.#options.attachments.attached();
    return volumeMessage(this.#options.poolId, object, { attached: attached.has(object.id) });
  }

  #id(id: string): ObjectId {
    return objectIdIn(this.#options.poolId, id);
  }

  #sourceId(source: { kind: string; id: string }): { kind: ObjectKind; id: ObjectId } {
    if (source.kind === 'KIND_UNSPECIFIED') throw new StoreError('invalid-argument', 'source.kind must be volume or snapshot');
    return { kind: source.kind === 'KIND_VOLUME' ? 'volume' : 'snapshot', id: this.#id(source.id) };
  }
}

function safetyOf(request: Request<'revertVolume'>): { id: ObjectId; name: string; attributes: Attributes } {
  const { safetyId, safetyName, safetyAttributes } = request;
  if (safetyId !== '' && !isObjectId(safetyId)) {
    throw new StoreError('invalid-argument', `safety_id must be 26 characters of base32, not ${JSON.stringify(safetyId)}`);
  }
  const name = safetyName === '' ? `before-revert-${newId()}` : safetyName;
  return { id: safetyId === '' ? newId() : safetyId, name, attributes: safetyAttributes };
}

function reserveBytesOf(pool: PoolInfo): number {
  return Math.floor(pool.sizeBytes / RESERVE_PART);
}

function newId(): ObjectId {
  return newObjectId({ fill: (target) => void randomFillSync(target) });
}

const nameLock = (kind: ObjectKind, name: string): string => `the ${kind} name ${name}`;
const objectLock = (id: ObjectId): string => `object ${id}`;
const deviceLock = (id: ObjectId): string => `the device of ${id}`;

function checkName(name: string): void {
  const bytes = Buffer.byteLength(name);
  if (bytes === 0 || bytes > LONGEST_NAME_BYTES)
    throw new StoreError('invalid-argument', `name must have 1 to ${LONGEST_NAME_BYTES} bytes, not ${bytes}`);
}

function checkSize(sizeBytes: number, options: { readonly zeroAllowed: boolean }): void {
  if (sizeBytes === 0 && options.zeroAllowed) return;
  if (!Number.isSafeInteger(sizeBytes) || sizeBytes <= 0 || sizeBytes % GRANULE_BYTES !== 0) {
    throw new StoreError('invalid-argument', `size must be a positive multiple of ${GRANULE_BYTES} bytes, not ${sizeBytes}`);
  }
}

function checkAttributes(attributes: Attributes): void {
  const bytes = Buffer.byteLength(JSON.stringify(attributes));
  if (bytes > MOST_ATTRIBUTES_BYTES)
    throw new StoreError('invalid-argument', `attributes take ${bytes} bytes, more than ${MOST_ATTRIBUTES_BYTES}`);
}
