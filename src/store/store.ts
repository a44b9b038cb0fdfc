/**
 * A store in the three parts of its life: prepared, with nothing of the pool touched; open, when it has taken over from a
 * predecessor what the keeper holds, and serves; and stopped, when the pool is free and only copies of the keeper's
 * things are left. What gives it its pool is not its business (succession/claim.ts), nor is what serves its calls
 * (wire/server.ts).
 */
import fs from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { memoryKey } from '../block/kept-device.ts';
import type { ObjectId, ObjectInfo } from '../engine/control.ts';
import { closeDescriptor } from '../linux/files.ts';
import { createFuseMount } from '../linux/fuse-mount.ts';
import { SharedMemory } from '../linux/memory.ts';
import { systemClock } from '../util/clock.ts';
import { StoreError } from '../util/errors.ts';
import type { Logger } from '../util/log.ts';
import { Attachments, type DescriptorKeeper } from './attachments.ts';
import { DataThreadClient } from './data-thread/client.ts';
import type { DataStatistics, EngineControl, MetadataWatch } from './data-thread/control.ts';
import { memoryLayout } from './data-thread/memory-layout.ts';
import { findOrCreatePool } from './pool/creation.ts';
import { PoolFence } from './pool/fence.ts';
import { checkHeader } from './pool/header.ts';
import type { PoolLock } from './pool/lock.ts';
import {
  closePool,
  inspectPool,
  metadataFolderOf,
  openLockedPool,
  raisePoolVersion,
  readPoolIdentity,
  type PoolFolder,
  type PoolOpening,
} from './pool/pool.ts';
import { Scrubber } from './scrub/scrubber.ts';
import { ScrubWatch, type ScrubView } from './scrub/watch.ts';
import { StoreService } from './service.ts';
import { Admission } from './succession/admission.ts';
import type { Attributes, PoolMessage } from './wire/messages.ts';
import { NodeSessions } from './wire/node-sessions.ts';

export interface StoreOptions {
  readonly poolFolder: string;
  /** Null: as it is. */
  readonly sizeBytes: number | null;
  /** Null: as it is, or the default for a new pool. */
  readonly chunkSizeBytes: number | null;
  readonly node: string;
  readonly overprovisioningRatio: number;
  readonly parkTimeoutMs: number;
  /** Write zeros ahead into new space. */
  readonly prewrite: boolean;
  /** Of a pass over what snapshots hold. */
  readonly scrubBytesPerSecond: number;
  /** Connects to the keeper, for this pool. */
  readonly keeperOf: (poolId: ObjectId) => Promise<StoreKeeper>;
  readonly log: Logger;
  /** A thread died: nothing is served any more, and the process must end. */
  readonly died: (error: Error) => void;
}

export interface StoreKeeper extends DescriptorKeeper {
  /** A keeper has everything that was put. */
  readonly ready: boolean;
  /** Whether, within the time, a keeper has everything and knows that it is to stay, because this process does not. */
  leave(options: { readonly timeoutMs: number }): Promise<boolean>;
  /** Copies of what is held, for a look: the keeper's entry is not this process's. Null when the key is unknown. */
  get(key: string): Promise<{ readonly descriptors: readonly number[] } | null>;
  /** What was put stays with the keeper. */
  close(): Promise<void>;
}

/** A store with everything but its pool: whoever takes the pool's locks may open it at once. */
export interface PreparedStore {
  /** Whether the keeper has memory of a predecessor. */
  readonly succeeds: boolean;
  /**
   * Opens the pool whose locks were taken; they belong to the store from then on. `keeperKeys`: what the keeper is to
   * hold before its word counts. Recovers, and serves the volumes that a predecessor left with the keeper.
   */
  open(poolLock: PoolLock, options: { readonly keeperKeys: Promise<readonly string[] | null> }): Promise<RunningStore>;
  /** Ends one that was not opened. */
  discard(): Promise<void>;
}

export type PoolLook = PoolMessage & { readonly attached: number; readonly scrub: ScrubView };

export interface RunningStore {
  readonly poolId: ObjectId;
  readonly fence: PoolFence;
  /** The calls, behind the gate: for the servers. */
  readonly calls: StoreService;
  readonly admission: Admission;
  readonly nodes: NodeSessions;
  readonly engine: EngineControl & DataStatistics & MetadataWatch;
  readonly recovered: { readonly answered: number; readonly submitted: number };
  /** A keeper has everything that this process has. */
  readonly keeperReady: boolean;
  /** What the keeper holds for this store. */
  keeperKeys(): readonly string[];
  /** Why the pool can only be read; null while its disk works. */
  failure(): string | null;
  /** Why the pool is smaller than it was asked to be; null: it is not. */
  readonly growthProblem: string | null;
  /** Why the metadata cannot have the room that they should have, as of the last look; null: they have it. */
  metadataProblem(): string | null;
  /** The pool as getPool tells it, how many volumes and snapshots have an open block device, and its scrubs. */
  look(): Promise<PoolLook>;
  /** Resolves when the data thread answers. */
  ping(): Promise<void>;
  /** Before an end: whether, within the time, a keeper has everything and stays until a successor has it too. */
  leave(options: { readonly timeoutMs: number }): Promise<boolean>;
  /** Ends the service of volumes in order; the keeper keeps their connections. Then nothing here touches the pool. */
  stop(): Promise<void>;
  /** After `stop`: gives the pool's locks back. */
  release(): void;
  /** After `release`: closes the copies of what the keeper holds, and the connection to it. Until then a keeper that is
   * started anew gets everything from here. */
  letGo(): Promise<void>;
}

/** How long a keeper that was started anew may take to get everything again, from whoever handed over. */
const KEEPER_LIMIT_MS = 30_000;
const KEEPER_POLL_MS = 20;
/** The node role tries again every half a second, and its channel every two seconds at most. */
const NODE_LIMIT_MS = 3_000;

/** The id of the pool, which is created if it is missing. Fails with what is wrong with the pool or with what is asked of
 * it, as far as can be told while another process has it. */
export async function findPool(options: StoreOptions): Promise<ObjectId> {
  const id = await findOrCreatePool(options);
  inspectPool(options.poolFolder, opening(options));
  return id;
}

/** Starts all that does not need the pool: threads, memory, the connection to the keeper. */
export async function prepareStore(options: StoreOptions): Promise<PreparedStore> {
  const identity = readPoolIdentity(options.poolFolder);
  if (identity === null) throw new StoreError('not-found', `there is no pool in ${options.poolFolder}`);
  const keeper = await options.keeperOf(identity.id);
  let memoryDescriptor: number | null = null;
  try {
    const kept = await keeper.get(memoryKey);
    memoryDescriptor = kept?.descriptors[0] ?? newMemory();
    const failure: Failure = { reason: null };
    const data = await prepareDataThread(options, { memoryDescriptor, failure });
    return new Preparation({ options, poolId: identity.id, keeper, memoryDescriptor, data, failure, succeeds: kept !== null });
  } catch (error) {
    if (memoryDescriptor !== null) closeDescriptor(memoryDescriptor);
    await keeper.close();
    throw error;
  }
}

interface Failure {
  reason: string | null;
}

interface PreparedParts {
  readonly options: StoreOptions;
  readonly poolId: ObjectId;
  readonly keeper: StoreKeeper;
  readonly memoryDescriptor: number;
  readonly data: DataThreadClient;
  readonly failure: Failure;
  readonly succeeds: boolean;
}

class Preparation implements PreparedStore {
  readonly #parts: PreparedParts;

  constructor(parts: PreparedParts) {
    this.#parts = parts;
  }

  get succeeds(): boolean {
    return this.#parts.succeeds;
  }

  async discard(): Promise<void> {
    const { data, keeper, memoryDescriptor } = this.#parts;
    await data.discard();
    closeDescriptor(memoryDescriptor);
    await keeper.close();
  }

  async open(poolLock: PoolLock, { keeperKeys }: Parameters<PreparedStore['open']>[1]): Promise<RunningStore> {
    const { options, poolId, keeper, failure } = this.#parts;
    let { data, memoryDescriptor } = this.#parts;
    const mounts = { create: createFuseMount, close: closeDescriptor };
    let attachments: Attachments | null = null;
    try {
      const pool = await openLockedPool(poolLock, opening(options));
      if (pool.growthProblem !== null) options.log.error({ pool: poolId, reason: pool.growthProblem }, 'the pool could not grow');
      const memory = await this.#takeMemory(keeperKeys);
      memoryDescriptor = memory.descriptor;
      if (memory.other) {
        await data.discard();
        data = await prepareDataThread(options, { memoryDescriptor, failure });
      }
      attachments = new Attachments({ devices: data, keeper, mounts, log: options.log });
      const [adopted, opened] = await Promise.allSettled([this.#adopt(attachments, keeperKeys), data.open(pool)]);
      if (opened.status === 'rejected') throw new EngineFailure(opened.reason);
      const recovered = await recover({ data, attachments, adopted });
      options.log.info({ pool: poolId, successor: this.succeeds, ...recovered }, 'pool is open');
      return new OpenStore({ options, pool, keeper, memoryDescriptor, data, attachments, failure, recovered });
    } catch (error) {
      await data.discard();
      // Otherwise writes may be under way, and the locks are given back by the kernel, after them, when the process ends.
      if (!(error instanceof EngineFailure)) poolLock.close();
      // First, because it gives its keeper what belongs to the others.
      await keeper.close();
      attachments?.close();
      closeDescriptor(memoryDescriptor);
      throw error instanceof EngineFailure ? error.reason : error;
    }
  }

  async #adopt(attachments: Attachments, keeperKeys: Promise<readonly string[] | null>): Promise<void> {
    const { keeper, options } = this.#parts;
    await untilKept(keeper, await keeperKeys, options.log);
    await attachments.adopt();
  }

  /** The predecessor's memory, as the keeper has it now, or the one that was prepared: the keeper holds it afterwards. */
  async #takeMemory(keeperKeys: Promise<readonly string[] | null>): Promise<{ readonly descriptor: number; readonly other: boolean }> {
    const { options, keeper, memoryDescriptor } = this.#parts;
    let held = await keeper.adopt(memoryKey);
    if (held === null) {
      // The predecessor's may be on its way into a keeper that was started a moment ago.
      await untilKept(keeper, await keeperKeys, options.log);
      held = await keeper.adopt(memoryKey);
    }
    const kept = held?.descriptors[0];
    if (kept === undefined) {
      await keeper.put(memoryKey, {}, [memoryDescriptor]);
      return { descriptor: memoryDescriptor, other: false };
    }
    const other = !isSameFile(kept, memoryDescriptor);
    closeDescriptor(memoryDescriptor);
    return { descriptor: kept, other };
  }
}

interface OpenParts {
  readonly options: StoreOptions;
  readonly pool: PoolFolder;
  readonly keeper: StoreKeeper;
  readonly memoryDescriptor: number;
  readonly data: DataThreadClient;
  readonly attachments: Attachments;
  readonly failure: Failure;
  readonly recovered: { readonly answered: number; readonly submitted: number };
}

class OpenStore implements RunningStore {
  readonly admission = new Admission();
  readonly nodes: NodeSessions;
  readonly fence: PoolFence;
  readonly calls: StoreService;
  readonly #parts: OpenParts;
  readonly #service: StoreService;
  readonly #scrubs: ScrubWatch;
  #stopped: Promise<void> | null = null;
  #metadataProblem: string | null = null;
  #looksAtMetadata = false;

  constructor(parts: OpenParts) {
    const { options, pool, data, attachments } = parts;
    const { log, node, overprovisioningRatio } = options;
    this.#parts = parts;
    this.nodes = new NodeSessions({ log, expectedWithinMs: NODE_LIMIT_MS });
    this.fence = new PoolFence(pool);
    if (this.fence.lost)
      log.warn({ pool: pool.id }, 'the pool was declared lost: nothing is made from it or attached until it is taken back');
    const { nodes, fence } = this;
    const raiseVersion = once(() => raisePoolVersion(pool.folder));
    const scrubber = new Scrubber({
      engine: data,
      raiseVersion,
      bytesPerSecond: options.scrubBytesPerSecond,
    });
    this.#scrubs = new ScrubWatch({ scrubber, clock: systemClock, log });
    this.#service = new StoreService({
      engine: data,
      metadata: data,
      attachments,
      nodes,
      fence,
      scrubber,
      raiseVersion,
      poolId: pool.id,
      node,
      overprovisioningRatio,
      freezes,
      log,
    });
    this.calls = this.admission.admit(this.#service);
  }

  get poolId(): ObjectId {
    return this.#parts.pool.id;
  }

  get engine(): EngineControl & DataStatistics & MetadataWatch {
    return this.#parts.data;
  }

  get recovered(): { readonly answered: number; readonly submitted: number } {
    return this.#parts.recovered;
  }

  get keeperReady(): boolean {
    return this.#parts.keeper.ready;
  }

  keeperKeys(): readonly string[] {
    return [memoryKey, ...this.#parts.attachments.keeperKeys()];
  }

  failure(): string | null {
    return this.#parts.failure.reason;
  }

  get growthProblem(): string | null {
    return this.#parts.pool.growthProblem;
  }

  metadataProblem(): string | null {
    return this.#metadataProblem;
  }

  async look(): Promise<PoolLook> {
    this.#lookAtMetadata();
    const pool = await this.#service.getPool();
    const [attached, scrub] = await Promise.all([this.#parts.attachments.attached(), this.#scrubs.look(pool)]);
    return { ...pool, attached: attached.size, scrub };
  }

  /** Nobody waits for it: the metadata thread may be in a long commit. */
  #lookAtMetadata(): void {
    if (this.#looksAtMetadata) return;
    this.#looksAtMetadata = true;
    void this.#parts.data
      .metadataSpace({ fresh: true })
      .then(({ problem }) => this.#tellOfMetadata(problem))
      .catch((error: unknown) => this.#parts.options.log.debug({ err: error }, 'the room of the metadata is not known'))
      .finally(() => (this.#looksAtMetadata = false));
  }

  #tellOfMetadata(problem: string | null): void {
    if (problem !== null && this.#metadataProblem === null) this.#parts.options.log.error({ reason: problem }, 'the metadata cannot grow');
    this.#metadataProblem = problem;
  }

  async ping(): Promise<void> {
    await this.#parts.data.openConnections();
  }

  leave(options: { readonly timeoutMs: number }): Promise<boolean> {
    return this.#parts.keeper.leave(options);
  }

  stop(): Promise<void> {
    this.#stopped ??= this.#parts.data.stop();
    return this.#stopped;
  }

  release(): void {
    closePool(this.#parts.pool);
  }

  async letGo(): Promise<void> {
    const { attachments, keeper, memoryDescriptor } = this.#parts;
    await keeper.close();
    attachments.close();
    closeDescriptor(memoryDescriptor);
  }
}

/** The engine could not open the pool: nobody knows what it has under way. */
class EngineFailure extends Error {
  readonly reason: unknown;

  constructor(cause: unknown) {
    super('the engine did not open its pool', { cause });
    // Nothing that passes by itself: whoever tries again does it with a new process.
    const isAway = cause instanceof StoreError && cause.code === 'unavailable';
    this.reason = isAway ? new StoreError('failed-precondition', cause.message, { cause }) : cause;
  }
}

/** With the pool open: a failure ends the service in order, so that the locks can be given back. */
async function recover(parts: {
  readonly data: DataThreadClient;
  readonly attachments: Attachments;
  readonly adopted: PromiseSettledResult<void>;
}): Promise<{ readonly answered: number; readonly submitted: number }> {
  const { data, attachments, adopted } = parts;
  try {
    if (adopted.status === 'rejected') throw adopted.reason;
    return await attachments.recover(await data.call({ kind: 'list' }));
  } catch (error) {
    await data.stop();
    throw error;
  }
}

function opening(options: StoreOptions): PoolOpening {
  return { sizeBytes: options.sizeBytes, check: checkHeader };
}

function prepareDataThread(
  options: StoreOptions,
  parts: { readonly memoryDescriptor: number; readonly failure: Failure },
): Promise<DataThreadClient> {
  const { poolFolder, parkTimeoutMs, prewrite, died, log } = options;
  return DataThreadClient.prepare({
    metadataFolder: metadataFolderOf(poolFolder),
    memoryDescriptor: parts.memoryDescriptor,
    parkTimeoutMs,
    prewrite,
    died,
    failed: (reason) => {
      parts.failure.reason = reason;
      log.fatal({ reason }, 'the disk failed: the pool can only be read from now on');
    },
    warned: (warning) => log.warn(warning),
  });
}

function newMemory(): number {
  const memory = SharedMemory.create({ name: 'chunkstore', sizeBytes: memoryLayout().totalBytes });
  memory.unmap();
  return memory.descriptor;
}

/** A keeper that was started in the middle of a hand-over is filled again by whoever handed over. When that one is gone too,
 * so is what it had: then the store goes on with what there is. */
async function untilKept(keeper: StoreKeeper, keys: readonly string[] | null, log: Logger): Promise<void> {
  if (keys === null) return;
  const deadline = performance.now() + KEEPER_LIMIT_MS;
  for (;;) {
    const kept = new Set((await keeper.list()).map(({ key }) => key));
    const missing = keys.filter((key) => !kept.has(key));
    if (missing.length === 0) return;
    if (performance.now() >= deadline)
      return log.error({ missing }, 'the keeper lacks what was handed over with the pool: those devices are lost');
    await delay(KEEPER_POLL_MS);
  }
}

function isSameFile(one: number, other: number): boolean {
  const [first, second] = [fs.fstatSync(one), fs.fstatSync(other)];
  return first.ino === second.ino && first.dev === second.dev;
}

/** A class parameter decides; without it only btrfs is frozen, because its clones need a clean log. */
export function freezes(volume: ObjectInfo, cutAttributes: Attributes): boolean {
  const choice = cutAttributes['freeze'] ?? volume.attributes['freeze'] ?? 'auto';
  return choice === 'auto' ? volume.attributes['fileSystem'] === 'btrfs' : choice === 'true';
}

/** Does it until it has succeeded once. */
function once(action: () => void): () => void {
  let isDone = false;
  return () => {
    if (!isDone) action();
    isDone = true;
  };
}
