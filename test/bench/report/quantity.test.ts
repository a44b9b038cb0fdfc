import { expect, test } from '@jest/globals';
import { formatQuantity, formatRatioSpread, formatSpread } from './quantity.ts';

test('quantities have three digits and a unit that suits their size', () => {
  expect(formatQuantity(48_210, 'op/s')).toBe('48.2k op/s');
  expect(formatQuantity(9_994, 'op/s')).toBe('9994 op/s');
  expect(formatQuantity(1_234_567, 'op/s')).toBe('1.23M op/s');
  expect(formatQuantity(84.3, 'us')).toBe('84.3 us');
  expect(formatQuantity(12_345, 'us')).toBe('12.3 ms');
  expect(formatQuantity(0.123, 'ms')).toBe('0.12 ms');
  expect(formatQuantity(64 * 2 ** 20, 'bytes')).toBe('64 MiB');
  expect(formatQuantity(0.876, 'ratio')).toBe('0.88');
  expect(formatQuantity(0, 'tps')).toBe('0 tps');
});

test('a spread says half of its width in parts of its median', () => {
  expect(formatSpread({ median: 100, lowest: 90, highest: 110, samples: 3 }, 'tps')).toBe('100 tps ±10%');
  expect(formatSpread({ median: 100, lowest: 100, highest: 100, samples: 1 }, 'tps')).toBe('100 tps');
  expect(formatSpread({ median: 2, lowest: 1, highest: 12, samples: 3 }, 'ms')).toBe('2.00 ms (1.00 ms–12.0 ms)');
  expect(formatSpread({ median: 0, lowest: 0, highest: 0, samples: 3 }, 'tps')).toBe('0 tps');
  expect(formatSpread({ median: 0, lowest: 0, highest: 1, samples: 3 }, 'tps')).toBe('0 tps (0 tps–1.00 tps)');
  expect(formatRatioSpread({ median: 0.9, lowest: 0.85, highest: 1.5, samples: 3 })).toBe('0.90 (0.85–1.50)');
});
