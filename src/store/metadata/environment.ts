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
import { assert } from '../../util/assert.ts';
import { StoreError } from '../../util/errors.ts';
import { syncFolderBlocking } from '../../util/sync-folder.ts';

type Values = Database<Buffer, Buffer>;

const TABLES: readonly MetadataTable[] = ['pool', 'objects', 'pages'];
/** Addresses, not memory: how far the environment can grow. */
const MAP_SIZE_BYTES = 256 * 2 ** 30;
const KEY_BYTES = 8;

export class MetadataEnvironment {
  readonly #root: RootDatabase<Buffer, Buffer>;
  readonly #tables: Readonly<Record<MetadataTable, Values>>;
  readonly #folder: string;

  /** Opens the environment in `folder`, or creates it when the folder is empty. What was readable is durable first. */
  constructor(folder: string) {
    this.#folder = folder;
    const file = path.join(folder, 'data.mdb');
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

  /** Bytes of the file. */
  get sizeBytes(): number {
    return fs.statSync(path.join(this.#folder, 'data.mdb')).size;
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
