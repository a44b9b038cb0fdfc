/** Groups of bars: a group for each thing that was done, a bar in it for each of whom it was done to. */
import type { Spread } from '../spread.ts';
import { colourOf, errorBar, framed, lettersIn, widthOf, wrapWords, type Room } from './frame.ts';
import { linearScale } from './scale.ts';
import { element, text } from './svg.ts';

export interface BarPlot {
  readonly title: string;
  /** With its unit. */
  readonly yTitle: string;
  readonly series: readonly string[];
  readonly groups: readonly BarGroup[];
  readonly formatY: (value: number) => string;
  /** A line across: that with which all are compared. */
  readonly mark?: { readonly value: number; readonly words: string };
}

export interface BarGroup {
  readonly name: string;
  /** By series; null: not measured. */
  readonly bars: readonly (Spread | null)[];
}

const WIDTH_FOR_BARS = 704;
const GAP = 0.25;
const DASHES = '5 4';

export function drawBars(plot: BarPlot): string {
  const { title, yTitle, series, groups, formatY, mark } = plot;
  const highest = Math.max(mark?.value ?? 0, ...groups.flatMap(({ bars }) => bars.map((bar) => bar?.highest ?? 0)));
  const groupWidth = WIDTH_FOR_BARS / groups.length;
  const labels = groups.map(({ name }) => wrapWords(name, lettersIn(groupWidth)));
  const labelLines = Math.max(1, ...labels.map((lines) => lines.length));
  return framed({ title, yTitle, series, y: linearScale(highest), formatY, labelLines }, (room) => [
    ...groups.flatMap((group, index) => {
      const left = room.left + groupWidth * (index + GAP / 2);
      const width = (groupWidth * (1 - GAP)) / series.length;
      const bars = group.bars.flatMap((bar, place) => {
        if (bar === null) return [];
        const x = left + place * width;
        const y = room.yOf(bar.median);
        const fill = colourOf(series[place]!, series);
        return [
          element('rect', { x, y, width: Math.max(1, width - 1), height: room.bottom - y, fill }),
          errorBar(x + width / 2, room, bar),
        ];
      });
      const middle = room.left + groupWidth * (index + 0.5);
      const words = labels[index]!.map((line, row) =>
        text(line, { x: middle, y: room.bottom + 16 + row * 15, 'text-anchor': 'middle', fill: '#333333' }),
      );
      return [...bars, ...words];
    }),
    ...(mark === undefined ? [] : markLine(mark, room)),
  ]);
}

/** The words stand beside the legend: over the line there may be bars. */
function markLine({ value, words }: NonNullable<BarPlot['mark']>, room: Room): string[] {
  const y = room.yOf(value);
  return [
    element('line', { x1: room.left, x2: room.right, y1: y, y2: y, stroke: '#111111', 'stroke-dasharray': DASHES }),
    element('line', {
      x1: room.right - widthOf(words) - 28,
      x2: room.right - widthOf(words) - 6,
      y1: 46,
      y2: 46,
      stroke: '#111111',
      'stroke-dasharray': DASHES,
    }),
    text(words, { x: room.right, y: 50, 'text-anchor': 'end', fill: '#111111' }),
  ];
}
