import { describe, expect, test } from '@jest/globals';
import type { Measurement } from '../measurement.ts';
import { tablesOf } from './table.ts';
import { terminalLines } from './terminal-table.ts';

function throughput(subject: string, samples: readonly number[], changes: Partial<Measurement> = {}): Measurement {
  return { part: 'io', workload: 'randwrite', subject, condition: 'full', figure: 'throughput', unit: 'op/s', samples, ...changes };
}

function linesOf(measurements: readonly Measurement[], columns = 140): string[] {
  return terminalLines(tablesOf(measurements), { columns }).map((line) => line.replaceAll(/ {2,}/g, ' | '));
}

describe('the tables of a part', () => {
  test('have a column for each subject, and our ratio to the base, round by round', () => {
    const measured = [throughput('loop', [100, 200]), throughput('chunkstore', [80, 180]), throughput('qcow2', [50])];
    expect(linesOf(measured)).toEqual([
      '-- throughput',
      'WORKLOAD | CONDITION | LOOP | CHUNKSTORE | QCOW2 | ÷ LOOP',
      'randwrite | full | 150 op/s ±33% | 130 op/s ±38% | 50.0 op/s | 0.85 (0.80–0.90)',
    ]);
  });

  test('are one for each figure', () => {
    const slow = { figure: 'latency', unit: 'us' } as const;
    const lines = linesOf([throughput('loop', [1]), throughput('qcow2', [2]), throughput('loop', [3], slow)]);
    expect(lines.filter((line) => line.startsWith('--'))).toEqual(['-- throughput', '-- latency']);
  });

  test('have a column for each workload where there is one subject alone', () => {
    const measured = [
      throughput('chunkstore', [1], { workload: 'snapshot', condition: '1 GiB' }),
      throughput('chunkstore', [2], { workload: 'clone', condition: '1 GiB' }),
      throughput('chunkstore', [3], { workload: 'clone', condition: '4 GiB' }),
    ];
    expect(linesOf(measured)).toEqual([
      '-- throughput',
      'CONDITION | SNAPSHOT | CLONE',
      '1 GiB | 1.00 op/s | 2.00 op/s',
      '4 GiB | 3.00 op/s',
    ]);
  });

  test('are a list where workloads have their figures to themselves', () => {
    const measured = [
      throughput('chunkstore', [1], { workload: 'restart', figure: 'time' }),
      throughput('chunkstore', [2], { workload: 'memory', figure: 'size' }),
    ];
    expect(linesOf(measured)).toEqual([
      'WORKLOAD | CONDITION | FIGURE | CHUNKSTORE',
      'restart | full | time | 1.00 op/s',
      'memory | full | size | 2.00 op/s',
    ]);
  });

  test('are no wider than they may be: further columns come below', () => {
    const subjects = 'abcdefghijkl'.split('').map((letter, index) => throughput(`subject of letter ${letter}`, [index + 1]));
    const lines = terminalLines(tablesOf(subjects), { columns: 100 });
    expect(Math.max(...lines.map((line) => line.length))).toBeLessThanOrEqual(100);
    for (const { subject } of subjects) expect(lines.filter((line) => line.includes(subject.toUpperCase()))).toHaveLength(1);
  });

  test('leave out what is a point in time of a longer run', () => {
    expect(tablesOf([throughput('loop', [1], { condition: 'at 3 s' })])).toEqual([]);
  });
});
