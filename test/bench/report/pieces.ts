/** The pieces of docs/performance.md that are made from a run, as Markdown, by the names of their markers. */
import type { Verdict } from '../goals.ts';
import type { Measurement } from '../measurement.ts';
import type { BenchDocument } from './document.ts';
import type { Plot } from './plots/plot.ts';
import { formatRatioSpread } from './quantity.ts';
import { ratioOf, type Spread } from './spread.ts';
import { OWN_SUBJECT, tablesOf, type FigureTable } from './table.ts';

/** `folder`: of the plots, as the page names it. */
export function piecesOf(
  document: BenchDocument,
  options: { readonly plots: readonly Plot[]; readonly folder: string },
): Map<string, string> {
  const pieces = new Map([
    ['run', runPiece(document)],
    ['goals', goalsPiece(document.goals)],
    ['losses', lossesPiece(document.measurements)],
  ]);
  for (const part of ['io', 'operations', 'state', 'amplification', 'databases']) {
    const own = options.plots.filter((plot) => plot.part === part);
    const none = '_Not measured in this run._';
    pieces.set(`plots of ${part}`, own.map(({ name, title }) => `![${title}](${options.folder}/${name}.svg)`).join('\n\n') || none);
    const tables = tablesOf(document.measurements.filter((measurement) => measurement.part === part));
    pieces.set(`tables of ${part}`, tables.map(tablePiece).join('\n\n') || none);
  }
  return pieces;
}

function runPiece(document: BenchDocument): string {
  const { command, startedAt, endedAt, revision, extent, seconds, machine, parts } = document;
  const minutes = Math.round((Date.parse(endedAt) - Date.parse(startedAt)) / 60_000);
  const told = parts.map(({ name, outcome, problems, rounds }) =>
    outcome === 'measured'
      ? `${name} (${rounds} ${rounds === 1 ? 'round' : 'rounds'})`
      : `**${name}: ${outcome}** (${problems.join('; ')})`,
  );
  const facts: Readonly<Record<string, string>> = {
    command: `\`${command}\``,
    run: `${extent}: ${seconds} s a load; ${minutes} minutes from ${startedAt.slice(0, 16).replace('T', ' ')} UTC`,
    revision: revision ?? 'unknown',
    parts: told.join(', '),
    ...machine,
  };
  return markdownTable(
    ['', ''],
    Object.entries(facts).map(([name, value]) => [name, value]),
  );
}

function goalsPiece(goals: readonly Verdict[]): string {
  const rows = goals.map(({ goal, bound, verdict, worst, cases, reached }) => [
    goal,
    bound,
    verdict === 'not met' ? '**not met**' : verdict,
    worst === null ? '' : `${worst.figure}: ${worst.of}`,
    cases === 0 ? '' : `${reached} of ${cases}`,
  ]);
  return markdownTable(['goal', 'mark', 'verdict', 'worst case', 'cases that reach it'], rows);
}

interface Loss {
  readonly workload: string;
  readonly condition: string;
  readonly other: string;
  readonly ratio: Spread;
}

/** Everything in which somebody else is faster, the worst first. */
function lossesPiece(measurements: readonly Measurement[]): string {
  const throughputs = measurements.filter(({ figure, condition }) => figure === 'throughput' && !condition.startsWith('at '));
  const losses = throughputs.flatMap((own): Loss[] => {
    if (own.subject !== OWN_SUBJECT) return [];
    const { workload, condition } = own;
    const others = throughputs.filter((one) => one.subject !== OWN_SUBJECT && one.workload === workload && one.condition === condition);
    return others.flatMap((other) => {
      const ratio = ratioOf(own.samples, other.samples);
      return ratio === null || ratio.median >= 1 ? [] : [{ workload, condition, other: other.subject, ratio }];
    });
  });
  const rows = losses
    .toSorted((a, b) => a.ratio.median - b.ratio.median)
    .map(({ workload, condition, other, ratio }) => [workload, condition, other, formatRatioSpread(ratio)]);
  return rows.length === 0 ? '_None in this run._' : markdownTable(['workload', 'condition', 'faster', 'ours ÷ theirs'], rows);
}

function tablePiece({ heading, labelTitles, columns, rows }: FigureTable): string {
  const lines = rows.map(({ labels, cells }) => [...labels, ...columns.map((column) => cells.get(column) ?? '')]);
  const table = markdownTable([...labelTitles, ...columns], lines);
  return heading === null ? table : `**${heading}**\n\n${table}`;
}

function markdownTable(titles: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string =>
    `| ${cells.map((cell) => cell.replaceAll('|', '\\|').replaceAll('\n', ' ')).join(' | ')} |`;
  return [line(titles), line(titles.map(() => '---')), ...rows.map(line)].join('\n');
}
