import fs from 'node:fs';
import path from 'node:path';
import { describe, expect, test } from '@jest/globals';
import { judge } from '../goals.ts';
import type { Measurement } from '../measurement.ts';
import { makeDocument, readDocument, type BenchDocument } from './document.ts';
import { fillMarked } from './markers.ts';
import { piecesOf } from './pieces.ts';
import { plotsOf } from './plots/catalogue.ts';

const docs = path.join(import.meta.dirname, '../../../docs');
const page = fs.readFileSync(path.join(docs, 'performance.md'), 'utf8');

function documentOf(measurements: readonly Measurement[]): BenchDocument {
  return makeDocument({
    command: 'node bench.ts',
    startedAt: '2026-01-01T00:00:00.000Z',
    endedAt: '2026-01-01T00:03:00.000Z',
    revision: 'abc',
    ...{ extent: 'quick', rounds: 1, seconds: 1 },
    machine: { kernel: 'Linux | 6' },
    parts: [
      { name: 'io', outcome: 'measured', problems: [], rounds: 2, seconds: 3 },
      { name: 'state', outcome: 'failed', problems: ['why', 'and where'], rounds: 1, seconds: 3 },
    ],
    goals: judge(measurements),
    measurements,
  });
}

function pieceOf(name: string, measurements: readonly Measurement[]): string {
  return piecesOf(documentOf(measurements), { plots: plotsOf(measurements), folder: 'plots' }).get(name)!;
}

const write = { part: 'io', workload: 'randwrite-4k-qd32', condition: 'full', figure: 'throughput', unit: 'op/s' } as const;
const measured: readonly Measurement[] = [
  { ...write, subject: 'loop', samples: [100, 100] },
  { ...write, subject: 'chunkstore', samples: [50, 70] },
  { ...write, subject: 'qcow2', samples: [20, 20] },
];

describe('a piece of the page', () => {
  test('of the run says which parts are missing, and why', () => {
    const run = pieceOf('run', measured);
    expect(run).toContain('io (2 rounds), **state: failed** (why; and where)');
    expect(run).toContain('3 minutes from 2026-01-01 00:00 UTC');
    expect(run).toContain('Linux \\| 6');
  });

  test('of goals has each of them', () => {
    const [, , ...lines] = pieceOf('goals', measured).split('\n');
    expect(lines).toHaveLength(judge([]).length);
    expect(lines.filter((line) => line.includes('**not met**'))).toHaveLength(1);
  });

  test('of losses has only what somebody else does faster', () => {
    const [, , ...lines] = pieceOf('losses', measured).split('\n');
    expect(lines).toEqual(['| randwrite-4k-qd32 | full | loop | 0.60 (0.50–0.70) |']);
    expect(pieceOf('losses', measured.slice(1))).toContain('None');
  });

  test('of a part has its tables and plots, or says that there are none', () => {
    expect(pieceOf('tables of io', measured)).toContain('**throughput**');
    expect(pieceOf('plots of io', measured)).toContain('(plots/io-throughput.svg)');
    expect(pieceOf('tables of state', measured)).toContain('Not measured');
  });
});

describe('docs/performance.md', () => {
  test('asks only for pieces that there are', () => {
    expect(fillMarked(page, piecesOf(documentOf([]), { plots: [], folder: 'performance' }))).toContain('Not measured');
  });

  test('stands beside the figures and plots that it shows', () => {
    const { measurements } = readDocument(path.join(docs, 'performance/figures.json'));
    expect(measurements.length).toBeGreaterThan(0);
    const shown = [...page.matchAll(/\]\((performance\/[^)]+)\)/g)].map(([, file]) => file!);
    for (const file of shown) expect([file, fs.existsSync(path.join(docs, file))]).toEqual([file, true]);
  });
});
