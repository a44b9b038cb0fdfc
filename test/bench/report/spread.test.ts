import { describe, expect, test } from '@jest/globals';
import { ratioOf, spreadOf } from './spread.ts';

describe('spread', () => {
  test('is the median and the two ends', () => {
    expect(spreadOf([5, 1, 9])).toEqual({ median: 5, lowest: 1, highest: 9, samples: 3 });
    expect(spreadOf([4, 2])).toEqual({ median: 3, lowest: 2, highest: 4, samples: 2 });
  });

  test('of nothing is nothing', () => {
    expect(spreadOf([])).toBeNull();
  });
});

describe('ratio', () => {
  test('is taken in each round by itself, so that a slow round of both does not show', () => {
    expect(ratioOf([90, 9, 45], [100, 10, 50])).toEqual({ median: 0.9, lowest: 0.9, highest: 0.9, samples: 3, byRound: true });
  });

  test('has a spread of its own', () => {
    expect(ratioOf([1, 2, 9], [2, 2, 3])).toEqual({ median: 1, lowest: 0.5, highest: 3, samples: 3, byRound: true });
  });

  test('of figures that were not measured in the same rounds is that of their medians', () => {
    expect(ratioOf([10, 20, 30], [10])).toEqual({ median: 2, lowest: 2, highest: 2, samples: 1, byRound: false });
  });

  test('over nothing, or over 0, is nothing', () => {
    expect(ratioOf([1], [])).toBeNull();
    expect(ratioOf([], [1])).toBeNull();
    expect(ratioOf([1, 1], [1, 0])).toBeNull();
  });
});
