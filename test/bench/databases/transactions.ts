/**
 * The figures of a database's transactions: how many a second and how long they take, in the time before a series of
 * snapshots, during it and after it, and second by second.
 */
import type { Measurement } from '../measurement.ts';
import { median } from '../statistics.ts';

export interface Transaction {
  /** When it was over, in milliseconds of this machine's clock. */
  readonly endMs: number;
  readonly latencyUs: number;
}

/** When a run's phases begin, in milliseconds of the same clock; each ends where the next begins. */
export interface Phases {
  readonly beforeMs: number;
  readonly duringMs: number;
  readonly afterMs: number;
  readonly endMs: number;
}

/** What one run on one file system did. */
export interface Run {
  readonly transactions: readonly Transaction[];
  readonly phases: Phases;
}

/** The series lasts so many times as long as the time before it, and as that after it. */
export const SERIES_FACTOR = 4;

const SECOND_MS = 1000;

/** As the conditions of measurements name them, in their order. */
export const PHASE_NAMES = ['before snapshots', 'a snapshot a second', 'after snapshots'] as const;
type PhaseName = (typeof PHASE_NAMES)[number];

/** One subject's figures under one database, with a sample for each run. */
export function transactionMeasurements(
  names: { readonly workload: string; readonly subject: string },
  runs: readonly Run[],
): Measurement[] {
  if (runs.length === 0) return [];
  const common = { part: 'databases', ...names } as const;
  const phases = PHASE_NAMES.flatMap((condition): Measurement[] => {
    const parts = runs.map((run) => within(run, condition));
    const latency = (figure: string, of: (latenciesUs: readonly number[]) => number): Measurement => ({
      ...{ ...common, condition, figure, unit: 'us' },
      samples: parts.map(({ transactions }) => of(transactions.map(({ latencyUs }) => latencyUs))),
    });
    return [
      {
        ...common,
        condition,
        figure: 'throughput',
        unit: 'tps',
        samples: parts.map(({ transactions, seconds }) => transactions.length / seconds),
      },
      latency('latency p50', (latenciesUs) => percentile(latenciesUs, 50)),
      latency('latency p99', (latenciesUs) => percentile(latenciesUs, 99)),
      latency('longest', (latenciesUs) => latenciesUs.reduce((longest, latencyUs) => Math.max(longest, latencyUs), 0)),
    ];
  });
  const counts = runs.map(countsBySecond);
  const seconds = Math.min(...counts.map(({ length }) => length));
  const points = Array.from({ length: seconds }, (_, second): Measurement => {
    return { ...common, condition: `at ${second} s`, figure: 'throughput', unit: 'tps', samples: counts.map((count) => count[second]!) };
  });
  return [...phases, ...points];
}

/** The smallest sample that so many of a hundred do not exceed; 0 where there is none. */
export function percentile(samples: readonly number[], percent: number): number {
  const sorted = samples.toSorted((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil((sorted.length * percent) / 100) - 1)] ?? 0;
}

/** The time of snapshots that were taken under a database: of each run the median and the longest. */
export function snapshotMeasurements(workload: string, runs: readonly (readonly number[])[]): Measurement[] {
  const common = {
    part: 'databases',
    workload: `snapshot under ${workload}`,
    subject: 'chunkstore',
    condition: PHASE_NAMES[1],
    unit: 'ms',
  } as const;
  const taken = runs.filter((times) => times.length > 0);
  if (taken.length === 0) return [];
  return [
    { ...common, figure: 'time of the call', samples: taken.map((times) => median(times)) },
    { ...common, figure: 'worst time of the call', samples: taken.map((times) => Math.max(...times)) },
  ];
}

function within(run: Run, phase: PhaseName): { readonly transactions: readonly Transaction[]; readonly seconds: number } {
  const { beforeMs, duringMs, afterMs, endMs } = run.phases;
  const borders = {
    'before snapshots': [beforeMs, duringMs],
    'a snapshot a second': [duringMs, afterMs],
    'after snapshots': [afterMs, endMs],
  } as const;
  const [fromMs, toMs] = borders[phase];
  const transactions = run.transactions.filter((transaction) => transaction.endMs >= fromMs && transaction.endMs < toMs);
  return { transactions, seconds: (toMs - fromMs) / SECOND_MS };
}

/** Whole seconds only. */
function countsBySecond({ transactions, phases }: Run): number[] {
  const counts = new Array<number>(Math.floor((phases.endMs - phases.beforeMs) / SECOND_MS)).fill(0);
  for (const { endMs } of transactions) {
    const second = Math.floor((endMs - phases.beforeMs) / SECOND_MS);
    if (second >= 0 && second < counts.length) counts[second]! += 1;
  }
  return counts;
}
