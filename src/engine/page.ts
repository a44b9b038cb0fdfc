/**
 * Pages of the radix trees. A leaf maps 256 consecutive chunks to entries; an inner page holds 256 page numbers.
 *
 * A page that more than one parent or root refers to is never changed: a writer copies it first (tree.ts). So a page is
 * mutable only while its reference count is one.
 *
 * Encoded form (docs/format.md, "Pages"): a header of 32 bytes with a checksum, then the content, packed so that a full
 * leaf with two layers an entry fits into one overflow page of the metadata store (4,072 bytes).
 */
import { crc32 } from 'node:zlib';
import { assert } from '../util/assert.ts';
import { StoreError } from '../util/errors.ts';
import { Entry } from './entry.ts';
import { FANOUT, HEADER_SLOT, MAXIMUM_LAYERS, MAXIMUM_LEVEL } from './geometry.ts';
import { type LeafFrame, type LeafFrames, LEAST_ROOM, newFrame, NO_FRAME } from './leaf-frames.ts';

const HEADER_BYTES = 32;
const PAGE_VERSION = 1;
const LAYER_BYTES = 7; // 5 bytes of slot number, 2 of mask
const CHILD_BYTES = 6;

interface PageState {
  /** Never used again for another page. 0 is no page. */
  readonly number: number;
  readonly level: number;
  /** Parents and roots that refer to this page. Not known for pages of the last checkpoint until they are counted. */
  references: number;
  /** Sequence of the last record that took a reference away, and its stamp in the order of operations. */
  shedSequence: number;
  shedStamp: number;
  /** Changed since it was last captured for a checkpoint. */
  dirty: boolean;
  /** The checkpoint under way still has to encode it; whoever changes it first encodes it before. */
  capturePending: boolean;
  /** In the metadata store, or in the transaction under way. */
  stored: boolean;
  /** Second chance of the cache. */
  recentlyUsed: boolean;
}

export class LeafPage implements PageState {
  readonly number: number;
  readonly level = 0;
  references = 1;
  shedSequence = 0;
  shedStamp = 0;
  dirty = false;
  capturePending = false;
  stored = false;
  recentlyUsed = true;
  readonly #frames: LeafFrames | null;
  /** Every entry has room for as many layers, and all get more when one needs it: pages are copied and changed in the path
   * of writes, where arrays for single entries would be garbage and time. */
  #frame: LeafFrame;

  /** An empty leaf. Its memory comes from `frames`, or is its own. */
  constructor(number: number, frames: LeafFrames | null = null, room = LEAST_ROOM) {
    this.number = number;
    this.#frames = frames;
    this.#frame = frames === null ? newFrame(room) : frames.take(room);
  }

  /** Gives its memory back; the page must not be used any more. */
  release(): void {
    this.#frames?.give(this.#frame);
    this.#frame = NO_FRAME;
  }

  layersAt(index: number): number {
    const { counts } = this.#frame;
    assert(index < counts.length, 'a leaf is used while it is in memory');
    return counts[index]!;
  }

  read(index: number, entry: Entry): void {
    const count = this.layersAt(index);
    const { room, slots, masks } = this.#frame;
    const at = index * room;
    entry.count = count;
    for (let layer = 0; layer < count; layer++) {
      entry.slots[layer] = slots[at + layer]!;
      entry.masks[layer] = masks[at + layer]!;
    }
  }

  write(index: number, entry: Entry): void {
    const { count } = entry;
    assert(index < this.#frame.counts.length, 'a leaf is used while it is in memory');
    if (count > this.#frame.room) this.#setRoom(roomFor(count));
    const { room, counts, slots, masks } = this.#frame;
    const at = index * room;
    counts[index] = count;
    for (let layer = 0; layer < count; layer++) {
      slots[at + layer] = entry.slots[layer]!;
      masks[at + layer] = entry.masks[layer]!;
    }
  }

  /** Puts the slots that it names into `slots`, as often as it names them, and answers how many that are. */
  slotsInto(slots: Uint32Array): number {
    const frame = this.#frame;
    assert(frame !== NO_FRAME, 'a leaf is used while it is in memory');
    let named = 0;
    for (let index = 0; index < FANOUT; index++) {
      const at = index * frame.room;
      for (let layer = 0; layer < frame.counts[index]!; layer++) slots[named++] = frame.slots[at + layer]!;
    }
    return named;
  }

  copyTo(number: number): LeafPage {
    const { room, counts, slots, masks } = this.#frame;
    const copy = new LeafPage(number, this.#frames, room);
    copy.#frame.counts.set(counts);
    copy.#frame.slots.set(slots);
    copy.#frame.masks.set(masks);
    return copy;
  }

  /** Gives back the memory that no entry needs any more. */
  fit(): void {
    let most = 0;
    for (let index = 0; index < FANOUT; index++) most = Math.max(most, this.layersAt(index));
    if (roomFor(most) < this.#frame.room) this.#setRoom(roomFor(most));
  }

  #setRoom(room: number): void {
    const before = this.#frame;
    const after = this.#frames === null ? newFrame(room) : this.#frames.take(room);
    after.counts.set(before.counts);
    for (let index = 0; index < FANOUT; index++) {
      for (let layer = 0; layer < before.counts[index]!; layer++) {
        after.slots[index * room + layer] = before.slots[index * before.room + layer]!;
        after.masks[index * room + layer] = before.masks[index * before.room + layer]!;
      }
    }
    this.#frames?.give(before);
    this.#frame = after;
  }
}

function roomFor(layers: number): number {
  let room = LEAST_ROOM;
  while (room < layers) room *= 2;
  return room;
}

export class InnerPage implements PageState {
  readonly number: number;
  readonly level: number;
  references = 1;
  shedSequence = 0;
  shedStamp = 0;
  dirty = false;
  capturePending = false;
  stored = false;
  recentlyUsed = true;
  /** Page numbers, 0 where nothing is mapped. */
  readonly children = new Float64Array(FANOUT);

  constructor(number: number, level: number) {
    assert(level > 0, 'an inner page stands above the leaves');
    this.number = number;
    this.level = level;
  }

  copyTo(number: number): InnerPage {
    const copy = new InnerPage(number, this.level);
    copy.children.set(this.children);
    return copy;
  }
}

export type Page = LeafPage | InnerPage;

export function isLeaf(page: Page): page is LeafPage {
  return page.level === 0;
}

const scratch = new Entry();

/** The bytes of a page as they stand in the metadata store. */
export function encodePage(page: Page): Uint8Array {
  const bytes = new Uint8Array(isLeaf(page) ? leafBytes(page) : HEADER_BYTES + FANOUT * CHILD_BYTES);
  const view = new DataView(bytes.buffer);
  view.setUint16(4, PAGE_VERSION, true);
  view.setUint8(6, page.level);
  putNumber(view, 8, page.number);
  if (isLeaf(page)) encodeLeaf(page, bytes, view);
  else for (let index = 0; index < FANOUT; index++) putNumber(view, HEADER_BYTES + index * CHILD_BYTES, page.children[index]!);
  view.setUint32(0, crc32(bytes.subarray(4)), true);
  return bytes;
}

/**
 * The memory of a leaf comes from `frames`, or is its own.
 * @throws StoreError data-loss when the bytes are not what was written, failed-precondition for an unknown version
 */
export function decodePage(number: number, bytes: Uint8Array, frames: LeafFrames | null = null): Page {
  const { view, level } = decodeHead(number, bytes);
  const page = level === 0 ? decodeLeaf(number, bytes, { view, frames }) : decodeInner(number, level, view);
  page.stored = true;
  return page;
}

/** The longest that `decodeReferences` fills. */
export const MAXIMUM_SLOTS_OF_LEAF = FANOUT * MAXIMUM_LAYERS;

/**
 * What a stored page refers to, for whoever counts it and keeps nothing: the slots of a leaf, as often as it names them, are
 * put into `slots`, and their number is the answer; of an inner page the answer is the page.
 * @throws as decodePage
 */
export function decodeReferences(number: number, bytes: Uint8Array, slots: Uint32Array): number | InnerPage {
  const { view, level } = decodeHead(number, bytes);
  if (level > 0) return decodeInner(number, level, view);
  let named = 0;
  let at = HEADER_BYTES + FANOUT;
  for (let index = 0; index < FANOUT; index++) {
    const count = bytes[HEADER_BYTES + index]!;
    if (count === 0) continue;
    demandLayers(number, bytes, count, at);
    // One layer is what nearly all have, and the count after a start goes through millions: no entry is made for it.
    if (count > 1) readLayers(number, view, count, at);
    else if (view.getUint32(at, true) === HEADER_SLOT || view.getUint16(at + 5, true) === 0) throw impossibleLayers(number);
    for (let layer = 0; layer < count; layer++, at += LAYER_BYTES) slots[named++] = view.getUint32(at, true);
  }
  return named;
}

function decodeHead(number: number, bytes: Uint8Array): { readonly view: DataView; readonly level: number } {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes.length < HEADER_BYTES || crc32(bytes.subarray(4)) !== view.getUint32(0, true) || getNumber(view, 8) !== number) {
    throw new StoreError('data-loss', `page ${number} of the pool's metadata is damaged: its checksum does not match`);
  }
  if (view.getUint16(4, true) !== PAGE_VERSION) {
    throw new StoreError(
      'failed-precondition',
      `page ${number} has version ${view.getUint16(4, true)}; this program reads version ${PAGE_VERSION}. Use the version that wrote it, or a newer one`,
    );
  }
  const level = view.getUint8(6);
  if (level > MAXIMUM_LEVEL) throw new StoreError('data-loss', `page ${number} of the pool's metadata says that it has level ${level}`);
  const leastBytes = HEADER_BYTES + FANOUT * (level === 0 ? 1 : CHILD_BYTES);
  if (bytes.length < leastBytes) throw new StoreError('data-loss', `page ${number} of the pool's metadata ends too early`);
  return { view, level };
}

function leafBytes(page: LeafPage): number {
  let layers = 0;
  for (let index = 0; index < FANOUT; index++) layers += page.layersAt(index);
  return HEADER_BYTES + FANOUT + layers * LAYER_BYTES;
}

function encodeLeaf(page: LeafPage, bytes: Uint8Array, view: DataView): void {
  let at = HEADER_BYTES + FANOUT;
  for (let index = 0; index < FANOUT; index++) {
    const count = page.layersAt(index);
    bytes[HEADER_BYTES + index] = count;
    if (count === 0) continue;
    page.read(index, scratch);
    for (let layer = 0; layer < count; layer++) {
      view.setUint32(at, scratch.slots[layer]!, true); // the fifth byte of the slot number stays 0
      view.setUint16(at + 5, scratch.masks[layer]!, true);
      at += LAYER_BYTES;
    }
  }
}

function decodeLeaf(
  number: number,
  bytes: Uint8Array,
  { view, frames }: { readonly view: DataView; readonly frames: LeafFrames | null },
): LeafPage {
  const page = new LeafPage(number, frames);
  let at = HEADER_BYTES + FANOUT;
  for (let index = 0; index < FANOUT; index++) {
    const count = bytes[HEADER_BYTES + index]!;
    if (count === 0) continue;
    demandLayers(number, bytes, count, at);
    readLayers(number, view, count, at);
    at += count * LAYER_BYTES;
    page.write(index, scratch);
  }
  return page;
}

function demandLayers(number: number, bytes: Uint8Array, count: number, at: number): void {
  if (count > MAXIMUM_LAYERS) throw new StoreError('data-loss', `page ${number} of the pool's metadata has an entry of ${count} layers`);
  if (at + count * LAYER_BYTES > bytes.length) throw new StoreError('data-loss', `page ${number} of the pool's metadata ends too early`);
}

/** The layers of one entry, into `scratch`. */
function readLayers(number: number, view: DataView, count: number, from: number): void {
  scratch.clear();
  for (let at = from; at < from + count * LAYER_BYTES; at += LAYER_BYTES) {
    const slot = view.getUint32(at, true);
    const mask = view.getUint16(at + 5, true);
    if (!scratch.accepts(slot, mask)) throw impossibleLayers(number);
    scratch.push(slot, mask);
  }
}

function impossibleLayers(number: number): StoreError {
  return new StoreError('data-loss', `page ${number} of the pool's metadata has layers that cannot be`);
}

function decodeInner(number: number, level: number, view: DataView): InnerPage {
  const page = new InnerPage(number, level);
  for (let index = 0; index < FANOUT; index++) page.children[index] = getNumber(view, HEADER_BYTES + index * CHILD_BYTES);
  return page;
}

/** A number below 2^48, little endian, in six bytes. */
export function putNumber(view: DataView, at: number, value: number): void {
  view.setUint32(at, value >>> 0, true);
  view.setUint16(at + 4, Math.floor(value / 2 ** 32), true);
}

export function getNumber(view: DataView, at: number): number {
  return view.getUint32(at, true) + view.getUint16(at + 4, true) * 2 ** 32;
}
