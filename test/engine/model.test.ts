/**
 * Random walks of everything the engine can do against a naive model, in a simulated world that kills the process,
 * loses the power, and reorders, drops and tears what was not synced.
 *
 * CHUNKSTORE_SEED and CHUNKSTORE_WALKS choose the first seed and how many walks; a failure prints its seed and the
 * shortest trace found, which test/support/walk-actions.ts reads back.
 */
import { afterEach, describe, expect, test } from '@jest/globals';
import { engineSubject } from '../support/engine-subject.ts';
import { plantedBugs } from '../support/planted-bugs.ts';
import { type Action, printTrace } from '../support/walk-actions.ts';
import { randomWalk, replay, shrink, type Failure, type WalkSubject } from '../support/walk-runner.ts';

const firstSeed = Number(process.env['CHUNKSTORE_SEED'] ?? Date.now() % 1_000_000_000);
const walks = Number(process.env['CHUNKSTORE_WALKS'] ?? 250);
const actionsPerWalk = 150;
/** Walks within which every planted bug must show. */
const patience = 600;

function explain(seed: number, failure: Failure): string {
  return `seed ${seed}: ${failure.error.message}\n${printTrace(failure.trace)}\n${failure.error.stack ?? ''}`;
}

describe('the engine against the naive model', () => {
  test(`${walks} random walks from seed ${firstSeed}`, () => {
    const subject = engineSubject();
    let operations = 0;
    let events = 0;
    for (let seed = firstSeed; seed < firstSeed + walks; seed += 1) {
      const result = randomWalk(subject, seed, actionsPerWalk);
      operations += result.operations;
      events += result.events;
      if (result.failure) throw new Error(explain(seed, shrink(subject, result.failure)));
    }
    process.stdout.write(`model test: seed ${firstSeed}, ${walks} walks, ${operations} operations, ${events} events\n`);
    expect(operations).toBeGreaterThan(walks * 20);
  }, 600_000);

  test('a disk that still refuses to be erased when a walk ends', () => {
    const actions: readonly Action[] = [
      { do: 'create', on: 'a', size: 65_536, n: 3, steps: 0 }, // every third object erases
      { do: 'settle', n: 4, steps: 0 },
      { do: 'write', on: 'a', at: 0, count: 1, n: 5, steps: 0 },
      { do: 'settle', n: 6, steps: 0 },
      { do: 'fault', kind: 'write', skip: 0, times: 50, n: 7, steps: 0 },
    ];
    const setup = { seed: 1, chunkSizeBytes: 16_384, slots: 14, logSizeBytes: 1_048_576 };
    expect(replay(engineSubject(), { setup, actions })).toBeNull();
  });
});

describe('the model test finds a planted bug', () => {
  let takeBack = (): void => undefined;
  afterEach(() => takeBack());

  test.each(Object.keys(plantedBugs).filter((name) => !plantedBugs[name]!.scripted))(
    '%s',
    (name) => {
      const bug = plantedBugs[name]!;
      const sound = engineSubject();
      const subject: WalkSubject = {
        ...sound,
        format: (world, setup) => {
          sound.format(world, setup);
          bug.world?.(world);
        },
      };
      takeBack = bug.plant?.() ?? takeBack;
      let failure: Failure | null = null;
      for (let seed = 1; seed <= patience && !failure; seed += 1) failure = randomWalk(subject, seed, actionsPerWalk).failure;
      takeBack();
      takeBack = () => undefined;
      if (!failure) throw new Error(`${patience} walks did not find it (rule ${bug.rule})`);
      expect(replay(sound, failure.trace)).toBeNull();
    },
    300_000,
  );
});
