/** What all plots have: a title, a legend, an axis of figures with lines across, and a room for what is plotted. */
import { coordinate, element, picture, text } from './svg.ts';
import type { Scale } from './scale.ts';

export interface FrameOptions {
  readonly title: string;
  /** Of the upright axis, with its unit. */
  readonly yTitle: string;
  readonly xTitle?: string;
  readonly series: readonly string[];
  readonly y: Scale;
  readonly formatY: (value: number) => string;
}

export interface Room {
  readonly left: number;
  readonly right: number;
  readonly top: number;
  readonly bottom: number;
  readonly yOf: (value: number) => number;
}

/** Colours that people who do not tell red from green tell apart (Okabe and Ito). */
const COLOURS = ['#0072b2', '#d55e00', '#009e73', '#cc79a7', '#e69f00', '#56b4e9', '#000000', '#8c6d31'];
/** Who is in many plots has the same colour in all. */
const KNOWN: Readonly<Record<string, string>> = {
  chunkstore: '#0072b2',
  loop: '#7f7f7f',
  'pass-through': '#e69f00',
  qcow2: '#d55e00',
  'xfs-reflink': '#009e73',
  btrfs: '#cc79a7',
  'dm-thin': '#56b4e9',
};

const WIDTH = 800;
const LEFT = 76;
const RIGHT = 20;
const LEGEND_LINE = 20;
const PLOT_HEIGHT = 280;
/** Of an ordinary letter at this size; legends and labels are laid out by it. */
const LETTER = 6.6;
const SWATCH = 18;

export function colourOf(name: string, series: readonly string[]): string {
  const others = series.filter((one) => KNOWN[one] === undefined);
  const free = COLOURS.filter((colour) => !series.some((one) => KNOWN[one] === colour));
  return KNOWN[name] ?? free[others.indexOf(name) % free.length] ?? '#000000';
}

/** `labelLines`: how many lines of labels stand under the plot. */
export function framed(options: FrameOptions & { readonly labelLines: number }, draw: (room: Room) => readonly string[]): string {
  const { title, yTitle, xTitle, series, y, formatY, labelLines } = options;
  const legend = legendLines(series);
  const top = 40 + legend.length * LEGEND_LINE;
  const bottom = top + PLOT_HEIGHT;
  const height = bottom + 16 + labelLines * 15 + (xTitle === undefined ? 0 : 20);
  const right = WIDTH - RIGHT;
  const yOf = (value: number): number => bottom - y.place(value) * PLOT_HEIGHT;
  const grid = y.ticks.flatMap((tick) => [
    element('line', { x1: LEFT, x2: right, y1: yOf(tick), y2: yOf(tick), stroke: tick === y.ticks[0] ? '#333333' : '#dddddd' }),
    text(formatY(tick), { x: LEFT - 8, y: yOf(tick) + 4, 'text-anchor': 'end', fill: '#333333' }),
  ]);
  const middle = (top + bottom) / 2;
  return picture(
    { width: WIDTH, height, title },
    text(title, { x: 16, y: 24, 'font-size': 15, 'font-weight': 'bold', fill: '#111111' }),
    ...legend.flatMap((line, index) =>
      line.map(({ name, x }) => legendEntry(name, { x, y: 40 + index * LEGEND_LINE, colour: colourOf(name, series) })),
    ),
    text(yTitle, { x: 16, y: middle, transform: `rotate(-90 16 ${middle})`, 'text-anchor': 'middle', fill: '#333333' }),
    ...(xTitle === undefined ? [] : [text(xTitle, { x: (LEFT + right) / 2, y: height - 8, 'text-anchor': 'middle', fill: '#333333' })]),
    ...grid,
    ...draw({ left: LEFT, right, top, bottom, yOf }),
  );
}

/** From the lowest round to the highest. */
export function errorBar(x: number, room: Room, { lowest, highest }: { readonly lowest: number; readonly highest: number }): string {
  const [low, high] = [room.yOf(lowest), room.yOf(highest)];
  if (low - high < 1) return '';
  const [left, middle, right] = [x - 3, x, x + 3].map(coordinate);
  const [under, over] = [coordinate(low), coordinate(high)];
  const path = `M${left} ${under}H${right}M${middle} ${under}V${over}M${left} ${over}H${right}`;
  return element('path', { d: path, stroke: '#333333', fill: 'none' });
}

/** Words in lines of no more than so many letters, cut at spaces and behind hyphens. */
export function wrapWords(words: string, letters: number): string[] {
  const lines: string[] = [];
  for (const word of words.split(/(?<=[- ])/)) {
    const last = lines.at(-1);
    if (last !== undefined && (last + word).trimEnd().length <= letters) lines[lines.length - 1] = last + word;
    else lines.push(word);
  }
  return lines.map((line) => line.trimEnd());
}

/** How many letters fit into that width. */
export function lettersIn(width: number): number {
  return Math.max(1, Math.floor(width / LETTER));
}

/** About. */
export function widthOf(words: string): number {
  return words.length * LETTER;
}

function legendLines(series: readonly string[]): { readonly name: string; readonly x: number }[][] {
  const lines: { readonly name: string; readonly x: number }[][] = [[]];
  let x = LEFT;
  for (const name of series) {
    const width = SWATCH + widthOf(name) + 18;
    if (x + width > WIDTH - RIGHT && lines.at(-1)!.length > 0) {
      lines.push([]);
      x = LEFT;
    }
    lines.at(-1)!.push({ name, x });
    x += width;
  }
  return lines;
}

function legendEntry(name: string, at: { readonly x: number; readonly y: number; readonly colour: string }): string {
  return element(
    'g',
    {},
    element('rect', { x: at.x, y: at.y, width: 12, height: 12, fill: at.colour }),
    text(name, { x: at.x + SWATCH, y: at.y + 10, fill: '#111111' }),
  );
}
