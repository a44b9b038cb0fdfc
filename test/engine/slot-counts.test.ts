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
