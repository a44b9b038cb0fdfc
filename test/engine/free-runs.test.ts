import { describe, expect, test } from '@jest/globals';
import { Erasures } from '../../src/engine/erasures.ts';
import { FreeRunSearch, freeSlotsFrom, type FreeRun } from '../../src/engine/free-runs.ts';
import { Seals } from '../../src/engine/seals.ts';
import { Slots } from '../../src/engine/slots.ts';
import { SeededRandom } from '../support/seeded-random.ts';

/** A pool after its count, in which the slots of the set are taken, and the header's. */
function slotsWith(count: number, isTaken: (slot: number) => boolean): Slots {
  const slots = new Slots({
    slots: count,
    reserve: [],
    seals: new Seals(count),
    erasures: new Erasures(count),
    durableSequence: () => 0,
    stampNow: () => 1,
    oldestStamp: () => Infinity,
  });
  slots.settle();
  slots.finishCount(0);
  slots.advance();
  for (let slot = 1; slot < count; slot += 1) if (isTaken(slot)) slots.claim(slot);
  return slots;
}

function find(slots: Slots, options: { readonly from?: number; readonly enough: number; readonly most?: number }): FreeRun {
  const { from = 1, enough, most = enough } = options;
  const search = new FreeRunSearch(slots, { from, enough, most });
  for (let count = 0; count < 1_000; count += 1) {
    const run = search.step();
    if (run !== null) return run;
  }
  throw new Error('the search does not end');
}

describe('a search for free slots in a row', () => {
  test('takes the first run that is long enough, and of it what is asked for', () => {
    const slots = slotsWith(1000, (slot) => slot % 100 === 0 || (slot < 500 && slot % 7 === 0));
    expect(find(slots, { enough: 20 })).toEqual({ slot: 501, length: 20 });
    expect(find(slots, { enough: 20, most: 64 })).toEqual({ slot: 501, length: 64 });
    expect(find(slots, { enough: 20, most: 200 })).toEqual({ slot: 501, length: 99 });
    expect(find(slots, { from: 550, enough: 60 })).toEqual({ slot: 601, length: 60 });
  });

  test('begins again in front, also within the word that it began in', () => {
    const slots = slotsWith(200, (slot) => slot < 65 || slot > 80);
    expect(find(slots, { from: 78, enough: 10 })).toEqual({ slot: 65, length: 10 });
    expect(find(slots, { from: 150, enough: 16 })).toEqual({ slot: 65, length: 16 });
  });

  test('takes the longest run when none is long enough, and none of length 0', () => {
    const slots = slotsWith(300, (slot) => slot % 9 === 0 || slot > 200);
    expect(find(slots, { enough: 50 })).toEqual({ slot: 1, length: 8 });
    expect(
      find(
        slotsWith(300, () => true),
        { enough: 1 },
      ).length,
    ).toBe(0);
  });

  test('finds no run over the end of the pool', () => {
    const slots = slotsWith(64, (slot) => slot > 4 && slot < 60);
    expect(find(slots, { from: 50, enough: 6 })).toEqual({ slot: 60, length: 4 });
  });

  test('finds what is there, wherever it begins', () => {
    const random = new SeededRandom(7);
    for (let round = 0; round < 200; round += 1) {
      const count = random.between(2, 400);
      const taken = new Set(Array.from({ length: random.below(count) }, () => random.below(count)));
      const slots = slotsWith(count, (slot) => taken.has(slot));
      const enough = random.between(1, 40);
      const from = random.pick([1, random.between(1, count - 1)]);
      const run = find(slots, { from, enough });
      expect(freeSlotsFrom(slots, run.slot, run.length)).toBe(run.length);
      let longest = 0;
      for (let slot = 1; slot < count; slot += 1) longest = Math.max(longest, freeSlotsFrom(slots, slot, enough));
      // The run that it begins in is met in two parts.
      if (from === 1) expect(run.length).toBe(longest);
      else expect(run.length).toBeGreaterThanOrEqual(longest / 2);
    }
  });
});

test('nothing is told of free slots before the count is over', () => {
  const slots = new Slots({
    slots: 40,
    reserve: [5, 6, 7],
    seals: new Seals(40),
    erasures: new Erasures(40),
    durableSequence: () => 0,
    stampNow: () => 1,
    oldestStamp: () => Infinity,
  });
  expect(freeSlotsFrom(slots, 5, 3)).toBe(0);
  expect(find(slots, { enough: 1 }).length).toBe(0);
});
