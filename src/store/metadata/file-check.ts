/**
 * Looks through the structure of an LMDB file before LMDB maps it. LMDB believes its file: where one bit of it is wrong it
 * may read and write anywhere, which ends the process, at every start anew.
 *
 * What is checked: both head pages agree; each page that a tree refers to is there, is of its kind, names itself, and has
 * its nodes inside it and in order; the trees have the pages and entries that they count; and every page is used once or
 * free once. Values are not looked at (the engine has checksums of them), but for the lists of free pages.
 *
 * The layout is that of lmdb-js 3.5.6 on a machine of 64 bits (its mdb.c: MDB_page_header, MDB_node, MDB_db, MDB_meta; a
 * list of free pages may have runs, which LMDB itself does not). Little endian.
 */
import fs from 'node:fs';
import { StoreError } from '../../util/errors.ts';

const HEAD_BYTES = 24;
const MAGIC = 0xbeefc0de;
const DATA_VERSION = 2;
const HEADS = 2;
/** Offsets in a head page. */
const META = { magic: 24, version: 28, address: 32, freeTree: 48, mainTree: 96, lastPage: 144, transaction: 152, end: 160 };
const TREE_BYTES = 48;
const Flag = { branch: 1, leaf: 2, overflow: 4, meta: 8 } as const;
/** The flags that say what a page is; others are for pages that a transaction is changing. */
const KINDS = 0x6f;
const NodeFlag = { big: 1, tree: 2 } as const;
const NODE_BYTES = 8;
const BIG_BYTES = 24;
const NO_PAGE = 2n ** 64n - 1n;
/** Deeper than any tree of pages of 4 KiB gets. */
const MOST_LEVELS = 32;

interface Tree {
  readonly flags: number;
  readonly depth: number;
  readonly branches: number;
  readonly leaves: number;
  readonly overflows: number;
  readonly entries: number;
  readonly root: number | null;
}

interface Meta {
  readonly pageSize: number;
  readonly address: bigint;
  readonly freeTree: Tree;
  readonly mainTree: Tree;
  readonly lastPage: number;
  readonly transaction: number;
}

interface Tally {
  branches: number;
  leaves: number;
  overflows: number;
  entries: number;
}

/** @throws StoreError data-loss; what the disk says */
export function checkMetadataFile(file: string): void {
  const descriptor = fs.openSync(file, 'r');
  try {
    new FileCheck(file, descriptor).run();
  } finally {
    fs.closeSync(descriptor);
  }
}

class FileCheck {
  readonly #file: string;
  readonly #descriptor: number;
  readonly #sizeBytes: number;
  #pageSize = 4096;
  #transaction = 0;
  /** By page: 0 nothing is known, 1 used, 2 free. */
  #uses = new Uint8Array(0);

  constructor(file: string, descriptor: number) {
    this.#file = file;
    this.#descriptor = descriptor;
    this.#sizeBytes = fs.fstatSync(descriptor).size;
  }

  run(): void {
    const meta = this.#chooseMeta();
    this.#pageSize = meta.pageSize;
    this.#transaction = meta.transaction;
    const neededBytes = (meta.lastPage + 1) * meta.pageSize;
    if (this.#sizeBytes < neededBytes)
      throw new StoreError('data-loss', `${this.#file} is truncated: ${this.#sizeBytes} bytes, but its head counts ${neededBytes}`);
    this.#uses = new Uint8Array(meta.lastPage + 1);
    this.#uses.fill(1, 0, HEADS);
    this.#walkTree(meta.mainTree, 'main');
    this.#walkTree(meta.freeTree, 'free');
    const lost = this.#uses.indexOf(0);
    this.#demand(lost === -1, `page ${lost} is neither used nor free`);
  }

  // ---- heads ---------------------------------------------------------------------------------------------

  #chooseMeta(): Meta {
    const first = this.#readMeta(0, 0);
    const pageSize = first?.pageSize ?? 4096;
    const second = this.#readMeta(pageSize, 1);
    const [newest] = [first, second].filter((meta) => meta !== null).toSorted((a, b) => b.transaction - a.transaction);
    if (newest === undefined)
      throw new StoreError('data-loss', `${this.#file} is not a metadata file of a pool: its head pages are damaged`);
    // Each transaction writes one of them whole: both are always there, and one transaction apart.
    this.#demand(first !== null && second !== null, 'one of its head pages is none');
    const apart = Math.abs(first!.transaction - second!.transaction);
    this.#demand(apart === 1 || (apart === 0 && newest.transaction === 0), `its head pages are ${apart} transactions apart`);
    this.#demand(first!.pageSize === second!.pageSize && first!.address === second!.address, 'its head pages do not agree');
    this.#demand(
      first!.freeTree.flags === second!.freeTree.flags && first!.mainTree.flags === second!.mainTree.flags,
      'its head pages do not agree',
    );
    return newest;
  }

  #readMeta(offset: number, number: number): Meta | null {
    const page = Buffer.alloc(META.end);
    if (fs.readSync(this.#descriptor, page, 0, page.length, offset) < page.length) return null;
    if (page.readUInt32LE(META.magic) !== MAGIC || page.readUInt32LE(META.version) !== DATA_VERSION) return null;
    if (page.readUInt16LE(18) !== Flag.meta || page.readBigUInt64LE(0) !== BigInt(number)) return null;
    const pageSize = page.readUInt32LE(META.freeTree);
    if (pageSize < 512 || pageSize > 65_536 || (pageSize & (pageSize - 1)) !== 0) return null;
    const transaction = Number(page.readBigUInt64LE(META.transaction));
    // Transaction n writes head page n modulo 2; a new file has two of transaction 0.
    if (transaction !== 0 && transaction % HEADS !== number) return null;
    return {
      pageSize,
      address: page.readBigUInt64LE(META.address),
      freeTree: readTree(page, META.freeTree),
      mainTree: readTree(page, META.mainTree),
      lastPage: Number(page.readBigUInt64LE(META.lastPage)),
      transaction,
    };
  }

  // ---- trees ---------------------------------------------------------------------------------------------

  #walkTree(tree: Tree, kind: 'main' | 'free' | 'named'): void {
    const tally: Tally = { branches: 0, leaves: 0, overflows: 0, entries: 0 };
    if (tree.root !== null) this.#walkPage(tree, kind, tally, { number: tree.root, level: 1, low: null, high: null });
    else this.#demand(tree.depth === 0, 'a tree without pages has a depth');
    for (const name of ['branches', 'leaves', 'overflows', 'entries'] as const)
      this.#demand(tally[name] === tree[name], `a tree has ${tally[name]} ${name}, and counts ${tree[name]}`);
  }

  #walkPage(
    tree: Tree,
    kind: 'main' | 'free' | 'named',
    tally: Tally,
    at: { readonly number: number; readonly level: number; readonly low: Buffer | null; readonly high: Buffer | null },
  ): void {
    const { number, level } = at;
    this.#use(number, 1);
    const page = this.#read(number, this.#pageSize);
    const kindOfPage = page.readUInt16LE(18) & KINDS;
    const isLeaf = level === tree.depth;
    this.#demand(level <= Math.min(tree.depth, MOST_LEVELS), `page ${number} lies too deep`);
    this.#demand(numberAt(page, 0) === number, `page ${number} has another number`);
    this.#demand(kindOfPage === (isLeaf ? Flag.leaf : Flag.branch), `page ${number} is of another kind`);
    this.#demandOld(page, 8, number);
    const lower = page.readUInt16LE(20);
    const upper = page.readUInt16LE(22);
    const nodes = lower >> 1;
    const within = this.#pageSize - HEAD_BYTES;
    this.#demand(lower % 2 === 0 && lower <= upper && upper <= within && nodes > 0, `page ${number} has impossible bounds`);
    if (isLeaf) tally.leaves += 1;
    else tally.branches += 1;
    let before: Buffer | null = null;
    const children: { readonly number: number; readonly low: Buffer | null }[] = [];
    for (let index = 0; index < nodes; index++) {
      const offset = page.readUInt16LE(HEAD_BYTES + 2 * index);
      this.#demand(offset >= upper && offset % 2 === 0 && offset + NODE_BYTES <= within, `page ${number} has a node outside`);
      const node = HEAD_BYTES + offset;
      const keyBytes = page.readUInt16LE(node + 6);
      const dataAt = node + NODE_BYTES + keyBytes;
      this.#demand(dataAt <= page.length, `page ${number} has a key outside`);
      const key = page.subarray(node + NODE_BYTES, dataAt);
      const isFirstBranch = !isLeaf && index === 0;
      if (!isFirstBranch) {
        if (before !== null) this.#demand(compareKeys(kind, before, key) < 0, `page ${number} has keys out of order`);
        if (at.low !== null) this.#demand(compareKeys(kind, at.low, key) <= 0, `page ${number} has a key of another page`);
        if (at.high !== null) this.#demand(compareKeys(kind, key, at.high) < 0, `page ${number} has a key of another page`);
        before = key;
      }
      if (isLeaf) this.#walkNode(kind, tally, page, number, node, dataAt);
      else children.push({ number: page.readUIntLE(node, 6), low: isFirstBranch ? at.low : key });
    }
    for (const [index, child] of children.entries())
      this.#walkPage(tree, kind, tally, { ...child, level: level + 1, high: children[index + 1]?.low ?? at.high });
  }

  /** An entry of a leaf. */
  #walkNode(kind: 'main' | 'free' | 'named', tally: Tally, page: Buffer, number: number, node: number, dataAt: number): void {
    tally.entries += 1;
    const flags = page.readUInt16LE(node + 4);
    const lengthBytes = page.readUInt32LE(node);
    this.#demand(
      flags === 0 || flags === NodeFlag.big || (flags === NodeFlag.tree && kind === 'main'),
      `page ${number} has a strange entry`,
    );
    this.#demand(dataAt + (flags === NodeFlag.big ? BIG_BYTES : lengthBytes) <= page.length, `page ${number} has a value outside`);
    if (flags === NodeFlag.tree) {
      this.#demand(lengthBytes === TREE_BYTES, `page ${number} has a strange entry`);
      return this.#walkTree(readTree(page, dataAt), 'named');
    }
    if (flags === 0) {
      if (kind === 'free') this.#takeFree(page.subarray(dataAt, dataAt + lengthBytes));
      return;
    }
    const first = numberAt(page, dataAt);
    const pages = numberAt(page, dataAt + 16);
    // More than it needs, where a longer one was written over.
    const fits = Number.isSafeInteger(pages) && pages <= this.#uses.length && pages * this.#pageSize >= HEAD_BYTES + lengthBytes;
    this.#demand(fits, `page ${number} has a value of ${lengthBytes} bytes in ${pages} pages`);
    for (let index = 0; index < pages; index++) this.#use(first + index, 1);
    tally.overflows += pages;
    this.#demandOld(page, dataAt + 8, number);
    const head = this.#read(first, HEAD_BYTES);
    this.#demandOld(head, 8, first);
    this.#demand(numberAt(head, 0) === first, `page ${first} has another number`);
    this.#demand((head.readUInt16LE(18) & KINDS) === Flag.overflow && head.readUInt32LE(20) === pages, `page ${first} is of another kind`);
    if (kind !== 'free') return;
    const list = this.#read(first, HEAD_BYTES + lengthBytes).subarray(HEAD_BYTES);
    this.#takeFree(list);
  }

  /** A list of free pages: how many words follow, then pages, or runs: minus the length, and the first page. */
  #takeFree(list: Buffer): void {
    this.#demand(list.length >= 8 && list.length % 8 === 0, 'a list of free pages has a strange length');
    const words = Number(list.readBigUInt64LE(0));
    this.#demand(words * 8 + 8 <= list.length, 'a list of free pages is longer than it is');
    for (let word = 1; word <= words; word++) {
      const entry = Number(list.readBigInt64LE(word * 8));
      if (entry === 0) continue;
      if (entry > 0) {
        this.#use(entry, 2);
        continue;
      }
      word += 1;
      this.#demand(word <= words && -entry <= this.#uses.length, 'a list of free pages has a run without a page');
      const first = Number(list.readBigInt64LE(word * 8));
      for (let index = 0; index < -entry; index++) this.#use(first + index, 2);
    }
  }

  // ---- helpers -------------------------------------------------------------------------------------------

  #use(page: number, use: 1 | 2): void {
    this.#demand(Number.isSafeInteger(page) && page >= HEADS && page < this.#uses.length, `there is no page ${page}`);
    this.#demand(this.#uses[page] === 0, `page ${page} is used twice, or used and free`);
    this.#uses[page] = use;
  }

  /** The transaction that wrote a page: of one that is not over yet LMDB would think that it has the page in memory. */
  #demandOld(bytes: Buffer, at: number, number: number): void {
    this.#demand(numberAt(bytes, at) <= this.#transaction, `page ${number} is newer than the file`);
  }

  #read(number: number, lengthBytes: number): Buffer {
    const bytes = Buffer.allocUnsafe(lengthBytes);
    const read = fs.readSync(this.#descriptor, bytes, 0, lengthBytes, number * this.#pageSize);
    this.#demand(read === lengthBytes, `page ${number} lies behind the end`);
    return bytes;
  }

  #demand(condition: boolean, what: string): void {
    if (condition) return;
    throw new StoreError('data-loss', `${this.#file} is damaged: ${what}. Put back a copy of the pool's metadata`);
  }
}

/** Exact as far as a file can be long. */
function numberAt(bytes: Buffer, at: number): number {
  return bytes.readUInt32LE(at) + bytes.readUInt32LE(at + 4) * 2 ** 32;
}

function readTree(page: Buffer, at: number): Tree {
  const root = page.readBigUInt64LE(at + 40);
  return {
    flags: page.readUInt16LE(at + 4),
    depth: page.readUInt16LE(at + 6),
    branches: Number(page.readBigUInt64LE(at + 8)),
    leaves: Number(page.readBigUInt64LE(at + 16)),
    overflows: Number(page.readBigUInt64LE(at + 24)),
    entries: Number(page.readBigUInt64LE(at + 32)),
    root: root === NO_PAGE ? null : Number(root),
  };
}

/** The list of free pages has the numbers of transactions as keys, all others are ordered as bytes. */
function compareKeys(kind: 'main' | 'free' | 'named', left: Buffer, right: Buffer): number {
  if (kind !== 'free' || left.length !== 8 || right.length !== 8) return Buffer.compare(left, right);
  const difference = left.readBigUInt64LE() - right.readBigUInt64LE();
  return difference < 0n ? -1 : difference > 0n ? 1 : 0;
}
