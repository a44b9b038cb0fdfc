/** Damaged bytes to all that reads them. test/torture/campaigns/fuzz-decoders.ts runs the same for hours. */
import { expect, test } from '@jest/globals';
import { decoderFuzz } from '../support/fuzz-decoders.ts';
import { fuzz, fuzzSeed } from '../support/fuzz.ts';

test('damaged bytes are refused in words, or mean something', async () => {
  const { cases } = await fuzz(decoderFuzz(), { seed: fuzzSeed(), rounds: 20 });
  expect(cases).toBe(4_400);
}, 60_000);

test('the fuzzer sees a decoder that fails otherwise, and says how to see it again', async () => {
  const careless = { careless: (): void => void JSON.parse('{') };
  await expect(fuzz(decoderFuzz(careless), { seed: 1, rounds: 1 })).rejects.toThrow(/careless, case 0: SyntaxError[^]*replay: FUZZ_SEED=1/);
});
