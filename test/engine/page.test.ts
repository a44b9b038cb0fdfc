import { describe, expect, test } from '@jest/globals';
import { Entry } from '../../src/engine/entry.ts';
import { FANOUT } from '../../src/engine/geometry.ts';
import { decodePage, decodeReferences, encodePage, InnerPage, LeafPage, MAXIMUM_SLOTS_OF_LEAF } from '../../src/engine/page.ts';

/** The most that the metadata store keeps in one overflow page. */
const ONE_OVERFLOW_PAGE_BYTES = 4072;

function write(page: LeafPage, index: number, layers: [number, number][]): void {
  const entry = new Entry();
  for (const [slot, mask] of layers) entry.push(slot, mask);
  page.write(index, entry);
}

function read(page: LeafPage, index: number): [number, number][] {
  const entry = new Entry();
  page.read(index, entry);
  return Array.from({ length: entry.count }, (_, layer) => [entry.slots[layer]!, entry.masks[layer]!]);
}

describe('a leaf page', () => {
  test('gives back entries of any number of layers after it was stored', () => {
    const page = new LeafPage(77);
    const many: [number, number][] = Array.from({ length: 16 }, (_, layer) => [1000 + layer, 1 << layer]);
    write(page, 0, [[5, 0xffff]]);
    write(page, 3, [
      [2 ** 31 - 2, 0x00ff],
      [6, 0xff00],
    ]);
    write(page, 255, many);
    const stored = decodePage(77, encodePage(page)) as LeafPage;
    expect(read(stored, 0)).toEqual([[5, 0xffff]]);
    expect(read(stored, 1)).toEqual([]);
    expect(read(stored, 3)).toEqual([
      [2 ** 31 - 2, 0x00ff],
      [6, 0xff00],
    ]);
    expect(read(stored, 255)).toEqual(many);
  });

  test('tells the slots that it names, in order and as often as it names them', () => {
    const page = new LeafPage(77);
    const many: [number, number][] = Array.from({ length: 16 }, (_, layer) => [1000 + layer, 1 << layer]);
    write(page, 0, [[5, 0xffff]]);
    write(page, 3, [
      [2 ** 31 - 2, 0x00ff],
      [5, 0xff00],
    ]);
    write(page, 255, many);
    const slots = new Uint32Array(MAXIMUM_SLOTS_OF_LEAF);
    const named = [5, 2 ** 31 - 2, 5, ...many.map(([slot]) => slot)];
    expect([...slots.subarray(0, page.slotsInto(slots))]).toEqual(named);
    slots.fill(0);
    const count = decodeReferences(77, encodePage(page), slots) as number;
    expect([...slots.subarray(0, count)]).toEqual(named);
    expect(decodeReferences(78, encodePage(new LeafPage(78)), slots)).toBe(0);
  });

  test('forgets the layers beyond two when an entry becomes short', () => {
    const page = new LeafPage(1);
    write(page, 9, [
      [1, 1],
      [2, 2],
      [3, 4],
    ]);
    write(page, 9, [[4, 7]]);
    expect(read(page, 9)).toEqual([[4, 7]]);
    write(page, 9, [
      [1, 1],
      [2, 2],
      [5, 4],
    ]);
    expect(read(page, 9)[2]).toEqual([5, 4]);
  });

  test('keeps every entry while one becomes long and short again', () => {
    const page = new LeafPage(1);
    const layers = (count: number): [number, number][] => Array.from({ length: count }, (_, layer) => [100 + layer, 1 << layer]);
    for (let index = 0; index < FANOUT; index++) write(page, index, layers(index % 3));
    const expectOthers = (): void => {
      for (let index = 0; index < FANOUT; index++) if (index !== 8) expect(read(page, index)).toEqual(layers(index % 3));
    };
    for (const count of [3, 4, 5, 16, 9, 2, 0]) {
      write(page, 8, layers(count));
      expect(read(page, 8)).toEqual(layers(count));
      expectOthers();
      page.fit();
      expect(read(page, 8)).toEqual(layers(count));
      expectOthers();
    }
  });

  test('full of two layers an entry fits into one overflow page of the metadata store', () => {
    const page = new LeafPage(1);
    for (let index = 0; index < FANOUT; index++) {
      write(page, index, [
        [2 * index + 1, 1],
        [2 * index + 2, 2],
      ]);
    }
    expect(encodePage(page).length).toBeLessThanOrEqual(ONE_OVERFLOW_PAGE_BYTES);
  });

  test('copies do not share their long entries', () => {
    const page = new LeafPage(1);
    write(page, 4, [
      [1, 1],
      [2, 2],
      [3, 4],
    ]);
    const copy = page.copyTo(2);
    write(page, 4, [[9, 1]]);
    expect(read(copy, 4)).toHaveLength(3);
  });
});

describe('a stored page', () => {
  test('gives back the children of an inner page', () => {
    const page = new InnerPage(2 ** 40 + 3, 2);
    page.children[0] = 2 ** 47;
    page.children[255] = 1;
    const stored = decodePage(2 ** 40 + 3, encodePage(page)) as InnerPage;
    expect(stored.level).toBe(2);
    expect([...stored.children]).toEqual([...page.children]);
  });

  test('is refused when any of its bytes has changed', () => {
    const page = new LeafPage(5);
    write(page, 1, [[3, 1]]);
    const bytes = encodePage(page);
    for (let at = 0; at < bytes.length; at++) {
      const damaged = bytes.slice();
      damaged[at]! ^= 0x10;
      expect(() => decodePage(5, damaged)).toThrow(expect.objectContaining({ code: 'data-loss' }));
    }
  });

  test('is refused under the number of another page', () => {
    expect(() => decodePage(6, encodePage(new LeafPage(5)))).toThrow(expect.objectContaining({ code: 'data-loss' }));
  });
});
