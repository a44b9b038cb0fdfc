import { describe, expect, test } from '@jest/globals';
import type { Measurement } from '../measurement.ts';
import { partTables } from './table.ts';

function throughput(subject: string, samples: readonly number[], changes: Partial<Measurement> = {}): Measurement {
  return { part: 'io', workload: 'randwrite', subject, condition: 'full', figure: 'throughput', unit: 'op/s', samples, ...changes };
}

describe('the tables of a part', () => {
  test('have a column for each subject, and our ratio to the base, round by round', () => {
    const lines = partTables([throughput('loop', [100, 200]), throughput('chunkstore', [80, 180]), throughput('qcow2', [50])], {
      columns: 140,
    });
    expect(lines).toEqual(
      [
        'WORKLOAD   CONDITION  FIGURE              LOOP    CHUNKSTORE    QCOW2            ÷ LOOP',
        'randwrite  full       throughput  150 op/s ±33%  130 op/s ±38%  50.0 op/s  0.85 (0.80–0.90)',
      ].map((line) => expect.stringMatching(new RegExp(line.replaceAll(/[()÷.]/g, '.').replaceAll(/ +/g, ' +')))),
    );
  });

  test('have a column for each condition where there is one subject alone', () => {
    const [head, row] = partTables(
      [throughput('chunkstore', [1], { condition: '1 GiB' }), throughput('chunkstore', [2], { condition: '4 GiB' })],
      { columns: 140 },
    );
    expect(head).toMatch(/^WORKLOAD +FIGURE +1 GIB +4 GIB$/);
    expect(row).toMatch(/^randwrite +throughput +1\.00 op\/s +2\.00 op\/s$/);
  });

  test('are no wider than they may be: further columns come in another table', () => {
    const subjects = Array.from({ length: 12 }, (_, index) => throughput(`subject of letter ${'abcdefghijkl'[index]}`, [index + 1]));
    const lines = partTables(subjects, { columns: 100 });
    expect(Math.max(...lines.map((line) => line.length))).toBeLessThanOrEqual(100);
    for (const { subject } of subjects) expect(lines.filter((line) => line.includes(subject.toUpperCase()))).toHaveLength(1);
  });

  test('leave out what is a point in time of a longer run', () => {
    expect(partTables([throughput('loop', [1], { condition: 'at 3 s' })], { columns: 140 })).toEqual([]);
  });
});
