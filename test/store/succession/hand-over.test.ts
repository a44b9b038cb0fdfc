import { beforeEach, describe, expect, test } from '@jest/globals';
import { Admission } from '../../../src/store/succession/admission.ts';
import { HAND_OVER_VERSION, HandOver } from '../../../src/store/succession/hand-over.ts';
import { afterTaking, NO_SUCCESSION, type Succession } from '../../../src/store/succession/succession.ts';
import { silentLogger } from '../../../src/util/log.ts';

const POOL = 'p'.repeat(26);

/** What the holder does, in the order in which it does it. */
let steps: string[];
let succession: Succession;
let keeperReady: boolean;
let stop: () => Promise<void>;
let failure: Error | null;
let admission: Admission;
let podUid: string | null;

beforeEach(() => {
  steps = [];
  succession = afterTaking(NO_SUCCESSION, 'old');
  keeperReady = true;
  stop = () => Promise.resolve();
  failure = null;
  admission = new Admission();
  podUid = 'old';
});

function holder(): HandOver {
  return new HandOver({
    poolId: POOL,
    podUid,
    succession: {
      read: () => succession,
      write: (next) => {
        succession = next;
        steps.push(`promised to ${next.promised}`);
      },
    },
    admission,
    store: {
      get keeperReady() {
        return keeperReady;
      },
      keeperKeys: () => ['memory', 'device/a'],
      stop: async () => {
        steps.push('stopping');
        await stop();
        steps.push('stopped');
      },
      release: () => void steps.push('locks free'),
    },
    changed: (state) => void steps.push(state),
    failed: (error) => (failure = error),
    log: silentLogger(),
    limits: { keeperMs: 50, callsMs: 50, stopMs: 50 },
  });
}

function callUnderWay(): { end(): Promise<void> } {
  const answer = Promise.withResolvers<void>();
  const call = admission.pass(() => answer.promise);
  return {
    end: () => {
      answer.resolve();
      return call;
    },
  };
}

const request = { version: HAND_OVER_VERSION, poolId: POOL, successor: 'new' };
const there = { gone: new AbortController().signal };

describe('a hand-over', () => {
  test('promises, refuses calls, ends the service, gives the locks back, and answers what the keeper holds', async () => {
    const handOver = holder();
    const answer = await handOver.handle(request, there);
    expect(answer).toEqual({ keeperKeys: ['memory', 'device/a'] });
    expect(steps).toEqual(['promised to new', 'begun', 'promised to new', 'stopping', 'stopped', 'locks free']);
    expect(succession.kept).toEqual(['memory', 'device/a']);
    expect(await handOver.done).toBe('new');
    expect(handOver.isDone).toBe(true);
    await expect(admission.pass(() => Promise.resolve())).rejects.toMatchObject({ code: 'unavailable' });
  });

  test.each<[string, object, string, string]>([
    ['of another pool', { poolId: 'q'.repeat(26) }, 'failed-precondition', 'not the one to ask'],
    ['of another version', { version: HAND_OVER_VERSION + 1 }, 'failed-precondition', 'stop it'],
    ['by nobody', { successor: '' }, 'invalid-argument', 'another pod'],
    ['by itself', { successor: 'old' }, 'invalid-argument', 'another pod'],
    ['by one that had its turn', { successor: 'lost' }, 'failed-precondition', 'delete it'],
  ])('that is asked for %s is refused, and nothing happens', async (_, change, code, words) => {
    succession = { ...succession, past: ['lost'] };
    await expect(holder().handle({ ...request, ...change }, there)).rejects.toMatchObject({
      code,
      message: expect.stringContaining(words),
    });
    expect(steps).toEqual([]);
  });

  test('is refused outside a pod', async () => {
    podUid = null;
    await expect(holder().handle(request, there)).rejects.toMatchObject({ code: 'failed-precondition' });
    expect(steps).toEqual([]);
  });

  test('does not begin while no keeper holds everything, because then only this process does', async () => {
    keeperReady = false;
    await expect(holder().handle(request, there)).rejects.toMatchObject({ code: 'unavailable' });
    expect(steps).toEqual([]);
    expect(await admission.pass(() => Promise.resolve('served'))).toBe('served');
  });

  test('waits for the calls under way, and serves volumes meanwhile', async () => {
    const call = callUnderWay();
    const answer = holder().handle(request, there);
    await new Promise(setImmediate);
    expect(steps).toEqual(['promised to new', 'begun']);
    await call.end();
    await answer;
    expect(steps.at(-1)).toBe('locks free');
  });

  test('cuts off a call that takes too long', async () => {
    void admission.pass(() => new Promise<void>(() => {}));
    await holder().handle(request, there);
    expect(steps.at(-1)).toBe('locks free');
  });

  test('is called off when the successor goes before there is no way back, and another may ask', async () => {
    const call = callUnderWay();
    const gone = new AbortController();
    const handOver = holder();
    const answer = handOver.handle(request, { gone: gone.signal });
    gone.abort();
    await call.end();
    await expect(answer).rejects.toMatchObject({ code: 'unavailable' });
    expect(steps).toEqual(['promised to new', 'begun', 'promised to null', 'called off']);
    expect(succession.kept).toEqual([]);
    expect(await admission.pass(() => Promise.resolve('served'))).toBe('served');
    await handOver.handle({ ...request, successor: 'third' }, there);
    expect(await handOver.done).toBe('third');
  });

  test('is called off when the keeper goes before there is no way back', async () => {
    const call = callUnderWay();
    const answer = holder().handle(request, there);
    keeperReady = false;
    await call.end();
    await expect(answer).rejects.toMatchObject({ code: 'unavailable' });
    expect(steps.at(-1)).toBe('called off');
  });

  test('is given to one of two that ask', async () => {
    const handOver = holder();
    const second = { ...request, successor: 'second' };
    const first = handOver.handle(request, there);
    await expect(handOver.handle(second, there)).rejects.toMatchObject({ code: 'unavailable' });
    await first;
    await expect(handOver.handle(second, there)).rejects.toMatchObject({ code: 'unavailable' });
  });

  test('that is under way is finished when the holder is to end, and none begins after that', async () => {
    const handOver = holder();
    const answer = handOver.handle(request, there);
    await handOver.close();
    expect(handOver.isDone).toBe(true);
    await answer;
    const closed = holder();
    await closed.close();
    await expect(closed.handle(request, there)).rejects.toMatchObject({ code: 'unavailable' });
  });

  test.each<[string, () => Promise<void>]>([
    ['fails', () => Promise.reject(new Error('disk'))],
    ['takes for ever', () => new Promise(() => {})],
  ])('whose end of the service %s ends the process, so that the kernel gives the pool free', async (_, ending) => {
    stop = ending;
    const answer = holder().handle(request, there);
    answer.catch(() => {});
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect(failure).not.toBeNull();
    expect(steps).not.toContain('locks free');
  });
});
