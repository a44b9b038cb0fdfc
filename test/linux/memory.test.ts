import { afterEach, expect, test } from '@jest/globals';
import fs from 'node:fs';
import { SharedMemory } from '../../src/linux/memory.ts';

const descriptors: number[] = [];
afterEach(() => descriptors.splice(0).forEach((descriptor) => fs.closeSync(descriptor)));

function create(sizeBytes: number): SharedMemory {
  const memory = SharedMemory.create({ name: 'chunkstore-test', sizeBytes });
  descriptors.push(memory.descriptor);
  return memory;
}

test('two mappings of one descriptor are the same bytes', () => {
  const memory = create(1 << 20);
  const other = SharedMemory.map(memory.descriptor);
  memory.bytes[12345] = 99;
  expect(other.bytes[12345]).toBe(99);
  expect(other.address).not.toBe(memory.address);
  expect(other.bytes).toHaveLength(1 << 20);
});

test('it cannot be made smaller', () => {
  const memory = create(8192);
  expect(() => fs.ftruncateSync(memory.descriptor, 4096)).toThrow(/EPERM/);
});

test('prefaulting takes memory for the range alone, and keeps its bytes', () => {
  const memory = create(64 << 20);
  memory.bytes[8192] = 5;
  memory.prefault(4096, 1 << 20);
  const { blocks } = fs.fstatSync(memory.descriptor);
  expect(blocks * 512).toBe(1 << 20);
  expect(memory.bytes[8192]).toBe(5);
});

test('locking answers null or the name of an errno', () => {
  const memory = create(1 << 20);
  const answer = memory.lock(0, 1 << 20);
  expect(answer === null || /^E[A-Z]+$/.test(answer)).toBe(true);
});

test('what is no shared memory is refused', () => {
  const file = fs.openSync('/dev/null', 'r');
  descriptors.push(file);
  expect(() => SharedMemory.map(file)).toThrow(expect.objectContaining({ code: 'failed-precondition' }));
});
