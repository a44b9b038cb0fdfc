/** What operator commands print: aligned tables for people, one JSON document for scripts. */
import type { Config } from '../config.ts';

/** Lines for people, or with `--output json` the document for scripts, on standard output. */
export function printResult(config: Config, lines: readonly string[], document: unknown): void {
  const text = config.flags.text('output') === 'json' ? JSON.stringify(document, null, 2) : lines.join('\n');
  process.stdout.write(`${text}\n`);
}

export interface Column<Row> {
  readonly title: string;
  readonly text: (row: Row) => string;
  /** Numbers and sizes stand at the right. */
  readonly right?: boolean;
}

/** Lines of a table, without spaces at their ends. */
export function formatTable<Row>(rows: readonly Row[], columns: readonly Column<Row>[]): string[] {
  const cells = [columns.map((column) => column.title), ...rows.map((row) => columns.map((column) => column.text(row)))];
  const widths = columns.map((_, index) => Math.max(...cells.map((line) => displayWidth(line[index] ?? ''))));
  return cells.map((line) =>
    line
      .map((text, index) => {
        const padding = ' '.repeat((widths[index] ?? 0) - displayWidth(text));
        return columns[index]?.right === true ? padding + text : text + padding;
      })
      .join('  ')
      .trimEnd(),
  );
}

/** Whole percents of the way, 100 only at its end; all of nothing is done. */
export function percentOf(positionBytes: number, sizeBytes: number): number {
  return sizeBytes === 0 ? 100 : Math.floor((100 * Math.min(positionBytes, sizeBytes)) / sizeBytes);
}

/** "1.5 GiB": three digits at most, exact below 1 KiB. */
export function formatBytes(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  const digits = Number.isInteger(value) || value >= 100 ? 0 : value >= 10 ? 1 : 2;
  return `${value.toFixed(digits)} ${units[unit] ?? ''}`;
}

/** "1 volume", "2 volumes". */
export function counted(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`;
}

/** "2026-11-22 13:05:09" in the machine's own time zone. */
export function formatTime(timeMs: number): string {
  const time = new Date(timeMs);
  const two = (value: number): string => String(value).padStart(2, '0');
  const day = [time.getFullYear(), two(time.getMonth() + 1), two(time.getDate())].join('-');
  return `${day} ${[two(time.getHours()), two(time.getMinutes()), two(time.getSeconds())].join(':')}`;
}

function displayWidth(text: string): number {
  return Array.from(new Intl.Segmenter().segment(text)).length;
}
