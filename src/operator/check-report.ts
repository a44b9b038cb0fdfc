/** How the findings of `check` are told. */
import type { Config } from '../config.ts';
import type { CheckMessage } from '../store/wire/messages.ts';
import { counted, printResult } from './output.ts';

/** Prints a report; findings are a failure of the command. */
export function printCheck(config: Config, report: CheckMessage): void {
  const summary = `${report.objects} volumes and snapshots, ${counted(report.pages, 'page')}, ${counted(report.slotsUsed, 'slot')} in use`;
  const verdict = report.problems.length === 0 ? 'every count is what the trees say' : `${counted(report.problems.length, 'problem')}:`;
  printResult(config, [summary, verdict, ...report.problems.map((problem) => `  ${problem}`)], report);
  if (report.problems.length > 0) process.exitCode = 1;
}
