/** What snapshots, clones, reverts and deletions take, against the size of the volume. */
import type { Measurement } from '../../measurement.ts';
import { spreadOf, type Spread } from '../spread.ts';
import type { Plot } from './plot.ts';
import { drawLines } from './line-plot.ts';

const FIGURES = [
  {
    figure: 'time in the engine',
    name: 'operations-engine',
    title: 'Time in the engine until the change is durable, by size of the volume',
  },
  { figure: 'time of the call', name: 'operations-calls', title: 'Time of the call, by size of the volume' },
] as const;

export function operationPlots(operations: readonly Measurement[]): Plot[] {
  return FIGURES.flatMap(({ figure, name, title }) => {
    const times = operations.filter((measurement) => measurement.figure === figure && sizeOf(measurement.condition) !== null);
    const sizes = [...new Set(times.map(({ condition }) => sizeOf(condition)!))].toSorted((a, b) => a - b);
    if (sizes.length < 2) return [];
    const lines = [...new Set(times.map(({ workload }) => workload))].map((workload) => ({
      name: workload,
      points: sizes.flatMap((size, x) => {
        const y = slowest(times.filter((time) => time.workload === workload && sizeOf(time.condition) === size));
        return y === null ? [] : [{ x, y }];
      }),
    }));
    const svg = drawLines({
      ...{
        title,
        xTitle: 'size of the volume; of each size the slowest shape',
        yTitle: 'milliseconds',
        formatY: (value: number) => String(Number(value.toPrecision(3))),
      },
      x: { steps: sizes.map((size) => `${size} GiB`) },
      lines,
    });
    return [{ name, part: 'operations', title, svg }];
  });
}

/** The GiB at the beginning of a condition. */
function sizeOf(condition: string): number | null {
  const [, size] = /^(\d+) GiB\b/.exec(condition) ?? [];
  return size === undefined ? null : Number(size);
}

function slowest(measurements: readonly Measurement[]): Spread | null {
  const spreads = measurements.map(({ samples }) => spreadOf(samples)).filter((spread) => spread !== null);
  return spreads.toSorted((a, b) => b.median - a.median)[0] ?? null;
}
