/**
 * The sections of the store's shared memory, and the front-end's part of it, written out. A running store's successor
 * finds the old layout: see the head of test/engine/golden-format.test.ts before you change an expectation.
 */
import { expect, test } from '@jest/globals';
import { Arena, arenaBytes, SlotState } from '../../../src/block/arena.ts';
import { addHandle } from '../../../src/block/open-handles.ts';
import { ARENA_COUNTS, memoryLayout } from '../../../src/store/data-thread/memory-layout.ts';

test('the shared memory is cut as docs/format.md says', () => {
  expect(ARENA_COUNTS).toEqual({ activeSlots: 64, parkingSlots: 64, devices: 256 });
  expect(memoryLayout()).toEqual({
    arenaOffset: 0,
    arenaBytes: 134_778_880,
    engineOffset: 134_778_880,
    engineBytes: 18_157_568,
    totalBytes: 152_936_448,
  });
});

test('the arena has its words where docs/format.md says', () => {
  const counts = { activeSlots: 1, parkingSlots: 1, devices: 2 };
  const bytes = new Uint8Array(arenaBytes(counts));
  const arena = new Arena({ ...counts, memory: { bytes, address: 65536 }, offsetBytes: 0, lengthBytes: bytes.length });
  const view = new DataView(bytes.buffer);
  const word = (offsetBytes: number): number => view.getUint32(offsetBytes, true);
  const words = (offsetBytes: number, count: number): number[] =>
    Array.from({ length: count }, (_, index) => word(offsetBytes + index * 4));
  const slotBytes = 4096 + 1048576;

  expect(bytes.length).toBe(4096 + 4096 + 2 * slotBytes);
  expect(words(0, 7)).toEqual([0x41534b43, 1, 1, 1, 2, 1048576, 0]);

  const device = arena.claimDevice(7, 9);
  expect(device).toBe(0);
  addHandle(arena, device, 0x10);
  expect(words(4096, 4)).toEqual([7, 9, 0x11, 0]);
  expect(arena.claimDevice(8, 10)).toBe(1);
  expect(words(4096 + 128, 2)).toEqual([8, 10]);

  const slot = 8192 + slotBytes; // the parking slot comes after the active one
  arena.markPosted(1, 7, 9);
  expect(words(slot, 3)).toEqual([SlotState.posted, 7, 9]);
  arena.markRead(1);
  expect(word(slot)).toBe(2);
  arena.markDone(1, 5, { withData: true });
  expect(words(slot, 5)).toEqual([3, 7, 9, 5, 1]);
  expect([arena.reply(1), arena.request(1), arena.dataReply(1)].map((at) => at * 4 - slot)).toEqual([64, 4016, 4080]);
  expect(arena.dataOffsets[1]).toBe(slot + 4096);
  expect(arena.requestAddresses[2]).toBe(65536 + slot + 4016);
});
