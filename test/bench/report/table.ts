/**
 * The figures of one part for a terminal: a row for each thing that was done and figure of it, a column for each subject
 * (or, where there is one subject alone, for each state), wrapped into several tables where one would be too wide.
 */
import { formatTable, type Column } from '../../../src/operator/output.ts';
import type { Measurement } from '../measurement.ts';
import { formatRatioSpread, formatSpread } from './quantity.ts';
import { ratioOf, spreadOf } from './spread.ts';

/** Who all others are held against. */
export const BASE_SUBJECT = 'loop';
export const OWN_SUBJECT = 'chunkstore';

/** A condition that is a point in time of a longer run: plotted, and too many for a table. */
const POINT_IN_TIME = /^at \d+ s$/;

export function isPointInTime(measurement: Measurement): boolean {
  return POINT_IN_TIME.test(measurement.condition);
}

/** Lines, with an empty one between tables. */
export function partTables(measurements: readonly Measurement[], options: { readonly columns: number }): string[] {
  const shown = measurements.filter((measurement) => !isPointInTime(measurement));
  const grid = gridOf(shown);
  const lines: string[] = [];
  for (const headings of wrapped(grid, options.columns)) {
    if (lines.length > 0) lines.push('');
    lines.push(
      ...formatTable(
        grid.rows.filter((row) => headings.some((heading) => row.cells.has(heading))),
        columnsOf(grid, headings),
      ),
    );
  }
  return lines;
}

interface Row {
  readonly labels: readonly string[];
  readonly cells: Map<string, string>;
  /** Ours against the base, where both are there. */
  ratio: string;
}

interface Grid {
  readonly labelTitles: readonly string[];
  readonly headings: readonly string[];
  readonly rows: readonly Row[];
}

function gridOf(measurements: readonly Measurement[]): Grid {
  const manySubjects = new Set(measurements.map(({ subject }) => subject)).size > 1;
  const headingOf = (measurement: Measurement): string => (manySubjects ? measurement.subject : measurement.condition);
  const rows = new Map<string, Row & { readonly of: Measurement[] }>();
  for (const measurement of measurements) {
    const { workload, condition, figure, unit, samples } = measurement;
    const labels = manySubjects ? [workload, condition, figure] : [workload, figure];
    const key = labels.join('\0');
    const row = rows.get(key) ?? { labels, cells: new Map<string, string>(), ratio: '', of: [] };
    rows.set(key, row);
    row.of.push(measurement);
    const spread = spreadOf(samples);
    row.cells.set(headingOf(measurement), spread === null ? 'none' : formatSpread(spread, unit));
  }
  for (const row of rows.values()) row.ratio = manySubjects ? ratioToBase(row.of) : '';
  const headings = [...new Set(measurements.map(headingOf))];
  return { labelTitles: manySubjects ? ['WORKLOAD', 'CONDITION', 'FIGURE'] : ['WORKLOAD', 'FIGURE'], headings, rows: [...rows.values()] };
}

function ratioToBase(measurements: readonly Measurement[]): string {
  const samplesOf = (subject: string): readonly number[] => measurements.find((other) => other.subject === subject)?.samples ?? [];
  const ratio = ratioOf(samplesOf(OWN_SUBJECT), samplesOf(BASE_SUBJECT));
  return ratio === null ? '' : formatRatioSpread(ratio);
}

function columnsOf(grid: Grid, headings: readonly string[]): Column<Row>[] {
  const labels = grid.labelTitles.map((title, index): Column<Row> => ({ title, text: (row) => row.labels[index] ?? '' }));
  const cells = headings.map((heading): Column<Row> => ({
    title: heading.toUpperCase(),
    text: (row) => row.cells.get(heading) ?? '',
    right: true,
  }));
  const hasRatio = headings.includes(OWN_SUBJECT) && grid.rows.some(({ ratio }) => ratio !== '');
  const ratio: Column<Row> = { title: `÷ ${BASE_SUBJECT.toUpperCase()}`, text: (row) => row.ratio, right: true };
  return [...labels, ...cells, ...(hasRatio ? [ratio] : [])];
}

/** The headings in groups that fit beside the labels; one at least in each. */
function wrapped(grid: Grid, columns: number): string[][] {
  const groups: string[][] = [];
  let group: string[] = [];
  for (const heading of grid.headings) {
    const wider = [...group, heading];
    const width = Math.max(...formatTable(grid.rows, columnsOf(grid, wider)).map((line) => line.length));
    if (group.length > 0 && width > columns) {
      groups.push(group);
      group = [heading];
    } else group = wider;
  }
  return group.length > 0 ? [...groups, group] : groups;
}
