/** A part of the benchmark, as bench.ts runs it. */
import type { Capability } from '../support/machine.ts';
import { runGuarded, type Guarded } from '../support/guarded-run.ts';
import type { Measurement, PartContext } from './measurement.ts';

export interface Part {
  readonly name: string;
  /** What it measures, in a line. */
  readonly about: string;
  /** Without these the part cannot run at all, and is skipped. */
  readonly needs: () => readonly Capability[];
  /** Of a quick benchmark whose rounds nobody has chosen; as many as others have when missing. */
  readonly quickRounds?: number;
  /** Fails with `PartFailure` when something was measured before it failed. */
  readonly measure: (context: PartContext) => Promise<Measurement[]>;
}

/** A part failed, or left something behind; what it had measured by then counts. */
export class PartFailure extends Error {
  readonly measurements: readonly Measurement[];

  constructor(problems: readonly string[], measurements: readonly Measurement[]) {
    super(problems.join('\n'));
    this.name = 'PartFailure';
    this.measurements = measurements;
  }
}

/** Runs a part's work in a guarded folder of its own. What the work has recorded is the answer, or in the failure. */
export async function measureGuarded(
  options: { readonly name: string; readonly limitMs: number; readonly context: PartContext },
  work: (guarded: Guarded, record: (...measurements: readonly Measurement[]) => void) => Promise<void>,
): Promise<Measurement[]> {
  const { name, limitMs, context } = options;
  const recorded: Measurement[] = [];
  const guardedOptions = { prefix: `chunkstore-bench-${name}-`, parent: context.folder, limitMs };
  const problems = await runGuarded(guardedOptions, (guarded) =>
    work({ ...guarded, signal: AbortSignal.any([guarded.signal, context.signal]) }, (...measurements) => {
      recorded.push(...measurements);
    }),
  );
  if (problems.length > 0) throw new PartFailure(problems, recorded);
  return recorded;
}
