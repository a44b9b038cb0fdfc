import { expect, test } from '@jest/globals';
import { toStatus } from '../../../src/store/wire/errors.ts';
import { StoreError } from '../../../src/util/errors.ts';

const headerLimit = 1_024;

test.each<[string, string]>([
  ['long', 'x'.repeat(1_000_000)],
  ['of many lines', `first\n${'second '.repeat(10_000)}`],
  ['cut in the middle of a character', `${'x'.repeat(headerLimit - 1)}\u{1f600}`],
  ['half a character', 'bad name \ud83d'],
])('the words of an error fit into a header: %s', (_, message) => {
  const { details } = toStatus(new StoreError('not-found', message));
  expect(details.length).toBeLessThanOrEqual(headerLimit);
  expect(details).not.toContain('\n');
  // What gRPC does with them.
  expect(() => encodeURI(details)).not.toThrow();
  expect(details.length).toBeGreaterThan(4);
});
