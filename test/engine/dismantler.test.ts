/** A deleted map is taken apart in slices, whether its pages are in memory or not. */
import { beforeEach, describe, expect, test } from '@jest/globals';
import { Dismantler } from '../../src/engine/dismantler.ts';
import { Entry } from '../../src/engine/entry.ts';
import { Erasures } from '../../src/engine/erasures.ts';
import { FANOUT } from '../../src/engine/geometry.ts';
import { StoredObject } from '../../src/engine/objects.ts';
import { PageTable } from '../../src/engine/page-table.ts';
import { Seals } from '../../src/engine/seals.ts';
import { Slots } from '../../src/engine/slots.ts';
import { Tree } from '../../src/engine/tree.ts';

const LEAVES = 100;
const SLOTS = LEAVES + 1;
/** In memory: fewer than are taken apart at a time. */
const FEW_LEAVES = 4;
/** More leaves than a slice takes apart. */
const A_SLICE_AT_MOST = 10;

let stored: Map<number, Uint8Array>;
/** Pages that are being brought into memory. */
let reads: (() => void)[];

/** A map of so many leaves that is nobody's any more. */
class Deleted {
  readonly pages: PageTable;
  readonly slots: Slots;
  readonly dismantler: Dismantler;

  constructor(options: { readonly leafLimit: number }) {
    const always = { durableSequence: () => 1, stampNow: () => 1, oldestStamp: () => Infinity };
    const readPage = (key: number, done: (error: Error | null, bytes: Uint8Array | null) => void): void =>
      void reads.push(() => done(null, stored.get(key) ?? null));
    const metadata = { load: () => {}, readPage, readChecksums: () => {}, commit: () => {} };
    const failed = (error: Error): void => {
      throw error;
    };
    this.pages = new PageTable({ ...always, metadata, leafLimit: options.leafLimit, failed });
    this.pages.start(1);
    this.pages.finishCount(new Map(), 0);
    this.slots = new Slots({ ...always, slots: SLOTS, reserve: [], seals: new Seals(SLOTS), erasures: new Erasures(SLOTS) });
    this.slots.settle();
    this.slots.finishCount(0);
    this.slots.advance();
    const tree = new Tree(this.pages, this.slots);
    this.dismantler = new Dismantler({ pages: this.pages, tree }, { freed: () => {} });
    const source = { sourceId: null, sourceKind: null, attributes: {} };
    const description = { id: 'v'.repeat(26), kind: 'volume', name: 'v', sizeBytes: 2 ** 40, createdAtMs: 0, ...source } as const;
    const volume = new StoredObject({ number: 1, incarnation: 1, lineage: 1, rootNumber: 0, rootLevel: 0, description });
    const entry = new Entry();
    for (let leaf = 0; leaf < LEAVES; leaf += 1) {
      entry.clear();
      entry.push(this.slots.take(), 1);
      tree.setEntry(volume, leaf * FANOUT, entry, 1);
    }
    this.#checkpoint();
    this.evictAll();
    tree.replaceRoot(volume, 0, 0, 1);
  }

  /** Slots that the map still refers to. */
  get left(): number {
    return this.slots.counts.used;
  }

  /** As far as the limit says; one call looks at a few pages only. */
  evictAll(): void {
    for (let calls = 0; calls < 4 * LEAVES; calls += 1) this.pages.evict();
  }

  #checkpoint(): void {
    this.pages.capture();
    while (this.pages.encodeSome(LEAVES));
    for (const { key, value } of this.pages.takeCaptured()) if (value !== null) stored.set(key, value);
    this.pages.committed();
  }
}

beforeEach(() => {
  stored = new Map();
  reads = [];
});

describe('a deleted map', () => {
  test('in memory is taken apart slice by slice, to its end', () => {
    const deleted = new Deleted({ leafLimit: LEAVES });
    expect([deleted.left, deleted.dismantler.idle]).toEqual([LEAVES, false]);
    for (let more = true; more;) {
      const before = deleted.left;
      more = deleted.dismantler.step();
      expect(before - deleted.left).toBeLessThanOrEqual(A_SLICE_AT_MOST);
    }
    expect([deleted.left, deleted.dismantler.idle, reads.length]).toEqual([0, true, 0]);
  });

  test('elsewhere is brought into memory a few pages at a time, and taken apart in slices all the same', () => {
    const deleted = new Deleted({ leafLimit: FEW_LEAVES });
    for (let rounds = 0; !deleted.dismantler.idle; rounds += 1) {
      expect(rounds).toBeLessThan(LEAVES);
      while (deleted.dismantler.step());
      expect(reads.length).toBeLessThanOrEqual(A_SLICE_AT_MOST);
      const before = deleted.left;
      for (const answer of reads.splice(0)) answer();
      // Answers come beside requests: nothing but slices may take time.
      expect(deleted.left).toBe(before);
    }
    expect(deleted.left).toBe(0);
  });

  test('is not over while a page is on its way, nor when it has left memory again before its slice', () => {
    const deleted = new Deleted({ leafLimit: FEW_LEAVES });
    while (deleted.dismantler.step());
    for (const answer of reads.splice(0)) answer();
    deleted.evictAll();
    while (deleted.dismantler.step());
    expect([deleted.dismantler.idle, reads.length > 0]).toEqual([false, true]);
    while (!deleted.dismantler.idle) {
      for (const answer of reads.splice(0)) answer();
      while (deleted.dismantler.step());
    }
    expect(deleted.left).toBe(0);
  });
});
