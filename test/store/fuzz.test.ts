/** Bad input to a store. test/torture/campaigns/fuzz-store.ts runs the same for hours. */
import { expect, test } from '@jest/globals';
import { fuzz, fuzzSeed } from '../support/fuzz.ts';
import { storeFuzz } from '../support/fuzz-store.ts';

test('whatever is sent to it, a store answers with a proper code, goes on, and is sound', async () => {
  const tally = new Map<string, number>();
  await fuzz(storeFuzz({ tally }), { seed: fuzzSeed(), rounds: 1 });
  const succeeded = [...tally.keys()].filter((ending) => ending.endsWith(' OK')).map((ending) => ending.split(' ')[0]);
  // What never succeeds was never fuzzed beyond its first check.
  expect(succeeded).toEqual(expect.arrayContaining(['CreateVolume', 'CreateSnapshot', 'ResizeVolume', 'RevertVolume', 'DeleteVolume']));
}, 120_000);
