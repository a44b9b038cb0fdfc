/** Runs one part of the benchmark, whatever becomes of it: what went wrong is part of the answer, and so is what was measured. */
import type { Measurement, PartContext } from './measurement.ts';
import { PartFailure, type Part } from './part.ts';
import type { PartOutcome } from './report/document.ts';

export interface Ended {
  readonly outcome: PartOutcome;
  readonly measurements: readonly Measurement[];
}

/** Never fails. A part is not begun after an interruption, and skipped where something that it needs is missing. */
export async function runPart(part: Part, context: PartContext): Promise<Ended> {
  const { name } = part;
  const { signal, rounds } = context;
  const progress = (line: string): void => context.progress(`${name}: ${line}`);
  const ended = (outcome: PartOutcome['outcome'], problems: readonly string[], measurements: readonly Measurement[] = []): Ended => {
    return { outcome: { name, outcome, problems, rounds, seconds: Math.round((performance.now() - startMs) / 1000) }, measurements };
  };
  const startMs = performance.now();
  if (signal.aborted) return ended('not run', [String(signal.reason)]);
  const lacks = part
    .needs()
    .map(({ lack }) => lack)
    .filter((lack) => lack !== undefined);
  if (lacks.length > 0) {
    progress(`SKIPPED: ${lacks.join('; ')}`);
    return ended('skipped', lacks);
  }
  progress(part.about);
  try {
    const measured = ended('measured', [], await part.measure({ ...context, progress }));
    progress(`measured in ${measured.outcome.seconds} s`);
    return measured;
  } catch (error) {
    // An interruption may be thrown as the words that are its reason.
    const message = error instanceof Error ? error.message : String(error);
    const failed = ended('failed', message.split('\n'), error instanceof PartFailure ? error.measurements : []);
    progress(`FAILED after ${failed.outcome.seconds} s: ${message}`);
    return failed;
  }
}
