import { describe, expect, test } from '@jest/globals';
import type { Measurement } from '../measurement.ts';
import { percentile, snapshotMeasurements, transactionMeasurements, type Run } from './transactions.ts';

const phases = { beforeMs: 1000, duringMs: 3000, afterMs: 5000, endMs: 6000 };
/** One at each of these times. */
function runOf(endsMs: readonly number[], latencyUs = 100): Run {
  return { phases, transactions: endsMs.map((endMs) => ({ endMs, latencyUs })) };
}
const names = { workload: 'w', subject: 's' };

function samplesOf(measurements: readonly Measurement[], condition: string, figure: string): readonly number[] | undefined {
  return measurements.find((one) => one.condition === condition && one.figure === figure)?.samples;
}

describe('transactions', () => {
  test('count in the phase in which they are over, by its length; those outside of all do not', () => {
    const measurements = transactionMeasurements(names, [runOf([999, 1000, 2999, 3000, 4999, 5000, 5999, 6000])]);
    expect(samplesOf(measurements, 'before snapshots', 'throughput')).toEqual([1]);
    expect(samplesOf(measurements, 'a snapshot a second', 'throughput')).toEqual([1]);
    expect(samplesOf(measurements, 'after snapshots', 'throughput')).toEqual([2]);
  });

  test('are a point for each second, too', () => {
    const measurements = transactionMeasurements(names, [runOf([1000, 1500, 3500, 5999, 6000])]);
    const points = [0, 1, 2, 3, 4].map((second) => samplesOf(measurements, `at ${second} s`, 'throughput'));
    expect(points).toEqual([[2], [0], [1], [0], [1]]);
    expect(samplesOf(measurements, 'at 5 s', 'throughput')).toBeUndefined();
  });

  test('give a sample for each run', () => {
    const measurements = transactionMeasurements(names, [runOf([1000, 1001]), runOf([1000], 300)]);
    expect(samplesOf(measurements, 'before snapshots', 'throughput')).toEqual([1, 0.5]);
    expect(samplesOf(measurements, 'before snapshots', 'latency p99')).toEqual([100, 300]);
    expect(samplesOf(measurements, 'after snapshots', 'longest')).toEqual([0, 0]);
  });

  test('without a run are nothing', () => {
    expect(transactionMeasurements(names, [])).toEqual([]);
  });
});

test('a percentile is one of the samples', () => {
  const samples = Array.from({ length: 200 }, (_, index) => 200 - index);
  expect(percentile(samples, 99)).toBe(198);
  expect(percentile(samples, 50)).toBe(100);
  expect(percentile([7], 99)).toBe(7);
  expect(percentile([], 99)).toBe(0);
});

test('snapshots under load tell the median and the longest of each run', () => {
  const measurements = snapshotMeasurements('w', [[1, 2, 9], [4]]);
  expect(samplesOf(measurements, 'a snapshot a second', 'time of the call')).toEqual([2, 4]);
  expect(samplesOf(measurements, 'a snapshot a second', 'worst time of the call')).toEqual([9, 4]);
  expect(snapshotMeasurements('w', [[]])).toEqual([]);
});
