/** Throughput, latency and costs of I/O, by workload and by the state of the volume. */
import type { Measurement } from '../../measurement.ts';
import { formatRatio } from '../quantity.ts';
import { ratioOf, spreadOf, type Spread } from '../spread.ts';
import { BASE_SUBJECT, OWN_SUBJECT } from '../table.ts';
import { drawBars, type BarGroup } from './bar-plot.ts';
import { drawLines } from './line-plot.ts';
import type { Plot } from './plot.ts';

export function ioPlots(io: readonly Measurement[]): Plot[] {
  return [ratiosToBase(io), latencies(io), aroundSnapshot(io), overSnapshots(io), ratiosByState(io), costs(io)].filter(
    (plot) => plot !== null,
  );
}

const RANDOM_WRITE = 'randwrite-4k-qd32';
const RANDOM_READ = 'randread-4k-qd32';

/** In the order in which they first come. */
function distinct(measurements: readonly Measurement[], field: 'workload' | 'subject' | 'condition'): string[] {
  return [...new Set(measurements.map((measurement) => measurement[field]))];
}

function samplesOf(measurements: readonly Measurement[], wanted: Partial<Measurement>): readonly number[] {
  const keys = Object.keys(wanted) as (keyof Measurement)[];
  return measurements.find((measurement) => keys.every((key) => measurement[key] === wanted[key]))?.samples ?? [];
}

/** Null where no bar of any group would stand. */
function bars(
  head: {
    readonly name: string;
    readonly title: string;
    readonly yTitle: string;
    readonly formatY: (value: number) => string;
    readonly mark?: { readonly value: number; readonly words: string };
  },
  series: readonly string[],
  groups: readonly BarGroup[],
): Plot | null {
  const there = groups.filter((group) => group.bars.some((bar) => bar !== null));
  if (there.length === 0 || series.length === 0) return null;
  const { name, ...rest } = head;
  return { name, part: 'io', title: head.title, svg: drawBars({ ...rest, series, groups: there }) };
}

/** A group of bars for each workload, a bar for each subject. */
function bySubject(measurements: readonly Measurement[]): { readonly series: readonly string[]; readonly groups: readonly BarGroup[] } {
  const series = distinct(measurements, 'subject');
  const groups = distinct(measurements, 'workload').map((workload) => ({
    name: workload,
    bars: series.map((subject) => spreadOf(samplesOf(measurements, { workload, subject }))),
  }));
  return { series, groups };
}

function ratiosToBase(io: readonly Measurement[]): Plot | null {
  const full = io.filter(({ condition, figure }) => condition === 'full' && figure === 'throughput');
  const series = distinct(full, 'subject').filter((subject) => subject !== BASE_SUBJECT);
  const groups = distinct(full, 'workload').map((workload) => {
    const base = samplesOf(full, { workload, subject: BASE_SUBJECT });
    return { name: workload, bars: series.map((subject) => ratioOf(samplesOf(full, { workload, subject }), base)) };
  });
  const head = {
    name: 'io-throughput',
    title: 'Throughput on a full volume ÷ loop device on a plain file',
    yTitle: '÷ loop',
    formatY: formatRatio,
  };
  return bars({ ...head, mark: { value: 1, words: 'the loop device' } }, series, groups);
}

function latencies(io: readonly Measurement[]): Plot | null {
  const one = io.filter(({ condition, figure, workload }) => condition === 'full' && figure === 'latency p50' && workload.endsWith('-qd1'));
  const { series, groups } = bySubject(one);
  return bars(
    {
      name: 'io-latency',
      title: 'Latency at depth 1 on a full volume, medians',
      yTitle: 'microseconds',
      formatY: (value) => String(value),
    },
    series,
    groups,
  );
}

function aroundSnapshot(io: readonly Measurement[]): Plot | null {
  const writes = io.filter(({ workload, figure }) => workload === RANDOM_WRITE && figure === 'throughput');
  const series = ['full', 'before a snapshot', 'just after a snapshot'].filter((condition) =>
    writes.some((write) => write.condition === condition),
  );
  const groups = distinct(writes, 'subject').map((subject) => ({
    name: subject,
    bars: series.map((condition) => spreadOf(samplesOf(writes, { subject, condition }))),
  }));
  return bars(
    {
      name: 'io-snapshot',
      title: 'Random writes of 4 KiB at depth 32, around a snapshot',
      yTitle: 'operations a second',
      formatY: thousands,
    },
    series,
    groups.filter((group) => group.bars.some((bar, index) => bar !== null && series[index] === 'just after a snapshot')),
  );
}

function overSnapshots(io: readonly Measurement[]): Plot | null {
  const writes = io.filter(({ workload, figure }) => workload === RANDOM_WRITE && figure === 'throughput');
  const numbers = [...new Set(writes.map(({ condition }) => snapshotsBehind(condition)))]
    .filter((count) => count !== null)
    .toSorted((a, b) => a - b);
  if (numbers.length < 2) return null;
  const lines = distinct(writes, 'subject').map((name) => ({
    name,
    points: numbers.flatMap((count, x) => {
      const found = writes.find(({ subject, condition }) => subject === name && snapshotsBehind(condition) === count);
      const y = spreadOf(found?.samples ?? []);
      return y === null ? [] : [{ x, y }];
    }),
  }));
  const title = 'Random writes of 4 KiB at depth 32 after snapshots taken under writes';
  const svg = drawLines({
    ...{ title, xTitle: 'snapshots', yTitle: 'operations a second', formatY: thousands },
    x: { steps: numbers.map((count) => count.toLocaleString('en')) },
    lines: lines.filter(({ points }) => points.length > 0),
  });
  return { name: 'io-snapshots', part: 'io', title, svg };
}

/** Null for a condition that is not one of a number of snapshots. */
function snapshotsBehind(condition: string): number | null {
  if (condition === 'fresh') return 0;
  const [, count] = /^after (\d+) snapshots?$/.exec(condition) ?? [];
  return count === undefined ? null : Number(count);
}

/** The conditions of numbers of snapshots in the order of these, where they stood in another one. */
function bySnapshots(conditions: readonly string[]): string[] {
  const countOf = (condition: string): number => snapshotsBehind(condition) ?? -1;
  const counted = conditions.filter((condition) => countOf(condition) >= 0).toSorted((a, b) => countOf(a) - countOf(b));
  return conditions.map((condition) => (countOf(condition) < 0 ? condition : counted.shift()!));
}

function ratiosByState(io: readonly Measurement[]): Plot | null {
  const series = [RANDOM_WRITE, RANDOM_READ];
  const random = io.filter(({ workload, figure }) => series.includes(workload) && figure === 'throughput');
  const groups = bySnapshots(distinct(random, 'condition')).map((condition) => ({
    name: condition,
    bars: series.map((workload): Spread | null => {
      const of = (subject: string): readonly number[] => samplesOf(random, { workload, condition, subject });
      return ratioOf(of(OWN_SUBJECT), of(BASE_SUBJECT));
    }),
  }));
  const head = { name: 'io-states', title: 'Ours ÷ loop device, by the state of the volume', yTitle: '÷ loop', formatY: formatRatio };
  return bars({ ...head, mark: { value: 1, words: 'the loop device' } }, series, groups);
}

function costs(io: readonly Measurement[]): Plot | null {
  const full = io.filter(({ condition, figure }) => condition === 'full' && figure === 'cpu');
  const { series, groups } = bySubject(full);
  return bars(
    {
      name: 'io-cpu',
      title: 'Processor time for an operation, all processes and the kernel',
      yTitle: 'microseconds',
      formatY: (value) => String(value),
    },
    series,
    groups.filter(({ name }) => !name.includes('-1m-')),
  );
}

/** Of ticks, which are round numbers. */
function thousands(value: number): string {
  return value >= 1000 ? `${value / 1000}k` : String(value);
}
