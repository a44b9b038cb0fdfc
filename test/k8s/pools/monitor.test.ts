import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { PoolMonitor } from '../../../src/k8s/pools/monitor.ts';
import { PoolPublisher } from '../../../src/k8s/pools/publisher.ts';
import { conditionOf } from '../../../src/k8s/conditions.ts';
import { chunkStorePools } from '../../../src/k8s/resources.ts';
import { StoreError } from '../../../src/util/errors.ts';
import { silentLogger } from '../../../src/util/log.ts';
import { FakeKubernetes } from '../../support/fake-kubernetes.ts';
import { FakePublishedPool } from '../../support/fake-published-pool.ts';
import { ManualClock } from '../../support/manual-clock.ts';

const poolId = 'p'.repeat(26);
const key = { name: poolId };

let clock: ManualClock;
let kubernetes: FakeKubernetes;
let monitor: PoolMonitor;
let away: boolean;

beforeEach(() => {
  clock = new ManualClock();
  kubernetes = new FakeKubernetes({ now: () => clock.nowMs() });
  away = false;
  const probe = async () => {
    if (away) throw new StoreError('unavailable', 'pool p on node node-a cannot be reached');
  };
  monitor = new PoolMonitor({ api: kubernetes, probe, clock, log: silentLogger() });
});
afterEach(() => monitor.stop());

async function pass(ms: number): Promise<void> {
  await kubernetes.settle();
  await clock.advance(ms);
  await kubernetes.settle();
}
function publish(node = 'node-a', marker = { lost: false }): PoolPublisher {
  return new PoolPublisher({
    api: kubernetes,
    pool: new FakePublishedPool(poolId, marker),
    node,
    version: '1',
    clock,
    record: () => {},
    log: silentLogger(),
  });
}
const ready = () => conditionOf(kubernetes.object(chunkStorePools, key)?.status, 'Ready');

/** The publisher's process is gone without a word. */
async function kill(publisher: PoolPublisher): Promise<void> {
  kubernetes.goAway();
  await publisher.stop('stopped');
  kubernetes.comeBack();
}

describe('a pool whose store does not answer', () => {
  test('is said to be unreachable after a while, all else staying as it was', async () => {
    const publisher = publish();
    await pass(60_000);
    await kill(publisher);
    away = true;
    await pass(20_000);
    expect(ready()!.reason).toBe('Serving');
    await pass(60_000);
    expect(ready()).toMatchObject({ status: 'Unknown', reason: 'Unreachable', message: expect.stringContaining('node-a') });
    const { status } = kubernetes.object(chunkStorePools, key)!;
    expect(conditionOf(status, 'Full')!.reason).toBe('RoomLeft');
    expect(status!.volumes).toBe(3);
    const calls = kubernetes.calls.length;
    await pass(600_000);
    expect(kubernetes.calls).toHaveLength(calls);
  });

  test('says itself that it is back', async () => {
    away = true;
    const first = publish();
    await pass(10_000);
    await kill(first);
    await pass(90_000);
    expect(ready()!.reason).toBe('Unreachable');
    away = false;
    const second = publish();
    await pass(10_000);
    expect(ready()!.reason).toBe('Serving');
    await second.stop('stopped');
  });

  test('a short absence is not worth a word', async () => {
    const publisher = publish();
    await pass(60_000);
    for (let round = 0; round < 10; round++) {
      away = true;
      await pass(30_000);
      away = false;
      await pass(30_000);
      expect(ready()!.reason).toBe('Serving');
    }
    await publisher.stop('stopped');
  });
});

describe('a lost pool', () => {
  test('is said to be lost although nobody is there to say it', async () => {
    const publisher = publish();
    await pass(60_000);
    await kill(publisher);
    kubernetes.change(chunkStorePools, key, { spec: { lost: true } });
    await pass(20_000);
    expect(ready()).toMatchObject({ status: 'False', reason: 'Lost' });
  });

  test('is not argued about with its store', async () => {
    const publisher = publish();
    await pass(10_000);
    kubernetes.change(chunkStorePools, key, { spec: { lost: true } });
    await pass(60_000);
    const calls = kubernetes.calls.length;
    await pass(600_000);
    expect(kubernetes.calls).toHaveLength(calls);
    expect(ready()!.reason).toBe('Lost');
    await publisher.stop('stopped');
  });
});

test('a store that answers nobody, but speaks for itself, does not make its pool change again and again', async () => {
  const publisher = publish();
  await pass(60_000);
  away = true;
  await pass(120_000);
  const before = kubernetes.calls.filter(({ verb }) => verb === 'replaceStatus').length;
  for (let minute = 0; minute < 60; minute++) await pass(60_000);
  const writes = kubernetes.calls.filter(({ verb }) => verb === 'replaceStatus').length - before;
  await publisher.stop('stopped');
  expect(writes).toBeLessThan(60);
});
