import { beforeEach, describe, expect, test } from '@jest/globals';
import { Entry } from '../../src/engine/entry.ts';
import { decodePage, type LeafPage } from '../../src/engine/page.ts';
import { PageTable } from '../../src/engine/page-table.ts';
import type { MetadataChange } from '../../src/engine/ports.ts';

const LEAF_LIMIT = 4;

let durable = 0;
let stamp = 1;
let oldest = Infinity;
let reads: { readonly key: number; readonly answer: () => void }[];
let stored: Map<number, Uint8Array>;

function tableOf(): PageTable {
  return new PageTable({
    metadata: {
      load: () => {},
      readPage: (key, done) => void reads.push({ key, answer: () => done(null, stored.get(key) ?? null) }),
      readChecksums: () => {},
      commit: () => {},
    },
    leafLimit: LEAF_LIMIT,
    durableSequence: () => durable,
    stampNow: () => stamp,
    oldestStamp: () => oldest,
    failed: (error) => {
      throw error;
    },
  });
}

/** A table whose count is over. */
function countedTable(): PageTable {
  const pages = tableOf();
  pages.start(1);
  pages.finishCount(new Map(), 0);
  return pages;
}

function put(page: LeafPage, slot: number): void {
  const entry = new Entry();
  entry.push(slot, 1);
  page.write(0, entry);
}

function slotIn(page: LeafPage): number {
  const entry = new Entry();
  page.read(0, entry);
  return entry.slots[0]!;
}

function storedSlot(changes: readonly MetadataChange[], key: number): number | null | undefined {
  const change = changes.find((candidate) => candidate.key === key);
  if (change === undefined) return undefined;
  return change.value === null ? null : slotIn(decodePage(key, change.value) as LeafPage);
}

/** The whole of a checkpoint; answers its changes. */
function checkpoint(pages: PageTable): MetadataChange[] {
  pages.capture();
  return finishCheckpoint(pages);
}

function finishCheckpoint(pages: PageTable): MetadataChange[] {
  while (pages.encodeSome(1));
  const changes = pages.takeCaptured();
  for (const { key, value } of changes) {
    if (value === null) stored.delete(key);
    else stored.set(key, value);
  }
  pages.committed();
  return changes;
}

function load(pages: PageTable, number: number): LeafPage {
  pages.load(number, () => {});
  reads.pop()!.answer();
  return pages.get(number) as LeafPage;
}

beforeEach(() => {
  durable = 0;
  stamp = 1;
  oldest = Infinity;
  reads = [];
  stored = new Map();
});

describe('a checkpoint of pages', () => {
  test('has each page as it was at the capture, and the next one has what changed since', () => {
    const pages = countedTable();
    const changed = pages.newLeaf();
    const left = pages.newLeaf();
    put(changed, 10);
    put(left, 20);
    pages.capture();
    pages.touch(changed);
    put(changed, 11);
    const made = pages.newLeaf();
    const first = finishCheckpoint(pages);
    expect([storedSlot(first, changed.number), storedSlot(first, left.number), storedSlot(first, made.number)]).toEqual([
      10,
      20,
      undefined,
    ]);
    const second = checkpoint(pages);
    expect([storedSlot(second, changed.number), storedSlot(second, left.number)]).toEqual([11, undefined]);
    expect(second.map(({ key }) => key)).toContain(made.number);
  });

  test('stores a page that goes away meanwhile, since its tree may refer to it; the next one removes it', () => {
    const pages = countedTable();
    const page = pages.newLeaf();
    put(page, 10);
    pages.capture();
    pages.dropReference(page.number, 5);
    pages.nextDropped();
    pages.remove(page);
    expect(storedSlot(finishCheckpoint(pages), page.number)).toBe(10);
    expect(storedSlot(checkpoint(pages), page.number)).toBeNull();
  });

  test('never stores a page that came and went between two captures', () => {
    const pages = countedTable();
    const page = pages.newLeaf();
    pages.dropReference(page.number, 5);
    pages.nextDropped();
    pages.remove(page);
    expect(checkpoint(pages)).toEqual([]);
  });

  test('names dropped pages until they are taken apart, also while they are being read', () => {
    const pages = countedTable();
    const page = pages.newLeaf();
    checkpoint(pages);
    pages.dropReference(page.number, 5);
    expect(pages.droppedNumbers()).toEqual([page.number]);
    expect(pages.nextDropped()).toEqual({ number: page.number, sequence: 5 });
    expect(pages.droppedNumbers()).toEqual([page.number]);
    pages.remove(page);
    expect(pages.droppedNumbers()).toEqual([]);
  });
});

describe('the cache of leaves', () => {
  test('keeps what is dirty or held by the checkpoint under way, and otherwise comes down to its limit', () => {
    const pages = countedTable();
    for (let count = 0; count < 2 * LEAF_LIMIT; count++) pages.newLeaf();
    pages.evict();
    expect(pages.residentCount).toBe(2 * LEAF_LIMIT);
    pages.capture();
    while (pages.encodeSome(100));
    pages.evict();
    expect(pages.residentCount).toBe(2 * LEAF_LIMIT);
    finishCheckpoint(pages);
    for (let turn = 0; turn < 4; turn++) pages.evict();
    expect(pages.residentCount).toBe(LEAF_LIMIT);
  });

  test('keeps fewer leaves when their entries have many layers', () => {
    const pages = countedTable();
    const leaves = Array.from({ length: LEAF_LIMIT }, () => pages.newLeaf());
    const entry = new Entry();
    for (let granule = 0; granule < 8; granule++) entry.push(granule + 1, 1 << granule);
    for (const leaf of leaves) leaf.write(0, entry);
    checkpoint(pages);
    for (let turn = 0; turn < 4; turn++) pages.evict();
    expect(pages.residentCount).toBe(LEAF_LIMIT / 4);
  });

  test('never gives up a page in the middle of a change', () => {
    const pages = countedTable();
    const leaves = Array.from({ length: LEAF_LIMIT }, () => pages.newLeaf());
    checkpoint(pages);
    for (const leaf of leaves) pages.copy(leaf);
    expect(leaves.map(({ number }) => pages.get(number))).toEqual(leaves);
  });

  test('gives a page back with its references and content', () => {
    const pages = countedTable();
    const leaves = Array.from({ length: 3 * LEAF_LIMIT }, (_, index) => {
      const leaf = pages.newLeaf();
      put(leaf, index + 1);
      if (index % 2 === 1) pages.addReference(leaf.number);
      return leaf.number;
    });
    checkpoint(pages);
    for (let turn = 0; turn < 6; turn++) pages.evict();
    const away = leaves.filter((number) => pages.get(number) === undefined);
    expect(away.length).toBe(2 * LEAF_LIMIT);
    for (const number of away) {
      const references = leaves.indexOf(number) % 2 === 1 ? 2 : 1;
      expect(pages.references(number)).toBe(references);
      const page = load(pages, number);
      expect([page.references, slotIn(page)]).toEqual([references, leaves.indexOf(number) + 1]);
    }
  });

  test('lets a leaf go that was only looked at when there is no room for it, with its references, and never one that was changed', () => {
    const pages = countedTable();
    const leaves = Array.from({ length: 3 * LEAF_LIMIT }, () => pages.newLeaf().number);
    checkpoint(pages);
    for (let turn = 0; turn < 6; turn++) pages.evict();
    const away = leaves.filter((number) => pages.get(number) === undefined);
    pages.addReference(away[0]!);
    const seen = load(pages, away[0]!);
    pages.evictSeen(seen);
    expect([pages.residentCount, pages.get(away[0]!), pages.references(away[0]!)]).toEqual([LEAF_LIMIT, undefined, 2]);
    expect(() => slotIn(seen)).toThrow('while it is in memory');

    const changed = load(pages, away[1]!);
    pages.touch(changed);
    pages.evictSeen(changed);
    expect(pages.get(away[1]!)).toBe(changed);

    const roomy = countedTable();
    const leaf = roomy.newLeaf();
    checkpoint(roomy);
    roomy.evictSeen(leaf);
    expect(roomy.get(leaf.number)).toBe(leaf);
  });

  test('counts references of pages that are away, down to none', () => {
    const pages = countedTable();
    const leaves = Array.from({ length: 3 * LEAF_LIMIT }, () => pages.newLeaf().number);
    checkpoint(pages);
    for (let turn = 0; turn < 6; turn++) pages.evict();
    const number = leaves.find((leaf) => pages.get(leaf) === undefined)!;
    pages.addReference(number);
    pages.dropReference(number, 7);
    pages.dropReference(number, 8);
    expect(pages.dropped).toEqual([{ number, sequence: 8 }]);
    expect(load(pages, number).references).toBe(0);
  });

  test('brings a page in once for all who wait for it', () => {
    const pages = countedTable();
    const leaves = Array.from({ length: 3 * LEAF_LIMIT }, () => pages.newLeaf().number);
    checkpoint(pages);
    for (let turn = 0; turn < 6; turn++) pages.evict();
    const number = leaves.find((leaf) => pages.get(leaf) === undefined)!;
    const told: string[] = [];
    pages.load(number, () => void told.push('first'));
    pages.load(number, () => void told.push('second'));
    expect(reads.map(({ key }) => key)).toEqual([number]);
    expect(told).toEqual([]);
    reads[0]!.answer();
    expect(told).toEqual(['first', 'second']);
  });
});

describe('whether a page may be changed', () => {
  test('a drop of another reference counts once it is durable and what was in flight is over', () => {
    const pages = countedTable();
    const page = pages.newLeaf();
    pages.addReference(page.number);
    expect(pages.isShared(page)).toBe(true);
    stamp = 9;
    oldest = 9;
    pages.dropReference(page.number, 5);
    expect([pages.isShared(page), pages.shedIsOver(page)]).toEqual([false, false]);
    durable = 5;
    expect(pages.shedIsOver(page)).toBe(false);
    oldest = 10;
    expect(pages.shedIsOver(page)).toBe(true);
  });

  test('pages of the checkpoint are shared until they are counted, and then exact', () => {
    const pages = tableOf();
    pages.start(100);
    for (const number of [1, 2, 3]) {
      const source = countedTable();
      const leaf = source.newLeaf();
      put(leaf, number);
      stored.set(number, checkpointedAs(number, source));
    }
    const [one, two] = [load(pages, 1), load(pages, 2)];
    expect(pages.isShared(one)).toBe(true);
    expect(() => pages.touch(one)).toThrow('never changed');
    pages.addReference(1);
    pages.dropReference(2, 6);
    pages.dropReference(3, 7);
    pages.finishCount(
      new Map([
        [1, 1],
        [2, 2],
        [3, 1],
      ]),
      7,
    );
    expect([one.references, two.references, pages.references(3)]).toEqual([2, 1, 0]);
    expect(pages.dropped).toEqual([{ number: 3, sequence: 7 }]);
    expect(pages.isShared(two)).toBe(false);
  });
});

/** The bytes of the table's only page under another number. */
function checkpointedAs(number: number, source: PageTable): Uint8Array {
  const page = source.get(1) as LeafPage;
  const renumbered = tableOf();
  renumbered.start(number);
  const copy = renumbered.copy(page);
  const changes = checkpoint(renumbered);
  stored.delete(copy.number);
  return changes.find(({ key }) => key === number)!.value!;
}
