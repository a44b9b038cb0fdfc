/**
 * The LMDB environment of a pool's metadata: three databases with keys of eight bytes, a number big endian, and binary values. Not compressed, no
 * WRITEMAP, and a transaction is durable when it returns.
 *
 * LMDB maps its file: reading past its end would kill the process, so a file shorter than what its own head promises is
 * refused before it is mapped. LMDB 3.5.6 of lmdb-js keeps two head pages (0 and 1), each: 24 bytes of page header,
 * magic 0xBEEFC0DE (4), data version (4), address (8), map size (8), two database descriptors (48 each, page size in the
 * first one's first four bytes), last page (8), transaction (8). Read from an environment that it wrote.
 */
import fs from 'node:fs';
import path from 'node:path';
import { open, type Database, type RootDatabase } from 'lmdb';
import type { MetadataTable } from '../../engine/ports.ts';
import { preallocateBlocking } from '../../linux/files.ts';
import { assert } from '../../util/assert.ts';
import { StoreError } from '../../util/errors.ts';
import { syncFolderBlocking } from '../../util/sync-folder.ts';

type Values = Database<Buffer, Buffer>;

const TABLES: readonly MetadataTable[] = ['pool', 'objects', 'pages'];
/** Addresses, not memory: how far the environment can grow. */
const MAP_SIZE_BYTES = 256 * 2 ** 30;
const KEY_BYTES = 8;
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
      checkLength(file);
      syncFile(file);
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
    this.#tables = { pool: openTable('pool'), objects: openTable('objects'), pages: openTable('pages') };
    syncFolderBlocking(folder);
  }

  /** The value of a key as a copy of its own, or null. */
  read(table: MetadataTable, key: number): Uint8Array<ArrayBuffer> | null {
    const value = this.#tables[table].getBinary(keyOf(key));
    return value === undefined ? null : new Uint8Array(value);
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

/** Big endian, so that rows are ordered by number. */
function keyOf(number: number): Buffer {
  assert(Number.isSafeInteger(number) && number >= 0, `metadata key ${number} is a number`);
  const key = Buffer.alloc(KEY_BYTES);
  key.writeBigUInt64BE(BigInt(number));
  return key;
}

/** Where the last page's number stands in a head page, see above. */
const HEAD = { magicOffset: 24, versionOffset: 28, pageSizeOffset: 48, lastPageOffset: 144, transactionOffset: 152, lengthBytes: 160 };
const MAGIC = 0xbeefc0de;
const DATA_VERSION = 2;

function checkLength(file: string): void {
  const descriptor = fs.openSync(file, 'r');
  try {
    const { size } = fs.fstatSync(descriptor);
    const first = readHead(descriptor, 0);
    const pageSize = first?.pageSize ?? 4096;
    const heads = [first, readHead(descriptor, pageSize)].filter((head) => head !== null);
    const newest = heads.toSorted((a, b) => b.transaction - a.transaction)[0];
    if (newest === undefined) throw new StoreError('data-loss', `${file} is not a metadata file of a pool: its head pages are damaged`);
    const neededBytes = (newest.lastPage + 1) * newest.pageSize;
    if (size < neededBytes) throw new StoreError('data-loss', `${file} is truncated: ${size} bytes, but its head counts ${neededBytes}`);
  } finally {
    fs.closeSync(descriptor);
  }
}

function readHead(descriptor: number, offset: number): { pageSize: number; lastPage: number; transaction: number } | null {
  const head = Buffer.alloc(HEAD.lengthBytes);
  if (fs.readSync(descriptor, head, 0, head.length, offset) < head.length) return null;
  if (head.readUInt32LE(HEAD.magicOffset) !== MAGIC || head.readUInt32LE(HEAD.versionOffset) !== DATA_VERSION) return null;
  return {
    pageSize: head.readUInt32LE(HEAD.pageSizeOffset),
    lastPage: Number(head.readBigUInt64LE(HEAD.lastPageOffset)),
    transaction: Number(head.readBigUInt64LE(HEAD.transactionOffset)),
  };
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
