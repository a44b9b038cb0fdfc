/**
 * Random walks of reverting (test/support/revert-walk.ts). CHUNKSTORE_SEED and CHUNKSTORE_WALKS choose the first seed and
 * how many walks; a failure prints its seed.
 */
import { describe, expect, test } from '@jest/globals';
import { RevertWalk, type RevertBug } from '../../support/revert-walk.ts';

const firstSeed = Number(process.env['CHUNKSTORE_SEED'] ?? Date.now() % 1_000_000_000);
const walks = Number(process.env['CHUNKSTORE_WALKS'] ?? 40);
const STEPS = 1500;
/** Walks within which every planted bug must show. */
const PATIENCE = 150;

async function failureOf(seed: number, bug: RevertBug | null): Promise<Error | null> {
  try {
    await new RevertWalk(seed, bug).run(STEPS);
    return null;
  } catch (error) {
    return error as Error;
  }
}

describe('reverting, with controllers killed at every call and users in between', () => {
  test(`${walks} random walks from seed ${firstSeed}`, async () => {
    for (let seed = firstSeed; seed < firstSeed + walks; seed++) {
      const failure = await failureOf(seed, null);
      if (failure !== null) throw new Error(`seed ${seed}: ${failure.message}`, { cause: failure });
    }
  }, 120_000);

  test.each<[RevertBug, RegExp]>([
    ['any incarnation', /reverted a second time/],
    ['forgets what it pinned', /another volume than the one found first/],
    ['believes every PersistentVolume', /of another (namespace|volume)/],
    ['deletes the safety snapshot early', /Complete without its safety snapshot/],
  ])(
    'the walks find a planted bug: %s',
    async (bug, words) => {
      let failure: Error | null = null;
      for (let seed = 1; seed <= PATIENCE && failure === null; seed++) failure = await failureOf(seed, bug);
      expect(failure?.message).toMatch(words);
    },
    120_000,
  );
});
