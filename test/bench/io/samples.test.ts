import { describe, expect, test } from '@jest/globals';
import { Samples, type Outcome } from './samples.ts';
import { workloadOf, type WorkloadName } from './workloads.ts';

const figures = {
  ...{ operationsPerSecond: 1000, mebibytesPerSecond: 4, operations: 2000, writtenBytes: 8192 },
  ...{ medianMicroseconds: 50, worst1PercentMicroseconds: 90 },
};

function outcome(changes: Partial<Outcome> = {}): Outcome {
  return { volumes: [figures], busyMicroseconds: 20_000, diskWrittenBytes: 12_288, ...changes };
}

function collected(workload: WorkloadName, ...outcomes: readonly Outcome[]): Record<string, readonly number[]> {
  const samples = new Samples();
  for (const one of outcomes) samples.add({ workload: workloadOf(workload), subject: 'loop', condition: 'full' }, one);
  return Object.fromEntries(samples.measurements().map((measurement) => [measurement.figure, measurement.samples]));
}

describe('Samples', () => {
  test('are kept by figure, one a round', () => {
    const slower = outcome({ volumes: [{ ...figures, operationsPerSecond: 900 }], busyMicroseconds: 30_000 });
    expect(collected('randwrite-4k-qd32', outcome(), slower)).toEqual({
      throughput: [1000, 900],
      'latency p50': [50, 50],
      'latency p99': [90, 90],
      cpu: [10, 15],
      amplification: [1.5, 1.5],
    });
  });

  test('of sequential loads are mebibytes, of reading ones have no amplification', () => {
    expect(collected('read-1m-qd8', outcome())).toEqual({ throughput: [4], 'latency p50': [50], 'latency p99': [90], cpu: [10] });
  });

  test('of several volumes are their sum, their least, and the slowest latency', () => {
    const slow = { ...figures, operationsPerSecond: 600, medianMicroseconds: 70 };
    const found = collected('four-randread-4k-qd32', outcome({ volumes: [figures, slow] }));
    expect(found).toMatchObject({ throughput: [1600], 'least throughput': [600], 'latency p50': [70], cpu: [5] });
  });

  test('say nothing of amplification where the disk does not tell', () => {
    expect(collected('randwrite-4k-qd32', outcome({ diskWrittenBytes: null }))).not.toHaveProperty('amplification');
  });

  test('of snapshots are the one in the middle and the hundredth that is slowest', () => {
    const samples = new Samples();
    const times = Array.from({ length: 100 }, (_, index) => 100 - index);
    samples.addSnapshots({ subject: 'loop', condition: 'full' }, times);
    const found = samples.measurements().map(({ workload, figure, unit, samples: values }) => [workload, figure, unit, values]);
    expect(found).toEqual([
      ['snapshot-while-written', 'latency p50', 'ms', [51]],
      ['snapshot-while-written', 'latency p99', 'ms', [100]],
    ]);
  });

  test('of a condition that was given up are gone', () => {
    const samples = new Samples();
    const workload = workloadOf('randwrite-4k-qd32');
    for (const condition of ['full', 'empty']) samples.add({ workload, subject: 'btrfs', condition }, outcome());
    samples.drop('btrfs', 'empty');
    expect(new Set(samples.measurements().map(({ condition }) => condition))).toEqual(new Set(['full']));
  });
});
