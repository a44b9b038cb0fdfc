import { expect, test } from '@jest/globals';
import { SlotShares } from '../../src/block/slot-shares.ts';

const takeAll = (shares: SlotShares, device: number): number => {
  let count = 0;
  for (; shares.mayTake(device); count++) shares.take(device);
  return count;
};

test('one device alone takes all slots', () => {
  const shares = new SlotShares({ slots: 64, devices: 8 });
  shares.addDevice(0);
  expect(takeAll(shares, 0)).toBe(64);
});

test('a greedy device leaves the others what they are owed', () => {
  const shares = new SlotShares({ slots: 64, devices: 8 });
  for (const device of [0, 1, 2, 3]) shares.addDevice(device);
  expect(takeAll(shares, 0)).toBe(64 - 3 * 8);
  expect([1, 2, 3].map((device) => takeAll(shares, device))).toEqual([8, 8, 8]);
});

test('what is given back goes to whom it is owed first', () => {
  const shares = new SlotShares({ slots: 64, devices: 8 });
  shares.addDevice(0);
  takeAll(shares, 0);
  shares.addDevice(1);
  expect(shares.mayTake(1)).toBe(false);
  shares.giveBack(0);
  expect([shares.mayTake(0), shares.mayTake(1)]).toEqual([false, true]);
});

test('more devices than half the slots are owed one each', () => {
  const shares = new SlotShares({ slots: 4, devices: 8 });
  for (const device of [0, 1, 2]) shares.addDevice(device);
  expect(takeAll(shares, 0)).toBe(2);
  for (const device of [3, 4, 5]) shares.addDevice(device);
  expect(takeAll(shares, 5)).toBe(1);
});

test.each([64, 65, 100, 128])('%i devices that do nothing leave the busy one half of the slots', (devices) => {
  const shares = new SlotShares({ slots: 128, devices });
  for (let device = 0; device < devices; device++) shares.addDevice(device);
  expect(takeAll(shares, 0)).toBeGreaterThanOrEqual(64);
  expect(takeAll(shares, 1)).toBeGreaterThanOrEqual(1);
});

test('however many devices there are, half of the slots are kept for those that have none', () => {
  const shares = new SlotShares({ slots: 8, devices: 32 });
  for (let device = 0; device < 32; device++) shares.addDevice(device);
  expect([takeAll(shares, 0), takeAll(shares, 1), takeAll(shares, 2)]).toEqual([4, 1, 1]);
});

test('a removed device is owed nothing', () => {
  const shares = new SlotShares({ slots: 64, devices: 8 });
  shares.addDevice(0);
  shares.addDevice(1);
  shares.removeDevice(1);
  expect(takeAll(shares, 0)).toBe(64);
});
