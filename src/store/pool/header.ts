/** What the data of a pool says of itself at its beginning, held against pool.json. */
import fs from 'node:fs';
import path from 'node:path';
import { decodePoolHeader, POOL_HEADER_BYTES } from '../../engine/pool-format.ts';
import { StoreError } from '../../util/errors.ts';
import type { PoolFolder } from './pool.ts';

/** pool.json and data must be of the same pool: files could have been copied together. */
export function checkHeader(pool: Pick<PoolFolder, 'folder' | 'id' | 'chunkSizeBytes'>): void {
  const file = path.join(pool.folder, 'data');
  const bytes = Buffer.alloc(POOL_HEADER_BYTES);
  const descriptor = fs.openSync(file, 'r');
  try {
    fs.readSync(descriptor, bytes, 0, bytes.length, 0);
  } finally {
    fs.closeSync(descriptor);
  }
  const header = decodePoolHeader(bytes, file);
  if (header.poolId !== pool.id || header.chunkSizeBytes !== pool.chunkSizeBytes) {
    throw new StoreError(
      'failed-precondition',
      `${file} belongs to pool ${header.poolId}, but pool.json beside it to ${pool.id}: these files are not of one pool`,
    );
  }
}
