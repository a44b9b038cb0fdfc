/** How a new pool comes into being: its folder (pool.ts), and in it the engine's header and first checkpoint. */
import { randomFillSync } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import type { ObjectId } from '../../engine/control.ts';
import { newObjectId } from '../../engine/object-id.ts';
import { encodePoolHeader, formatPool, POOL_HEADER_BYTES } from '../../engine/pool-format.ts';
import { StoreError } from '../../util/errors.ts';
import type { Logger } from '../../util/log.ts';
import { MetadataEnvironment } from '../metadata/environment.ts';
import { createPool, readPoolIdentity, type PoolFolder } from './pool.ts';

export interface PoolCreationOptions {
  readonly poolFolder: string;
  /** Of a new pool; null: there must be one. */
  readonly sizeBytes: number | null;
  /** Null: as it is, or the default for a new pool. */
  readonly chunkSizeBytes: number | null;
  readonly log: Logger;
}

const DEFAULT_CHUNK_SIZE_BYTES = 65536;

/** The pool's id; a missing pool is created first. */
export async function findOrCreatePool(options: PoolCreationOptions): Promise<ObjectId> {
  const { poolFolder, sizeBytes, chunkSizeBytes, log } = options;
  const identity = readPoolIdentity(poolFolder);
  if (identity === null) {
    if (sizeBytes === null) throw new StoreError('invalid-argument', `there is no pool in ${poolFolder} yet: give --size to create one`);
    const id = newObjectId({ fill: (target) => void randomFillSync(target) });
    const created = await createPool(poolFolder, { id, sizeBytes, chunkSizeBytes: chunkSizeBytes ?? DEFAULT_CHUNK_SIZE_BYTES }, format);
    if (!created) return findOrCreatePool(options);
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
  readChecksums: () => {
    throw new Error('a new pool has no checksums');
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
