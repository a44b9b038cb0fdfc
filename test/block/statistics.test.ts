import { expect, test } from '@jest/globals';
import { Operation } from '../../src/block/ports.ts';
import { LATENCY_BOUNDS_SECONDS, Statistics } from '../../src/block/statistics.ts';

test('a request falls into the first latency class that holds it, and a long one into the last', () => {
  const statistics = new Statistics({ devices: 2 });
  for (const tookMs of [0.05, 0.1, 0.2, 61_000]) statistics.record(1, Operation.read, 4096, 0, 5, 5 + tookMs);
  const { counts, sumSeconds } = statistics.latency().read;
  expect(counts).toHaveLength(LATENCY_BOUNDS_SECONDS.length + 1);
  expect(counts.slice(0, 2)).toEqual([2, 1]);
  expect(counts.at(-1)).toBe(1);
  expect(sumSeconds).toBeCloseTo(61.00035, 6);
});

test('connections are counted apart, and a new one at the same place begins at zero', () => {
  const statistics = new Statistics({ devices: 2 });
  statistics.record(0, Operation.flush, 0, 0, 0, 1);
  statistics.record(1, Operation.zero, 65536, 0, 0, 1);
  expect([statistics.ofDevice(0).flush.requests, statistics.ofDevice(0).zero.requests]).toEqual([1, 0]);
  statistics.reset(0);
  expect([statistics.ofDevice(0).flush.requests, statistics.ofDevice(1).zero.bytes]).toEqual([0, 65536]);
});
