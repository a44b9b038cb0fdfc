import { expect, test } from '@jest/globals';
import { quantity } from '../../src/k8s/quantity.ts';

const GIB = 1024 ** 3;

test.each([
  [0, '0'],
  [1023, '1023'],
  [65_536, '64Ki'],
  [1.5 * GIB, '1.5Gi'],
  [100 * GIB - 65_536, '100Gi'],
  [1023.7 * GIB, '1Ti'],
  [1.234 * 1024 * GIB, '1.23Ti'],
  [12.345 * GIB, '12.3Gi'],
  [999.9 * 1024 * 1024, '1000Mi'],
  [Number.MAX_SAFE_INTEGER, '8Pi'],
])('%d bytes are %s', (bytes, text) => {
  expect(quantity(bytes)).toBe(text);
});
