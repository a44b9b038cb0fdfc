/** Lines over steps that have names (numbers of snapshots, sizes), or over a number (seconds). */
import type { Spread } from '../spread.ts';
import { colourOf, errorBar, framed, lettersIn, wrapWords, type Room } from './frame.ts';
import { linearScale, logarithmicScale } from './scale.ts';
import { element, text } from './svg.ts';

export interface LinePlot {
  readonly title: string;
  readonly xTitle: string;
  /** With its unit. */
  readonly yTitle: string;
  readonly formatY: (value: number) => string;
  readonly logarithmic?: boolean;
  /** Names of the steps, in their order; or the highest number, from 0. */
  readonly x: { readonly steps: readonly string[] } | { readonly upTo: number };
  readonly lines: readonly Line[];
  /** A part of the axis in which something went on. */
  readonly span?: { readonly from: number; readonly to: number; readonly words: string };
}

export interface Line {
  readonly name: string;
  /** `x`: the step's index, or the number. */
  readonly points: readonly { readonly x: number; readonly y: Spread }[];
}

const WIDTH_FOR_LINES = 704;

export function drawLines(plot: LinePlot): string {
  const { title, xTitle, yTitle, formatY, lines, x } = plot;
  const spreads = lines.flatMap(({ points }) => points.map(({ y }) => y));
  const highest = Math.max(0, ...spreads.map((spread) => spread.highest));
  // A logarithm has no place for what took no time at all.
  const lowest = Math.min(...spreads.map((spread) => spread.lowest));
  const y = plot.logarithmic === true && lowest > 0 ? logarithmicScale(lowest, highest) : linearScale(highest);
  const series = lines.map(({ name }) => name);
  const labels = 'steps' in x ? x.steps.map((step) => wrapWords(step, lettersIn(WIDTH_FOR_LINES / x.steps.length))) : [];
  const labelLines = Math.max(1, ...labels.map((words) => words.length));
  return framed({ title, xTitle, yTitle, series, y, formatY, labelLines }, (room) => {
    const xOf = placing(x, room);
    return [
      ...spanOf(plot, room, xOf),
      ...xLabels(plot, labels, room, xOf),
      ...lines.flatMap((line) => drawLine(line, { room, xOf, series })),
    ];
  });
}

function drawLine(
  line: Line,
  options: { readonly room: Room; readonly xOf: (x: number) => number; readonly series: readonly string[] },
): string[] {
  const { room, xOf, series } = options;
  const stroke = colourOf(line.name, series);
  const places = line.points.map(({ x, y }) => ({ x: xOf(x), y: room.yOf(y.median), spread: y }));
  const path = places.map(({ x, y }) => `${x.toFixed(2)},${y.toFixed(2)}`).join(' ');
  return [
    ...places.map(({ x, spread }) => errorBar(x, room, spread)),
    element('polyline', { points: path, fill: 'none', stroke, 'stroke-width': 2 }),
    ...places.map(({ x, y }) => element('circle', { cx: x, cy: y, r: 3, fill: stroke })),
  ];
}

function placing(x: LinePlot['x'], room: Room): (value: number) => number {
  const width = room.right - room.left;
  if ('steps' in x) return (index) => room.left + (width * (index + 0.5)) / x.steps.length;
  return (value) => room.left + (width * value) / Math.max(x.upTo, 1e-9);
}

function xLabels(plot: LinePlot, labels: readonly (readonly string[])[], room: Room, xOf: (x: number) => number): string[] {
  const { x } = plot;
  const words = 'steps' in x ? labels : [];
  const numbers = 'upTo' in x ? linearScale(x.upTo).ticks.filter((tick) => tick <= x.upTo) : [];
  const place = (at: number, line: number) => ({ x: at, y: room.bottom + 16 + line * 15, 'text-anchor': 'middle', fill: '#333333' });
  return [
    ...words.flatMap((lines, index) => lines.map((line, row) => text(line, place(xOf(index), row)))),
    ...numbers.map((number) => text(String(Math.round(number * 100) / 100), place(xOf(number), 0))),
  ];
}

function spanOf({ span }: LinePlot, room: Room, xOf: (x: number) => number): string[] {
  if (span === undefined) return [];
  const [left, right] = [xOf(span.from), xOf(span.to)];
  return [
    element('rect', { x: left, y: room.top, width: right - left, height: room.bottom - room.top, fill: '#f3ecd9' }),
    text(span.words, { x: (left + right) / 2, y: room.top + 14, 'text-anchor': 'middle', fill: '#6b5a26' }),
  ];
}
