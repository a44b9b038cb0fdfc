/** Bad input to a whole store, by its own protocol. */
import { fuzz } from '../../support/fuzz.ts';
import { storeFuzz } from '../../support/fuzz-store.ts';

export function run(options: { readonly seconds: number; readonly seed: number }): Promise<{ readonly cases: number }> {
  return fuzz(storeFuzz(), options);
}
