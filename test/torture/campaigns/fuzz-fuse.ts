/** Bad requests where the kernel puts them. */
import { fuzz } from '../../support/fuzz.ts';
import { fuseFuzz } from '../../support/fuzz-fuse.ts';

export function run(options: { readonly seconds: number; readonly seed: number }): Promise<{ readonly cases: number }> {
  return fuzz(fuseFuzz(), options);
}
