/** Groups of bars: a group for each thing that was done, a bar in it for each of whom it was done to. */
import type { Spread } from '../spread.ts';
import { colourOf, errorBar, framed, lettersIn, widthOf, wrapWords, type Room } from './frame.ts';
import { linearScale } from './scale.ts';
import { coordinate, element, text } from './svg.ts';

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
/** A label may be this much wider than its group: its neighbours are hardly as wide. */
const OVERHANG = 1.1;
/** Of labels that are wider: they stand aslant, in one line, each ending below its group. */
const SLANT_DEGREES = 40;
const LINE_HEIGHT = 15;

export function drawBars(plot: BarPlot): string {
  const { title, yTitle, series, groups, formatY, mark } = plot;
  const highest = Math.max(mark?.value ?? 0, ...groups.flatMap(({ bars }) => bars.map((bar) => bar?.highest ?? 0)));
  const groupWidth = WIDTH_FOR_BARS / groups.length;
  const labels = labelsOf(groups, groupWidth);
  const { labelLines } = labels;
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
      return [...bars, ...labels.draw(group.name, middle, room)];
    }),
    ...(mark === undefined ? [] : markLine(mark, room)),
  ]);
}

interface Labels {
  /** The room under the plot that the highest of them needs, in lines. */
  readonly labelLines: number;
  readonly draw: (name: string, middle: number, room: Room) => string[];
}

function labelsOf(groups: readonly BarGroup[], groupWidth: number): Labels {
  const wrapped = new Map(groups.map(({ name }) => [name, wrapWords(name, lettersIn(groupWidth))]));
  const fill = '#333333';
  if ([...wrapped.values()].flat().every((line) => widthOf(line) <= groupWidth * OVERHANG)) {
    return {
      labelLines: Math.max(1, ...[...wrapped.values()].map((lines) => lines.length)),
      draw: (name, middle, { bottom }) =>
        wrapped.get(name)!.map((line, row) => text(line, { x: middle, y: bottom + 16 + row * LINE_HEIGHT, 'text-anchor': 'middle', fill })),
    };
  }
  const longest = Math.max(...groups.map(({ name }) => widthOf(name)));
  return {
    labelLines: Math.ceil((longest * Math.sin((SLANT_DEGREES * Math.PI) / 180)) / LINE_HEIGHT),
    draw: (name, middle, { bottom }) => {
      const [x, y] = [middle + 4, bottom + 14];
      return [text(name, { x, y, transform: `rotate(-${SLANT_DEGREES} ${coordinate(x)} ${coordinate(y)})`, 'text-anchor': 'end', fill })];
    },
  };
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
