import { describe, expect, test } from '@jest/globals';
import { conditionOf } from '../../../src/k8s/conditions.ts';
import { differenceOf, poolStatus, type PoolStatus, type PoolView } from '../../../src/k8s/pools/status.ts';
import { POOL_FIGURES } from '../../support/fake-published-pool.ts';

const GIB = 1024 ** 3;
const startMs = Date.UTC(2025, 0, 1);

const view: PoolView = { phase: 'serving', lost: false, figures: POOL_FIGURES, problems: [] };

function statusOf(more: Partial<PoolView> = {}, before?: PoolStatus, afterMs = 0): PoolStatus {
  return poolStatus({ ...view, ...more }, { before, generation: 1, version: '1.0', nowMs: startMs + afterMs });
}
const figures = (more: Partial<typeof POOL_FIGURES>) => ({ figures: { ...POOL_FIGURES, ...more } });
const brief = (status: PoolStatus) =>
  Object.fromEntries(status.conditions!.map(({ type, status: verdict, reason }) => [type, `${verdict} ${reason}`]));

describe('the status of a pool', () => {
  test('tells sizes for people, counts and conditions', () => {
    const status = statusOf();
    expect(status).toMatchObject({
      size: '100Gi',
      used: '25Gi',
      free: '75Gi',
      usedPercent: 25,
      provisioned: '200Gi',
      provisionLimit: '1000Gi',
      chunkSize: '64Ki',
      volumes: 3,
      snapshots: 2,
      attached: 1,
      parkedWrites: 0,
      scrub: { damagedChunks: 0, protected: '5Gi' },
      version: '1.0',
    });
    expect(brief(status)).toEqual({
      Ready: 'True Serving',
      Full: 'False RoomLeft',
      Degraded: 'False AsItShouldBe',
      Damaged: 'False NoneKnown',
    });
    expect(status.conditions![0]).toMatchObject({ lastTransitionTime: '2025-01-01T00:00:00Z', observedGeneration: 1 });
  });

  test.each([
    ['starting', 'False Starting'],
    ['handing-over', 'False HandingOver'],
    ['stopped', 'False Stopped'],
  ] as const)('%s is not ready, and keeps the figures of before', (phase, ready) => {
    const status = statusOf({ phase, figures: null }, statusOf());
    expect(brief(status)).toEqual({ Ready: ready, Full: 'False RoomLeft', Degraded: 'False AsItShouldBe', Damaged: 'False NoneKnown' });
    expect(status).toMatchObject({ used: '25Gi', volumes: 3 });
  });

  test('lost outweighs all else', () => {
    expect(brief(statusOf({ lost: true }))['Ready']).toBe('False Lost');
    expect(brief(statusOf({ lost: true, phase: 'starting', figures: null }))).toMatchObject({
      Ready: 'False Lost',
      Full: 'Unknown NotCounted',
    });
  });

  test('a condition keeps the time of its last change', () => {
    const first = statusOf();
    const later = statusOf(figures({ parkedWrites: 1 }), first, 60_000);
    expect(conditionOf(later, 'Ready')!.lastTransitionTime).toBe('2025-01-01T00:00:00Z');
    expect(conditionOf(later, 'Full')!.lastTransitionTime).toBe('2025-01-01T00:01:00Z');
  });

  test('full at the reserve, and no longer so only at twice the reserve', () => {
    const at = (freeBytes: number, before?: PoolStatus) => statusOf(figures({ freeBytes }), before);
    const full = at(1.5 * GIB);
    expect(brief(at(1.6 * GIB))['Full']).toBe('False RoomLeft');
    expect(brief(full)['Full']).toBe('True LowSpace');
    expect(brief(at(1.6 * GIB, full))['Full']).toBe('True LowSpace');
    expect(brief(at(3.2 * GIB, full))['Full']).toBe('False RoomLeft');
    expect(conditionOf(full, 'Full')!.message).toMatch(/last 1\.56Gi are kept/);
    expect(brief(statusOf(figures({ parkedWrites: 2 }), full))['Full']).toBe('True WritesWait');
  });

  test('while the count runs, little free space says nothing yet', () => {
    const counting = figures({ counted: false, freeBytes: 0 });
    expect(brief(statusOf(counting))).toMatchObject({ Ready: 'True Serving', Full: 'Unknown NotCounted', Degraded: 'True Counting' });
    const full = statusOf(figures({ freeBytes: 0 }));
    expect(brief(statusOf(counting, full))['Full']).toBe('True LowSpace');
    expect(brief(statusOf(figures({ counted: false })))['Full']).toBe('False RoomLeft');
  });

  test('the worst problem gives the reason, all of them the words', () => {
    const problems = [
      { reason: 'DiskFailed', message: 'the disk failed' },
      { reason: 'KeeperAway', message: 'the keeper is away' },
    ];
    expect(conditionOf(statusOf({ problems, ...figures({ counted: false }) }), 'Degraded')).toMatchObject({
      status: 'True',
      reason: 'DiskFailed',
      message: expect.stringMatching(/^the disk failed; the keeper is away; what is used is counted/),
    });
  });
});

describe('damage to what snapshots hold', () => {
  const scrub = { ...POOL_FIGURES.scrub, completedAtMs: startMs, damagedChunks: 2 };
  const damaged = [
    { kind: 'snapshot', name: 'monday' },
    { kind: 'volume', name: 'data' },
  ] as const;

  test('names the first places and the command that names all', () => {
    const status = statusOf(figures({ scrub: { ...scrub, damaged, moreDamaged: true } }));
    expect(status.scrub).toEqual({ lastCompleted: '2025-01-01T00:00:00Z', damagedChunks: 2, protected: '5Gi' });
    expect(conditionOf(status, 'Damaged')).toMatchObject({
      status: 'True',
      reason: 'ChunksDamaged',
      message: expect.stringMatching(/2 chunks in snapshot monday, volume data, others: "chunkstore scrub status"/),
    });
    const one = statusOf(figures({ scrub: { ...scrub, damagedChunks: 1 } }));
    expect(conditionOf(one, 'Damaged')?.message).toMatch(/lost 1 chunk: /);
  });

  test('stays known while the store cannot be asked, and does not make the pool degraded', () => {
    const before = statusOf(figures({ scrub }));
    expect(brief(before)['Degraded']).toBe('False AsItShouldBe');
    const after = statusOf({ phase: 'starting', figures: null }, before);
    expect(brief(after)['Damaged']).toBe('True ChunksDamaged');
    expect(after.scrub).toEqual(before.scrub);
    expect(brief(statusOf({ figures: null }))['Damaged']).toBe('Unknown NotAsked');
    expect(brief(statusOf({}, before))['Damaged']).toBe('False NoneKnown');
  });

  test('a pass under way tells how far it came, and then no more', () => {
    const during = statusOf(figures({ scrub: { ...scrub, runningPercent: 7 } }));
    expect(during.scrub?.runningPercent).toBe(7);
    expect(statusOf(figures({ scrub }), during).scrub).not.toHaveProperty('runningPercent');
  });
});

describe('the difference between two', () => {
  test('is none for what a person would not see, in whatever order its fields come', () => {
    const before = statusOf();
    const reordered = Object.fromEntries(Object.entries(before).toReversed()) as PoolStatus;
    expect(differenceOf(reordered, statusOf(figures({ usedBytes: 25 * GIB + 4096 }), before, 60_000))).toBe('none');
  });

  test('tells figures from conditions', () => {
    const before = statusOf();
    expect(differenceOf(before, statusOf(figures({ volumes: 4 }), before))).toBe('figures');
    expect(differenceOf(before, statusOf(figures({ parkedWrites: 1 }), before))).toBe('conditions');
    const inUse = statusOf(figures({ attached: 1 }));
    expect(differenceOf(statusOf(figures({ attached: 2 })), inUse)).toBe('figures');
    expect(differenceOf(inUse, statusOf(figures({ attached: 0 }), inUse))).toBe('conditions');
    expect(differenceOf(undefined, before)).toBe('conditions');
  });
});
