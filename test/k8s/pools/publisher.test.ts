import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { PoolPublisher } from '../../../src/k8s/pools/publisher.ts';
import type { RecordedEvent } from '../../../src/k8s/events.ts';
import { conditionOf } from '../../../src/k8s/conditions.ts';
import { chunkStorePools, type ChunkStorePool } from '../../../src/k8s/resources.ts';
import { StoreError } from '../../../src/util/errors.ts';
import { silentLogger } from '../../../src/util/log.ts';
import { FakeKubernetes } from '../../support/fake-kubernetes.ts';
import { FakePublishedPool, POOL_FIGURES } from '../../support/fake-published-pool.ts';
import { ManualClock } from '../../support/manual-clock.ts';
import { SeededRandom } from '../../support/seeded-random.ts';

const poolId = 'p'.repeat(26);
const key = { name: poolId };

let clock: ManualClock;
let kubernetes: FakeKubernetes;
const running: PoolPublisher[] = [];
let recorded: RecordedEvent[] = [];

beforeEach(() => {
  clock = new ManualClock();
  recorded = [];
  kubernetes = new FakeKubernetes({ now: () => clock.nowMs() });
});
afterEach(async () => {
  await Promise.all(running.splice(0).map((publisher) => publisher.stop('stopped')));
});

function publish(pool: FakePublishedPool, node = 'node-a'): PoolPublisher {
  const record = (event: RecordedEvent): void => void recorded.push(event);
  const publisher = new PoolPublisher({ api: kubernetes, pool, node, version: '1.0', clock, record, log: silentLogger() });
  running.push(publisher);
  return publisher;
}

async function stop(publisher: PoolPublisher, phase: 'stopped' | 'handing-over' = 'stopped'): Promise<void> {
  running.splice(running.indexOf(publisher), 1);
  await publisher.stop(phase);
}

async function pass(ms = 0): Promise<void> {
  await kubernetes.settle();
  await clock.advance(ms);
  await kubernetes.settle();
}

const object = (): ChunkStorePool => kubernetes.object(chunkStorePools, key)!;
const reason = (type = 'Ready') => conditionOf(object().status, type)?.reason;
const writes = () => kubernetes.calls.filter(({ verb }) => verb === 'replaceStatus').length;

describe('the ChunkStorePool of a pool', () => {
  test('each step towards a full pool is an event, and so is the way back; others are not', async () => {
    const pool = new FakePublishedPool(poolId);
    publish(pool);
    await pass(20_000);
    const { reserveBytes } = POOL_FIGURES;
    const steps = [{ freeBytes: reserveBytes / 2 }, { freeBytes: reserveBytes / 4 }, { freeBytes: 0, parkedWrites: 2 }, {}, { volumes: 4 }];
    for (const step of steps) {
      pool.now.figures = { ...POOL_FIGURES, ...step };
      await pass(20_000);
    }
    expect(recorded.map(({ type, reason }) => [type, reason])).toEqual([
      ['Warning', 'LowSpace'],
      ['Warning', 'WritesWait'],
      ['Normal', 'RoomLeft'],
    ]);
    expect(recorded[0]).toMatchObject({ object: { metadata: { name: poolId } }, note: expect.stringContaining('enlarge the pool') });
  });

  test('each finding of a scrub is an event, once, also for a store that comes later; so is the end of all damage', async () => {
    const pool = new FakePublishedPool(poolId);
    const first = publish(pool);
    await pass(20_000);
    const steps = [
      { damagedChunks: 1, damaged: [{ kind: 'snapshot', name: 'monday' }] },
      { damagedChunks: 1, runningPercent: 50 },
      { damagedChunks: 3, damaged: [{ kind: 'snapshot', name: 'tuesday' }] },
      { damagedChunks: 2 },
    ] as const;
    for (const step of steps) {
      pool.now.figures = { ...POOL_FIGURES, scrub: { ...POOL_FIGURES.scrub, ...step } };
      await pass(20_000);
    }
    await stop(first);
    publish(pool);
    await pass(40_000);
    expect(object().status?.scrub?.damagedChunks).toBe(2);
    pool.now.figures = POOL_FIGURES;
    await pass(20_000);
    expect(recorded.map(({ type, reason, note }) => [type, reason, /snapshot \w+/.exec(note)?.[0]])).toEqual([
      ['Warning', 'ChunksDamaged', 'snapshot monday'],
      ['Warning', 'ChunksDamaged', 'snapshot tuesday'],
      ['Normal', 'NoneKnown', undefined],
    ]);
    expect(reason('Damaged')).toBe('NoneKnown');
  });

  test('is made and told of the pool', async () => {
    publish(new FakePublishedPool(poolId));
    await pass(5_000);
    expect(object()).toMatchObject({
      metadata: { name: poolId },
      spec: { node: 'node-a' },
      status: { size: '100Gi', volumes: 3, version: '1.0' },
    });
    expect(object().spec).toEqual({ node: 'node-a' });
    expect(reason()).toBe('Serving');
  });

  test('is not written again while nothing changes that a person would see', async () => {
    const pool = new FakePublishedPool(poolId);
    publish(pool);
    await pass(5_000);
    const before = writes();
    for (let minute = 0; minute < 10; minute++) {
      pool.now.figures = { ...POOL_FIGURES, usedBytes: POOL_FIGURES.usedBytes + minute * 65_536 };
      await pass(60_000);
    }
    expect(writes()).toBe(before);
  });

  test('is written soon, also when the clock was set back by hours', async () => {
    const pool = new FakePublishedPool(poolId);
    publish(pool);
    await pass(20_000);
    clock.setBack(2 * 3_600_000);
    pool.now.phase = 'handing-over';
    await pass(10_000);
    expect(reason()).toBe('HandingOver');
  });

  test('of a busy pool is written a few times a minute, and conditions soon', async () => {
    const pool = new FakePublishedPool(poolId);
    const publisher = publish(pool);
    await pass(20_000);
    const before = writes();
    for (let second = 0; second < 60; second++) {
      pool.now.figures = { ...POOL_FIGURES, volumes: second };
      publisher.poke();
      await pass(1_000);
    }
    expect(writes() - before).toBeGreaterThanOrEqual(3);
    expect(writes() - before).toBeLessThanOrEqual(5);
    pool.now.problems = [{ reason: 'DiskFailed', message: 'the disk failed' }];
    publisher.poke();
    await pass(2_000);
    expect(reason('Degraded')).toBe('DiskFailed');
  });

  test('is made again when somebody deletes it, and corrected when somebody changes it', async () => {
    publish(new FakePublishedPool(poolId));
    await pass(5_000);
    kubernetes.remove(chunkStorePools, key);
    await pass(10_000);
    expect(reason()).toBe('Serving');
    kubernetes.change(chunkStorePools, key, { status: { conditions: [], volumes: 99 } });
    await pass(5_000);
    expect([reason(), object().status!.volumes]).toEqual(['Serving', 3]);
  });

  test('says also that the pool does not answer', async () => {
    const pool = new FakePublishedPool(poolId);
    publish(pool);
    await pass(5_000);
    pool.failure = new StoreError('unavailable', 'the data thread is busy');
    await pass(10_000);
    expect(conditionOf(object().status, 'Degraded')).toMatchObject({
      reason: 'NotAnswering',
      message: expect.stringContaining('data thread'),
    });
    expect(object().status!.volumes).toBe(3);
  });

  test('is told of a start, a hand-over and a stop', async () => {
    const pool = new FakePublishedPool(poolId);
    pool.now.phase = 'starting';
    const publisher = publish(pool);
    await pass(5_000);
    expect(reason()).toBe('Starting');
    pool.now.phase = 'serving';
    publisher.poke();
    await pass(2_000);
    expect(reason()).toBe('Serving');
    await stop(publisher, 'handing-over');
    expect(reason()).toBe('HandingOver');
    const successor = publish(new FakePublishedPool(poolId));
    await pass(5_000);
    expect(reason()).toBe('Serving');
    await stop(successor);
    expect(reason()).toBe('Stopped');
  });

  test('keeps what a successor has said, however late the last word of the former one', async () => {
    const former = publish(new FakePublishedPool(poolId));
    await pass(5_000);
    const last = kubernetes.hold({ verb: 'get' });
    const stopped = stop(former, 'handing-over');
    await last.reached;
    const pool = new FakePublishedPool(poolId);
    pool.now.phase = 'starting';
    publish(pool);
    await pass(5_000);
    expect(reason()).toBe('Starting');
    last.release();
    await stopped;
    expect(reason()).toBe('Starting');
  });

  test('waits for the API, however long it is away, and stops without it', async () => {
    kubernetes.goAway();
    const publisher = publish(new FakePublishedPool(poolId));
    await pass(3_600_000);
    kubernetes.comeBack();
    await pass(30_000);
    expect(reason()).toBe('Serving');
    kubernetes.goAway();
    await stop(publisher);
    kubernetes.comeBack();
    expect(reason()).toBe('Serving');
  });

  test('tries again with growing pauses while the kind is not installed', async () => {
    kubernetes.fail({ verb: 'create', times: Infinity, error: new StoreError('failed-precondition', 'no kind ChunkStorePool') });
    publish(new FakePublishedPool(poolId));
    await pass(600_000);
    expect(kubernetes.calls.length).toBeLessThan(30);
    kubernetes.clearFaults();
    await pass(40_000);
    expect(reason()).toBe('Serving');
  });
});

describe('a pool that is declared lost', () => {
  const declare = (lost: boolean) => kubernetes.change(chunkStorePools, key, { spec: { lost } });

  test('is fenced, says so, and is taken back', async () => {
    const pool = new FakePublishedPool(poolId);
    publish(pool);
    await pass(5_000);
    declare(true);
    await pass(5_000);
    expect([pool.fence.lost, reason()]).toEqual([true, 'Lost']);
    declare(false);
    await pass(5_000);
    expect([pool.fence.lost, reason()]).toEqual([false, 'Serving']);
    expect(pool.fenced).toEqual([true, false]);
  });

  test('stays fenced over a restart without the API, and while its object is gone', async () => {
    const marker = { lost: true };
    kubernetes.goAway();
    const pool = new FakePublishedPool(poolId, marker);
    publish(pool);
    await pass(600_000);
    expect(pool.fence.lost).toBe(true);
    kubernetes.comeBack();
    await pass(60_000);
    expect(object().spec).toEqual({ node: 'node-a', lost: true });
    expect([pool.fence.lost, reason()]).toEqual([true, 'Lost']);
  });

  test('is fenced when it comes back, also on another node', async () => {
    kubernetes.seed(chunkStorePools, { metadata: key, spec: { node: 'node-x', lost: true } });
    const pool = new FakePublishedPool(poolId);
    publish(pool);
    await pass(10_000);
    expect(pool.fence.lost).toBe(true);
  });

  test('is not taken back by a picture that is late', async () => {
    const pool = new FakePublishedPool(poolId, { lost: true });
    kubernetes.seed(chunkStorePools, { metadata: key, spec: { node: 'node-a' } });
    const get = kubernetes.hold({ verb: 'get' });
    publish(pool);
    await pass();
    await get.reached;
    declare(true);
    get.release();
    await pass(60_000);
    expect(pool.fenced).toEqual([]);
    expect(pool.fence.lost).toBe(true);
  });

  test('stays open while the disk refuses the fence, and is fenced later', async () => {
    const pool = new FakePublishedPool(poolId);
    pool.diskFailure = new StoreError('unavailable', 'cannot write the marker');
    publish(pool);
    await pass(5_000);
    declare(true);
    await pass(10_000);
    expect(reason()).toBe('Serving');
    pool.diskFailure = null;
    await pass(40_000);
    expect([pool.fence.lost, reason()]).toEqual([true, 'Lost']);
  });
});

describe('a pool whose object names another node', () => {
  test('leaves it alone: this may be a copy. Deleted, it is made anew here', async () => {
    kubernetes.seed(chunkStorePools, { metadata: key, spec: { node: 'node-x' } });
    publish(new FakePublishedPool(poolId));
    await pass(600_000);
    expect(kubernetes.calls).toEqual([]);
    kubernetes.remove(chunkStorePools, key);
    await pass(10_000);
    expect([object().spec.node, reason()]).toEqual(['node-a', 'Serving']);
  });

  test('two copies never take it from each other', async () => {
    const first = publish(new FakePublishedPool(poolId), 'node-a');
    await pass(10_000);
    const second = publish(new FakePublishedPool(poolId), 'node-b');
    await pass(600_000);
    expect(object().spec.node).toBe('node-a');
    await stop(second);
    expect(reason()).toBe('Serving');
    await stop(first);
    expect(reason()).toBe('Stopped');
  });
});

/** Deletions, declarations, lost calls, an API that goes away, restarts: afterwards everything is as declared. */
test.each(Array.from({ length: 12 }, (_, seed) => seed))(
  'walk %i: whatever happens, the object and the fence become what they should be',
  async (seed) => {
    const random = new SeededRandom(seed);
    const marker = { lost: false };
    let pool = new FakePublishedPool(poolId, marker);
    let publisher = publish(pool);
    const happen: Readonly<Record<string, () => void | Promise<void>>> = {
      declare: () =>
        void (kubernetes.object(chunkStorePools, key) && kubernetes.change(chunkStorePools, key, { spec: { lost: random.chance(0.5) } })),
      remove: () => kubernetes.remove(chunkStorePools, key),
      scribble: () =>
        void (kubernetes.object(chunkStorePools, key) && kubernetes.change(chunkStorePools, key, { status: { conditions: [] } })),
      away: () => kubernetes.goAway(),
      back: () => kubernetes.comeBack(),
      fail: () => kubernetes.fail({ times: random.between(1, 3), afterEffect: random.chance(0.5) }),
      late: () => kubernetes.pauseWatches(),
      figures: () => void (pool.now.figures = { ...POOL_FIGURES, volumes: random.below(100), parkedWrites: random.below(2) }),
      restart: async () => {
        await stop(publisher, random.chance(0.5) ? 'stopped' : 'handing-over');
        pool = new FakePublishedPool(poolId, marker);
        publisher = publish(pool);
      },
      kill: () => {
        // The process is gone; another one has the same disk. What the dead one still does is as if it had done it before.
        void stop(publisher);
        pool = new FakePublishedPool(poolId, marker);
        publisher = publish(pool);
      },
    };
    for (let step = 0; step < 40; step++) {
      await happen[random.pick(Object.keys(happen))]!();
      await pass(random.pick([0, 10, 1_000, 20_000]));
      if (random.chance(0.5)) kubernetes.resumeWatches();
    }
    kubernetes.clearFaults();
    kubernetes.resumeWatches();
    kubernetes.comeBack();
    await pass(120_000);
    const { spec, status } = object();
    expect(spec.node).toBe('node-a');
    expect(marker.lost).toBe(spec.lost === true);
    expect(reason()).toBe(spec.lost === true ? 'Lost' : 'Serving');
    expect(status).toMatchObject({ volumes: pool.now.figures.volumes, parkedWrites: pool.now.figures.parkedWrites });
  },
);
