/** The report for a terminal: what was measured where, a table for each part, the goals. */
import { formatTable } from '../../../src/operator/output.ts';
import type { Verdict } from '../goals.ts';
import type { BenchDocument } from './document.ts';
import { tablesOf } from './table.ts';
import { terminalLines } from './terminal-table.ts';

const COLUMNS = 140;

export function reportLines(document: BenchDocument): string[] {
  const { command, startedAt, revision, machine, parts, measurements, goals, rounds, seconds } = document;
  const facts = {
    command,
    started: startedAt,
    revision: revision ?? 'none',
    rounds: `${rounds} unless a part says otherwise, of ${seconds} s a load`,
    ...machine,
  };
  const lines = Object.entries(facts).map(([name, value]) => `${name}: ${value}`);
  lines.push('', 'Medians of the rounds; ± half of what lies between the lowest and the highest. Ratios are taken round by round.');
  for (const { name, outcome, problems, rounds: ownRounds, seconds: tookSeconds } of parts) {
    const why = problems.length === 0 ? '' : `: ${problems.join('; ')}`;
    lines.push('', `== ${name} (${outcome} in ${tookSeconds} s, rounds: ${ownRounds}${why})`);
    lines.push(...terminalLines(tablesOf(measurements.filter(({ part }) => part === name)), { columns: COLUMNS }));
  }
  return [...lines, '', '== goals', ...goalLines(goals)];
}

function goalLines(goals: readonly Verdict[]): string[] {
  return formatTable(goals, [
    { title: 'GOAL', text: ({ goal }) => goal },
    { title: 'MARK', text: ({ bound }) => bound },
    { title: 'VERDICT', text: ({ verdict }) => verdict },
    { title: 'WORST', text: ({ worst }) => worst?.figure ?? '', right: true },
    { title: 'REACHED', text: ({ cases, reached }) => (cases === 0 ? '' : `${reached} of ${cases}`), right: true },
  ]).flatMap((line, index) => {
    const worst = goals[index - 1]?.worst;
    return worst === undefined || worst === null ? [line] : [line, `    ${worst.of}`];
  });
}
