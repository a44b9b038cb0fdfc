import { beforeEach, describe, expect, test } from '@jest/globals';
import { claimPoolAlone, claimPoolForPod, type AskAnswer, type Claim } from '../../../src/store/succession/claim.ts';
import { afterLeaving, afterPromise, afterTaking, NO_SUCCESSION, type Succession } from '../../../src/store/succession/succession.ts';
import { eventually } from '../../support/eventually.ts';

class FakeLock {
  held = false;
  free = true;
  tries = 0;

  take(): boolean {
    this.tries += 1;
    if (this.free) this.held = true;
    return this.held;
  }

  release(): void {
    this.held = false;
  }
}

const PATIENCE_MS = 150;
const TIMES = { patienceMs: PATIENCE_MS, pollMs: { asking: 1, eager: 1, patient: 5 }, askAgainMs: { away: 1, refused: 1 } };

let lock: FakeLock;
let succession: Succession;
let asked: number;
let answer: () => Promise<AskAnswer>;
let stopping: AbortController;
let reasons: string[];
beforeEach(() => {
  lock = new FakeLock();
  succession = NO_SUCCESSION;
  asked = 0;
  answer = () => Promise.resolve({ kind: 'away', reason: 'nobody answers' });
  stopping = new AbortController();
  reasons = [];
});

function claim(podUid: string): Promise<Claim | null> {
  return claimPoolForPod(
    {
      podUid,
      lock,
      succession: { read: () => succession },
      ask: () => {
        asked += 1;
        return answer();
      },
      waiting: (reason) => void reasons.push(reason),
      times: TIMES,
    },
    stopping.signal,
  );
}

describe('the claim of a pod', () => {
  test('takes a pool that nobody has, and asks nobody', async () => {
    expect(await (await claim('new'))?.keeperKeys).toBeNull();
    expect([lock.held, asked]).toEqual([true, 0]);
  });

  test('asks a living holder, and learns what the keeper holds, also when the locks are free before the answer', async () => {
    succession = afterTaking(NO_SUCCESSION, 'old');
    lock.free = false;
    const answered = Promise.withResolvers<AskAnswer>();
    answer = () => {
      lock.free = true;
      return answered.promise;
    };
    const claimed = await claim('new');
    answered.resolve({ kind: 'released', keeperKeys: ['memory'] });
    expect(await claimed?.keeperKeys).toEqual(['memory']);
    expect(asked).toBe(1);
  });

  test('has what the keeper is to hold in writing, whether or not the answer comes', async () => {
    succession = afterPromise(afterTaking(NO_SUCCESSION, 'old'), 'new', ['memory', 'device/a']);
    expect(await (await claim('new'))?.keeperKeys).toEqual(['memory', 'device/a']);
    expect(asked).toBe(0);
    lock.release();
    // It was not left for others.
    succession = afterPromise(afterTaking(NO_SUCCESSION, 'old'), 'other', ['memory']);
    expect(await (await claim('new'))?.keeperKeys).toBeNull();
    lock.release();
    succession = afterLeaving(afterTaking(NO_SUCCESSION, 'old'), ['memory', 'device/a']);
    expect(await (await claim('new'))?.keeperKeys).toEqual(['memory', 'device/a']);
  });

  test('asks again while the holder is away, and goes on looking at the locks', async () => {
    lock.free = false;
    const waiting = claim('new');
    await eventually('it asks more than once', () => asked > 2);
    lock.free = true;
    expect(await waiting).not.toBeNull();
  });

  test('waits for a holder that refuses, or does not know the call, and says why', async () => {
    lock.free = false;
    answer = () => Promise.resolve({ kind: 'refused', reason: 'it is of another version' });
    const waiting = claim('new');
    await eventually('it says why', () => reasons.includes('it is of another version'));
    lock.free = true;
    expect(await (await waiting)?.keeperKeys).toBeNull();
  });

  test('of the holder itself, which was started again, waits for its dead predecessor and asks nobody', async () => {
    succession = afterTaking(NO_SUCCESSION, 'pod');
    lock.free = false;
    const waiting = claim('pod');
    await eventually('it looks', () => lock.tries > 5);
    expect(asked).toBe(0);
    lock.free = true;
    expect(await waiting).not.toBeNull();
  });

  test.each([
    ['one that handed over, before the successor took the pool', afterPromise(afterTaking(NO_SUCCESSION, 'pod'), 'new')],
    ['one that was succeeded', afterTaking(afterTaking(NO_SUCCESSION, 'pod'), 'new')],
  ])('of %s takes the pool only when it has been free for a while', async (_, before) => {
    succession = before;
    const startMs = performance.now();
    expect(await claim('pod')).not.toBeNull();
    expect(performance.now() - startMs).toBeGreaterThanOrEqual(PATIENCE_MS * 0.9);
    expect(asked).toBe(0);
  });

  test('of one that lets others go first begins to count anew whenever somebody has the pool', async () => {
    succession = afterTaking(afterTaking(NO_SUCCESSION, 'pod'), 'new');
    const waiting = claim('pod');
    let claimed = false;
    void waiting.then(() => (claimed = true));
    const startMs = performance.now();
    // Somebody takes it again and again, for a moment.
    while (performance.now() - startMs < 2 * PATIENCE_MS) {
      lock.free = !lock.free || lock.held;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    expect(claimed).toBe(false);
    lock.free = true;
    expect(await waiting).not.toBeNull();
  });

  test('of one that had its turn takes the pool at once when the other ended in order', async () => {
    succession = afterLeaving(afterTaking(afterTaking(NO_SUCCESSION, 'pod'), 'new'));
    const startMs = performance.now();
    await claim('pod');
    expect(performance.now() - startMs).toBeLessThan(PATIENCE_MS);
  });

  test('ends when it is told to, with no locks, whatever it waits for', async () => {
    succession = afterTaking(afterTaking(NO_SUCCESSION, 'pod'), 'new');
    const patient = claim('pod');
    stopping.abort();
    expect(await patient).toBeNull();
    expect(lock.held).toBe(false);

    stopping = new AbortController();
    lock.free = false;
    answer = () => new Promise(() => {});
    const asking = claim('third');
    await eventually('it asks', () => asked > 0);
    stopping.abort();
    expect(await asking).toBeNull();
  });
});

describe('the claim outside a pod', () => {
  const alone = (isServed: () => Promise<boolean>, waitMs = 50): Promise<Claim | null> =>
    claimPoolAlone({ folder: '/pool', lock, isServed, waitMs, times: { pollMs: 1, askMs: 1 } }, stopping.signal);

  test('takes a free pool, and waits for what a dead predecessor left', async () => {
    expect(await alone(() => Promise.resolve(false))).not.toBeNull();
    lock = new FakeLock();
    lock.free = false;
    const waiting = alone(() => Promise.resolve(false), 60_000);
    await eventually('it looks', () => lock.tries > 5);
    lock.free = true;
    expect(await waiting).not.toBeNull();
  });

  test('is refused at once where a living store serves the pool', async () => {
    lock.free = false;
    await expect(alone(() => Promise.resolve(true), 60_000)).rejects.toMatchObject({
      code: 'in-use',
      message: expect.stringContaining('/pool'),
    });
  });

  test('is refused after a while when nobody can be asked', async () => {
    lock.free = false;
    await expect(alone(() => Promise.resolve(false))).rejects.toMatchObject({ code: 'in-use' });
  });
});
