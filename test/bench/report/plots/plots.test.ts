import { describe, expect, test } from '@jest/globals';
import type { Measurement } from '../../measurement.ts';
import { drawBars, type BarPlot } from './bar-plot.ts';
import { plotsOf } from './catalogue.ts';
import { wrapWords } from './frame.ts';
import { drawLines, type LinePlot } from './line-plot.ts';
import { linearScale, logarithmicScale } from './scale.ts';
import { elementsOf, parseXml, type XmlElement } from './xml.ts';

const spread = (median: number, width = 0) => ({ median, lowest: median - width, highest: median + width, samples: 3 });
const barPlot: BarPlot = {
  title: 'a < b & "c"',
  yTitle: 'figures',
  series: ['loop', 'chunkstore', 'x < y'],
  groups: [
    { name: 'first', bars: [spread(10, 2), spread(20), null] },
    { name: 'second of them', bars: [null, spread(5), spread(0)] },
  ],
  formatY: String,
  mark: { value: 12, words: 'a mark' },
};
const linePlot: LinePlot = {
  title: 'over time',
  xTitle: 'seconds',
  yTitle: 'figures',
  formatY: String,
  x: { upTo: 10 },
  lines: [
    { name: 'loop', points: [0, 5, 10].map((x) => ({ x, y: spread(x + 1, 1) })) },
    { name: 'chunkstore', points: [] },
  ],
  span: { from: 2, to: 4, words: 'meanwhile' },
};

function textsOf(svg: XmlElement): string[] {
  return elementsOf(svg)
    .filter(({ name }) => name === 'text')
    .map(({ text }) => text);
}

/** Every number of every element, so that nothing is drawn at NaN. */
function numbersOf(svg: XmlElement): number[] {
  const names = ['x', 'y', 'x1', 'x2', 'y1', 'y2', 'cx', 'cy', 'width', 'height'];
  const single = elementsOf(svg).flatMap(({ attributes }) => names.flatMap((name) => attributes.get(name) ?? []));
  const lists = elementsOf(svg).flatMap(({ attributes }) => (attributes.get('points') ?? '').split(/[ ,]/).filter((one) => one !== ''));
  return [...single, ...lists].map(Number);
}

describe('a plot of bars', () => {
  const svg = parseXml(drawBars(barPlot));

  test('is well-formed, on white, with title, axis, legend and labels', () => {
    expect(svg.name).toBe('svg');
    expect(svg.children.find(({ name }) => name === 'rect')?.attributes.get('fill')).toBe('#ffffff');
    expect(textsOf(svg)).toEqual(
      expect.arrayContaining(['a < b & "c"', 'figures', ...barPlot.series, 'first', 'second of them', 'a mark', '0', '20']),
    );
    expect(numbersOf(svg).every(Number.isFinite)).toBe(true);
  });

  test('has a bar for each figure, as high as the figure is', () => {
    const fills = new Set(
      elementsOf(svg)
        .filter(({ name }) => name === 'g')
        .map((entry) => entry.children[0]!.attributes.get('fill')),
    );
    expect(fills.size).toBe(3);
    const heights = svg.children
      .filter(({ name, attributes }) => name === 'rect' && fills.has(attributes.get('fill')))
      .map(({ attributes }) => Number(attributes.get('height')));
    expect(heights).toHaveLength(4);
    expect(heights[1]! / heights[0]!).toBeCloseTo(2);
    expect(heights.at(-1)).toBe(0);
  });

  test('shows the spread of what has one', () => {
    expect(elementsOf(svg).filter(({ name }) => name === 'path')).toHaveLength(1);
  });
});

describe('the labels of groups of bars', () => {
  const labelled = (...names: readonly string[]): (string | undefined)[] => {
    const svg = parseXml(drawBars({ ...barPlot, groups: names.map((name) => ({ name, bars: [spread(1)] })) }));
    const words = new Set(names.flatMap((name) => [name, ...name.split(' ')]));
    return elementsOf(svg)
      .filter(({ name, text }) => name === 'text' && words.has(text))
      .map(({ attributes }) => attributes.get('transform'));
  };

  test('stand upright as long as each fits under its group', () => {
    expect(labelled('full', 'just after')).toEqual([undefined, undefined]);
  });

  test('all stand aslant where a word of one does not fit', () => {
    const names = Array.from({ length: 16 }, (_, index) => `fragmented ${'abcdefghijklmnop'[index]}`);
    const transforms = labelled('full', ...names);
    expect(transforms).toHaveLength(17);
    expect(transforms.every((transform) => transform?.startsWith('rotate('))).toBe(true);
  });
});

describe('a plot of lines', () => {
  test.each([
    ['over a number', linePlot],
    [
      'over steps',
      {
        ...linePlot,
        x: { steps: ['1', '10', '100'] },
        lines: [
          {
            name: 'qcow2',
            points: [
              { x: 0, y: spread(3) },
              { x: 2, y: spread(1) },
            ],
          },
        ],
      },
    ],
    ['on a logarithmic axis', { ...linePlot, logarithmic: true, lines: [{ name: 'loop', points: [{ x: 1, y: spread(1000, 10) }] }] }],
    ['on a logarithmic axis with a 0', { ...linePlot, logarithmic: true }],
    ['of nothing', { ...linePlot, lines: [] }],
  ] satisfies [string, LinePlot][])('%s is well-formed', (_, plot) => {
    const svg = parseXml(drawLines(plot));
    expect(numbersOf(svg).every(Number.isFinite)).toBe(true);
    expect(elementsOf(svg).filter(({ name }) => name === 'polyline')).toHaveLength(plot.lines.length);
    expect(textsOf(svg)).toEqual(expect.arrayContaining(['over time', 'seconds', 'figures', 'meanwhile']));
  });
});

describe('axes', () => {
  test('have round ticks from 0 to over the highest', () => {
    expect(linearScale(93_000).ticks).toEqual([0, 20_000, 40_000, 60_000, 80_000, 100_000]);
    expect(linearScale(1).ticks.at(-1)).toBeCloseTo(1);
    expect(linearScale(0).ticks.at(-1)).toBeGreaterThan(0);
    expect(linearScale(0.7).place(0)).toBe(0);
  });

  test('that are logarithmic go from a power of ten to another', () => {
    const scale = logarithmicScale(0.4, 2500);
    expect(scale.ticks.map((tick) => Math.log10(tick))).toEqual([-1, 0, 1, 2, 3, 4]);
    expect(scale.place(1)).toBeCloseTo(0.2);
    expect(logarithmicScale(10, 10).ticks).toEqual([10, 100]);
  });

  test('have labels in lines that fit', () => {
    expect(wrapWords('randwrite-4k-fdatasync-qd1', 13)).toEqual(['randwrite-4k-', 'fdatasync-qd1']);
    expect(wrapWords('just after a snapshot', 12)).toEqual(['just after a', 'snapshot']);
    expect(wrapWords('unbreakable', 3)).toEqual(['unbreakable']);
  });
});

describe('the plots of a run', () => {
  const common = { part: 'io', unit: 'op/s', samples: [10, 12] } as const;
  const io = ['loop', 'chunkstore', 'qcow2'].flatMap((subject): Measurement[] =>
    ['full', 'fresh', 'after 1 snapshot', 'after 1000 snapshots', 'just after a snapshot'].flatMap((condition): Measurement[] => [
      { ...common, subject, condition, workload: 'randwrite-4k-qd32', figure: 'throughput' },
      { ...common, subject, condition, workload: 'randwrite-4k-qd1', figure: 'latency p50', unit: 'us' },
      { ...common, subject, condition, workload: 'randwrite-4k-qd1', figure: 'cpu', unit: 'us' },
    ]),
  );
  const operations = [1, 64].map((size): Measurement => {
    return {
      part: 'operations',
      workload: 'snapshot',
      subject: 'chunkstore',
      condition: `${size} GiB, written in order`,
      figure: 'time in the engine',
      unit: 'ms',
      samples: [1],
    };
  });
  const databases = [0, 1, 2, 3].map((second): Measurement => {
    return {
      part: 'databases',
      workload: 'sqlite',
      subject: 'loop',
      condition: `at ${second} s`,
      figure: 'throughput',
      unit: 'tps',
      samples: [second],
    };
  });

  test('are all well-formed, with names of their own', () => {
    const plots = plotsOf([...io, ...operations, ...databases]);
    expect(plots.map(({ name }) => name)).toEqual([
      'io-throughput',
      'io-latency',
      'io-snapshot',
      'io-snapshots',
      'io-states',
      'io-cpu',
      'operations-engine',
      'database-sqlite',
    ]);
    for (const { svg } of plots) expect(numbersOf(parseXml(svg)).every(Number.isFinite)).toBe(true);
  });

  test('have the states in the order of their snapshots, wherever these were measured', () => {
    const states = ['full', 'fresh', 'after 1000 snapshots', 'clone', 'after 10 snapshots'];
    const measured = states.flatMap((condition) =>
      io
        .slice(0, 1)
        .concat(io.slice(15, 16))
        .map((one) => ({ ...one, condition })),
    );
    const { svg } = plotsOf(measured).find(({ name }) => name === 'io-states')!;
    const words = textsOf(parseXml(svg)).join(' ');
    const places = ['full', 'fresh', 'after 10 snapshots', 'clone', 'after 1000 snapshots'].map((state) => words.indexOf(state));
    expect(places).toEqual(places.toSorted((a, b) => a - b));
    expect(places[0]).toBeGreaterThanOrEqual(0);
  });

  test('are none where nothing was measured', () => {
    expect(plotsOf([])).toEqual([]);
  });
});

test('the reader of these tests finds what is not well-formed', () => {
  for (const bad of ['<a><b></a></b>', '<a>', '<a/><b/>', '<a x="1" x="2"/>', '<a>1 < 2</a>', '<a>&</a>', '<a x=1/>', 'text']) {
    expect(() => parseXml(bad)).toThrow();
  }
});
