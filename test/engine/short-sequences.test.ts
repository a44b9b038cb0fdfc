/**
 * All short sequences of operations, cut everywhere (test/support/short-sequences.ts): here those of one operation, and
 * a slice of the longer ones that is another one each time. `make torture CAMPAIGN=short-sequences` goes on to all of them.
 *
 * CHUNKSTORE_SEED chooses where the slice begins.
 */
import { afterEach, describe, expect, test } from '@jest/globals';
import { plantedBugs } from '../support/planted-bugs.ts';
import { cutEverywhere, describeSequence, sequenceAfter, sequenceAt, sequenceCount, smallSubject } from '../support/short-sequences.ts';
import type { WalkSubject } from '../support/walk-runner.ts';

const seed = Number(process.env['CHUNKSTORE_SEED'] ?? Date.now() % 1_000_000_000);
const cutsOfSlice = 1_200;
const single = sequenceCount(1);

/** Cuts the sequence of that number, if it is no other one's twin. Returns how many cuts that were. */
function cut(index: number, ...subjects: readonly WalkSubject[]): number {
  const sequence = sequenceAt(index);
  if (sequence === null) return 0;
  try {
    return cutEverywhere(sequence, ...subjects);
  } catch (error) {
    const replay = `replay: make torture SECONDS=1 CAMPAIGN=short-sequences SEED=${index}`;
    throw new Error(`${describeSequence(sequence)}, ${String(error)}\n${replay}`, { cause: error });
  }
}

function cutAll(): number {
  let cuts = 0;
  for (let index = 0; index < single; index += 1) cuts += cut(index);
  return cuts;
}

describe('a power cut at every port call loses nothing that was answered', () => {
  test('in every sequence of one operation', () => {
    expect(cutAll()).toBeGreaterThan(500);
  }, 300_000);

  test(`in sequences of up to four operations from seed ${seed}`, () => {
    const total = sequenceCount();
    let cuts = 0;
    let sequences = 0;
    for (let index = seed % total; cuts < cutsOfSlice && sequences < total; index = sequenceAfter(index)) {
      cuts += cut(index);
      sequences += 1;
    }
    process.stdout.write(`short sequences: seed ${seed}, ${sequences} of ${total} sequences, ${cuts} cuts\n`);
    expect(cuts).toBeGreaterThanOrEqual(cutsOfSlice);
  }, 300_000);
});

describe('the cuts find a planted bug in sequences of one operation', () => {
  let takeBack = (): void => undefined;
  afterEach(() => takeBack());

  test.each([
    'data syncs do nothing',
    'log syncs do nothing',
    'commits are answered when readable',
    'the shared memory dies with the process',
    'records do not reach the shared memory',
    'the log is not read at a start',
  ])(
    '%s',
    (name) => {
      const bug = plantedBugs[name]!;
      const sound = smallSubject();
      takeBack = bug.plant?.() ?? takeBack;
      const subject = {
        ...sound,
        format: (...[world, setup]: Parameters<typeof sound.format>): void => {
          sound.format(world, setup);
          bug.world?.(world);
        },
      };
      const cutUntilFound = (): void => {
        for (let index = 0; index < single; index += 1) cut(index, subject);
      };
      expect(cutUntilFound).toThrow();
    },
    120_000,
  );
});
