import { expect, test } from '@jest/globals';
import type { DamageReport } from '../../../src/engine/control.ts';
import { ScrubWatch } from '../../../src/store/scrub/watch.ts';
import { silentLogger } from '../../../src/util/log.ts';
import { NEVER_SCRUBBED } from '../../support/fake-engine.ts';
import { ManualClock } from '../../support/manual-clock.ts';

const pool = { sizeBytes: 1_000 };

function setUp() {
  const clock = new ManualClock();
  const engine = { status: NEVER_SCRUBBED, report: reportOf(), asked: 0, failure: null as Error | null, gate: Promise.resolve() };
  const scrubber = {
    status: async () => engine.status,
    damage: async () => {
      engine.asked += 1;
      await engine.gate;
      if (engine.failure !== null) throw engine.failure;
      return engine.report;
    },
  };
  const watch = new ScrubWatch({ scrubber, clock, log: silentLogger() });
  return { clock, engine, look: () => watch.look(pool) };
}

function reportOf(...names: readonly string[]): DamageReport {
  const places = names.map((name) => {
    const kind = name.startsWith('v') ? ('volume' as const) : ('snapshot' as const);
    return { id: name, kind, name, offsetBytes: 0 };
  });
  return { chunks: [{ dataOffsetBytes: 0, damage: 'changed', places }], more: false };
}

test('a healthy pool is asked for its figures only', async () => {
  const { engine, look } = setUp();
  expect(await look()).toEqual({
    runningPercent: null,
    completedAtMs: 0,
    protectedBytes: 0,
    damagedChunks: 0,
    damaged: [],
    moreDamaged: false,
  });
  engine.status = { ...NEVER_SCRUBBED, running: 'verify', positionBytes: 429, completedAtMs: 3, protectedBytes: 4 };
  expect(await look()).toMatchObject({ runningPercent: 42, completedAtMs: 3, protectedBytes: 4 });
  engine.status = { ...engine.status, running: 'seal' };
  expect(await look()).toMatchObject({ runningPercent: null });
  expect(engine.asked).toBe(0);
});

test('damage is told with the first names, snapshots first', async () => {
  const { engine, look } = setUp();
  engine.status = { ...NEVER_SCRUBBED, damagedChunks: 2 };
  engine.report = reportOf('v1', 'v2', 's1', 's2', 's1');
  expect(await look()).toMatchObject({
    damagedChunks: 2,
    damaged: [
      { kind: 'snapshot', name: 's1' },
      { kind: 'snapshot', name: 's2' },
      { kind: 'volume', name: 'v1' },
    ],
    moreDamaged: true,
  });
  expect(engine.asked).toBe(1);
});

test('the names are found anew with each finding, and now and then', async () => {
  const { clock, engine, look } = setUp();
  engine.status = { ...NEVER_SCRUBBED, damagedChunks: 1 };
  engine.report = reportOf('s1');
  for (let looks = 0; looks < 3; looks++) {
    await look();
    await clock.advance(5_000);
  }
  expect(engine.asked).toBe(1);
  engine.report = reportOf('s2');
  await clock.advance(60_000);
  await look();
  await clock.advance(1);
  expect((await look()).damaged).toEqual([{ kind: 'snapshot', name: 's2' }]);
  engine.status = { ...NEVER_SCRUBBED, damagedChunks: 5 };
  await look();
  await clock.advance(1);
  expect(await look()).toMatchObject({ damagedChunks: 5 });
  expect(engine.asked).toBe(3);
  engine.status = NEVER_SCRUBBED;
  expect(await look()).toMatchObject({ damagedChunks: 0, damaged: [] });
});

test('damage whose names cannot be found is told without them', async () => {
  const { clock, engine, look } = setUp();
  engine.status = { ...NEVER_SCRUBBED, damagedChunks: 1 };
  engine.failure = new Error('busy');
  expect(await look()).toMatchObject({ damagedChunks: 1, damaged: [], moreDamaged: true });
  engine.failure = null;
  engine.report = reportOf('s1');
  await clock.advance(60_000);
  await look();
  await clock.advance(1);
  expect((await look()).damaged).toEqual([{ kind: 'snapshot', name: 's1' }]);
  expect(clock.waiting).toBe(0);
});

test('names that take long are not waited for', async () => {
  const { clock, engine, look } = setUp();
  engine.status = { ...NEVER_SCRUBBED, damagedChunks: 1 };
  engine.report = reportOf('s1');
  const gate = Promise.withResolvers<void>();
  engine.gate = gate.promise;
  const first = look();
  await clock.advance(2_000);
  expect(await first).toMatchObject({ damagedChunks: 1, damaged: [], moreDamaged: true });
  await look();
  expect(engine.asked).toBe(1);
  gate.resolve();
  await clock.advance(1);
  expect(await look()).toMatchObject({ damagedChunks: 1, damaged: [{ kind: 'snapshot', name: 's1' }], moreDamaged: false });
});
