/** Tables of figures in lines for a terminal, no wider than it is: columns that do not fit come below, with the labels again. */
import { formatTable, type Column } from '../../../src/operator/output.ts';
import type { FigureRow, FigureTable } from './table.ts';

/** Lines, with an empty one between tables. */
export function terminalLines(tables: readonly FigureTable[], options: { readonly columns: number }): string[] {
  const blocks = tables.flatMap((table) => {
    const heading = table.heading === null ? [] : [`-- ${table.heading}`];
    return [...columnGroups(table, options.columns)].map((group, index) => [...(index === 0 ? heading : []), ...linesOf(table, group)]);
  });
  return blocks.flatMap((block, index) => (index === 0 ? block : ['', ...block]));
}

function linesOf({ labelTitles, rows }: FigureTable, columns: readonly string[]): string[] {
  const there = rows.filter(({ cells }) => columns.some((column) => cells.has(column)));
  const labels = labelTitles.map((title, index): Column<FigureRow> => ({
    title: title.toUpperCase(),
    text: (row) => row.labels[index] ?? '',
  }));
  const cells = columns.map((column): Column<FigureRow> => ({
    title: column.toUpperCase(),
    text: (row) => row.cells.get(column) ?? '',
    right: true,
  }));
  return formatTable(there, [...labels, ...cells]);
}

/** The columns in groups that fit beside the labels; one at least in each. */
function columnGroups(table: FigureTable, width: number): string[][] {
  const groups: string[][] = [];
  for (const column of table.columns) {
    const wider = [...(groups.at(-1) ?? []), column];
    const fits = Math.max(...linesOf(table, wider).map((line) => line.length)) <= width;
    if (groups.length > 0 && fits) groups[groups.length - 1] = wider;
    else groups.push([column]);
  }
  return groups;
}
