/**
 * A pool that no store has open, for a command. The pool is recovered like at any start, in this process and without
 * devices; so it must be nobody else's, not even a keeper's that holds a dead store's memory.
 */
import fs from 'node:fs';
import path from 'node:path';
import { KeeperClient } from '../block/keeper-client.ts';
import { memoryKey } from '../block/kept-device.ts';
import { SharedMemory } from '../linux/memory.ts';
import { DataThreadClient } from '../store/data-thread/client.ts';
import { memoryLayout } from '../store/data-thread/memory-layout.ts';
import { checkHeader } from '../store/pool/header.ts';
import { closePool, openPool, readPoolIdentity, type PoolFolder } from '../store/pool/pool.ts';
import { StoreError } from '../util/errors.ts';
import type { Logger } from '../util/log.ts';

const KEEPER_LIMIT_MS = 1_000;
const PARK_TIMEOUT_MS = 1_000;

/** Opens the pool in the folder for as long as `use` takes. After a failure the end of this process gives it back. */
export async function withOfflinePool<Result>(
  folder: string,
  log: Logger,
  use: (opened: { readonly data: DataThreadClient; readonly pool: PoolFolder }) => Promise<Result>,
): Promise<Result> {
  const identity = readPoolIdentity(folder);
  if (identity === null) throw new StoreError('not-found', `there is no pool in ${folder}`);
  await refuseKeptMemory(folder, identity.id);
  const pool = await openPool(folder, { sizeBytes: null, lockWaitMs: 0, check: checkHeader });
  const memory = SharedMemory.create({ name: 'chunkstore-offline', sizeBytes: memoryLayout().totalBytes });
  const data = await DataThreadClient.prepare({
    metadataFolder: pool.metadataFolder,
    memoryDescriptor: memory.descriptor,
    parkTimeoutMs: PARK_TIMEOUT_MS,
    prewrite: false,
    died: (error) => {
      throw error;
    },
    failed: (reason) => log.error({ reason }, 'the disk failed'),
    warned: (warning) => log.debug(warning),
  });
  await data.open(pool);
  await data.recover([]);
  const result = await use({ data, pool });
  await data.stop();
  // After a failure there may be I/O under way: then the end of this process gives the pool back.
  closePool(pool);
  return result;
}

/** Acknowledged writes of a store that died are in memory that its keeper holds; recovering without it would lose them. */
async function refuseKeptMemory(folder: string, poolId: string): Promise<void> {
  const socketPath = path.join(path.dirname(folder), 'run', 'keeper.sock');
  if (!fs.existsSync(socketPath)) return;
  let keeper: KeeperClient;
  try {
    keeper = await KeeperClient.connect({ socketPath, role: 'operator', pool: poolId, timeoutMs: KEEPER_LIMIT_MS });
  } catch (error) {
    if (error instanceof StoreError && error.code === 'unavailable') return;
    throw error;
  }
  try {
    const held = (await keeper.list()).some(({ key }) => key === memoryKey);
    if (held)
      throw new StoreError(
        'in-use',
        `a keeper at ${socketPath} still holds what a store of this pool has not written to the disk: start the store, and check it live`,
      );
  } finally {
    await keeper.close();
  }
}
