/**
 * A bit a slot that a checkpoint stores: rows of 8,000 slots, of which only those are written that changed (docs/format.md).
 * In a row, as in memory, bit i of byte b is slot 8 * b + i: memory is little endian on every machine that this runs on.
 *
 * Invariant: the checkpoint under way stores a row as it was when the checkpoint was captured: who changes it first encodes
 * it.
 */
import { crc32 } from 'node:zlib';
import type { MetadataChange, MetadataRow, MetadataTable } from './ports.ts';

const SLOTS_A_ROW = 8000;
const ROW_BYTES = SLOTS_A_ROW / 8;
const ROW_HEAD_BYTES = 4;

export class SlotBitmap {
  readonly #table: MetadataTable;
  readonly #slots: number;
  readonly #bytes: Uint8Array<ArrayBuffer>;
  readonly #words: Uint32Array;
  #dirtyRows = new Set<number>();
  /** Rows of the checkpoint under way that are not encoded yet, and those that are. */
  #pendingRows = new Set<number>();
  #encoded: MetadataChange[] = [];
  #count = 0;

  constructor(table: MetadataTable, slots: number) {
    this.#table = table;
    this.#slots = slots;
    this.#bytes = new Uint8Array(Math.ceil(slots / SLOTS_A_ROW) * ROW_BYTES);
    this.#words = new Uint32Array(this.#bytes.buffer);
  }

  /** Takes over what a checkpoint stores. In a row that is damaged all bits are `otherwise`, and the next checkpoint says so. */
  load(rows: readonly MetadataRow[], options: { readonly otherwise: 0 | 1 }): void {
    for (const { key, value } of rows) {
      const at = key * ROW_BYTES;
      if (at >= this.#bytes.length) continue;
      const bits = openRow(value, ROW_BYTES);
      if (bits === null) {
        this.#dirtyRows.add(key);
        this.#bytes.fill(options.otherwise * 0xff, at, at + ROW_BYTES);
      } else this.#bytes.set(bits, at);
    }
    // Beyond the last slot there is nothing to say.
    for (let slot = this.#slots; slot < this.#bytes.length * 8; slot++) this.#bytes[slot >>> 3]! &= ~(1 << (slot & 7));
    this.#count = 0;
    for (const word of this.#words) for (let bits = word; bits !== 0; bits &= bits - 1) this.#count++;
  }

  /** Slots whose bit is set. */
  get count(): number {
    return this.#count;
  }

  /** Rows that the next checkpoint has to store. */
  get dirtyCount(): number {
    return this.#dirtyRows.size;
  }

  has(slot: number): boolean {
    return ((this.#words[slot >>> 5]! >>> (slot & 31)) & 1) === 1;
  }

  /** The bits of slots 32 * index to 32 * index + 31. */
  word(index: number): number {
    return this.#words[index]!;
  }

  /** False when it was set already. */
  set(slot: number): boolean {
    if (this.has(slot)) return false;
    this.touch(slot);
    this.#words[slot >>> 5]! |= 1 << (slot & 31);
    this.#count++;
    return true;
  }

  /** False when it was not set. */
  clear(slot: number): boolean {
    if (!this.has(slot)) return false;
    this.touch(slot);
    this.#words[slot >>> 5]! &= ~(1 << (slot & 31));
    this.#count--;
    return true;
  }

  /** The next checkpoint stores the row of the slot, whether or not it changes. */
  touch(slot: number): void {
    const row = Math.floor(slot / SLOTS_A_ROW);
    if (this.#pendingRows.has(row)) this.#encode(row);
    this.#dirtyRows.add(row);
  }

  /** A checkpoint begins: it stores what there is now. */
  capture(): void {
    this.#pendingRows = this.#dirtyRows;
    this.#dirtyRows = new Set();
  }

  /** Encodes some of what was captured, and returns how many more could have been: 0 when more may be left. */
  encodeSome(limit: number): number {
    let left = limit;
    for (const row of this.#pendingRows) {
      if (left === 0) return 0;
      this.#encode(row);
      left--;
    }
    return left;
  }

  /** The changes of the captured checkpoint; call when all of it is encoded. */
  takeCaptured(): MetadataChange[] {
    const changes = this.#encoded;
    this.#encoded = [];
    return changes;
  }

  #encode(row: number): void {
    this.#pendingRows.delete(row);
    const bits = this.#bytes.subarray(row * ROW_BYTES, (row + 1) * ROW_BYTES);
    this.#encoded.push({ table: this.#table, key: row, value: bits.some((byte) => byte !== 0) ? closeRow(bits) : null });
  }
}

/** The checksum of a row, then the row. */
export function closeRow(bytes: Uint8Array): Uint8Array {
  const row = new Uint8Array(ROW_HEAD_BYTES + bytes.length);
  row.set(bytes, ROW_HEAD_BYTES);
  new DataView(row.buffer).setUint32(0, crc32(bytes), true);
  return row;
}

/** What `closeRow` was given; null when the row is damaged or has another length. */
export function openRow(row: Uint8Array, lengthBytes: number): Uint8Array | null {
  if (row.length !== ROW_HEAD_BYTES + lengthBytes) return null;
  const bytes = row.subarray(ROW_HEAD_BYTES);
  return new DataView(row.buffer, row.byteOffset).getUint32(0, true) === crc32(bytes) ? bytes : null;
}
