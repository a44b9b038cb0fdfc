/**
 * The sections of the store's shared memory, and the front-end's part of it, written out. A running store's successor
 * finds the old layout: see the head of test/engine/golden-format.test.ts before you change an expectation.
 */
import { describe, expect, test } from '@jest/globals';
import { Arena, arenaBytes, type ArenaCounts, SlotState } from '../../../src/block/arena.ts';
import { addHandle } from '../../../src/block/open-handles.ts';
import { ARENA_COUNTS, memoryLayout, memoryLayoutOf } from '../../../src/store/data-thread/memory-layout.ts';

test('the shared memory is cut as docs/format.md says', () => {
  expect(ARENA_COUNTS).toEqual({ activeSlots: 128, parkingSlots: 64, devices: 256 });
  expect(memoryLayout()).toEqual({
    arena: ARENA_COUNTS,
    arenaOffset: 0,
    arenaBytes: 202_149_888,
    engineOffset: 202_149_888,
    engineBytes: 18_157_568,
    totalBytes: 220_307_456,
  });
});

describe('memory of a predecessor', () => {
  const earlier = { activeSlots: 64, parkingSlots: 64, devices: 256 };
  const earlierLayout = {
    arena: earlier,
    arenaOffset: 0,
    arenaBytes: 134_778_880,
    engineOffset: 134_778_880,
    engineBytes: 18_157_568,
    totalBytes: 152_936_448,
  };

  function arenaIn(bytes: Uint8Array, counts: ArenaCounts): Uint8Array {
    void new Arena({ ...counts, memory: { bytes, address: 65536 }, offsetBytes: 0, lengthBytes: arenaBytes(counts) });
    return bytes;
  }

  test('is cut as the program cut it that made it', () => {
    expect(memoryLayoutOf(arenaIn(new Uint8Array(earlierLayout.totalBytes), earlier))).toEqual(earlierLayout);
    expect(memoryLayoutOf(arenaIn(new Uint8Array(memoryLayout().totalBytes), ARENA_COUNTS))).toEqual(memoryLayout());
  });

  test('is cut as its length allows when nothing was written into it yet', () => {
    expect(memoryLayoutOf(new Uint8Array(earlierLayout.totalBytes))).toEqual(earlierLayout);
    expect(memoryLayoutOf(new Uint8Array(memoryLayout().totalBytes))).toEqual(memoryLayout());
  });

  test.each([
    ['too short for any', new Uint8Array(100)],
    ['of counts that nobody made', arenaIn(new Uint8Array(memoryLayout().totalBytes), { ...ARENA_COUNTS, activeSlots: 7 })],
  ])('%s is taken for new, and refused by who opens it', (_, bytes) => {
    const layout = memoryLayoutOf(bytes);
    expect(layout).toEqual(memoryLayout());
    const open = (): unknown =>
      new Arena({ ...layout.arena, memory: { bytes, address: 65536 }, offsetBytes: 0, lengthBytes: bytes.length });
    expect(open).toThrow(bytes.length < layout.totalBytes ? /too small/ : /of another kind: version 1, 7 active/);
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
