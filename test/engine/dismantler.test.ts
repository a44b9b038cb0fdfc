/** How fast a deleted map is taken apart: as fast as it goes, but for a load of requests that nobody's waiting is set against. */
import { describe, expect, test } from '@jest/globals';
import { Dismantler } from '../../src/engine/dismantler.ts';
import { Entry } from '../../src/engine/entry.ts';
import { Erasures } from '../../src/engine/erasures.ts';
import { FANOUT } from '../../src/engine/geometry.ts';
import { StoredObject } from '../../src/engine/objects.ts';
import { PageTable } from '../../src/engine/page-table.ts';
import { Flights } from '../../src/engine/part-lists.ts';
import { Seals } from '../../src/engine/seals.ts';
import { Slots } from '../../src/engine/slots.ts';
import { Tree } from '../../src/engine/tree.ts';

const LEAVES = 2000;
const SLOTS = LEAVES + 1;

/** A map of so many leaves that is nobody's any more. */
class Deleted {
  readonly flights = new Flights(1);
  readonly slots: Slots;
  readonly dismantler: Dismantler;
  urgent = false;

  constructor() {
    const always = { durableSequence: () => 1, stampNow: () => 1, oldestStamp: () => Infinity };
    const metadata = { load: () => {}, readPage: () => {}, readChecksums: () => {}, commit: () => {} };
    const pages = new PageTable({ ...always, metadata, leafLimit: LEAVES, failed: () => {} });
    pages.start(1);
    pages.finishCount(new Map(), 0);
    this.slots = new Slots({ ...always, slots: SLOTS, reserve: [], seals: new Seals(SLOTS), erasures: new Erasures(SLOTS) });
    this.slots.settle();
    this.slots.finishCount(0);
    this.slots.advance();
    const tree = new Tree(pages, this.slots);
    this.dismantler = new Dismantler({ pages, tree, flights: this.flights }, { freed: () => {}, urgent: () => this.urgent });
    const source = { sourceId: null, sourceKind: null, attributes: {} };
    const description = { id: 'v'.repeat(26), kind: 'volume', name: 'v', sizeBytes: 2 ** 40, createdAtMs: 0, ...source } as const;
    const volume = new StoredObject({ number: 1, incarnation: 1, lineage: 1, rootNumber: 0, rootLevel: 0, description });
    const entry = new Entry();
    for (let leaf = 0; leaf < LEAVES; leaf += 1) {
      entry.clear();
      entry.push(this.slots.take(), 1);
      tree.setEntry(volume, leaf * FANOUT, entry, 1);
    }
    tree.replaceRoot(volume, 0, 0, 1);
  }

  requests(count: number): void {
    for (let request = 0; request < count; request += 1) {
      this.flights.begin(0);
      this.flights.end(0);
    }
  }

  /** A tick, and what the background does until it wants no more; answers how many slots that has freed. */
  tick(): number {
    const before = this.slots.counts.used;
    this.dismantler.tick();
    while (this.dismantler.step());
    return before - this.slots.counts.used;
  }
}

describe('a deleted map is taken apart', () => {
  test('in one go while few requests come', () => {
    const deleted = new Deleted();
    deleted.requests(50);
    expect(deleted.tick()).toBe(LEAVES);
    expect(deleted.dismantler.idle).toBe(true);
  });

  test('piece by piece while many come, and to its end when they are over', () => {
    const deleted = new Deleted();
    const freed = Array.from({ length: 3 }, () => {
      deleted.requests(1000);
      return deleted.tick();
    });
    for (const slots of freed) expect(slots).toBeGreaterThan(0);
    expect(Math.max(...freed)).toBeLessThan(LEAVES / 5);
    expect(deleted.dismantler.idle).toBe(false);
    deleted.tick();
    expect([deleted.slots.counts.used, deleted.dismantler.idle]).toEqual([0, true]);
  });

  test('in one go when somebody waits for it, however many come', () => {
    const deleted = new Deleted();
    deleted.urgent = true;
    deleted.requests(1000);
    expect(deleted.tick()).toBe(LEAVES);
  });
});
