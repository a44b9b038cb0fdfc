import { afterEach, beforeEach, expect, test } from '@jest/globals';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { createEventDescriptor, signalEvent } from '../../src/linux/eventfd.ts';
import { Ring, Vector } from '../../src/linux/ring.ts';
import { Structure } from '../../src/linux/structure.ts';

let ring: Ring;
let file: number;
let memory: Structure;
let folder: string;
const low = (value: number): number => value | 0;
const high = (value: number): number => Math.floor(value / 2 ** 32);

beforeEach(() => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), 'chunkstore-ring-'));
  file = fs.openSync(path.join(folder, 'file'), 'w+');
  memory = new Structure(8192);
  ring = new Ring({ entries: 8, completions: 16, files: 4, patienceMicroseconds: 1000 });
  ring.setFile(0, file);
});
afterEach(() => {
  ring.close();
  fs.closeSync(file);
  fs.rmSync(folder, { recursive: true });
});

/** All completions, by user data. */
function drain(count: number): Map<number, number> {
  const results = new Map<number, number>();
  while (results.size < count) {
    ring.enter(1);
    while (ring.next()) results.set(ring.userData, ring.result);
  }
  return results;
}

test('writes and reads at offsets beyond 32 bits, also with a registered buffer', () => {
  const offset = 5 * 2 ** 32 + 4096;
  memory.bytes.fill(7, 0, 4096);
  expect(ring.registerBuffer(memory.address, 8192)).toBeNull();
  ring.write(0, low(offset), high(offset), low(memory.address), high(memory.address), 4096, 1);
  expect(drain(1).get(1)).toBe(4096);
  const target = memory.address + 4096;
  ring.readFixed(0, low(offset), high(offset), low(target), high(target), 4096, 2);
  expect(drain(1).get(2)).toBe(4096);
  expect(memory.bytes.subarray(4096).every((byte) => byte === 7)).toBe(true);
  expect(fs.fstatSync(file).size).toBe(offset + 4096);
});

test('takes more operations than its submission ring holds', () => {
  for (let index = 0; index < 30; index++) ring.write(0, index * 16, 0, low(memory.address), high(memory.address), 16, index);
  const results = drain(30);
  expect([...results.values()].every((result) => result === 16)).toBe(true);
});

test('reads one range into several places and nowhere, more often than its submission ring holds', () => {
  fs.writeSync(file, Buffer.from(Array.from({ length: 64 }, (_, at) => at)), 0, 64, 0);
  const vector = new Vector();
  for (let index = 0; index < 20; index++) {
    vector.clear();
    vector.push(low(memory.address + index * 32 + 16), high(memory.address), 16);
    vector.push(low(ring.nowhereAddress), high(ring.nowhereAddress), 8);
    vector.push(low(memory.address + index * 32), high(memory.address), 16);
    ring.readVector(0, index, 0, vector, index);
  }
  expect([...drain(20).values()].every((result) => result === 40)).toBe(true);
  for (let index = 0; index < 20; index++) {
    const wanted = Array.from({ length: 16 }, (_, at) => index + at);
    expect([...memory.bytes.subarray(index * 32, index * 32 + 32)]).toEqual([...wanted.map((byte) => byte + 24), ...wanted]);
  }
});

test('answers errors as negative errnos', () => {
  ring.read(1, 0, 0, low(memory.address), high(memory.address), 16, 5);
  expect(drain(1).get(5)).toBe(-9);
});

test('files come and go at run time', () => {
  ring.setFile(0, -1);
  ring.setFile(3, file);
  ring.syncData(0, 1);
  ring.syncData(3, 2);
  const results = drain(2);
  expect([results.get(1), results.get(2)]).toEqual([-9, 0]);
});

test('a poll fires once, or is canceled', () => {
  const event = createEventDescriptor({ blocking: false });
  ring.setFile(1, event);
  ring.pollReadable(1, 10);
  ring.enter(0);
  expect(ring.next()).toBe(false);
  signalEvent(event);
  expect(drain(1).get(10)).toBe(1);
  fs.readSync(event, Buffer.alloc(8));
  ring.pollReadable(1, 11);
  ring.enter(0);
  ring.cancelPoll(11, 12);
  expect(drain(2).get(11)).toBe(-125);
  fs.closeSync(event);
});

test('a timeout ends a wait, and so does patience', () => {
  const interval = new Structure(16);
  interval.view.setBigUint64(8, 2_000_000n, true);
  ring.timeout(low(interval.address), high(interval.address), 20);
  expect(drain(1).get(20)).toBe(-62);
  const started = performance.now();
  ring.enterPatiently(1);
  expect(ring.next()).toBe(false);
  expect(performance.now() - started).toBeLessThan(1000);
});
