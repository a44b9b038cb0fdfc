/**
 * The pages of all trees: which are in memory, how often each is referred to, which are dirty.
 *
 * Invariants:
 * - a page with more than one reference is never changed; before the background count is over that holds for every
 *   page of the checkpoint ("old": its number is below `firstNewNumber`);
 * - references are counted once a distinct parent: two volumes that share an inner page share all below it by that one
 *   reference;
 * - the checkpoint under way stores a page as it was when the checkpoint was captured: who changes it first encodes it.
 */
import { assert } from '../util/assert.ts';
import { StoreError } from '../util/errors.ts';
import { LEAST_ROOM, LeafFrames } from './leaf-frames.ts';
import type { MetadataChange, MetadataStore } from './ports.ts';
import { decodePage, encodePage, InnerPage, isLeaf, LeafPage, type Page } from './page.ts';

export interface PageTableOptions {
  readonly metadata: MetadataStore;
  /** Leaves kept in memory; one whose entries have many layers counts as several. Inner pages always stay. */
  readonly leafLimit: number;
  readonly durableSequence: () => number;
  /** A stamp for "now" in the order of operations, and the stamp of the oldest one in flight (Infinity when none is). */
  readonly stampNow: () => number;
  readonly oldestStamp: () => number;
  /** The metadata store failed to read a page: nothing sensible can go on. */
  readonly failed: (error: Error) => void;
}

interface Waiter {
  readonly done: () => void;
  readonly failed: () => void;
}

/** A page nobody refers to any more; its children still carry its references until it is taken apart. */
export interface DroppedPage {
  readonly number: number;
  readonly sequence: number;
}

export class PageTable {
  readonly #options: PageTableOptions;
  readonly #frames = new LeafFrames();
  readonly #resident = new Map<number, Page>();
  readonly #loading = new Map<number, Waiter[]>();
  /** References of pages that are not in memory, where they are not 1, and their last drop where it may not be durable. */
  readonly #awayReferences = new Map<number, number>();
  readonly #awayShed = new Map<number, { readonly sequence: number; readonly stamp: number }>();
  /** Changes of old pages' counts during the background count. */
  #changes: Map<number, number> | null = new Map();
  /** References of walks among the references of roots. */
  readonly #pins = new Map<number, number>();
  #droppedBefore: readonly number[] = [];
  #firstNewNumber = 1;
  #nextNumber = 1;
  readonly #dirty = new Set<Page>();
  #captured: Page[] = [];
  #capturedAt = 0;
  readonly #encoded = new Map<number, Uint8Array>();
  readonly #removed = new Set<number>();
  #capturedRemoved: number[] = [];
  readonly dropped: DroppedPage[] = [];
  /** Dropped pages that are being brought into memory to be taken apart. */
  readonly #dismantling = new Set<number>();
  /** Number of the page that a walk found missing; valid right after the walk said so. */
  missing = 0;

  constructor(options: PageTableOptions) {
    this.#options = options;
  }

  /** Continues the numbering of a checkpoint, and what it names as dropped. */
  start(nextNumber: number, dropped: readonly number[] = []): void {
    this.#droppedBefore = dropped;
    this.#firstNewNumber = nextNumber;
    this.#nextNumber = nextNumber;
  }

  get nextNumber(): number {
    return this.#nextNumber;
  }

  get dirtyCount(): number {
    return this.#dirty.size;
  }

  get residentCount(): number {
    return this.#resident.size;
  }

  /** The page if it is in memory; else undefined, and `missing` names it. */
  get(number: number): Page | undefined {
    const page = this.#resident.get(number);
    if (page === undefined) this.missing = number;
    else page.recentlyUsed = true;
    return page;
  }

  /** Brings a page into memory, then calls `done`; `failed` when the metadata cannot be read. */
  load(number: number, done: () => void, failed: () => void = () => undefined): void {
    const waiters = this.#loading.get(number);
    if (waiters !== undefined) {
      waiters.push({ done, failed });
      return;
    }
    this.#loading.set(number, [{ done, failed }]);
    this.#options.metadata.readPage(number, (error, bytes) => {
      const waiting = this.#loading.get(number)!;
      this.#loading.delete(number);
      try {
        if (error !== null) throw error;
        if (bytes === null) throw new StoreError('data-loss', `page ${number} of the pool's metadata is missing`);
        this.#adopt(decodePage(number, bytes, this.#frames));
      } catch (cause) {
        this.#options.failed(cause as Error);
        for (const waiter of waiting) waiter.failed();
        return;
      }
      for (const waiter of waiting) waiter.done();
    });
  }

  newLeaf(): LeafPage {
    const page = new LeafPage(this.#nextNumber++, this.#frames);
    this.#addNew(page);
    return page;
  }

  newInner(level: number): InnerPage {
    const page = new InnerPage(this.#nextNumber++, level);
    this.#addNew(page);
    return page;
  }

  /** A copy with its own number. The caller adds the references to its children and drops the one to the original. */
  copy(page: Page): Page {
    const copy = page.copyTo(this.#nextNumber++);
    this.#addNew(copy);
    return copy;
  }

  isShared(page: Page): boolean {
    return page.references !== 1 || this.#isUncounted(page.number);
  }

  /** One parent alone refers to it, besides walks that only look at the map: what it maps may be written in place. */
  isOwned(page: Page): boolean {
    const pins = this.#pins.size === 0 ? 0 : (this.#pins.get(page.number) ?? 0);
    return page.references - pins === 1 && !this.#isUncounted(page.number);
  }

  /** Freezes the map below a page for a walk: whoever changes it copies it first. */
  pin(number: number): void {
    this.#pins.set(number, (this.#pins.get(number) ?? 0) + 1);
    this.addReference(number);
  }

  unpin(number: number, sequence: number): void {
    const pins = this.#pins.get(number)! - 1;
    if (pins === 0) this.#pins.delete(number);
    else this.#pins.set(number, pins);
    this.dropReference(number, sequence);
  }

  /** No record that took a reference away can still be lost, and no operation of who let go is under way. */
  shedIsOver(page: Page): boolean {
    return page.shedSequence <= this.#options.durableSequence() && page.shedStamp < this.#options.oldestStamp();
  }

  /** References to a page; known once counted. */
  references(number: number): number {
    return this.#resident.get(number)?.references ?? this.#awayReferences.get(number) ?? 1;
  }

  addReference(number: number): void {
    if (this.#changeOld(number, 1)) return;
    const page = this.#resident.get(number);
    if (page !== undefined) page.references++;
    else this.#awayReferences.set(number, (this.#awayReferences.get(number) ?? 1) + 1);
  }

  /** A parent or root no longer refers to the page. With the last reference it comes into `dropped`. */
  dropReference(number: number, sequence: number): void {
    const page = this.#resident.get(number);
    const stamp = this.#options.stampNow();
    if (page === undefined) this.#awayShed.set(number, { sequence: Math.max(sequence, this.#awayShed.get(number)?.sequence ?? 0), stamp });
    else {
      page.shedSequence = Math.max(page.shedSequence, sequence);
      page.shedStamp = stamp;
    }
    if (this.#changeOld(number, -1)) return;
    const left = (page?.references ?? this.#awayReferences.get(number) ?? 1) - 1;
    assert(left >= 0, 'a page reference is dropped once');
    if (page !== undefined) page.references = left;
    else if (left === 1) this.#awayReferences.delete(number);
    else this.#awayReferences.set(number, left);
    // The last drop to be processed need not be the one with the last record.
    if (left === 0) this.dropped.push({ number, sequence: page?.shedSequence ?? this.#awayShed.get(number)!.sequence });
  }

  /** The page is about to be changed in place. */
  touch(page: Page): void {
    assert(!this.isShared(page), 'a shared page is never changed');
    if (page.capturePending) this.#encode(page);
    if (page.dirty) return;
    page.dirty = true;
    this.#dirty.add(page);
  }

  /** Takes the next dropped page: it is being taken apart from now until `remove`. */
  nextDropped(): DroppedPage {
    const next = this.dropped.pop()!;
    this.#dismantling.add(next.number);
    return next;
  }

  /**
   * Every dropped page that still holds references; a checkpoint names them, or they would stay for ever after a crash.
   * Until the count is over: those that the last checkpoint named, and every old page that lost a reference, since that
   * may have been its last.
   */
  droppedNumbers(): number[] {
    const suspects = new Set([...this.dropped.map(({ number }) => number), ...this.#dismantling]);
    // What a walk alone holds any more is dropped when the walk is over, or was when a crash comes first.
    for (const [number, pins] of this.#pins) if (this.references(number) === pins) suspects.add(number);
    if (this.#changes === null) return [...suspects];
    for (const number of this.#droppedBefore) suspects.add(number);
    for (const [number, change] of this.#changes) if (change < 0) suspects.add(number);
    return [...suspects];
  }

  /** A dropped page has been taken apart: it is gone, and must not be used any more. */
  remove(page: Page): void {
    this.#dismantling.delete(page.number);
    if (page.capturePending) this.#encode(page);
    this.#dirty.delete(page);
    this.#resident.delete(page.number);
    if (isLeaf(page)) page.release();
    if (page.stored) this.#removed.add(page.number);
  }

  // ---- checkpoint ----------------------------------------------------------------------------------------

  /** Marks all dirty pages as part of the checkpoint that begins now. */
  capture(): void {
    assert(this.#captured.length === 0 && this.#encoded.size === 0, 'one checkpoint at a time');
    this.#captured = [...this.#dirty];
    this.#capturedAt = 0;
    for (const page of this.#captured) {
      page.capturePending = true;
      page.dirty = false;
    }
    this.#dirty.clear();
    this.#capturedRemoved = [...this.#removed];
    this.#removed.clear();
  }

  /** Encodes some of the captured pages; true while more are left. */
  encodeSome(limit: number): boolean {
    for (let count = 0; count < limit && this.#capturedAt < this.#captured.length; count++) {
      const page = this.#captured[this.#capturedAt++]!;
      if (page.capturePending) this.#encode(page);
    }
    return this.#capturedAt < this.#captured.length;
  }

  /** The changes of the captured checkpoint; call when encodeSome has returned false. */
  takeCaptured(): MetadataChange[] {
    const changes: MetadataChange[] = [];
    for (const number of this.#capturedRemoved) changes.push({ table: 'pages', key: number, value: null });
    for (const [number, bytes] of this.#encoded) changes.push({ table: 'pages', key: number, value: bytes });
    this.#capturedRemoved = [];
    return changes;
  }

  /** The checkpoint is durable: what it stored may leave memory. */
  committed(): void {
    this.#encoded.clear();
    this.#captured = [];
    const durable = this.#options.durableSequence();
    const oldest = this.#options.oldestStamp();
    for (const [number, shed] of this.#awayShed) if (shed.sequence <= durable && shed.stamp < oldest) this.#awayShed.delete(number);
  }

  /** Lets leaves go that are over the limit. Never from inside a change: that counts on what it found in memory. */
  evict(): void {
    if (this.#leaves > this.#options.leafLimit) this.#evict();
  }

  /**
   * Lets a leaf go that was brought in for one look, unless there is room for it: a walk over a large map must not displace
   * what requests use. Like `evict` never from inside a change; the leaf must not be used any more.
   */
  evictSeen(leaf: LeafPage): void {
    if (this.#leaves < this.#options.leafLimit || !this.#mayLeave(leaf)) return;
    this.#resident.delete(leaf.number);
    this.#letGo(leaf);
  }

  // ---- the background count -----------------------------------------------------------------------------

  get counted(): boolean {
    return this.#changes === null;
  }

  /** The count found `found` references to each old page. From here on every count is exact. */
  finishCount(found: ReadonlyMap<number, number>, sequence: number): void {
    const changes = this.#changes;
    assert(changes !== null, 'counting ends once');
    this.#changes = null;
    for (const number of changes.keys()) assert(found.has(number), 'only pages of the checkpoint change during its count');
    for (const [number, count] of found) {
      const references = count + (changes.get(number) ?? 0);
      assert(references >= 0, 'no page count is negative');
      const page = this.#resident.get(number);
      if (page !== undefined) page.references = references;
      else if (references !== 1) this.#awayReferences.set(number, references);
      if (references === 0) this.dropped.push({ number, sequence });
    }
  }

  /** A copy of all counts, for a check of one frozen cut. */
  copyReferences(): (number: number) => number {
    const counts = new Map(this.#awayReferences);
    for (const page of this.#resident.values()) counts.set(page.number, page.references);
    return (number) => counts.get(number) ?? 1;
  }

  // ---- helpers -------------------------------------------------------------------------------------------

  /** As many of the smallest kind as those in memory take room. */
  get #leaves(): number {
    return this.#frames.roomTaken / LEAST_ROOM;
  }

  /** A page of the checkpoint whose references are not known yet. */
  #isUncounted(number: number): boolean {
    return this.#changes !== null && number < this.#firstNewNumber;
  }

  #changeOld(number: number, by: number): boolean {
    if (this.#changes === null || !this.#isUncounted(number)) return false;
    this.#changes.set(number, (this.#changes.get(number) ?? 0) + by);
    return true;
  }

  #addNew(page: Page): void {
    this.#resident.set(page.number, page);
    page.dirty = true;
    this.#dirty.add(page);
  }

  #adopt(page: Page): void {
    page.references = this.#awayReferences.get(page.number) ?? 1;
    const shed = this.#awayShed.get(page.number);
    page.shedSequence = shed?.sequence ?? 0;
    page.shedStamp = shed?.stamp ?? 0;
    this.#awayReferences.delete(page.number);
    this.#awayShed.delete(page.number);
    this.#resident.set(page.number, page);
  }

  #encode(page: Page): void {
    page.capturePending = false;
    page.stored = true;
    if (isLeaf(page)) page.fit(); // merges have made entries shorter since
    this.#encoded.set(page.number, encodePage(page));
  }

  /** Second chance over the clean leaves. Pages that the checkpoint under way holds stay, since they cannot be read back. */
  #evict(): void {
    let scanned = 0;
    const limit = this.#options.leafLimit;
    for (const page of this.#resident.values()) {
      if (this.#leaves <= limit || scanned++ > 2 * limit) break;
      if (!isLeaf(page) || !this.#mayLeave(page)) continue;
      this.#resident.delete(page.number);
      if (page.recentlyUsed) {
        page.recentlyUsed = false;
        this.#resident.set(page.number, page); // to the end of the order
        continue;
      }
      this.#letGo(page);
    }
  }

  /** Clean, and nothing has to be remembered of it but its references. */
  #mayLeave(leaf: LeafPage): boolean {
    return !leaf.dirty && !leaf.capturePending && !this.#encoded.has(leaf.number) && this.shedIsOver(leaf);
  }

  /** What is known of a leaf that can be read back stays. */
  #letGo(leaf: LeafPage): void {
    if (leaf.references !== 1) this.#awayReferences.set(leaf.number, leaf.references);
    leaf.release();
  }
}
