import { describe, expect, test } from '@jest/globals';
import { SlotCounts } from '../../src/engine/slot-counts.ts';

const SLOTS = 40;

describe('counts of slots', () => {
  test('are what was found, changed by what happened meanwhile, in whatever order the two came', () => {
    const counts = new SlotCounts(SLOTS);
    counts.found(3);
    counts.add(3, 1); // a new leaf refers to it
    counts.add(4, -1); // an old leaf let go of it before the count met that leaf
    counts.found(4);
    counts.found(4);
    counts.add(5, 1); // a new slot
    counts.add(6, 1);
    counts.add(6, -1);
    counts.finish();
    expect([3, 4, 5, 6, 7].map((slot) => counts.get(slot))).toEqual([2, 1, 1, 0, 0]);
    expect(counts.used).toBe(3);
  });

  test('pass 255 in both directions, found and added', () => {
    const counts = new SlotCounts(SLOTS);
    for (let reference = 0; reference < 254; reference++) counts.found(1);
    for (let reference = 0; reference < 300; reference++) counts.found(2);
    counts.add(1, 1);
    counts.add(2, -1);
    counts.finish();
    expect([counts.get(1), counts.get(2)]).toEqual([255, 299]);
    for (let reference = 299; reference > 253; reference--) expect(counts.add(2, -1)).toBe(reference - 1);
    expect(counts.add(2, 1)).toBe(254);
    expect(counts.add(2, 1)).toBe(255);
    expect(counts.add(2, 1)).toBe(256);
    expect(counts.get(1)).toBe(255);
  });

  test('are the same for slots found one by one and many at a time', () => {
    const [single, several] = [new SlotCounts(SLOTS), new SlotCounts(SLOTS)];
    const slots = Uint32Array.from([1, 2, 2, 5, 38, 39, 39, 7]);
    for (let round = 0; round < 260; round++) {
      for (const slot of slots.subarray(0, 7)) single.found(slot);
      several.foundAll(slots, 7);
    }
    for (const counts of [single, several]) counts.finish();
    const all = Array.from({ length: SLOTS }, (_, slot) => slot);
    expect(all.map((slot) => several.get(slot))).toEqual(all.map((slot) => single.get(slot)));
    expect([several.get(1), several.get(2), several.get(7)]).toEqual([260, 520, 0]);
  });

  test.each([
    ['before the count is over', false],
    ['once counted', true],
  ])('are the same for references added one by one and many at a time, %s', (_, counted) => {
    const [single, several] = [new SlotCounts(SLOTS), new SlotCounts(SLOTS)];
    const slots = Uint32Array.from([1, 2, 2, 5, 7]);
    for (const counts of [single, several]) {
      for (const slot of slots) counts.found(slot);
      if (counted) counts.finish();
    }
    for (let round = 0; round < 260; round++) {
      for (const slot of slots.subarray(0, 4)) single.add(slot, 1);
      several.addAll(slots, 4);
    }
    if (!counted) for (const counts of [single, several]) counts.finish();
    const all = Array.from({ length: SLOTS }, (__, slot) => slot);
    expect(all.map((slot) => several.get(slot))).toEqual(all.map((slot) => single.get(slot)));
    expect([several.get(1), several.get(2), several.get(7), several.used]).toEqual([261, 522, 1, 4]);
  });

  // Four slots are looked at in one go: every place in a word of them, and what is left over at the end.
  test.each([37, 38, 39, 40])('tell of each of %d slots whether it is used', (slots) => {
    for (let only = 1; only < slots; only++) {
      const [alone, others] = [new SlotCounts(slots), new SlotCounts(slots)];
      alone.found(only);
      for (let slot = 1; slot < slots; slot++) if (slot !== only) others.add(slot, 1);
      const bits = (unused: Uint32Array) => Array.from({ length: slots }, (_, slot) => (unused[slot >>> 5]! >>> (slot & 31)) & 1);
      expect(bits(alone.finish())).toEqual(Array.from({ length: slots }, (_, slot) => (slot === only ? 0 : 1)));
      expect(bits(others.finish())).toEqual(Array.from({ length: slots }, (_, slot) => (slot === only || slot === 0 ? 1 : 0)));
      expect([alone.used, others.used]).toEqual([1, slots - 2]);
    }
  });

  test('are in a copy as they were', () => {
    const counts = new SlotCounts(SLOTS);
    counts.finish();
    for (let reference = 0; reference < 256; reference++) counts.add(9, 1);
    const before = counts.copy();
    counts.add(9, -1);
    counts.add(8, 1);
    expect([before(9), before(8)]).toEqual([256, 0]);
    expect([counts.get(9), counts.get(8)]).toEqual([255, 1]);
  });

  test('are unknown before the count, and never negative after it', () => {
    const counts = new SlotCounts(SLOTS);
    expect(() => counts.get(1)).toThrow('once counted');
    counts.finish();
    expect(() => counts.add(1, -1)).toThrow('dropped once');
    expect(() => counts.add(0, 1)).toThrow('inside the pool');
    expect(() => counts.add(SLOTS, 1)).toThrow('inside the pool');
    expect(() => counts.finish()).toThrow('ends once');
  });
});
