import { beforeEach, describe, expect, test } from '@jest/globals';
import { StoreLife, type StoreLifePorts } from '../../src/roles/store-life.ts';
import { Admission } from '../../src/store/succession/admission.ts';
import { HAND_OVER_VERSION } from '../../src/store/succession/hand-over.ts';
import type { PoolLock } from '../../src/store/pool/lock.ts';
import type { HandOverHandler } from '../../src/store/wire/server.ts';
import type { PreparedStore, RunningStore } from '../../src/store/store.ts';
import { afterTaking, NO_SUCCESSION, type Succession } from '../../src/store/succession/succession.ts';
import { StoreError } from '../../src/util/errors.ts';
import { silentLogger } from '../../src/util/log.ts';
import { wait } from '../../src/util/wait.ts';
import { eventually } from '../support/eventually.ts';

const POOL = 'p'.repeat(26);
const TIMES = {
  claim: { patienceMs: 60, pollMs: { asking: 1, eager: 1, patient: 5 }, askAgainMs: { away: 5, refused: 5 } },
  againMs: 5,
};

/** What happened to stores and locks, in order. */
let steps: string[];
let succession: Succession;
/** Another process has the pool. */
let isTaken: boolean;
let prepare: () => Promise<void>;
let open: () => Promise<void>;
let ping: () => Promise<void>;
let handOver: HandOverHandler | null;
let admission: Admission;
let keeperReady: boolean;
let keeperKeys: readonly string[];
let failure: unknown;

beforeEach(() => {
  steps = [];
  succession = NO_SUCCESSION;
  isTaken = false;
  prepare = () => Promise.resolve();
  open = () => Promise.resolve();
  ping = () => Promise.resolve();
  handOver = null;
  keeperReady = true;
  keeperKeys = ['memory'];
  failure = null;
});

function fakeLock(): PoolLock {
  const lock = { take: () => !isTaken, release: () => {}, close: () => void steps.push('lock closed') };
  return lock as unknown as PoolLock;
}

function fakeStore(): RunningStore {
  admission = new Admission();
  const store = {
    poolId: POOL,
    admission,
    get keeperReady() {
      return keeperReady;
    },
    keeperKeys: () => keeperKeys,
    leave: async ({ timeoutMs }: { timeoutMs: number }) => {
      const deadline = performance.now() + timeoutMs;
      while (!keeperReady && performance.now() < deadline) await wait(1);
      if (keeperReady) steps.push('left with the keeper');
      return keeperReady;
    },
    ping: () => ping(),
    stop: async () => void steps.push('stopped'),
    release: () => void steps.push(`released, ${succession.holder} is the holder`),
    letGo: async () => void steps.push('let go'),
  };
  return store as unknown as RunningStore;
}

function fakePrepared(): PreparedStore {
  return {
    succeeds: false,
    open: async () => {
      steps.push('opening');
      await open();
      return fakeStore();
    },
    discard: async () => void steps.push('discarded'),
  };
}

function life(options: Partial<StoreLifePorts> = {}): StoreLife {
  return new StoreLife({
    poolFolder: '/pool',
    poolId: POOL,
    podUid: 'pod',
    succession: { read: () => succession, write: (next) => (succession = next) },
    openLock: fakeLock,
    prepare: async ({ asItIs }) => {
      steps.push(asItIs ? 'prepared as it is' : 'prepared');
      await prepare();
      return fakePrepared();
    },
    ask: () => Promise.resolve({ kind: 'refused', reason: 'the holder keeps it' }),
    isServed: () => Promise.resolve(false),
    serve: async (_, handler) => {
      handOver = handler;
      steps.push('serving');
      return { end: async () => void steps.push('calls ended') };
    },
    failed: (error) => (failure = error),
    log: silentLogger(),
    times: TIMES,
    ...options,
  });
}

async function started(options: Partial<StoreLifePorts> = {}): Promise<StoreLife> {
  const one = life(options);
  one.start();
  await one.served;
  return one;
}

async function handOverTo(successor: string): Promise<void> {
  await handOver?.({ version: HAND_OVER_VERSION, poolId: POOL, successor }, { gone: new AbortController().signal });
}

describe('the life of a store', () => {
  test('prepares, opens, writes down that it has the pool, serves, and ends in the reverse order', async () => {
    const store = await started();
    expect(store.state).toBe('serving');
    expect(succession.holder).toBe('pod');
    await store.stop();
    expect(steps).toEqual(['prepared', 'opening', 'serving', 'calls ended', 'stopped', 'released, null is the holder', 'let go']);
    expect(store.state).toBe('ended');
    await expect(admission.pass(() => Promise.resolve())).rejects.toMatchObject({ code: 'unavailable' });
  });

  test('lets the calls under way end before their answers are cut off', async () => {
    const store = await started();
    const call = Promise.withResolvers<void>();
    const running = admission.pass(() => call.promise);
    const stopping = store.stop();
    await eventually('it is ending', () => store.state === 'ending');
    expect(steps.at(-1)).toBe('serving');
    call.resolve();
    await running;
    await stopping;
    expect(steps).toContain('calls ended');
  });

  test('ends only when a keeper has its devices, because the one before may be ended together with it', async () => {
    const store = await started();
    keeperReady = false;
    keeperKeys = ['memory', 'volume'];
    const stopping = store.stop();
    await eventually('it is ending', () => store.state === 'ending');
    await wait(20);
    // It serves on: neither the data thread nor the locks are given up.
    expect(steps.at(-1)).toBe('serving');
    keeperReady = true;
    await stopping;
    expect(steps.slice(steps.indexOf('serving') + 1)).toEqual([
      'left with the keeper',
      'calls ended',
      'stopped',
      'released, null is the holder',
      'left with the keeper',
      'let go',
    ]);
    expect(succession.kept).toEqual(['memory', 'volume']);
  });

  test('that ends in standby without a successor leaves its devices with a keeper too', async () => {
    const store = await started({ times: { ...TIMES, successorLimitMs: 10 } });
    keeperKeys = ['memory', 'volume'];
    await handOverTo('new');
    isTaken = true;
    keeperReady = false;
    const stopping = store.stop();
    await wait(50);
    expect(steps).not.toContain('let go');
    keeperReady = true;
    await stopping;
    expect(steps.slice(-2)).toEqual(['left with the keeper', 'let go']);
  });

  test('tries again in place when the keeper goes away while it opens its pool', async () => {
    let attempts = 0;
    open = () => (++attempts < 3 ? Promise.reject(new StoreError('unavailable', 'no keeper')) : Promise.resolve());
    const store = await started();
    expect([attempts, failure]).toEqual([3, null]);
    await store.stop();
  });

  test('tries again in place also when it takes its pool back, and keeps its copies meanwhile', async () => {
    const store = await started();
    let attempts = 0;
    prepare = () => (++attempts < 3 ? Promise.reject(new StoreError('unavailable', 'no keeper')) : Promise.resolve());
    await handOverTo('new');
    await eventually('it serves again', () => steps.filter((step) => step === 'serving').length === 2);
    expect([attempts, failure]).toEqual([3, null]);
    expect(steps.filter((step) => step === 'lock closed')).toHaveLength(2);
    expect(steps.indexOf('let go')).toBeGreaterThan(steps.lastIndexOf('prepared as it is'));
    await store.stop();
  });

  test.each([
    ['it has no devices', { podUid: 'pod', keys: ['memory'] }],
    ['its parent ends the keeper after it', { podUid: null, keys: ['memory', 'volume'] }],
    ['none comes in time', { podUid: 'pod', keys: ['memory', 'volume'] }],
  ])('ends without a keeper when %s', async (_, { podUid, keys }) => {
    const store = await started({ podUid, times: { ...TIMES, keeperLimitMs: 30 } });
    keeperReady = false;
    keeperKeys = keys;
    await store.stop();
    expect(steps.at(-1)).toBe('let go');
  });

  test('waits for a keeper that is still to come, and can be ended meanwhile', async () => {
    prepare = () => Promise.reject(new StoreError('unavailable', 'no keeper'));
    const store = life();
    store.start();
    await eventually('it tries again', () => steps.length > 2);
    await expect(store.ready()).rejects.toThrow('no keeper');
    await store.live();
    await store.stop();
    expect([store.state, failure]).toEqual(['ended', null]);
  });

  test.each<[string, string | null, Error]>([
    ['a keeper of another version', 'pod', new StoreError('failed-precondition', 'another version')],
    ['no keeper outside a pod', null, new StoreError('unavailable', 'no keeper')],
  ])('fails at once with %s', async (_, podUid, error) => {
    prepare = () => Promise.reject(error);
    life({ podUid }).start();
    await eventually('it fails', () => failure !== null);
    expect(failure).toBe(error);
    expect(steps).toEqual(['prepared']);
  });

  test('fails when the pool cannot be opened, so that its container is started again', async () => {
    open = () => Promise.reject(new StoreError('data-loss', 'the metadata is gone'));
    life().start();
    await eventually('it fails', () => failure !== null);
    expect(succession.holder).toBeNull();
  });

  test('ends while it waits for its pool, and gives back what it prepared', async () => {
    isTaken = true;
    const store = life();
    store.start();
    await eventually('it waits', () =>
      store.ready().then(
        () => false,
        (error: Error) => error.message === 'the holder keeps it',
      ),
    );
    await store.live();
    await store.stop();
    expect(steps).toEqual(['prepared', 'lock closed', 'discarded']);
  });

  test('that is to end while it recovers finishes that, serves nobody, and ends in order', async () => {
    const opened = Promise.withResolvers<void>();
    open = () => opened.promise;
    const store = life();
    store.start();
    await eventually('it recovers', () => store.state === 'opening');
    await expect(store.ready()).rejects.toThrow('recovering');
    await store.live();
    const stopping = store.stop();
    opened.resolve();
    await stopping;
    expect(steps).toEqual(['prepared', 'opening', 'stopped', 'released, null is the holder', 'let go']);
  });

  test('is alive while its data thread answers, whatever else', async () => {
    const store = await started();
    let asked = 0;
    ping = async () => void (asked += 1);
    await store.live();
    await store.ready();
    expect(asked).toBe(1);
    ping = () => new Promise(() => {});
    expect(await Promise.race([store.live().then(() => 'alive'), new Promise((resolve) => setTimeout(() => resolve('silent'), 20))])).toBe(
      'silent',
    );
    await store.stop();
  });

  test('hands over, stands by with its copies, and lets go of them when the successor has served', async () => {
    const store = await started();
    await handOverTo('new');
    isTaken = true;
    await eventually('it stands by', () => steps.at(-1) === 'calls ended');
    expect(steps.slice(3)).toEqual(['stopped', 'released, pod is the holder', 'calls ended']);
    await expect(store.ready()).rejects.toMatchObject({ code: 'unavailable' });
    await store.live();
    succession = afterTaking(succession, 'new');
    await eventually('it lets go', () => steps.includes('let go'));
    await store.stop();
    expect(steps.filter((step) => step === 'let go')).toHaveLength(1);
    expect(succession.holder).toBe('new');
  });

  test('takes its pool back when nobody wants it, with the size that it has by now', async () => {
    const store = await started();
    await handOverTo('new');
    await eventually('it serves again', () => steps.filter((step) => step === 'serving').length === 2);
    expect(steps.slice(5)).toEqual(
      ['calls ended', 'prepared as it is', 'opening', 'let go', 'serving'].slice(steps[5] === 'calls ended' ? 0 : 1),
    );
    expect(succession).toEqual({ holder: 'pod', promised: null, past: ['new'], kept: [] });
    await store.ready();
    await store.stop();
  });

  test('that is to end in standby waits a little for the successor to serve', async () => {
    const store = await started();
    await handOverTo('new');
    isTaken = true;
    const stopping = store.stop();
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(steps).not.toContain('let go');
    succession = afterTaking(succession, 'new');
    await stopping;
    expect(steps.at(-1)).toBe('let go');
  });

  test('that had its turn starts nothing before the pool is its own again', async () => {
    succession = afterTaking(afterTaking(NO_SUCCESSION, 'pod'), 'new');
    isTaken = true;
    const store = life();
    store.start();
    await eventually('it waits', () => store.state === 'waiting');
    expect(steps).toEqual([]);
    await expect(store.ready()).rejects.toThrow('its turn');
    isTaken = false;
    await store.served;
    expect(steps[0]).toBe('prepared as it is');
    await store.stop();
  });

  test('outside a pod writes nothing down, hands over to nobody, and is refused a pool that is served', async () => {
    const store = await started({ podUid: null });
    await expect(handOverTo('new')).rejects.toMatchObject({ code: 'failed-precondition' });
    await store.stop();
    expect(succession).toEqual(NO_SUCCESSION);
    isTaken = true;
    life({ podUid: null, isServed: () => Promise.resolve(true) }).start();
    await eventually('it fails', () => failure !== null);
    expect(failure).toMatchObject({ code: 'in-use' });
  });
});
