/** The cuts of long sequences on themselves; `make torture CAMPAIGN=long-sequences` does them by the thousand. */
import { expect, test } from '@jest/globals';
import { engineSubject } from '../support/engine-subject.ts';
import { cutLongSequence, drawLongSequence } from '../support/long-sequences.ts';
import { SeededRandom } from '../support/seeded-random.ts';
import { endings } from '../support/short-sequences.ts';
import type { WalkSubject } from '../support/walk-runner.ts';

const operations = 40;

/** Cuts the sequence of each seed a few times. Returns how many cuts that were. */
function cutSome(subject: WalkSubject, seeds: number): number {
  let cuts = 0;
  for (let seed = 1; seed <= seeds; seed += 1) {
    const random = new SeededRandom(seed);
    const sequence = drawLongSequence(engineSubject(), seed, operations);
    for (let count = 0; count < 4; count += 1) {
      cutLongSequence(subject, sequence, { calls: random.between(1, sequence.portCalls), ending: random.pick(endings) });
      cuts += 1;
    }
  }
  return cuts;
}

test('a sequence is long, and the same for the same seed', () => {
  const sequence = drawLongSequence(engineSubject(), 18, operations);
  expect(sequence.actions.length).toBe(operations);
  expect(sequence.portCalls).toBeGreaterThan(operations);
  expect(drawLongSequence(engineSubject(), 18, operations)).toEqual(sequence);
});

test('cut anywhere it loses nothing, and goes on', () => {
  expect(cutSome(engineSubject(), 10)).toBe(40);
}, 120_000);

test('the cuts find a log whose syncs do nothing', () => {
  const sound = engineSubject();
  const subject: WalkSubject = {
    ...sound,
    format: (world, setup) => {
      sound.format(world, setup);
      world.log.dropsSyncs = true;
    },
  };
  expect(() => cutSome(subject, 100)).toThrow(/cut at port call/);
}, 120_000);
