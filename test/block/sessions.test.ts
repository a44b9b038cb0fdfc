/** Which connections are read from in a round: all of them always have another request here. */
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import fs from 'node:fs';
import { arenaBytes } from '../../src/block/arena.ts';
import { Requests } from '../../src/block/requests.ts';
import type { Session } from '../../src/block/session.ts';
import { Sessions } from '../../src/block/sessions.ts';
import { SharedMemory } from '../../src/linux/memory.ts';
import { replaceMethod } from '../support/planted-bugs.ts';
import { openArena, smallCounts } from '../support/request-arena.ts';

const counts = { ...smallCounts, devices: 64 };
const ring = { write: () => undefined, pollReadable: () => undefined, cancelPoll: () => undefined, setFile: () => undefined };
let memory: SharedMemory;
let takeBack: readonly (() => void)[];
let reads: number[];

beforeEach(() => {
  memory = SharedMemory.create({ name: 'test', sizeBytes: arenaBytes(counts) });
  reads = [];
  takeBack = [
    replaceMethod(Requests.prototype, 'mayTake', () => () => true),
    replaceMethod(
      Requests.prototype,
      'take',
      () =>
        function take(this: Requests, session: Session): boolean {
          reads[session.index] = (reads[session.index] ?? 0) + 1;
          this.taken++;
          return true;
        },
    ),
  ];
});
afterEach(() => {
  for (const back of takeBack.toReversed()) back();
  fs.closeSync(memory.descriptor);
});

test.each([1, 2, 3, 4, 5, 6, 7, 8, 15, 16, 17, 33, 64])(
  '%i connections that always have requests have equal parts of the rounds',
  (connections) => {
    const sessions = new Sessions({ arena: openArena(memory, counts), ring, readsPerTurn: 8 });
    for (let connection = 1; connection <= connections; connection++)
      sessions.add({ connection, incarnation: 1, device: connection, fuseDescriptor: -1, sizeBytes: 4096, readOnly: false });
    for (let round = 0; round < 100; round++) sessions.readRequests(); // how much each is expected to have is found out
    reads = [];
    const rounds = 1000;
    for (let round = 0; round < rounds; round++) sessions.readRequests();
    const total = reads.reduce((sum, count) => sum + count, 0);
    expect(Math.min(...reads) / Math.max(...reads)).toBeGreaterThan(0.97);
    expect(reads).toHaveLength(connections);
    expect(total / rounds).toBeLessThanOrEqual(32);
    expect(total / rounds).toBeGreaterThan(Math.min(connections * 8, 32) * 0.85);
  },
);

test('connections that wait for a slot do not keep the others from being read', () => {
  takeBack = [
    ...takeBack,
    replaceMethod(
      Requests.prototype,
      'mayTake',
      () =>
        ({ index }: Session) =>
          index >= 48,
    ),
  ];
  const sessions = new Sessions({ arena: openArena(memory, counts), ring, readsPerTurn: 8 });
  for (let connection = 1; connection <= 64; connection++)
    sessions.add({ connection, incarnation: 1, device: connection, fuseDescriptor: -1, sizeBytes: 4096, readOnly: false });
  for (let round = 0; round < 100; round++) sessions.readRequests();
  reads = [];
  for (let round = 0; round < 100; round++) sessions.readRequests();
  expect(reads.slice(0, 48)).toEqual(Array.from({ length: 48 }));
  expect(reads.reduce((sum, count) => sum + count, 0)).toBe(3200);
});
