/** Transactions a second, second by second, before, during and after a series of snapshots: a plot for each database. */
import { PHASE_NAMES, SERIES_FACTOR } from '../../databases/transactions.ts';
import type { Measurement } from '../../measurement.ts';
import { spreadOf } from '../spread.ts';
import type { Plot } from './plot.ts';
import { drawLines } from './line-plot.ts';

export function databasePlots(databases: readonly Measurement[]): Plot[] {
  const points = databases.flatMap((measurement) => {
    const [, second] = /^at (\d+) s$/.exec(measurement.condition) ?? [];
    const y = spreadOf(measurement.samples);
    return second === undefined || y === null ? [] : [{ measurement, second: Number(second), y }];
  });
  const workloads = [...new Set(points.map(({ measurement }) => measurement.workload))];
  return workloads.map((workload) => {
    const own = points.filter(({ measurement }) => measurement.workload === workload);
    const seconds = Math.max(...own.map(({ second }) => second)) + 1;
    const quietSeconds = seconds / (SERIES_FACTOR + 2);
    const title = `${workload}: transactions a second over time`;
    const svg = drawLines({
      ...{ title, xTitle: 'seconds', yTitle: 'transactions a second' },
      formatY: (value) => value.toLocaleString('en'),
      x: { upTo: seconds },
      lines: [...new Set(own.map(({ measurement }) => measurement.subject))].map((name) => ({
        name,
        points: own.filter(({ measurement }) => measurement.subject === name).map(({ second, y }) => ({ x: second + 0.5, y })),
      })),
      span: { from: quietSeconds, to: seconds - quietSeconds, words: PHASE_NAMES[1] },
    });
    return { name: `database-${workload}`, part: 'databases', title, svg };
  });
}
