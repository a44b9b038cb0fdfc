/**
 * Bugs that the model test must find: each breaks one rule of the design, in a port or in one method of the engine.
 * A bug is planted by replacing a method of a class, and taken back by what `plant` returns.
 */
import { ChunkMoves } from '../../src/engine/chunk-moves.ts';
import { ChunkParts } from '../../src/engine/chunk-parts.ts';
import { Durability } from '../../src/engine/durability.ts';
import { Flights } from '../../src/engine/part-lists.ts';
import { RecordLog } from '../../src/engine/record-log.ts';
import { RecordRing } from '../../src/engine/record-ring.ts';
import { Holds } from '../../src/engine/holds.ts';
import { Slots } from '../../src/engine/slots.ts';
import type { SimulatedWorld } from './simulated-world.ts';

export interface PlantedBug {
  /** The rule that is broken. */
  readonly rule: string;
  readonly world?: (world: SimulatedWorld) => void;
  readonly plant?: () => () => void;
  /** Random walks seldom meet it: a script of test/engine/protocol.test.ts shows it. */
  readonly scripted?: true;
}

export const plantedBugs: Readonly<Record<string, PlantedBug>> = {
  'data syncs do nothing': { rule: '1: FLUSH syncs the data first', world: (world) => void (world.data.dropsSyncs = true) },
  'log syncs do nothing': { rule: '1: then the log', world: (world) => void (world.log.dropsSyncs = true) },
  'commits are answered when readable': {
    rule: '6: the checkpoint is durable before logs are trimmed',
    world: (world) => void (world.metadata.answersReadable = true),
  },
  'the shared memory dies with the process': { rule: 'two kinds of crash', world: (world) => void (world.forgetsMemory = true) },
  'a successor does not wait for disk writes in flight': { rule: '6: recovery waits', world: (world) => void (world.startsAtOnce = true) },
  'slots are reused before their drop is durable': {
    rule: '2',
    plant: () =>
      replaceMethod(
        Slots.prototype,
        'dropReference',
        (original) =>
          function dropReference(this: Slots, slot: number): void {
            original.call(this, slot, 0);
          },
      ),
  },
  'slots are reused with operations in flight': {
    rule: '2: no read or write is in flight on it',
    scripted: true,
    plant: () => replaceGetter(Flights.prototype, 'oldestStamp', () => Infinity),
  },
  'slots are written in place while shared in what is durable': {
    rule: '3',
    scripted: true,
    plant: () =>
      replaceMethod(
        Slots.prototype,
        'owned',
        () =>
          function owned(this: Slots, slot: number): boolean {
            return this.counted && this.counts.get(slot) === 1;
          },
      ),
  },
  'overlapping writes do not wait': { rule: '4', plant: () => replaceMethod(ChunkParts.prototype, 'mustWait', () => () => false) },
  'chunks are moved beside writes and cuts': { rule: '4', plant: () => replaceMethod(ChunkMoves.prototype, 'isBusy', () => () => false) },
  'cuts do not wait for writes in flight': {
    rule: '5',
    plant: () =>
      replaceMethod(
        Holds.prototype,
        'hold',
        () =>
          function hold(this: Holds, object: Parameters<Holds['hold']>[0], quiet: () => void): void {
            object.holds++;
            quiet();
          },
      ),
  },
  'slots that the count finds are free at once': {
    rule: '7',
    scripted: true,
    plant: () =>
      replaceMethod(
        Slots.prototype,
        'finishCount',
        (original) =>
          function finishCount(this: Slots): void {
            original.call(this, 0);
          },
      ),
  },
  'records do not reach the shared memory': {
    rule: 'records go into shared memory before the reply',
    plant: () => replaceMethod(RecordRing.prototype, 'belongsTo', () => () => false),
  },
  'writes do not make the pool dirty': {
    rule: '1: data written in place counts as dirty',
    plant: () => replaceMethod(Durability.prototype, 'landed', () => () => undefined),
  },
  'the log is not read at a start': {
    rule: '6: replay the disk log',
    plant: () =>
      replaceMethod(
        RecordLog.prototype,
        'recover',
        (original) =>
          function recover(this: RecordLog, ...[from, , done]: Parameters<RecordLog['recover']>): void {
            original.call(this, from, () => undefined, done);
          },
      ),
  },
};

/** From now on every slot that is taken is the same one. Returns what takes that back. */
export function giveOutOneSlotOnly(): () => void {
  let first = 0;
  return replaceMethod(
    Slots.prototype,
    'take',
    (original) =>
      function take(this: Slots): number {
        first ||= original.call(this);
        return first;
      },
  );
}

export function replaceMethod<T extends object, K extends keyof T>(prototype: T, name: K, make: (original: T[K]) => T[K]): () => void {
  const original = prototype[name];
  prototype[name] = make(original);
  return () => {
    prototype[name] = original;
  };
}

export function replaceGetter<T extends object, K extends keyof T & string>(prototype: T, name: K, get: () => T[K]): () => void {
  const original = Object.getOwnPropertyDescriptor(prototype, name);
  if (!original) throw new Error(`there is no ${name} to replace`);
  Object.defineProperty(prototype, name, { ...original, get });
  return () => {
    Object.defineProperty(prototype, name, original);
  };
}
