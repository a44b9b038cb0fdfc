import { describe, expect, test } from '@jest/globals';
import { goals, judge, type Goal } from './goals.ts';
import type { Measurement } from './measurement.ts';

const any = /./;
const own = { part: any, workload: any, subject: /^chunkstore$/, condition: any, figure: /^throughput$/ };
const atLeast: Goal = { name: 'fast', of: own, over: { subject: /^loop$/ }, bound: { atLeast: 0.85, later: 0.95 } };
const atMost: Goal = { name: 'short', of: { ...own, figure: /^time$/ }, over: null, bound: { atMost: 5 }, unit: 'ms' };

function measured(subject: string, samples: readonly number[], changes: Partial<Measurement> = {}): Measurement {
  return { part: 'io', workload: 'randwrite', subject, condition: 'full', figure: 'throughput', unit: 'op/s', samples, ...changes };
}

describe('a goal', () => {
  test.each([
    [[96, 100], 'met'],
    [[90, 90], 'met at first'],
    [[80, 80], 'not met'],
  ] as const)('of %j over 100 is %s', (samples, verdict) => {
    expect(judge([measured('chunkstore', samples), measured('loop', [100, 100])], [atLeast])).toMatchObject([{ verdict, cases: 1 }]);
  });

  test('is not measured where either side is missing', () => {
    expect(judge([measured('chunkstore', [1])], [atLeast])).toMatchObject([{ verdict: 'not measured', worst: null, cases: 0 }]);
    expect(judge([measured('loop', [1])], [atLeast])).toMatchObject([{ verdict: 'not measured' }]);
    expect(judge([], [atMost])).toMatchObject([{ verdict: 'not measured' }]);
  });

  test('holds a measurement only against the same one of the other subject', () => {
    const others = [measured('loop', [1], { workload: 'randread' }), measured('loop', [1], { condition: 'empty' })];
    expect(judge([measured('chunkstore', [1]), ...others], [atLeast])).toMatchObject([{ verdict: 'not measured' }]);
  });

  test('is decided by the worst of its cases, and says how many reach it', () => {
    const all = [
      ...[measured('chunkstore', [99]), measured('loop', [100])],
      ...[measured('chunkstore', [50], { workload: 'randread' }), measured('loop', [100], { workload: 'randread' })],
    ];
    const [verdict] = judge(all, [atLeast]);
    expect(verdict).toMatchObject({ verdict: 'not met', cases: 2, reached: 1, bound: '≥ 0.85, then ≥ 0.95' });
    expect(verdict?.worst).toMatchObject({ of: 'randread, full ÷ loop', figure: '0.50' });
  });

  test('of a figure by itself takes the highest one, in its unit', () => {
    const time = { figure: 'time', unit: 'ms' } as const;
    const all = [
      measured('chunkstore', [2], { ...time, condition: '1 GiB' }),
      measured('chunkstore', [4, 8], { ...time, condition: '64 GiB' }),
    ];
    expect(judge(all, [atMost])).toMatchObject([
      { verdict: 'not met', reached: 1, bound: '≤ 5.00 ms', worst: { of: 'randwrite, 64 GiB' } },
    ]);
    expect(judge(all, [{ ...atMost, bound: { atMost: 6 } }])).toMatchObject([{ verdict: 'met' }]);
    expect(judge(all, [{ ...atMost, bound: { atMost: 6 }, worstSample: true }])).toMatchObject([{ verdict: 'not met' }]);
  });

  test('against several others counts each of them', () => {
    const faster: Goal = { name: 'faster', of: own, over: { subject: /^(?!chunkstore$|loop$)/ }, bound: { atLeast: 1 } };
    const all = [measured('chunkstore', [10]), measured('loop', [99]), measured('qcow2', [5]), measured('btrfs', [20])];
    expect(judge(all, [faster])).toMatchObject([{ verdict: 'not met', cases: 2, reached: 1, worst: { of: 'randwrite, full ÷ btrfs' } }]);
  });
});

test('a case says in what the two differ', () => {
  const four: Goal = {
    name: 'four',
    of: { ...own, workload: /^four/ },
    over: { workload: /^randwrite$/, condition: any },
    bound: { atLeast: 1 },
  };
  const all = [measured('chunkstore', [2], { workload: 'four-randwrite' }), measured('chunkstore', [1], { condition: 'one volume' })];
  expect(judge(all, [four])[0]?.worst?.of).toBe('four-randwrite, full ÷ randwrite, one volume');
});

test('every goal has a name of its own, and a later mark is the harder one', () => {
  expect(new Set(goals.map(({ name }) => name)).size).toBe(goals.length);
  for (const { bound } of goals) {
    if (bound.later === undefined) continue;
    if ('atMost' in bound) expect(bound.later).toBeLessThan(bound.atMost);
    else expect(bound.later).toBeGreaterThan(bound.atLeast);
  }
});
