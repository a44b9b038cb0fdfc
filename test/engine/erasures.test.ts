import { describe, expect, test } from '@jest/globals';
import { Erasures } from '../../src/engine/erasures.ts';
import { Seals } from '../../src/engine/seals.ts';
import { Slots } from '../../src/engine/slots.ts';

const SLOTS = 200;

function all(erasures: Erasures): number[] {
  const slots: number[] = [];
  for (let slot = erasures.next(); slot !== null; slot = erasures.next()) slots.push(slot);
  return slots;
}

describe('what is to be erased', () => {
  test('is overwritten in the order of the disk, and what was refused comes after the rest', () => {
    const erasures = new Erasures(SLOTS);
    for (const slot of [199, 63, 31, 32, 5]) {
      erasures.mark(slot);
      expect(erasures.leave(slot)).toBe(true);
    }
    expect(erasures.leave(6)).toBe(false);
    expect(erasures.next()).toBe(5);
    erasures.failed(5);
    expect(all(erasures)).toEqual([31, 32, 63, 199, 5]);
    expect(erasures.leavingCount).toBe(5);
  });

  test('is not free when a count finds nobody that refers to it', () => {
    const erasures = new Erasures(SLOTS);
    const seals = new Seals(SLOTS);
    const marked = [1, 31, 63, 64, 95, 199];
    for (const slot of marked) erasures.mark(slot);
    seals.begin(95); // a seal that nothing stores
    const slots = new Slots({
      slots: SLOTS,
      reserve: [64, 65],
      seals,
      erasures,
      durableSequence: () => 1,
      stampNow: () => 1,
      oldestStamp: () => Infinity,
    });
    slots.finishCount(1);
    slots.settle();
    slots.advance();
    expect(slots.available).toBe(SLOTS - 1 - marked.length);
    expect(all(erasures)).toEqual(marked);
    for (const slot of marked) erasures.written(slot);
    erasures.capture();
    while (erasures.encodeSome(1));
    erasures.takeCaptured();
    for (const slot of erasures.committed()) slots.erased(slot);
    expect([slots.available, slots.inLimbo]).toEqual([SLOTS - 1, 0]);
  });
});
