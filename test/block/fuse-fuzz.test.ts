/** Bad requests on /dev/fuse. test/torture/campaigns/fuzz-fuse.ts runs the same for hours. */
import { expect, test } from '@jest/globals';
import { fuzz, fuzzSeed } from '../support/fuzz.ts';
import { fuseFuzz } from '../support/fuzz-fuse.ts';

test('whatever is read from /dev/fuse, it is answered once or not at all, and reaches no byte that is not its own', async () => {
  const { cases } = await fuzz(fuseFuzz(), { seed: fuzzSeed(), rounds: 40 });
  expect(cases).toBe(16_000);
}, 60_000);
