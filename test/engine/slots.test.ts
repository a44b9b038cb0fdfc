import { beforeEach, describe, expect, test } from '@jest/globals';
import { Erasures } from '../../src/engine/erasures.ts';
import { Seals } from '../../src/engine/seals.ts';
import { Slots } from '../../src/engine/slots.ts';

let durable = 0;
let stamp = 1;
let oldest = Infinity;

function slotsOf(count: number, reserve: number[] = []): Slots {
  const seals = new Seals(count);
  const erasures = new Erasures(count);
  return new Slots({
    slots: count,
    reserve,
    seals,
    erasures,
    durableSequence: () => durable,
    stampNow: () => stamp,
    oldestStamp: () => oldest,
  });
}

/** A pool of `count` slots after its count, everything durable, nothing referred to. */
function ready(count: number): Slots {
  const slots = slotsOf(count);
  slots.settle();
  slots.finishCount(0);
  slots.advance();
  return slots;
}

beforeEach(() => {
  durable = 0;
  stamp = 1;
  oldest = Infinity;
});

test('a checkpoint names a reserve beside what is sealed and was found free', () => {
  const seals = new Seals(40);
  for (let slot = 1; slot < 20; slot += 1) {
    seals.begin(slot);
    seals.finish(slot, new Uint32Array(1000), slot);
  }
  const slots = new Slots({
    slots: 40,
    reserve: [],
    seals,
    erasures: new Erasures(64),
    durableSequence: () => 0,
    stampNow: () => 1,
    oldestStamp: () => Infinity,
  });
  slots.settle();
  slots.finishCount(1);
  expect(slots.nameReserve(4)).toEqual([20, 21, 22, 23]);
});

describe('taking a slot', () => {
  test('gives every slot but the header once, in a row', () => {
    const slots = ready(70);
    const taken = Array.from({ length: 69 }, () => slots.take());
    expect(taken).toEqual(Array.from({ length: 69 }, (_, index) => index + 1));
    expect(slots.take()).toBe(0);
  });

  test('waits until recovery is durable', () => {
    const slots = slotsOf(10, [3, 4]);
    expect(slots.take()).toBe(0);
    slots.settle();
    expect(slots.take()).toBe(4);
  });

  test('before the count comes only from the reserve', () => {
    const slots = slotsOf(10, [3]);
    slots.settle();
    expect(slots.take()).toBe(3);
    expect(slots.take()).toBe(0);
  });

  test('never gives a slot that the count found in use, nor one that is held', () => {
    const slots = slotsOf(5, [3]);
    slots.settle();
    expect(slots.take()).toBe(3);
    slots.counts.found(2);
    slots.finishCount(7);
    durable = 7;
    slots.advance();
    expect([slots.take(), slots.take(), slots.take()]).toEqual([1, 4, 0]);
  });

  test('what the count found free waits until its sequence is durable', () => {
    const slots = slotsOf(4);
    slots.settle();
    slots.finishCount(7);
    durable = 6;
    slots.advance();
    expect(slots.take()).toBe(0);
    durable = 7;
    slots.advance();
    expect(slots.take()).toBe(1);
  });
});

describe('a dropped slot', () => {
  test('is taken again only when the drop is durable', () => {
    const slots = ready(2);
    slots.addReference(slots.take());
    slots.dropReference(1, 5);
    expect(slots.wantsDurability).toBe(true);
    expect(slots.take()).toBe(0);
    durable = 5;
    slots.advance();
    expect(slots.take()).toBe(1);
  });

  test('is taken again only when what was in flight at the drop is over', () => {
    const slots = ready(2);
    slots.addReference(slots.take());
    stamp = 9;
    oldest = 9;
    slots.dropReference(1, 0);
    expect(slots.take()).toBe(0);
    oldest = 10;
    expect(slots.take()).toBe(1);
  });
});

describe('owning a slot', () => {
  test('needs one reference, and every other drop durable', () => {
    const slots = ready(3);
    const slot = slots.take();
    slots.addReference(slot);
    expect(slots.owned(slot)).toBe(true);
    slots.addReference(slot);
    slots.addReference(slot);
    expect(slots.owned(slot)).toBe(false);
    slots.dropReference(slot, 9);
    slots.dropReference(slot, 4); // a page taken apart late brings an older sequence
    durable = 8;
    slots.advance();
    expect(slots.owned(slot)).toBe(false);
    durable = 9;
    slots.advance();
    expect(slots.owned(slot)).toBe(true);
  });

  test('waits until a reader of the owner that let go is over', () => {
    const slots = ready(3);
    const slot = slots.take();
    slots.addReference(slot);
    slots.addReference(slot);
    stamp = 9;
    oldest = 9;
    slots.dropReference(slot, 0);
    slots.advance();
    expect(slots.owned(slot)).toBe(false);
    oldest = 10;
    slots.advance();
    expect(slots.owned(slot)).toBe(true);
  });

  test('is not possible before the count is durable', () => {
    const slots = slotsOf(3);
    slots.settle();
    slots.counts.found(1);
    expect(slots.owned(1)).toBe(false);
    slots.finishCount(3);
    expect(slots.owned(1)).toBe(false);
    durable = 3;
    slots.advance();
    expect(slots.owned(1)).toBe(true);
  });
});

test('the reserve names slots that are free or in limbo', () => {
  const slots = ready(6);
  for (let count = 0; count < 3; count++) slots.addReference(slots.take());
  slots.dropReference(2, 5);
  expect(slots.nameReserve(10).toSorted((a, b) => a - b)).toEqual([2, 4, 5]);
  expect(slots.nameReserve(2)).toHaveLength(2);
});

test('counts of 255 and more come back down', () => {
  const slots = ready(3);
  const slot = slots.take();
  for (let count = 0; count < 300; count++) slots.addReference(slot);
  expect(slots.counts.get(slot)).toBe(300);
  for (let count = 0; count < 299; count++) slots.dropReference(slot, 0);
  expect(slots.counts.get(slot)).toBe(1);
  slots.advance();
  expect(slots.owned(slot)).toBe(true);
});
