/** Collects what was measured, a sample a round, and makes the benchmark's measurements of it. */
import type { Measurement, Unit } from '../measurement.ts';
import type { Figures } from '../fio.ts';
import { writes, type Workload } from './workloads.ts';

export interface Run {
  readonly workload: Workload;
  readonly subject: string;
  readonly condition: string;
}

/** What one run of a load showed. */
export interface Outcome {
  /** Of each volume that it ran on. */
  readonly volumes: readonly Figures[];
  /** Of the whole machine meanwhile. */
  readonly busyMicroseconds: number;
  /** To the disk meanwhile, by anyone; null where that cannot be known. */
  readonly diskWrittenBytes: number | null;
}

type Sample = readonly [figure: string, unit: Unit, value: number];

export class Samples {
  readonly #measurements = new Map<string, Measurement & { readonly samples: number[] }>();

  add(run: Run, outcome: Outcome): void {
    const { workload, subject, condition } = run;
    for (const sample of samplesOf(workload, outcome)) this.#add({ workload: workload.name, subject, condition }, sample);
  }

  /** Of snapshots that brought a volume into its state, once; in milliseconds. */
  addSnapshots(place: { readonly subject: string; readonly condition: string }, times: readonly number[]): void {
    const sorted = times.toSorted((a, b) => a - b);
    const at = (part: number): number => round(sorted[Math.min(sorted.length - 1, Math.floor(part * sorted.length))]!);
    const of = { workload: 'snapshot-while-written', ...place };
    this.#add(of, ['latency p50', 'ms', at(0.5)]);
    this.#add(of, ['latency p99', 'ms', at(0.99)]);
  }

  #add(of: Pick<Measurement, 'workload' | 'subject' | 'condition'>, [figure, unit, value]: Sample): void {
    const { workload, subject, condition } = of;
    const key = JSON.stringify([workload, subject, condition, figure]);
    const known = this.#measurements.get(key);
    if (known !== undefined) known.samples.push(value);
    else this.#measurements.set(key, { part: 'io', workload, subject, condition, figure, unit, samples: [value] });
  }

  /** Forgets a condition of a subject that could not be measured in all rounds. */
  drop(subject: string, condition: string): void {
    for (const [key, known] of this.#measurements) {
      if (known.subject === subject && known.condition === condition) this.#measurements.delete(key);
    }
  }

  measurements(): Measurement[] {
    return [...this.#measurements.values()];
  }
}

function samplesOf(workload: Workload, outcome: Outcome): Sample[] {
  const { volumes, busyMicroseconds, diskWrittenBytes } = outcome;
  const sum = (figure: (of: Figures) => number): number => volumes.reduce((total, of) => total + figure(of), 0);
  const rate = (of: Figures): number => (workload.sequential === true ? of.mebibytesPerSecond : of.operationsPerSecond);
  const unit = workload.sequential === true ? 'MiB/s' : 'op/s';
  const writtenBytes = sum((of) => of.writtenBytes);
  return [
    ['throughput', unit, sum(rate)],
    ...(volumes.length > 1 ? [['least throughput', unit, Math.min(...volumes.map(rate))] as const] : []),
    ['latency p50', 'us', Math.max(...volumes.map((of) => of.medianMicroseconds))],
    ['latency p99', 'us', Math.max(...volumes.map((of) => of.worst1PercentMicroseconds))],
    ['cpu', 'us', round(busyMicroseconds / sum((of) => of.operations))],
    ...(writes(workload) && diskWrittenBytes !== null ? [['amplification', 'ratio', round(diskWrittenBytes / writtenBytes)] as const] : []),
  ];
}

/** Three digits behind the point. */
function round(value: number): number {
  return Math.round(value * 1000) / 1000;
}
