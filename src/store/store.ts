/**
 * A running store: opens (or creates) its pool, takes over from a predecessor what the keeper holds, and serves. What is
 * started here is ended by `close`, in the order of dependency.
 */
import { randomFillSync } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import type { Server } from '@grpc/grpc-js';
import { memoryKey } from '../block/kept-device.ts';
import type { ObjectId, ObjectInfo } from '../engine/control.ts';
import { encodePoolHeader, formatPool, newObjectId, POOL_HEADER_BYTES } from '../engine/pool-format.ts';
import { createFuseMount } from '../linux/fuse-mount.ts';
import { closeDescriptor } from '../linux/files.ts';
import { SharedMemory } from '../linux/memory.ts';
import { StoreError } from '../util/errors.ts';
import type { Logger } from '../util/log.ts';
import { Attachments, type DescriptorKeeper } from './attachments.ts';
import { DataThreadClient } from './data-thread-client.ts';
import { memoryLayout } from './memory-layout.ts';
import type { Attributes, PoolMessage } from './messages.ts';
import { PoolFence } from './fence.ts';
import { MetadataEnvironment } from './metadata-environment.ts';
import { NodeSessions } from './node-sessions.ts';
import { closePool, createPool, openPool, readPoolIdentity, type PoolFolder } from './pool.ts';
import { checkHeader } from './pool-header.ts';
import { createStoreServer } from './server.ts';
import { StoreService } from './service.ts';

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
  /** Connects to the keeper, for this pool. */
  readonly keeperOf: (poolId: ObjectId) => Promise<StoreKeeper>;
  readonly log: Logger;
  /** A thread died: nothing is served any more, and the process must end. */
  readonly died: (error: Error) => void;
}

export interface StoreKeeper extends DescriptorKeeper {
  close(): Promise<void>;
}

export interface RunningStore {
  readonly server: Server;
  /** Ends the streams of node roles: the first thing of a stop. */
  endSessions(): void;
  readonly poolId: ObjectId;
  readonly fence: PoolFence;
  /** Why the pool can only be read; null while its disk works. */
  failure(): string | null;
  /** The pool as getPool tells it, and how many volumes and snapshots have an open block device. */
  look(): Promise<PoolMessage & { readonly attached: number }>;
  close(): Promise<void>;
}

const DEFAULT_CHUNK_SIZE_BYTES = 65536;
/**
 * Within a hand-over or after a death the predecessor's last writes are waited for; otherwise a pool in use is an error,
 * though not before the kernel has had the time to clear up after a process that was killed together with its keeper.
 */
const LOCK_WAIT_MS = { successor: 60_000, other: 10_000 };

export async function startStore(options: StoreOptions): Promise<RunningStore> {
  const { log } = options;
  const poolId = await identify(options);
  const keeper = await options.keeperOf(poolId);
  try {
    const kept = await keeper.adopt(memoryKey);
    const pool = await openPool(options.poolFolder, {
      sizeBytes: options.sizeBytes,
      lockWaitMs: kept === null ? LOCK_WAIT_MS.other : LOCK_WAIT_MS.successor,
      check: checkHeader,
    });
    const memoryDescriptor = await takeMemory(keeper, kept);
    let failure: string | null = null;
    const data = await DataThreadClient.start({
      pool,
      memoryDescriptor,
      memory: memoryLayout(),
      parkTimeoutMs: options.parkTimeoutMs,
      prewrite: options.prewrite,
      died: options.died,
      failed: (reason) => {
        failure = reason;
        log.fatal({ reason }, 'the disk failed: the pool can only be read from now on');
      },
      warned: (warning) => log.warn(warning),
    });
    const attachments = new Attachments({ devices: data, keeper, mounts: { create: createFuseMount, close: closeDescriptor }, log });
    const recovered = await attachments.recover(await data.call({ kind: 'list' }));
    log.info({ pool: poolId, successor: kept !== null, ...recovered }, 'pool is open');
    const nodes = new NodeSessions({ log });
    const { node, overprovisioningRatio } = options;
    const fence = new PoolFence(pool);
    if (fence.lost) log.warn({ pool: poolId }, 'the pool was declared lost: nothing is made from it or attached until it is taken back');
    const service = new StoreService({ engine: data, attachments, nodes, fence, poolId, node, overprovisioningRatio, freezes, log });
    return {
      server: createStoreServer({ service, nodes, log }),
      poolId,
      fence,
      failure: () => failure,
      look: async () => ({ ...(await service.getPool()), attached: (await attachments.attached()).size }),
      endSessions: () => nodes.close(),
      close: async () => {
        await data.stop();
        closePool(pool);
        await keeper.close();
      },
    };
  } catch (error) {
    await keeper.close();
    throw error;
  }
}

/** A class parameter decides; without it only btrfs is frozen, because its clones need a clean log. */
export function freezes(volume: ObjectInfo, cutAttributes: Attributes): boolean {
  const choice = cutAttributes['freeze'] ?? volume.attributes['freeze'] ?? 'auto';
  return choice === 'auto' ? volume.attributes['fileSystem'] === 'btrfs' : choice === 'true';
}

/** The pool's id; a missing pool is created first. */
async function identify(options: StoreOptions): Promise<ObjectId> {
  const { poolFolder, sizeBytes, chunkSizeBytes, log } = options;
  const identity = readPoolIdentity(poolFolder);
  if (identity === null) {
    if (sizeBytes === null) throw new StoreError('invalid-argument', `there is no pool in ${poolFolder} yet: give --size to create one`);
    const id = newObjectId({ fill: (target) => void randomFillSync(target) });
    await createPool(poolFolder, { id, sizeBytes, chunkSizeBytes: chunkSizeBytes ?? DEFAULT_CHUNK_SIZE_BYTES }, format);
    log.info({ pool: id, folder: poolFolder, sizeBytes }, 'pool created');
    return id;
  }
  if (chunkSizeBytes !== null && chunkSizeBytes !== identity.chunkSizeBytes) {
    throw new StoreError(
      'failed-precondition',
      `the pool in ${poolFolder} has chunks of ${identity.chunkSizeBytes} bytes, chosen when it was created; they cannot become ${chunkSizeBytes}`,
    );
  }
  return identity.id;
}

/** Writes the header and the first checkpoint. */
async function format(pool: PoolFolder): Promise<void> {
  const descriptor = fs.openSync(path.join(pool.folder, 'data'), 'r+');
  try {
    fs.writeSync(descriptor, encodePoolHeader({ poolId: pool.id, chunkSizeBytes: pool.chunkSizeBytes }), 0, POOL_HEADER_BYTES, 0);
    fs.fsyncSync(descriptor);
  } finally {
    fs.closeSync(descriptor);
  }
  const environment = new MetadataEnvironment(pool.metadataFolder);
  try {
    await new Promise<void>((resolve, reject) => {
      const ports = {
        metadata: {
          ...unused,
          commit: (changes: Parameters<MetadataEnvironment['commit']>[0], done: (error: Error | null) => void) =>
            done(commitTo(environment, changes)),
        },
        random: { fill: (target: Uint8Array) => void randomFillSync(target) },
      };
      formatPool(ports, { poolId: pool.id, chunkSizeBytes: pool.chunkSizeBytes, dataBytes: pool.dataBytes }, (error) =>
        error === null ? resolve() : reject(error),
      );
    });
  } finally {
    await environment.close();
  }
}

const unused = {
  load: () => {
    throw new Error('a new pool is not loaded');
  },
  readPage: () => {
    throw new Error('a new pool has no pages');
  },
};

function commitTo(environment: MetadataEnvironment, changes: Parameters<MetadataEnvironment['commit']>[0]): Error | null {
  try {
    environment.commit(changes);
    return null;
  } catch (error) {
    return error as Error;
  }
}

/** The predecessor's memory, or new memory that the keeper holds from now on. */
async function takeMemory(keeper: StoreKeeper, kept: { readonly descriptors: readonly number[] } | null): Promise<number> {
  const descriptor = kept?.descriptors[0];
  if (descriptor !== undefined) return descriptor;
  const memory = SharedMemory.create({ name: 'chunkstore', sizeBytes: memoryLayout().totalBytes });
  await keeper.put(memoryKey, {}, [memory.descriptor]);
  return memory.descriptor;
}
