/** Turns jest's JSON report of a layer into counts. Nothing that did not run to its end may look like a success. */
import { stripVTControlCharacters } from 'node:util';

export interface LayerResult {
  readonly passed: number;
  /** One entry a failure, each naming what failed. */
  readonly failures: readonly string[];
  readonly skippedCount: number;
  /** File and name of each skipped suite or test; suites that were skipped for a reason carry it in their name. */
  readonly skipped: readonly string[];
}

export interface Totals {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
}

/** The part of jest's report that is used here (jest 30, AggregatedResult formatted by --json). */
interface Report {
  readonly success: boolean;
  readonly testResults: readonly {
    readonly name: string;
    readonly status: string;
    readonly message: string;
    readonly assertionResults: readonly {
      readonly status: string;
      readonly ancestorTitles: readonly string[];
      readonly fullName: string;
    }[];
  }[];
}

/** `text` is the report, undefined where jest wrote none; `troubles` is what went wrong with jest itself. */
export function readReport(options: {
  readonly layer: string;
  readonly text: string | undefined;
  readonly troubles: readonly string[];
}): LayerResult {
  const { layer, text, troubles } = options;
  if (text === undefined) {
    const failures = troubles.length > 0 ? troubles : [`${layer}: jest wrote no report`];
    return { passed: 0, failures, skippedCount: 0, skipped: [] };
  }
  const report = JSON.parse(text) as Report;
  const failures = [...troubles];
  const skipped: string[] = [];
  let passed = 0;
  let skippedCount = 0;
  for (const file of report.testResults) {
    const failedBefore = failures.length;
    for (const test of file.assertionResults) {
      if (test.status === 'passed') passed += 1;
      else if (test.status === 'failed') failures.push(`${file.name}: ${test.fullName}`);
      else {
        skippedCount += 1;
        skipped.push(`${file.name}: ${test.ancestorTitles[0] ?? test.fullName}`);
      }
    }
    // A file that cannot be loaded, or whose clean-up fails, has no failed test of its own.
    if (file.status === 'failed' && failures.length === failedBefore) {
      failures.push(`${file.name}: ${firstLines(file.message)}`);
    }
  }
  if (passed + skippedCount === 0 && failures.length === 0) failures.push(`${layer}: there is not a single test`);
  if (!report.success && failures.length === 0) failures.push(`${layer}: jest calls the run failed without naming a test`);
  return { passed, failures, skippedCount, skipped: [...new Set(skipped)] };
}

export function addTotals(results: readonly LayerResult[]): Totals {
  const sum = (count: (result: LayerResult) => number) => results.reduce((total, result) => total + count(result), 0);
  return {
    passed: sum(({ passed }) => passed),
    failed: sum(({ failures }) => failures.length),
    skipped: sum((result) => result.skippedCount),
  };
}

/** Enough of a message to know what to look for; jest has printed all of it. */
function firstLines(message: string): string {
  const lines = stripVTControlCharacters(message)
    .split('\n')
    .map((line) => line.trim());
  return (
    lines
      .filter((line) => line !== '')
      .slice(0, 2)
      .join(': ') || 'it failed as a whole'
  );
}

/** The closing line of a run. */
export function describeTotals({ passed, failed, skipped }: Totals): string {
  return `${passed} passed, ${failed} failed, ${skipped} skipped`;
}
