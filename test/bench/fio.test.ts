import { describe, expect, test } from '@jest/globals';
import { figuresOf } from './fio.ts';

const MIB = 2 ** 20;

function side(operations: number, options: { readonly latencyUs?: number; readonly bytes?: number } = {}): object {
  const { latencyUs = 0, bytes = operations * 4096 } = options;
  const percentile = { '50.000000': latencyUs * 1000, '99.000000': latencyUs * 10_000 };
  return { io_bytes: bytes, total_ios: operations, iops: operations / 2, bw_bytes: bytes / 2, clat_ns: { percentile } };
}

/** What fio prints of jobs that ran for two seconds. */
function printed(...jobs: readonly object[]): string {
  return `fio: a warning\n${JSON.stringify({ jobs })}`;
}

describe('Figures of what fio prints', () => {
  test('are there for each job, in its order', () => {
    const jobs = [1000, 3000].map((operations) => ({ read: side(operations, { latencyUs: 80 }), write: side(0) }));
    expect(figuresOf(printed(...jobs), {})).toMatchObject([
      { operationsPerSecond: 500, operations: 1000, writtenBytes: 0, medianMicroseconds: 80, worst1PercentMicroseconds: 800 },
      { operationsPerSecond: 1500, operations: 3000 },
    ]);
  });

  test('add reads and writes of a mixed load, and take the latency of the slower', () => {
    const job = { read: side(700, { latencyUs: 90, bytes: 7 * MIB }), write: side(300, { latencyUs: 60, bytes: 3 * MIB }) };
    expect(figuresOf(printed(job), {})).toEqual([
      {
        ...{ operationsPerSecond: 500, mebibytesPerSecond: 5, operations: 1000, writtenBytes: 3 * MIB },
        ...{ medianMicroseconds: 90, worst1PercentMicroseconds: 900 },
      },
    ]);
  });

  test('have the latency of fdatasync where each write is followed by one', () => {
    const sync = { lat_ns: { percentile: { '50.000000': 200_000, '99.000000': 500_000 } } };
    const job = { read: side(0), write: side(1000, { latencyUs: 20 }), sync };
    expect(figuresOf(printed(job), { sync: 'fdatasync' })).toMatchObject([{ medianMicroseconds: 200, worst1PercentMicroseconds: 500 }]);
  });
});
