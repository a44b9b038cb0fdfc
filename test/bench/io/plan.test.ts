import { describe, expect, test } from '@jest/globals';
import { placesOf, plan, rowsOf, spaceBytesOf, turnsOf, type Extent, type Stage } from './plan.ts';
import { states } from './states.ts';

const extents: readonly Extent[] = ['quick', 'normal', 'full'];
const GIB = 2 ** 30;

describe.each(extents)('The %s plan', (extent) => {
  const stages = plan.map((stage) => ({ stage, turns: turnsOf(rowsOf(stage, extent)) })).filter(({ turns }) => turns.size > 0);

  test('measures a load on a state of a subject in the rounds of one stage alone', () => {
    const cells = stages.flatMap(({ turns }) =>
      [...turns].flatMap(([workload, places]) => places.map(({ subject, state }) => `${workload} ${subject} ${state}`)),
    );
    expect(cells.length).toBeGreaterThan(0);
    expect(cells.filter((cell, index) => cells.indexOf(cell) !== index)).toEqual([]);
  });

  test('has the plain loop device beside all that it measures', () => {
    const lonely = stages.flatMap(({ turns }) =>
      [...turns].flatMap(([workload, places]) =>
        places
          .filter(({ state }) => !places.some((other) => other.subject === 'loop' && other.state === state))
          .map(({ subject, state }) => `${workload} ${subject} ${state}`),
      ),
    );
    expect(lonely).toEqual([]);
  });
});

test('The full plan measures every state, and every peer in each of them', () => {
  const places = plan.flatMap((stage) => placesOf(rowsOf(stage, 'full')));
  const left = Object.keys(states).flatMap((state) =>
    ['loop', 'chunkstore', 'qcow2', 'xfs-reflink', 'btrfs', 'dm-thin']
      .filter((subject) => !places.some((place) => place.subject === subject && place.state === state))
      .map((subject) => `${subject} ${state}`),
  );
  expect(left).toEqual([]);
});

describe('The space of a subject', () => {
  const row = { extents: ['full'], subjects: ['loop', 'chunkstore'], workloads: ['randwrite-4k-qd32'] } as const;
  const stages: readonly Stage[] = [
    { name: 'small', sizeFactor: 1, rows: [{ ...row, states: ['full'] }] },
    { name: 'large', sizeFactor: 1, rows: [{ ...row, states: ['full', 'just after a snapshot'] }] },
  ];
  const options = { extent: 'full', sizeBytes: GIB, stages } as const;

  test('is that of the stage that needs most of it, for all of its states', () => {
    expect(spaceBytesOf({ name: 'chunkstore', stateless: false }, options)).toBe((1 + 3) * GIB);
  });

  test('is a plain volume where a subject has no states', () => {
    expect(spaceBytesOf({ name: 'loop', stateless: true }, options)).toBe(GIB);
  });

  test('is nothing for one that the plan leaves out', () => {
    expect(spaceBytesOf({ name: 'btrfs', stateless: false }, options)).toBe(0);
  });
});
