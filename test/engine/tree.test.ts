/**
 * Trees that share pages against plain maps that share nothing. Pages leave the cache and come back all the while.
 */
import { describe, expect, test } from '@jest/globals';
import { Entry } from '../../src/engine/entry.ts';
import { StoredObject } from '../../src/engine/objects.ts';
import { isLeaf } from '../../src/engine/page.ts';
import { PageTable } from '../../src/engine/page-table.ts';
import { Erasures } from '../../src/engine/erasures.ts';
import { Seals } from '../../src/engine/seals.ts';
import { Slots } from '../../src/engine/slots.ts';
import { EMPTY, indexAt, MISSING, Tree } from '../../src/engine/tree.ts';
import { SeededRandom } from '../support/seeded-random.ts';

const SLOTS = 2048;
const LEAF_LIMIT = 3;

/** Chunks where trees of every height have their seams. */
const SEAMS = [0, 255, 256, 511, 65535, 65536, 65536 + 256, 2 ** 24 - 1, 2 ** 24, 2 ** 31 - 1];

class Forest {
  readonly stored = new Map<number, Uint8Array>();
  readonly pages: PageTable;
  readonly slots: Slots;
  readonly tree: Tree;
  readonly naive = new Map<StoredObject, Map<number, number>>();
  #sequence = 0;

  constructor() {
    const always = { durableSequence: () => this.#sequence, stampNow: () => 1, oldestStamp: () => Infinity };
    this.pages = new PageTable({
      ...always,
      metadata: {
        load: () => {},
        readPage: (key, done) => done(null, this.stored.get(key) ?? null),
        readChecksums: () => {},
        commit: () => {},
      },
      leafLimit: LEAF_LIMIT,
      failed: (error) => {
        throw error;
      },
    });
    this.pages.start(1);
    this.pages.finishCount(new Map(), 0);
    this.slots = new Slots({ ...always, slots: SLOTS, reserve: [], seals: new Seals(SLOTS), erasures: new Erasures(SLOTS) });
    this.slots.settle();
    this.slots.finishCount(0);
    this.slots.advance();
    this.tree = new Tree(this.pages, this.slots);
  }

  create(): StoredObject {
    const number = ++this.#sequence;
    const object = new StoredObject({ ...place(number), rootNumber: 0, rootLevel: 0 });
    this.naive.set(object, new Map());
    return object;
  }

  /** A snapshot or a clone. */
  share(source: StoredObject): StoredObject {
    if (source.rootNumber !== 0) this.pages.addReference(source.rootNumber);
    const { rootNumber, rootLevel } = source;
    const object = new StoredObject({ ...place(++this.#sequence), rootNumber, rootLevel });
    this.naive.set(object, new Map(this.naive.get(source)));
    return object;
  }

  /** A write to the whole chunk. */
  set(object: StoredObject, chunk: number): void {
    const slot = this.slots.take();
    expect(slot).not.toBe(0);
    const entry = new Entry();
    entry.push(slot, 1);
    this.#present(() => this.tree.find(object, chunk) !== MISSING);
    this.tree.setEntry(object, chunk, entry, ++this.#sequence);
    this.naive.get(object)!.set(chunk, slot);
  }

  trim(object: StoredObject, firstChunk: number, chunks: number): void {
    this.#present(() => this.tree.canTrim(object, firstChunk, chunks));
    this.tree.trim(object, firstChunk, chunks, ++this.#sequence);
    const map = this.naive.get(object)!;
    for (const chunk of map.keys()) if (chunk >= firstChunk && chunk < firstChunk + chunks) map.delete(chunk);
  }

  remove(object: StoredObject): void {
    this.tree.replaceRoot(object, 0, 0, ++this.#sequence);
    this.naive.delete(object);
  }

  /** What the background does: takes dropped pages apart, writes a checkpoint, makes room in the cache. */
  rest(): void {
    while (this.pages.dropped.length > 0) {
      const { number, sequence } = this.pages.nextDropped();
      this.#present(() => this.pages.get(number) !== undefined);
      this.tree.dismantle(this.pages.get(number)!, sequence);
    }
    this.pages.capture();
    while (this.pages.encodeSome(10));
    for (const { key, value } of this.pages.takeCaptured()) {
      if (value === null) this.stored.delete(key);
      else this.stored.set(key, value);
    }
    this.pages.committed();
    for (let turn = 0; turn < 3; turn++) this.pages.evict();
    this.slots.advance();
  }

  at(object: StoredObject, chunk: number): number | undefined {
    this.#present(() => this.tree.find(object, chunk) !== MISSING);
    const leaf = this.tree.find(object, chunk);
    const entry = new Entry();
    if (leaf !== EMPTY && leaf !== MISSING) leaf.read(indexAt(chunk, 0), entry);
    return entry.count === 0 ? undefined : entry.slots[0];
  }

  /** Every count is what the trees say, and every tree says what its map says. */
  check(): void {
    const slots = new Map<number, number>();
    const pages = new Map<number, number>();
    const visit = (number: number): void => {
      pages.set(number, (pages.get(number) ?? 0) + 1);
      if (pages.get(number) !== 1) return;
      this.#present(() => this.pages.get(number) !== undefined);
      const page = this.pages.get(number)!;
      if (!isLeaf(page)) {
        for (const child of page.children.slice()) if (child !== 0) visit(child);
        return;
      }
      const entry = new Entry();
      for (let index = 0; index < 256; index++) {
        page.read(index, entry);
        for (let layer = 0; layer < entry.count; layer++) slots.set(entry.slots[layer]!, (slots.get(entry.slots[layer]!) ?? 0) + 1);
      }
    };
    for (const object of this.naive.keys()) if (object.rootNumber !== 0) visit(object.rootNumber);
    const wrong: string[] = [];
    const compare = (what: string, is: number | undefined, should: number | undefined): void => {
      if (is !== should) wrong.push(`${what} is ${is} and should be ${should}`);
    };
    for (const [number, count] of pages) compare(`count of page ${number}`, this.pages.references(number), count);
    for (let slot = 1; slot < SLOTS; slot++) compare(`count of slot ${slot}`, this.slots.counts.get(slot), slots.get(slot) ?? 0);
    for (const [object, map] of this.naive) {
      for (const chunk of [...map.keys(), ...SEAMS]) compare(`chunk ${chunk} of ${object.id}`, this.at(object, chunk), map.get(chunk));
    }
    expect(wrong).toEqual([]);
  }

  /** Brings pages into memory until the walk finds all it needs. */
  #present(walk: () => boolean): void {
    for (let loads = 0; !walk(); loads++) {
      if (loads > 1000) throw new Error(`page ${this.pages.missing} does not come into memory`);
      this.pages.load(this.pages.missing, () => {});
    }
  }
}

function place(number: number) {
  const description = {
    id: `object${number}`,
    kind: 'volume' as const,
    name: `object${number}`,
    sizeBytes: 65536,
    createdAtMs: 0,
    sourceId: null,
    sourceKind: null,
    attributes: {},
  };
  return { number, incarnation: number, lineage: 1, description };
}

describe('a tree', () => {
  test('grows to every height and keeps what was there', () => {
    const forest = new Forest();
    const object = forest.create();
    for (const chunk of SEAMS) forest.set(object, chunk);
    forest.check();
    expect(object.rootLevel).toBe(3);
  });

  test('of a snapshot stays as it was while the volume grows above it', () => {
    const forest = new Forest();
    const volume = forest.create();
    forest.set(volume, 3);
    const snapshot = forest.share(volume);
    forest.set(volume, 70000);
    forest.set(volume, 3);
    forest.check();
    expect([snapshot.rootLevel, volume.rootLevel]).toEqual([0, 2]);
  });

  test('trimmed at every seam loses that and nothing else, and what it shares stays', () => {
    for (const from of SEAMS) {
      for (const to of [...SEAMS, 2 ** 31].filter((end) => end > from)) {
        const forest = new Forest();
        const volume = forest.create();
        for (const chunk of SEAMS) forest.set(volume, chunk);
        const snapshot = forest.share(volume);
        forest.rest();
        forest.trim(volume, from, to - from);
        forest.rest();
        for (const chunk of SEAMS) {
          expect([chunk, forest.at(volume, chunk) !== undefined]).toEqual([chunk, chunk < from || chunk >= to]);
          expect([chunk, forest.at(snapshot, chunk) !== undefined]).toEqual([chunk, true]);
        }
      }
    }
  });

  test('trimmed across two shared leaves has both, however small the cache is', () => {
    const forest = new Forest();
    const volume = forest.create();
    // The second leaf of the trim is the older one in the cache.
    for (const chunk of [256, 255, 512, 768]) forest.set(volume, chunk);
    forest.rest();
    const snapshot = forest.share(volume);
    forest.trim(volume, 255, 2);
    forest.rest();
    forest.check();
    expect([forest.at(snapshot, 255), forest.at(snapshot, 256)]).not.toContain(undefined);
  });

  test('says what a plain map says after any sequence of writes, trims, snapshots and deletes', () => {
    const seed = Math.floor(Math.random() * 2 ** 31);
    try {
      for (let run = 0; run < 8; run++) walk(seed + run);
    } catch (error) {
      throw new Error(`seed ${seed}: ${(error as Error).message}`, { cause: error });
    }
  });
});

function walk(seed: number): void {
  const random = new SeededRandom(seed);
  const forest = new Forest();
  const objects = [forest.create()];
  const chunk = (): number => Math.min(2 ** 31 - 1, Math.max(0, random.pick(SEAMS) + random.between(-2, 2)));
  for (let step = 0; step < 250; step++) {
    const object = random.pick(objects);
    const choice = random.below(20);
    if (choice < 11) forest.set(object, chunk());
    else if (choice < 14) {
      const [from, to] = [chunk(), chunk()].toSorted((a, b) => a - b) as [number, number];
      forest.trim(object, from, to - from + 1);
    } else if (choice < 16 && objects.length < 6) objects.push(forest.share(object));
    else if (choice < 17 && objects.length > 1) {
      forest.remove(object);
      objects.splice(objects.indexOf(object), 1);
    } else forest.rest();
    if (step % 50 === 49) {
      forest.rest();
      forest.check();
    }
  }
  for (const object of objects) forest.remove(object);
  forest.rest();
  forest.check();
  expect([forest.pages.residentCount, forest.stored.size, forest.slots.available]).toEqual([0, 0, SLOTS - 1]);
}
