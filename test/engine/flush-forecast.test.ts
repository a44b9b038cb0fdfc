import { describe, expect, test } from '@jest/globals';
import { FlushForecast } from '../../src/engine/flush-forecast.ts';

/** Tells a forecast of runs of writes, each ended by a flush; answers for each run after how many writes, counted from its
 * first, a flush was foretold. */
function tell(forecast: FlushForecast, runs: readonly number[], landed = 0): number[][] {
  return runs.map((run) => {
    const foretold: number[] = [];
    for (let write = 1; write <= run; write++) {
      landed++;
      if (!forecast.isDue(landed)) continue;
      forecast.guessed(landed);
      foretold.push(write);
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

  test('is wrong once when the pattern ends, and wants to see more of it then', () => {
    const forecast = new FlushForecast(2);
    expect(tell(forecast, [1, 1, 1, 1, 4])).toEqual([[], [], [], [1], [1]]);
    // 8 times, for twice before: the first run follows one of four.
    expect(tell(forecast, Array(11).fill(1), 8)).toEqual([...Array(9).fill([]), [1], [1]]);
  });

  test('leaves a pattern alone that is broken whenever it has been learnt', () => {
    const period = [1, 1, 1, 1, 2];
    const wrong = tell(new FlushForecast(), Array(40).fill(period).flat()).filter((foretold, run) => foretold.length > 0 && run % 5 === 4);
    expect(wrong).toEqual([[1]]);
  });

  test('trusts a pattern again that has proved right', () => {
    const forecast = new FlushForecast(2);
    tell(forecast, [1, 1, 1, 1, 4, ...Array(30).fill(1), 4]);
    const { length } = tell(forecast, Array(12).fill(1), 42).filter((foretold) => foretold.length === 0);
    expect(length).toBe(9);
  });

  test('foretells nothing of flushes without writes, nor of long runs', () => {
    expect(tell(new FlushForecast(1), [0, 0, 0, 0, 40, 40, 40]).flat()).toEqual([]);
  });

  test('counts from wherever the counter stands', () => {
    expect(tell(new FlushForecast(1), [7, 1, 1, 1], 1000)).toEqual([[], [], [], [1]]);
  });
});
