/**
 * Nobody reads another's bytes (test/support/foreign-bytes.ts). CHUNKSTORE_SEED and CHUNKSTORE_WALKS choose the first seed and
 * how many pools; a failure prints its own.
 */
import { afterEach, describe, expect, test } from '@jest/globals';
import { emptyTally, lookForForeignBytes } from '../support/foreign-bytes.ts';
import { plantedBugs } from '../support/planted-bugs.ts';

const firstSeed = Number(process.env['CHUNKSTORE_SEED'] ?? Date.now() % 1_000_000_000);
const pools = Number(process.env['CHUNKSTORE_WALKS'] ?? 25);
/** Pools within which a planted bug must show. */
const patience = 300;

test(`a volume made from what others left shows zeros and its own bytes only (${pools} pools from seed ${firstSeed})`, () => {
  const tally = emptyTally();
  for (let seed = firstSeed; seed < firstSeed + pools; seed++) {
    try {
      lookForForeignBytes(seed, tally);
    } catch (error) {
      const replay = `CHUNKSTORE_SEED=${seed} CHUNKSTORE_WALKS=1 npm run -s jest -- test/engine/foreign-bytes.test.ts`;
      throw new Error(`seed ${seed}: ${(error as Error).message}\nreplay: ${replay}`, { cause: error });
    }
  }
  process.stdout.write(`foreign bytes: seed ${firstSeed}, ${JSON.stringify(tally)}\n`);
  expect(tally.granulesRead).toBeGreaterThan(pools * 100);
  expect(tally.volumes).toBeGreaterThan(pools * 3);
  if (pools >= 10) expect(Math.min(tally.powerCuts, tally.reverts)).toBeGreaterThan(0);
}, 120_000);

describe('and the test would see it where', () => {
  let takeBack = (): void => undefined;
  afterEach(() => takeBack());

  test.each(['data syncs do nothing', 'slots are reused before their drop is durable'])(
    '%s',
    (name) => {
      const { world, plant } = plantedBugs[name]!;
      takeBack = plant?.() ?? takeBack;
      let found = '';
      for (let seed = 1; seed <= patience && found === ''; seed++) found = violationOf(seed, world);
      expect(found).toMatch(/may show .* and shows [1-9]/);
    },
    120_000,
  );
});

function violationOf(seed: number, plant: Parameters<typeof lookForForeignBytes>[2]): string {
  try {
    lookForForeignBytes(seed, emptyTally(), plant);
    return '';
  } catch (error) {
    return (error as Error).message;
  }
}
