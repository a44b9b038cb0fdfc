/**
 * The LMDB environment of a pool's metadata: six databases with keys of eight bytes, a number big endian, and binary values.
 * Not compressed, no WRITEMAP, and a transaction is durable when it returns.
 *
 * LMDB maps its file and believes it: a damaged one could end the process, so it is looked through before (file-check.ts).
 */
import fs from 'node:fs';
import path from 'node:path';
import { open, type Database, type RootDatabase } from 'lmdb';
import type { MetadataTable } from '../../engine/ports.ts';
import { preallocateBlocking } from '../../linux/files.ts';
import { assert } from '../../util/assert.ts';
import { syncFolderBlocking } from '../../util/sync-folder.ts';
import { checkMetadataFile } from './file-check.ts';
import { READS_A_MESSAGE, type PackedRows } from './packed-rows.ts';

type Values = Database<Buffer, Buffer>;

const TABLES: readonly MetadataTable[] = ['pool', 'objects', 'pages', 'seals', 'checksums', 'erasures'];
/** Addresses, not memory: how far the environment can grow. */
const MAP_SIZE_BYTES = 256 * 2 ** 30;
const KEY_BYTES = 8;
/** An answer full of pages fits. */
const PACKED_BYTES = READS_A_MESSAGE * 4096;
/** As LMDB calls it. */
const METADATA_FILE = 'data.mdb';

/** What the metadata may still need, and what there is for it. */
export interface MetadataSpace {
  /** As far as LMDB has used its file, in bytes. What it sets free in there it uses again. */
  readonly usedBytes: number;
  /** What the file system has reserved for the file. */
  readonly reservedBytes: number;
  /** What the file system has beside that. */
  readonly hostFreeBytes: number;
  /** How far the file can grow at all. */
  readonly mapBytes: number;
  /** Why no more can be reserved although it should be; null: there is enough. */
  readonly problem: string | null;
}

/** Room for several checkpoints is kept ahead of what is used. */
const LEAST_HEADROOM_BYTES = 8 * 2 ** 20;
/** A transaction writes new pages before it sets the old ones free, and the pages of its own tree besides. */
const COPIES = 2;
const RESERVED_AT_ONCE = { least: 8 * 2 ** 20, part: 4 };

export class MetadataEnvironment {
  readonly #root: RootDatabase<Buffer, Buffer>;
  readonly #tables: Readonly<Record<MetadataTable, Values>>;
  readonly #folder: string;

  /** Opens the environment in `folder`, or creates it when the folder is empty. What was readable is durable first. */
  constructor(folder: string) {
    this.#folder = folder;
    const file = path.join(folder, METADATA_FILE);
    if (fs.existsSync(file)) {
      // What a kill left readable is on the disk first: a damaged file must look the same to us and to LMDB.
      syncFile(file);
      checkMetadataFile(file);
    }
    this.#root = open<Buffer, Buffer>({
      path: folder,
      noSubdir: false,
      encoding: 'binary',
      compression: false,
      overlappingSync: false,
      cache: false,
      mapSize: MAP_SIZE_BYTES,
      maxDbs: TABLES.length,
    });
    const openTable = (name: MetadataTable): Values =>
      this.#root.openDB<Buffer, Buffer>({ name, encoding: 'binary', keyEncoding: 'binary', compression: false, cache: false });
    this.#tables = {
      pool: openTable('pool'),
      objects: openTable('objects'),
      pages: openTable('pages'),
      seals: openTable('seals'),
      checksums: openTable('checksums'),
      erasures: openTable('erasures'),
    };
    syncFolderBlocking(folder);
  }

  /** The value of a key as a copy of its own, or null. */
  read(table: MetadataTable, key: number): Uint8Array<ArrayBuffer> | null {
    const value = this.#tables[table].getBinary(keyOf(key));
    return value === undefined ? null : new Uint8Array(value);
  }

  /** The same for several keys, put into this memory as far as it is long enough, so that nothing is left behind by reading. */
  readPacked(table: MetadataTable, keys: readonly number[], memory: ArrayBuffer | null): PackedRows {
    let bytes = new Uint8Array(memory ?? new ArrayBuffer(PACKED_BYTES));
    const lengths: number[] = [];
    let end = 0;
    for (const key of keys) {
      // LMDB's own memory, until its next reading; it may be longer than what it says of its length.
      const value = this.#tables[table].getBinaryFast(keyOf(key));
      lengths.push(value === undefined ? -1 : value.length);
      if (value === undefined) continue;
      if (end + value.length > bytes.length) bytes = grown(bytes, end + value.length);
      bytes.set(value.subarray(0, value.length), end);
      end += value.length;
    }
    return { keys, lengths, bytes: bytes.subarray(0, end) };
  }

  /** All rows of a table, ordered by key. */
  readAll(table: MetadataTable): { key: number; value: Uint8Array }[] {
    return Array.from(this.#tables[table].getRange(), ({ key, value }) => ({
      key: Number(key.readBigUInt64BE()),
      value: new Uint8Array(value),
    }));
  }

  /** One transaction, durable when this returns. */
  commit(changes: readonly { readonly table: MetadataTable; readonly key: number; readonly value: Uint8Array | null }[]): void {
    this.#root.transactionSync(() => {
      for (const { table, key, value } of changes) {
        if (value === null) this.#tables[table].removeSync(keyOf(key));
        else this.#tables[table].putSync(keyOf(key), Buffer.from(value.buffer, value.byteOffset, value.byteLength));
      }
    });
  }

  /**
   * Reserves more for the file when little of it is left, counting `nextBytes` that the next transaction writes. What cannot
   * be reserved is told, and is no error: the transaction may succeed all the same.
   */
  reserve(nextBytes = 0): MetadataSpace {
    const { lastPageNumber, pageSize } = this.#root.getStats() as { readonly lastPageNumber: number; readonly pageSize: number };
    const usedBytes = (lastPageNumber + 1) * pageSize;
    const neededBytes = usedBytes + LEAST_HEADROOM_BYTES + COPIES * nextBytes;
    const problem = this.#reserveUpTo(neededBytes, usedBytes);
    const { bavail, bsize } = fs.statfsSync(this.#folder);
    return { usedBytes, reservedBytes: this.#reservedBytes, hostFreeBytes: bavail * bsize, mapBytes: MAP_SIZE_BYTES, problem };
  }

  #reserveUpTo(neededBytes: number, usedBytes: number): string | null {
    if (neededBytes > MAP_SIZE_BYTES) return `${this.#file} has ${usedBytes} bytes and cannot grow beyond ${MAP_SIZE_BYTES}`;
    if (this.#reservedBytes >= neededBytes) return null;
    try {
      this.#grow(neededBytes + Math.max(RESERVED_AT_ONCE.least, Math.ceil(usedBytes / RESERVED_AT_ONCE.part)));
      return null;
    } catch (error) {
      const reason = (error as Error).message;
      return `no more than ${this.#reservedBytes} bytes can be reserved for ${this.#file}, of which ${usedBytes} are used: ${reason}`;
    }
  }

  get #file(): string {
    return path.join(this.#folder, METADATA_FILE);
  }

  /** The blocks rather than the length: a file may have holes. */
  get #reservedBytes(): number {
    const { blocks, size } = fs.statSync(this.#file);
    return Math.min(size, blocks * 512);
  }

  #grow(sizeBytes: number): void {
    const { bavail, bsize } = fs.statfsSync(this.#folder);
    const neededBytes = sizeBytes - this.#reservedBytes;
    // An attempt that fails half-way would take the last bytes from everybody.
    if (bavail * bsize < neededBytes) throw new Error(`its file system has ${bavail * bsize} bytes left, ${neededBytes} are needed`);
    const descriptor = fs.openSync(this.#file, 'r+');
    try {
      preallocateBlocking(descriptor, { offsetBytes: 0, lengthBytes: sizeBytes });
    } finally {
      fs.closeSync(descriptor);
    }
  }

  async close(): Promise<void> {
    await this.#root.close();
  }
}

function grown(bytes: Uint8Array<ArrayBuffer>, leastBytes: number): Uint8Array<ArrayBuffer> {
  const longer = new Uint8Array(2 * leastBytes);
  longer.set(bytes);
  return longer;
}

/** Big endian, so that rows are ordered by number. */
function keyOf(number: number): Buffer {
  assert(Number.isSafeInteger(number) && number >= 0, `metadata key ${number} is a number`);
  const key = Buffer.alloc(KEY_BYTES);
  key.writeBigUInt64BE(BigInt(number));
  return key;
}

/** A commit that a kill cut off can be readable in the page cache and not be on the disk. */
function syncFile(file: string): void {
  const descriptor = fs.openSync(file, 'r+');
  try {
    fs.fsyncSync(descriptor);
  } finally {
    fs.closeSync(descriptor);
  }
}
