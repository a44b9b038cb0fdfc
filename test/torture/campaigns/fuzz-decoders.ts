/** Damaged bytes to all that reads them. */
import { fuzz } from '../../support/fuzz.ts';
import { decoderFuzz } from '../../support/fuzz-decoders.ts';

export function run(options: { readonly seconds: number; readonly seed: number }): Promise<{ readonly cases: number }> {
  return fuzz(decoderFuzz(), options);
}
