/** How the findings of `check` are told. */
import type { Config } from '../config.ts';
import type { CheckMessage } from '../store/messages.ts';
import { printResult } from './output.ts';

/** Prints a report; findings are a failure of the command. */
export function printCheck(config: Config, report: CheckMessage): void {
  const summary = `${report.objects} volumes and snapshots, ${report.pages} pages, ${report.slotsUsed} slots in use`;
  const verdict = report.problems.length === 0 ? 'every count is what the trees say' : `${report.problems.length} problems:`;
  printResult(config, [summary, verdict, ...report.problems.map((problem) => `  ${problem}`)], report);
  if (report.problems.length > 0) process.exitCode = 1;
}
