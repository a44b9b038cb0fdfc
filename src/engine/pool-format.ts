/** How a new pool looks: the header in slot 0 of its data, and its first checkpoint. docs/format.md has the tables. */
import { crc32 } from 'node:zlib';
import { StoreError } from '../util/errors.ts';
import { encodeRow, FIRST_CHECKPOINT_VERSION } from './checkpoint-rows.ts';
import type { ObjectId } from './control.ts';
import { Geometry } from './geometry.ts';
import { newObjectId, OBJECT_ID_LENGTH } from './object-id.ts';
import type { MetadataStore, Random } from './ports.ts';

export const POOL_HEADER_BYTES = 4096;
const MAGIC = 'chunkstore pool\n';
const VERSION = 1;
const INITIAL_RESERVE = 4096;

export interface PoolHeader {
  readonly poolId: ObjectId;
  readonly chunkSizeBytes: number;
}

/**
 * The first 4 KiB of a pool's data:
 *   0 16 bytes magic; 16 u32 version; 20 u32 chunk size in bytes; 24 26 bytes pool id; 4092 u32 checksum of 0 to 4091
 */
export function encodePoolHeader(header: PoolHeader): Uint8Array {
  const bytes = new Uint8Array(POOL_HEADER_BYTES);
  const view = new DataView(bytes.buffer);
  bytes.set(Buffer.from(MAGIC, 'latin1'), 0);
  view.setUint32(16, VERSION, true);
  view.setUint32(20, header.chunkSizeBytes, true);
  bytes.set(Buffer.from(header.poolId, 'latin1'), 24);
  view.setUint32(POOL_HEADER_BYTES - 4, crc32(bytes.subarray(0, POOL_HEADER_BYTES - 4)), true);
  return bytes;
}

/** @throws StoreError failed-precondition for a foreign file or another version, data-loss for a damaged header */
export function decodePoolHeader(bytes: Uint8Array, path: string): PoolHeader {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes.length < POOL_HEADER_BYTES || Buffer.from(bytes.subarray(0, MAGIC.length)).toString('latin1') !== MAGIC) {
    throw new StoreError('failed-precondition', `${path} is not the data of a chunkstore pool; nothing was touched. Choose another folder`);
  }
  const version = view.getUint32(16, true);
  if (version !== VERSION)
    throw new StoreError(
      'failed-precondition',
      `${path} has format version ${version}; this program reads version ${VERSION}. Use the version that wrote it, or a newer one`,
    );
  if (crc32(bytes.subarray(0, POOL_HEADER_BYTES - 4)) !== view.getUint32(POOL_HEADER_BYTES - 4, true)) {
    throw new StoreError('data-loss', `the header of ${path} is damaged: its checksum does not match`);
  }
  return { chunkSizeBytes: view.getUint32(20, true), poolId: Buffer.from(bytes.subarray(24, 24 + OBJECT_ID_LENGTH)).toString('latin1') };
}

export interface NewPool extends PoolHeader {
  /** Size of the pool's data. */
  readonly dataBytes: number;
}

/** Writes the first checkpoint of an empty pool. The data's header and a log of zeros are the caller's to write, before. */
export function formatPool(
  ports: { readonly metadata: MetadataStore; readonly random: Random },
  pool: NewPool,
  done: (error: Error | null) => void,
): void {
  const slots = new Geometry(pool.chunkSizeBytes).slotsOf(pool.dataBytes);
  if (slots < 2) return done(new StoreError('out-of-range', `a pool needs at least two chunks of ${pool.chunkSizeBytes} bytes`));
  const row = encodeRow({
    version: FIRST_CHECKPOINT_VERSION,
    poolId: pool.poolId,
    chunkSizeBytes: pool.chunkSizeBytes,
    sequence: 0,
    checksum: 0,
    log: { block: 0, chain: 0 },
    nextPageNumber: 1,
    life: newObjectId(ports.random),
    reserve: Array.from({ length: Math.min(INITIAL_RESERVE, slots - 1) }, (_, index) => index + 1),
    prewrittenSlots: 0,
    dropped: [],
  });
  ports.metadata.commit([{ table: 'pool', key: 0, value: row }], done);
}
