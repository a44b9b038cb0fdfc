/** Requests and their replies, with a file in place of /dev/fuse and a list in place of the ring. */
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import fs from 'node:fs';
import { type Arena, SlotState } from '../../src/block/arena.ts';
import { Errno, Opcode } from '../../src/block/fuse.ts';
import { hasHandles } from '../../src/block/open-handles.ts';
import { Operation } from '../../src/block/ports.ts';
import { Requests } from '../../src/block/requests.ts';
import { Session } from '../../src/block/session.ts';
import { SlotShares } from '../../src/block/slot-shares.ts';
import { Statistics } from '../../src/block/statistics.ts';
import { indexMask } from '../../src/block/user-data.ts';
import {
  type RawRequest,
  dataParameters,
  descriptorOf,
  descriptorOfBytes,
  encodeRequest,
  newMemory,
  openArena,
  smallCounts,
} from '../support/request-arena.ts';
import { SharedMemory } from '../../src/linux/memory.ts';
import { arenaBytes } from '../../src/block/arena.ts';

interface Submitted {
  readonly request: number;
  readonly operation: number;
  readonly device: number;
  readonly offset: number;
  readonly length: number;
  readonly memory: number;
}

const sizeBytes = 1 << 20;
let bytes: Uint8Array;
let arena: Arena;
let requests: Requests;
let submitted: Submitted[];
let replies: { slot: number; lengthBytes: number }[];
let descriptors: number[];
let shares: SlotShares;
let statistics: Statistics;

beforeEach(() => {
  const memory = SharedMemory.create({ name: 'test', sizeBytes: arenaBytes(smallCounts) });
  descriptors = [memory.descriptor];
  bytes = memory.bytes;
  arena = openArena(memory);
  submitted = [];
  replies = [];
  shares = new SlotShares({ slots: smallCounts.activeSlots, devices: smallCounts.devices });
  statistics = new Statistics({ devices: smallCounts.devices });
  const ring = {
    write: (_file: number, _a: number, _b: number, _c: number, _d: number, lengthBytes: number, userData: number) =>
      void replies.push({ slot: userData & indexMask, lengthBytes }),
  };
  requests = new Requests({ arena, ring, shares, statistics, answered: () => {}, released: () => {} });
  requests.setTarget({
    submit: (request, operation, device, offset, length, memoryOffset) =>
      void submitted.push({ request, operation, device, offset, length, memory: memoryOffset }),
  });
  for (let slot = 0; slot < arena.slots; slot++) requests.discard(slot);
  shares.addDevice(0);
});
afterEach(() => descriptors.forEach((descriptor) => fs.closeSync(descriptor)));

function sessionWith(request: RawRequest, options: { readOnly?: boolean } = {}): Session {
  const fuseDescriptor = descriptorOf(request);
  descriptors.push(fuseDescriptor);
  const readOnly = options.readOnly ?? false;
  return new Session({ index: 0, connection: 1, incarnation: 1, device: 7, fuseDescriptor, sizeBytes, readOnly });
}

/** Reads the request and answers the errno of the reply that came at once, or null when there is none. */
function take(request: RawRequest, options: { readOnly?: boolean } = {}): number | null {
  const before = replies.length;
  expect(requests.take(sessionWith(request, options))).toBe(true);
  return replies.length === before ? null : errnoOf(replies.at(-1)!.slot);
}

function errnoOf(slot: number): number {
  expect(arena.state(slot)).toBe(SlotState.done);
  return Math.abs(arena.words[(arena.repliesWithData(slot) ? arena.dataReply(slot) : arena.reply(slot)) + 1]!);
}

const write = (unique: bigint, offset: number, length: number): RawRequest => ({
  opcode: Opcode.write,
  unique,
  parameters: dataParameters(offset, length),
  payload: new Uint8Array(length).fill(Number(unique)),
});
const read = (offset: number, length: number): RawRequest => ({
  opcode: Opcode.read,
  unique: 2n,
  parameters: dataParameters(offset, length),
});

describe('reads and writes', () => {
  test('a write is submitted with its payload and answered with its length', () => {
    expect(take(write(6n, 8192, 4096))).toBeNull();
    const { request, operation, device, offset, length, memory } = submitted[0]!;
    expect({ operation, device, offset, length }).toEqual({ operation: Operation.write, device: 7, offset: 8192, length: 4096 });
    expect(bytes[memory]).toBe(6);
    expect(requests.inFlight).toBe(1);
    requests.completed(request, 0);
    const { slot, lengthBytes } = replies[0]!;
    expect([lengthBytes, errnoOf(slot), arena.words[arena.reply(slot) + 4]]).toEqual([24, 0, 4096]);
    requests.replied(slot, lengthBytes);
    expect([arena.state(slot), requests.inFlight]).toEqual([SlotState.free, 0]);
  });

  test('a read is answered with header and data in one piece', () => {
    take(read(0, 8192));
    requests.completed(submitted[0]!.request, 0);
    const { slot, lengthBytes } = replies[0]!;
    expect(lengthBytes).toBe(16 + 8192);
    expect(arena.repliesWithData(slot)).toBe(true);
    expect(submitted[0]!.memory).toBe(arena.dataReply(slot) * 4 + 16);
    expect(arena.words[arena.dataReply(slot) + 2]).toBe(2);
  });

  test('a read over the end is cut, one behind the end answers nothing', () => {
    take(read(sizeBytes - 4096, 16384));
    expect(submitted[0]!.length).toBe(4096);
    expect(take(read(sizeBytes, 4096))).toBe(0);
    expect(replies.at(-1)!.lengthBytes).toBe(16);
  });

  test('an error of the target reaches the reply', () => {
    take(read(0, 4096));
    requests.completed(submitted[0]!.request, Errno.inputOutput);
    expect(errnoOf(replies[0]!.slot)).toBe(Errno.inputOutput);
  });

  test('a reply that the kernel had no memory for is sent again', () => {
    take(read(0, 4096));
    requests.completed(submitted[0]!.request, 0);
    requests.replied(replies[0]!.slot, -Errno.outOfMemory);
    expect(replies[1]).toEqual(replies[0]);
  });

  test('a reply to a connection that is gone is dropped, and the slot is free', () => {
    const session = sessionWith(write(6n, 0, 4096));
    requests.take(session);
    session.gone = true;
    requests.completed(submitted[0]!.request, 0);
    expect([replies.length, session.held, requests.inFlight]).toEqual([0, 0, 0]);
  });

  test('no request is read while all slots are taken', () => {
    for (let index = 0; index < smallCounts.activeSlots; index++) take(write(2n, 0, 4096));
    expect(requests.take(sessionWith(write(2n, 0, 4096)))).toBe(false);
  });
});

describe('what is refused', () => {
  test.each<[string, RawRequest, boolean, number]>([
    ['a write to a read-only device', write(2n, 0, 4096), true, Errno.readOnly],
    ['zeroing a read-only device', { opcode: Opcode.allocate, unique: 2n, parameters: [0, 0, 0, 0, 4096, 0, 3] }, true, Errno.readOnly],
    ['an unaligned write', write(2n, 512, 4096), false, Errno.invalid],
    ['an unaligned read', read(0, 100), false, Errno.invalid],
    ['a write over the end', write(2n, sizeBytes - 4096, 8192), false, Errno.inputOutput],
    ['preallocation', { opcode: Opcode.allocate, unique: 2n, parameters: [0, 0, 0, 0, 4096, 0, 0] }, false, Errno.notSupported],
    [
      'zeroing over the end',
      { opcode: Opcode.allocate, unique: 2n, parameters: [0, 0, 0, 0, sizeBytes + 4096, 0, 3] },
      false,
      Errno.inputOutput,
    ],
    ['unaligned zeroing', { opcode: Opcode.allocate, unique: 2n, parameters: [0, 0, 1, 0, 4096, 0, 3] }, false, Errno.invalid],
    ['an operation that a file of one device does not have', { opcode: 1, unique: 2n }, false, Errno.notImplemented],
  ])('%s', (_, request, readOnly, errno) => {
    expect(take(request, { readOnly })).toBe(errno);
    expect(submitted).toEqual([]);
  });
});

describe('a request that is not whole', () => {
  const raw = (bytes: Buffer): boolean => {
    const fuseDescriptor = descriptorOfBytes(bytes);
    descriptors.push(fuseDescriptor);
    return requests.take(new Session({ index: 0, connection: 1, incarnation: 1, device: 7, fuseDescriptor, sizeBytes, readOnly: false }));
  };

  test('does not write what an earlier one left in the slot', () => {
    take(write(2n, 0, 8192));
    requests.completed(submitted.pop()!.request, 0);
    requests.replied(replies.pop()!.slot, 24);
    expect(take({ ...write(4n, 0, 8192), payload: new Uint8Array(4096) })).toBe(Errno.invalid);
    expect(submitted).toEqual([]);
  });

  test('does not take its arguments from an earlier one', () => {
    take({ opcode: Opcode.allocate, unique: 2n, parameters: [0, 0, 0, 0, 4096, 0, 3] });
    requests.completed(submitted.pop()!.request, 0);
    requests.replied(replies.pop()!.slot, 16);
    const header = encodeRequest({ opcode: Opcode.allocate, unique: 4n }).subarray(0, 40);
    header.writeUInt32LE(40, 0);
    expect(raw(header)).toBe(true);
    expect(errnoOf(replies.pop()!.slot)).toBe(Errno.invalid);
    expect(submitted).toEqual([]);
  });

  test('of another length than it says is refused', () => {
    expect(raw(encodeRequest({ opcode: Opcode.sync, unique: 2n }).subarray(0, 72))).toBe(true);
    expect(errnoOf(replies.pop()!.slot)).toBe(Errno.invalid);
    expect(submitted).toEqual([]);
  });

  test.each([0, 1, 39])('of %i bytes is none: the request before it is not done again', (length) => {
    take({ opcode: Opcode.sync, unique: 2n });
    requests.completed(submitted.pop()!.request, 0);
    requests.replied(replies.pop()!.slot, 16);
    expect(raw(encodeRequest({ opcode: Opcode.sync, unique: 4n }).subarray(0, length))).toBe(false);
    expect([submitted.length, replies.length, requests.inFlight]).toEqual([0, 0, 0]);
  });
});

test('a discard of more than 2 GiB is counted in full', () => {
  const fuseDescriptor = descriptorOfBytes(
    encodeRequest({ opcode: Opcode.allocate, unique: 2n, parameters: [0, 0, 0, 0, 3 * 2 ** 30, 0, 3] }),
  );
  descriptors.push(fuseDescriptor);
  const device = { index: 0, connection: 1, incarnation: 1, device: 7, readOnly: false };
  requests.take(new Session({ ...device, fuseDescriptor, sizeBytes: 2 ** 33 }));
  requests.completed(submitted[0]!.request, 0);
  expect(statistics.ofDevice(0).zero).toEqual({ requests: 1, bytes: 3 * 2 ** 30, errors: 0 });
});

describe('other operations', () => {
  test('FSYNC is a flush, FLUSH just succeeds', () => {
    expect(take({ opcode: Opcode.sync, unique: 2n })).toBeNull();
    expect(submitted[0]!.operation).toBe(Operation.flush);
    expect(take({ opcode: Opcode.flush, unique: 4n })).toBe(0);
  });

  test.each([0x03, 0x11])('FALLOCATE of mode %i zeroes', (mode) => {
    expect(take({ opcode: Opcode.allocate, unique: 2n, parameters: [0, 0, 4096, 0, 8192, 0, mode] })).toBeNull();
    expect(submitted[0]).toMatchObject({ operation: Operation.zero, offset: 4096, length: 8192 });
  });

  test('OPEN and RELEASE say whether the device is in use', () => {
    take({ opcode: Opcode.open, unique: 100n });
    expect(hasHandles(arena, 0)).toBe(true);
    const handle = arena.words[arena.reply(replies[0]!.slot) + 4]!;
    take({ opcode: Opcode.release, unique: 102n, parameters: [handle, 0] });
    expect(hasHandles(arena, 0)).toBe(false);
  });

  test.each([Opcode.forget, Opcode.batchForget, Opcode.interrupt])('operation %i has no reply', (opcode) => {
    expect(take({ opcode, unique: 2n })).toBeNull();
    expect([submitted.length, requests.inFlight]).toEqual([0, 0]);
  });
});

describe('parking', () => {
  test('moves the payload and gives the active slot to others', () => {
    for (let unique = 2n; unique <= 8n; unique += 2n) take(write(unique, 0, 4096));
    const { request, memory } = submitted[1]!;
    const moved = requests.parked(request);
    expect(moved).not.toBe(memory);
    expect(bytes[moved]).toBe(4);
    expect(requests.parkedCount).toBe(1);

    expect(take(write(10n, 0, 4096))).toBeNull();
    const later = submitted.at(-1)!;
    expect(later.request).not.toBe(request);
    expect(submitted.filter((other) => other.request === later.request)).toHaveLength(1);

    requests.completed(request, 0);
    expect(arena.words[arena.reply(replies[0]!.slot) + 2]).toBe(4);
    requests.replied(replies[0]!.slot, 24);
    expect([requests.parkedCount, requests.inFlight]).toEqual([0, 4]);
  });

  test('with all parking slots taken leaves the payload where it is', () => {
    for (let unique = 2n; unique <= 8n; unique += 2n) take(write(unique, 0, 4096));
    const offsets = submitted.map(({ request, memory }) => requests.parked(request) !== memory);
    expect(offsets).toEqual([true, true, false, false]);
    expect(requests.parked(submitted[3]!.request)).toBe(submitted[3]!.memory);
    expect(requests.parkedCount).toBe(4);
    for (const { request } of submitted) requests.completed(request, Errno.inputOutput);
    for (const { slot } of replies) requests.replied(slot, 16);
    expect([requests.parkedCount, requests.inFlight]).toEqual([0, 0]);
  });
});

test('slots of a predecessor are adopted, answered and freed', () => {
  take(write(6n, 4096, 4096));
  const successor = openArena({ bytes, address: newMemory().address });
  const next = new Requests({
    arena: successor,
    ring: { write: (_f, _a, _b, _c, _d, lengthBytes, userData) => void replies.push({ slot: userData & indexMask, lengthBytes }) },
    shares,
    statistics,
    answered: () => {},
    released: () => {},
  });
  next.setTarget({ submit: (request) => next.completed(request, 0) });
  const slot = [0, 1, 2, 3].find((index) => successor.holdsRequest(index))!;
  next.adopt(slot, sessionWith(write(6n, 4096, 4096)));
  next.serve(slot);
  expect(errnoOf(slot)).toBe(0);
  next.replied(slot, 24);
  expect(next.inFlight).toBe(0);
});

test('requests are counted by operation with their bytes and errors', () => {
  take(write(8n, 4096, 8192));
  requests.completed(submitted.at(-1)!.request, 0);
  take(write(9n, 0, 4096));
  requests.completed(submitted.at(-1)!.request, 28);
  expect(statistics.ofDevice(0).write).toEqual({ requests: 2, bytes: 8192, errors: 1 });
  expect(statistics.ofDevice(0).read.requests).toBe(0);
  expect(statistics.latency().write.counts.reduce((sum, count) => sum + count)).toBe(2);
  statistics.reset(0);
  expect(statistics.ofDevice(0).write.requests).toBe(0);
});
