import { describe, expect, test } from '@jest/globals';
import { SlotState } from '../../src/block/arena.ts';
import { addHandle, hasHandles, removeHandle } from '../../src/block/open-handles.ts';
import { newMemory, openArena, placeRequest, smallCounts } from '../support/request-arena.ts';

describe('the arena', () => {
  test('lies as its description says', () => {
    const memory = newMemory();
    const arena = openArena(memory);
    const head = new DataView(memory.bytes.buffer);
    expect(Buffer.from(memory.bytes.subarray(0, 4)).toString('latin1')).toBe('CKSA');
    expect([4, 8, 12, 16, 20].map((at) => head.getUint32(at, true))).toEqual([1, 4, 2, 3, 1 << 20]);
    expect(arena.dataOffsets[0]).toBe(4096 + 4096 + 4096);
    expect(arena.dataOffsets[1]).toBe(arena.dataOffsets[0]! + 4096 + (1 << 20));
    expect(arena.requestAddresses[1]).toBe(memory.address + arena.dataOffsets[0]! - 80);
    expect(arena.dataReply(0) * 4).toBe(arena.dataOffsets[0]! - 16);
    expect(arena.activeRange).toEqual({ offsetBytes: 8192, lengthBytes: 4 * (4096 + (1 << 20)) });
  });

  test('splits addresses into words without losing bits', () => {
    const memory = newMemory();
    const arena = openArena(memory);
    const address = (BigInt(arena.replyHigh[2]!) << 32n) | BigInt(arena.replyLow[2]! >>> 0);
    expect(address).toBe(BigInt(memory.address + arena.reply(2) * 4));
  });

  test('is opened again with what it holds', () => {
    const memory = newMemory();
    openArena(memory).markPosted(1, 7, 3);
    const again = openArena(memory);
    expect([again.state(1), again.connection(1), again.incarnation(1)]).toEqual([SlotState.posted, 7, 3]);
  });

  test('is refused with other counts or another version, or when it is something else', () => {
    const memory = newMemory();
    openArena(memory);
    expect(() => openArena(memory, { ...smallCounts, activeSlots: 3 })).toThrow(/of another kind/);
    memory.bytes[4] = 9;
    expect(() => openArena(memory)).toThrow(expect.objectContaining({ code: 'failed-precondition' }));
    memory.bytes[0] = 1;
    expect(() => openArena(memory)).toThrow(/holds no request arena/);
  });

  test('a posted slot holds a request only once the kernel has put an id there', () => {
    const arena = openArena(newMemory());
    placeRequest(arena, 0, { opcode: 16, unique: 4n });
    arena.markPosted(0, 1, 1);
    expect(arena.holdsRequest(0)).toBe(false);
    placeRequest(arena, 0, { opcode: 16, unique: 0x1_0000_0000n });
    expect(arena.holdsRequest(0)).toBe(true);
  });

  test('moving keeps request, owner and payload', () => {
    const memory = newMemory();
    const arena = openArena(memory);
    arena.markPosted(2, 5, 6);
    placeRequest(arena, 2, { opcode: 16, unique: 10n, payload: new Uint8Array(4096).fill(0xab) });
    arena.markRead(2);
    arena.move(2, 5, 4096);
    expect([arena.state(2), arena.state(5)]).toEqual([SlotState.free, SlotState.read]);
    expect([arena.connection(5), arena.incarnation(5)]).toEqual([5, 6]);
    expect(arena.words[arena.request(5) + 2]).toBe(10);
    const data = arena.dataOffsets[5]!;
    expect(memory.bytes.subarray(data, data + 4096).every((byte) => byte === 0xab)).toBe(true);
    expect(memory.bytes[data + 4096]).toBe(0);
  });
});

describe('devices', () => {
  test('keep their entry and their open files over a restart', () => {
    const memory = newMemory();
    const arena = openArena(memory);
    const index = arena.claimDevice(9, 2);
    addHandle(arena, index, 100);
    const again = openArena(memory);
    expect(again.claimDevice(9, 2)).toBe(index);
    expect(hasHandles(again, index)).toBe(true);
  });

  test('of another incarnation are others', () => {
    const arena = openArena(newMemory());
    const index = arena.claimDevice(9, 2);
    addHandle(arena, index, 100);
    const other = arena.claimDevice(9, 3);
    expect(other).not.toBe(index);
    expect(hasHandles(arena, other)).toBe(false);
  });

  test('are limited', () => {
    const arena = openArena(newMemory());
    expect([1, 2, 3, 4].map((connection) => arena.claimDevice(connection, 1))).toEqual([0, 1, 2, -1]);
    arena.releaseDevice(1);
    expect(arena.claimDevice(4, 1)).toBe(1);
  });

  test('OPEN and RELEASE done twice count once', () => {
    const arena = openArena(newMemory());
    const first = addHandle(arena, 0, 100);
    expect(addHandle(arena, 0, 100)).toBe(first);
    const second = addHandle(arena, 0, 102);
    removeHandle(arena, 0, first);
    removeHandle(arena, 0, first);
    expect(hasHandles(arena, 0)).toBe(true);
    removeHandle(arena, 0, second);
    expect(hasHandles(arena, 0)).toBe(false);
  });

  test('too many open files are refused', () => {
    const arena = openArena(newMemory());
    for (let unique = 2; unique <= 60; unique += 2) expect(addHandle(arena, 0, unique)).not.toBe(0);
    expect(addHandle(arena, 0, 62)).toBe(0);
  });
});
