/**
 * The figures of one part as tables, for terminals and for pages. Where several subjects were measured: a table for each
 * figure, with a column for each subject and our ratio to the base. Where one was: a table for each figure with a column for
 * each workload, or, where workloads have their figures to themselves, a list.
 */
import type { Measurement } from '../measurement.ts';
import { formatRatioSpread, formatSpread } from './quantity.ts';
import { ratioOf, spreadOf } from './spread.ts';

/** Who all others are held against. */
export const BASE_SUBJECT = 'loop';
export const OWN_SUBJECT = 'chunkstore';

export interface FigureTable {
  /** What all of its cells are, where they are the same. */
  readonly heading: string | null;
  /** Of the columns that say what a row is. */
  readonly labelTitles: readonly string[];
  readonly columns: readonly string[];
  readonly rows: readonly FigureRow[];
}

export interface FigureRow {
  readonly labels: readonly string[];
  /** By column. */
  readonly cells: ReadonlyMap<string, string>;
}

type Field = 'workload' | 'condition' | 'figure' | 'subject';

/** The column of our ratio to the base. */
export const RATIO_COLUMN = `÷ ${BASE_SUBJECT}`;

/** A condition that is a point in time of a longer run: plotted, and too many for a table. */
const POINT_IN_TIME = /^at \d+ s$/;

export function tablesOf(measurements: readonly Measurement[]): FigureTable[] {
  const shown = measurements.filter(({ condition }) => !POINT_IN_TIME.test(condition));
  const figures = distinct(shown, 'figure');
  const of = (figure: string): Measurement[] => shown.filter((measurement) => measurement.figure === figure);
  if (distinct(shown, 'subject').length > 1) {
    return figures.map((figure) =>
      withRatios(tableOf(of(figure), { heading: figure, labels: ['workload', 'condition'], column: 'subject' }), of(figure)),
    );
  }
  if (figures.some((figure) => distinct(of(figure), 'workload').length > 1)) {
    return figures.map((figure) => tableOf(of(figure), { heading: figure, labels: ['condition'], column: 'workload' }));
  }
  return shown.length === 0 ? [] : [tableOf(shown, { heading: null, labels: ['workload', 'condition', 'figure'], column: 'subject' })];
}

interface Shape {
  readonly heading: string | null;
  readonly labels: readonly Field[];
  readonly column: Field;
}

function tableOf(measurements: readonly Measurement[], { heading, labels, column }: Shape): FigureTable {
  const rows = new Map<string, FigureRow & { readonly cells: Map<string, string> }>();
  for (const measurement of measurements) {
    const key = keyOf(measurement, labels);
    const row = rows.get(key) ?? { labels: labels.map((field) => measurement[field]), cells: new Map<string, string>() };
    rows.set(key, row);
    const spread = spreadOf(measurement.samples);
    row.cells.set(measurement[column], spread === null ? 'none' : formatSpread(spread, measurement.unit));
  }
  return { heading, labelTitles: labels, columns: distinct(measurements, column), rows: [...rows.values()] };
}

/** The same with one more column, where ours and the base were both measured. */
function withRatios(table: FigureTable, measurements: readonly Measurement[]): FigureTable {
  const samplesOf = (labels: readonly string[], subject: string): readonly number[] =>
    measurements.find((one) => one.workload === labels[0] && one.condition === labels[1] && one.subject === subject)?.samples ?? [];
  const rows = table.rows.map(({ labels, cells }) => {
    const ratio = ratioOf(samplesOf(labels, OWN_SUBJECT), samplesOf(labels, BASE_SUBJECT));
    return { labels, cells: ratio === null ? cells : new Map([...cells, [RATIO_COLUMN, formatRatioSpread(ratio)]]) };
  });
  return rows.some(({ cells }) => cells.has(RATIO_COLUMN)) ? { ...table, columns: [...table.columns, RATIO_COLUMN], rows } : table;
}

function keyOf(measurement: Measurement, fields: readonly Field[]): string {
  return JSON.stringify(fields.map((field) => measurement[field]));
}

/** In the order in which they first come. */
function distinct(measurements: readonly Measurement[], field: Field): string[] {
  return [...new Set(measurements.map((measurement) => measurement[field]))];
}
