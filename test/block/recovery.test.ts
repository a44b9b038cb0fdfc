import { expect, test } from '@jest/globals';
import type { Arena } from '../../src/block/arena.ts';
import { writeReplyHeader } from '../../src/block/fuse.ts';
import { planRecovery } from '../../src/block/recovery.ts';
import { newMemory, openArena, placeRequest } from '../support/request-arena.ts';

const all = (): boolean => true;
const posted = (arena: Arena, slot: number, unique: bigint, connection = 1, incarnation = 1): void => {
  arena.markPosted(slot, connection, incarnation);
  placeRequest(arena, slot, { opcode: 16, unique });
};
const read = (arena: Arena, slot: number, unique: bigint, connection = 1, incarnation = 1): void => {
  posted(arena, slot, unique, connection, incarnation);
  arena.markRead(slot);
};
const done = (arena: Arena, slot: number, unique: bigint, connection = 1, incarnation = 1): void => {
  read(arena, slot, unique, connection, incarnation);
  writeReplyHeader(arena.words, arena.reply(slot), arena.request(slot), 5, 0);
  arena.markDone(slot, 5, { withData: false });
};

test('a fresh arena has nothing to recover', () => {
  expect(planRecovery(openArena(newMemory()), all)).toEqual({ answer: [], submit: [], discard: [0, 1, 2, 3, 4, 5] });
});

test('what is done is answered again, what was read is done, what was only posted is free', () => {
  const arena = openArena(newMemory());
  done(arena, 0, 2n);
  read(arena, 1, 4n);
  posted(arena, 2, 6n);
  arena.markPosted(3, 1, 1);
  expect(planRecovery(arena, all)).toEqual({ answer: [0], submit: [1, 2], discard: [3, 4, 5] });
});

test('a request that was being moved to a parking slot is done once', () => {
  const arena = openArena(newMemory());
  read(arena, 0, 2n);
  read(arena, 4, 2n);
  const plan = planRecovery(arena, all);
  expect(plan.submit).toEqual([0]);
  expect(plan.discard).toContain(4);
});

test('what is done in one slot is never done again from another', () => {
  const arena = openArena(newMemory());
  read(arena, 0, 2n);
  done(arena, 4, 2n);
  const plan = planRecovery(arena, all);
  expect([plan.answer, plan.submit]).toEqual([[4], []]);
});

test('the same id on two connections is two requests', () => {
  const arena = openArena(newMemory());
  read(arena, 0, 2n, 1);
  read(arena, 1, 2n, 2);
  expect(planRecovery(arena, all).submit).toEqual([0, 1]);
});

test('requests of a connection or an incarnation that is gone are dropped', () => {
  const arena = openArena(newMemory());
  read(arena, 0, 2n, 1, 1);
  done(arena, 1, 4n, 2, 1);
  read(arena, 2, 6n, 1, 2);
  const plan = planRecovery(arena, (connection, incarnation) => connection === 1 && incarnation === 2);
  expect([plan.answer, plan.submit]).toEqual([[], [2]]);
});
