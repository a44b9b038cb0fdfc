/**
 * Walks and changes of an object's radix tree: pages of 256 entries or children.
 *
 * A walk that meets a page that is not in memory stops and names it in `pages.missing`; the caller loads it and walks
 * again. Changes are made only after a walk has shown that everything they need is in memory, so they never stop
 * half-way. A change copies every shared page on its path first (copy on write).
 */
import { assert } from '../util/assert.ts';
import { Entry } from './entry.ts';
import { FANOUT, FANOUT_BITS, MAXIMUM_LEVEL } from './geometry.ts';
import type { StoredObject } from './objects.ts';
import type { PageTable } from './page-table.ts';
import { isLeaf, MAXIMUM_SLOTS_OF_LEAF, type InnerPage, type LeafPage, type Page } from './page.ts';
import type { Slots } from './slots.ts';

/** Result of a walk: a leaf, or one of these. */
export const EMPTY = 0;
export const MISSING = 1;
export type Walk = LeafPage | typeof EMPTY | typeof MISSING;

/** `soon`: when what happened is durable and over. */
const Ownership = { none: 0, soon: 1, now: 2 } as const;

export function indexAt(chunk: number, level: number): number {
  return (chunk >>> (FANOUT_BITS * level)) & (FANOUT - 1);
}

/** A tree whose root has this level reaches this many chunks. */
export function reachOf(level: number): number {
  return FANOUT ** (level + 1);
}

export class Tree {
  readonly #pages: PageTable;
  readonly #slots: Slots;
  readonly #before = new Entry();
  /** Slots that a leaf names. */
  readonly #named = new Uint32Array(MAXIMUM_SLOTS_OF_LEAF);

  constructor(pages: PageTable, slots: Slots) {
    this.#pages = pages;
    this.#slots = slots;
  }

  /** The leaf that maps a chunk. */
  find(object: StoredObject, chunk: number): Walk {
    if (object.rootNumber === 0 || chunk >= reachOf(object.rootLevel)) return EMPTY;
    let number = object.rootNumber;
    for (let level = object.rootLevel; level > 0; level--) {
      const page = this.#pages.get(number) as InnerPage | undefined;
      if (page === undefined) return MISSING;
      number = page.children[indexAt(chunk, level)]!;
      if (number === 0) return EMPTY;
    }
    return (this.#pages.get(number) as LeafPage | undefined) ?? MISSING;
  }

  /** Bit n: layer n of the entry is this object's alone. `entry` is the chunk's; its path is in memory. */
  ownedLayers(object: StoredObject, chunk: number, entry: Entry): number {
    if (this.#ownership(object, chunk) !== Ownership.now) return 0;
    let owned = 0;
    for (let layer = 0; layer < entry.count; layer++) if (this.#slots.owned(entry.slots[layer]!)) owned |= 1 << layer;
    return owned;
  }

  /** Those of the set that are not sealed: `ownedLayers` of these may be written in place. */
  unsealedLayers(entry: Entry, set: number): number {
    let left = set;
    for (let layer = 0; layer < entry.count; layer++) if (this.#slots.seals.has(entry.slots[layer]!)) left &= ~(1 << layer);
    return left;
  }

  /** As `ownedLayers`, but of what is not durable or not over yet, too: what will be owned if nothing else happens. */
  soonOwnedLayers(object: StoredObject, chunk: number, entry: Entry): number {
    if (this.#ownership(object, chunk) === Ownership.none) return 0;
    let owned = 0;
    for (let layer = 0; layer < entry.count; layer++) if (this.#slots.soonOwned(entry.slots[layer]!)) owned |= 1 << layer;
    return owned;
  }

  /** Replaces the entry of a chunk. Call only after `find` has not answered MISSING. */
  setEntry(object: StoredObject, chunk: number, entry: Entry, sequence: number): void {
    if (entry.count === 0 && this.find(object, chunk) === EMPTY) return;
    const leaf = this.#writableLeaf(object, chunk, sequence);
    const index = indexAt(chunk, 0);
    const before = this.#before;
    leaf.read(index, before);
    // What a chunk holds moves from layer to layer: one that is to be erased makes all of them so (erasures.ts).
    const erases = object.erases || this.#slots.hasErasures(before);
    // References first, drops after: a slot that stays is never without one.
    for (let layer = 0; layer < entry.count; layer++) {
      const slot = entry.slots[layer]!;
      if (erases) this.#slots.markErasure(slot);
      if (before.find(slot) < 0) this.#slots.addReference(slot);
    }
    for (let layer = 0; layer < before.count; layer++)
      if (entry.find(before.slots[layer]!) < 0) this.#slots.dropReference(before.slots[layer]!, sequence);
    leaf.write(index, entry);
  }

  /** Whether `trim` of these chunks has all pages that it needs; else `pages.missing` names one. */
  canTrim(object: StoredObject, firstChunk: number, chunks: number): boolean {
    if (object.rootNumber === 0) return true;
    return this.#canTrimBelow(object.rootNumber, object.rootLevel, 0, firstChunk, firstChunk + chunks);
  }

  /** Unmaps whole chunks. Subtrees that go whole are dropped in one step and taken apart later. */
  trim(object: StoredObject, firstChunk: number, chunks: number, sequence: number): void {
    const to = firstChunk + chunks;
    if (object.rootNumber === 0 || firstChunk >= reachOf(object.rootLevel)) return;
    if (firstChunk === 0 && to >= reachOf(object.rootLevel)) {
      this.replaceRoot(object, 0, 0, sequence);
      return;
    }
    const root = this.#writableRoot(object, sequence);
    this.#trimBelow(root, 0, firstChunk, to, sequence);
  }

  /** The object's tree becomes the one under `rootNumber`, which must not need a new reference; the old one is dropped. */
  replaceRoot(object: StoredObject, rootNumber: number, rootLevel: number, sequence: number): void {
    if (object.rootNumber !== 0) this.#pages.dropReference(object.rootNumber, sequence);
    object.rootNumber = rootNumber;
    object.rootLevel = rootLevel;
    object.dirty = true;
  }

  /** Takes a dropped page apart: gives up its references. The page is in memory and nobody refers to it. */
  dismantle(page: Page, sequence: number): void {
    if (isLeaf(page)) this.#slots.dropReferences(this.#named, page.slotsInto(this.#named), sequence);
    else for (const child of page.children) if (child !== 0) this.#pages.dropReference(child, sequence);
    this.#pages.remove(page);
  }

  /** Whether the pages on the way to a chunk are this object's alone. */
  #ownership(object: StoredObject, chunk: number): number {
    let number = object.rootNumber;
    let ownership: number = Ownership.now;
    for (let level = object.rootLevel; level >= 0; level--) {
      const page = this.#present(number);
      if (!this.#pages.isOwned(page)) return Ownership.none;
      if (!this.#pages.shedIsOver(page)) ownership = Ownership.soon;
      if (!isLeaf(page)) number = page.children[indexAt(chunk, level)]!;
    }
    return ownership;
  }

  #writableLeaf(object: StoredObject, chunk: number, sequence: number): LeafPage {
    if (object.rootNumber === 0) {
      let level = 0;
      while (chunk >= reachOf(level)) level++;
      object.rootNumber = (level === 0 ? this.#pages.newLeaf() : this.#pages.newInner(level)).number;
      object.rootLevel = level;
      object.dirty = true;
    }
    while (chunk >= reachOf(object.rootLevel)) {
      assert(object.rootLevel < MAXIMUM_LEVEL, 'a chunk lies inside the largest tree');
      const above = this.#pages.newInner(object.rootLevel + 1);
      above.children[0] = object.rootNumber; // the root's reference moves to the new page
      object.rootNumber = above.number;
      object.rootLevel++;
      object.dirty = true;
    }
    let page: Page = this.#writableRoot(object, sequence);
    while (!isLeaf(page)) page = this.#writableChild(page, indexAt(chunk, page.level), sequence);
    return page;
  }

  #writableRoot(object: StoredObject, sequence: number): Page {
    const root = this.#present(object.rootNumber);
    if (!this.#pages.isShared(root)) {
      this.#pages.touch(root);
      return root;
    }
    const copy = this.#copy(root, sequence);
    object.rootNumber = copy.number;
    object.dirty = true;
    return copy;
  }

  /** The child at an index, made if there is none, copied if it is shared. `page` is writable. */
  #writableChild(page: InnerPage, index: number, sequence: number): Page {
    const number = page.children[index]!;
    if (number === 0) {
      const made = page.level === 1 ? this.#pages.newLeaf() : this.#pages.newInner(page.level - 1);
      page.children[index] = made.number;
      return made;
    }
    const child = this.#present(number);
    if (!this.#pages.isShared(child)) {
      this.#pages.touch(child);
      return child;
    }
    const copy = this.#copy(child, sequence);
    page.children[index] = copy.number;
    return copy;
  }

  #copy(page: Page, sequence: number): Page {
    const copy = this.#pages.copy(page);
    if (isLeaf(page)) this.#slots.addReferences(this.#named, page.slotsInto(this.#named));
    else for (const child of page.children) if (child !== 0) this.#pages.addReference(child);
    this.#pages.dropReference(page.number, sequence);
    return copy;
  }

  #canTrimBelow(number: number, level: number, base: number, from: number, to: number): boolean {
    const page = this.#pages.get(number);
    if (page === undefined) return false;
    if (isLeaf(page)) return true;
    const reach = reachOf(level - 1);
    for (let index = 0; index < FANOUT; index++) {
      const start = base + index * reach;
      const child = page.children[index]!;
      if (child === 0 || start + reach <= from || start >= to || (from <= start && to >= start + reach)) continue;
      if (!this.#canTrimBelow(child, level - 1, start, from, to)) return false;
    }
    return true;
  }

  #trimBelow(page: Page, base: number, from: number, to: number, sequence: number): void {
    const reach = page.level === 0 ? 1 : reachOf(page.level - 1);
    const first = Math.max(0, Math.floor((from - base) / reach));
    for (let index = first; index < FANOUT && base + index * reach < to; index++) {
      const start = base + index * reach;
      if (isLeaf(page)) this.#clearEntry(page, index, sequence);
      else if (page.children[index] === 0) continue;
      else if (from <= start && to >= start + reach) {
        this.#pages.dropReference(page.children[index]!, sequence);
        page.children[index] = 0;
      } else this.#trimBelow(this.#writableChild(page, index, sequence), start, from, to, sequence);
    }
  }

  #clearEntry(leaf: LeafPage, index: number, sequence: number): void {
    const entry = this.#before;
    leaf.read(index, entry);
    for (let layer = 0; layer < entry.count; layer++) this.#slots.dropReference(entry.slots[layer]!, sequence);
    entry.clear();
    leaf.write(index, entry);
  }

  #present(number: number): Page {
    const page = this.#pages.get(number);
    assert(page !== undefined, 'a change is made only when its pages are in memory');
    return page;
  }
}
