import { describe, expect, test } from '@jest/globals';
import { Entry, planMerge, type MergePlan } from '../../src/engine/entry.ts';

function entryOf(...layers: [slot: number, mask: number][]): Entry {
  const entry = new Entry();
  for (const [slot, mask] of layers) entry.push(slot, mask);
  return entry;
}

function layersOf(entry: Entry): [number, number][] {
  return Array.from({ length: entry.count }, (_, layer) => [entry.slots[layer]!, entry.masks[layer]!]);
}

function plan(entry: Entry, owned: number, writable = owned): MergePlan | null {
  const result: MergePlan = { target: 0, mask: 0 };
  return planMerge(entry, owned, writable, result) ? result : null;
}

describe('an entry', () => {
  test('takes the granules of a new layer from the layers below', () => {
    const entry = entryOf([7, 0b1111]);
    entry.withLayer(9, 0b0010);
    expect(layersOf(entry)).toEqual([
      [7, 0b1101],
      [9, 0b0010],
    ]);
  });

  test('drops a layer whose last granule was taken', () => {
    const entry = entryOf([7, 0b0011], [8, 0b1100]);
    entry.withLayer(9, 0b0111);
    expect(layersOf(entry)).toEqual([
      [8, 0b1000],
      [9, 0b0111],
    ]);
  });

  test('keeps a slot in its place when it gains granules', () => {
    const entry = entryOf([7, 0b0001], [8, 0b0110]);
    entry.withLayer(8, 0b0001);
    expect(layersOf(entry)).toEqual([[8, 0b0111]]);
  });

  test('does not change when a layer is written that has the granules already', () => {
    const entry = entryOf([7, 0b0001], [8, 0b0110]);
    const before = entryOf([7, 0b0001], [8, 0b0110]);
    entry.withLayer(8, 0b0010);
    expect(entry.equals(before)).toBe(true);
  });

  test('clears granules in every layer, so that nothing shows through', () => {
    const entry = entryOf([7, 0b0011], [8, 0b1100]);
    entry.without(0b0111);
    expect(layersOf(entry)).toEqual([[8, 0b1000]]);
    entry.without(0b1000);
    expect(entry.count).toBe(0);
  });
});

describe('the plan of a merge', () => {
  test('leaves two layers alone while the base is shared', () => {
    expect(plan(entryOf([9, 0b0001], [7, 0b1110]), 0b01)).toBeNull();
  });

  test('joins two owned layers by copying the smaller into the larger', () => {
    expect(plan(entryOf([9, 0b0001], [7, 0b1110]), 0b11)).toEqual({ target: 7, mask: 0b0001 });
    expect(plan(entryOf([9, 0b0111], [7, 0b1000]), 0b11)).toEqual({ target: 9, mask: 0b1000 });
  });

  test('shortens an entry of three layers by its smallest shared one', () => {
    expect(plan(entryOf([9, 0b0001], [8, 0b0010], [7, 0b1100]), 0b001)).toEqual({ target: 9, mask: 0b0010 });
  });

  test('takes the layers that free a slot first, and no more than it must', () => {
    expect(plan(entryOf([9, 0b0000_0111], [8, 0b0000_1000], [7, 0b0011_0000]), 0b101)).toEqual({ target: 9, mask: 0b0011_0000 });
  });

  test('reaches two layers at once with a new slot when all are shared', () => {
    expect(plan(entryOf([9, 0b0001], [8, 0b0110], [7, 0b1000]), 0)).toEqual({ target: 0, mask: 0b1001 });
    expect(plan(entryOf([9, 0b0001], [8, 0b0110]), 0)).toBeNull();
  });

  test('never leaves more than two layers, nor moves the largest', () => {
    const entry = entryOf([1, 0b1], [2, 0b110], [3, 0b111000], [4, 0b1000000]);
    for (let owned = 0; owned < 16; owned++) {
      const result = plan(entry, owned)!;
      entry.copyFrom(entryOf([1, 0b1], [2, 0b110], [3, 0b111000], [4, 0b1000000]));
      entry.withLayer(result.target === 0 ? 99 : result.target, result.mask);
      expect(entry.count).toBeLessThanOrEqual(2);
      expect(entry.covered()).toBe(0b1111111);
      entry.copyFrom(entryOf([1, 0b1], [2, 0b110], [3, 0b111000], [4, 0b1000000]));
    }
  });
});
