import { describe, expect, test } from '@jest/globals';
import { FlushForecast } from '../../src/engine/flush-forecast.ts';

/** Tells a forecast of runs of writes, each ended by a flush; answers for each run after how many writes, counted from its
 * first, a flush was foretold. */
function tell(forecast: FlushForecast, runs: readonly number[], landed = 0): number[][] {
  return runs.map((run) => {
    const foretold: number[] = [];
    for (let write = 1; write <= run; write++) {
      landed++;
      if (forecast.isDue(landed)) foretold.push(write);
    }
    forecast.flushed(landed);
    return foretold;
  });
}

describe('the forecast of flushes', () => {
  test('foretells a flush after each write once it came so three times', () => {
    // The first run follows nothing, so three runs after a run of one are the second to the fourth.
    expect(tell(new FlushForecast(), [1, 1, 1, 1, 1, 1])).toEqual([[], [], [], [], [1], [1]]);
  });

  test('foretells it after as many writes as there were, and not before', () => {
    expect(tell(new FlushForecast(1), [3, 3, 3])).toEqual([[], [], [3]]);
  });

  test('learns two lengths that alternate', () => {
    expect(tell(new FlushForecast(1), [5, 1, 5, 1, 5, 1])).toEqual([[], [], [], [1], [5], [1]]);
  });

  test('is wrong once when the pattern ends, and learns anew', () => {
    expect(tell(new FlushForecast(2), [1, 1, 1, 1, 4, 1, 1, 1, 1])).toEqual([[], [], [], [1], [1], [], [], [], [1]]);
  });

  test('foretells nothing of flushes without writes, nor of long runs', () => {
    expect(tell(new FlushForecast(1), [0, 0, 0, 0, 40, 40, 40]).flat()).toEqual([]);
  });

  test('counts from wherever the counter stands', () => {
    expect(tell(new FlushForecast(1), [7, 1, 1, 1], 1000)).toEqual([[], [], [], [1]]);
  });
});
