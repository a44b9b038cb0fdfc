import { describe, expect, test } from '@jest/globals';
import type { KubernetesApi } from '../../src/k8s/api.ts';
import { LeaderElection, type LeaderElectionOptions } from '../../src/k8s/leader.ts';
import { leases } from '../../src/k8s/resources.ts';
import type { Clock } from '../../src/util/clock.ts';
import { StoreError } from '../../src/util/errors.ts';
import { silentLogger } from '../../src/util/log.ts';
import { FakeKubernetes } from '../support/fake-kubernetes.ts';
import { ManualClock } from '../support/manual-clock.ts';
import { SeededRandom } from '../support/seeded-random.ts';

const KEY = { namespace: 'n', name: 'l' };
type Api = Pick<KubernetesApi, 'get' | 'create' | 'replace'>;

/** A controller: its election, and whether what it does is running. */
class Candidate {
  readonly election: LeaderElection;
  readonly terms: { over: boolean }[] = [];
  /** Set: the work goes on for so long after it was told to end. */
  lingerMs = 0;

  constructor(identity: string, api: Api, clock: Clock, monotonicMs: () => number, options: Partial<LeaderElectionOptions> = {}) {
    const lead = async (signal: AbortSignal): Promise<void> => {
      const term = { over: false };
      this.terms.push(term);
      await new Promise<void>((resolve) => {
        signal.addEventListener('abort', () => {
          term.over = true;
          if (this.lingerMs === 0) resolve();
          else clock.after(this.lingerMs, resolve);
        });
      });
    };
    this.election = new LeaderElection({
      ...{ api, namespace: KEY.namespace, name: KEY.name, identity, lead, clock, monotonicMs, random: () => 0, logger: silentLogger() },
      ...options,
    });
  }

  /** It acts: the work runs, and was not told to end. */
  get acts(): boolean {
    return this.terms.some((term) => !term.over);
  }
}

function bed(): {
  kubernetes: FakeKubernetes;
  clock: ManualClock;
  candidate: (identity: string, options?: Partial<LeaderElectionOptions>) => Candidate;
} {
  const clock = new ManualClock();
  const kubernetes = new FakeKubernetes({ now: () => clock.nowMs() });
  const candidate = (identity: string, options: Partial<LeaderElectionOptions> = {}): Candidate =>
    new Candidate(identity, kubernetes, clock, () => clock.nowMs(), options);
  return { kubernetes, clock, candidate };
}

const holder = (kubernetes: FakeKubernetes): string | undefined => kubernetes.object(leases, KEY)?.spec.holderIdentity;

describe('leader election', () => {
  test('one leads, renews, and gives up at its end; then the other leads without waiting', async () => {
    const { kubernetes, clock, candidate } = bed();
    const one = candidate('one');
    await clock.advance(100);
    const two = candidate('two');
    await clock.advance(100_000);
    expect([one.acts, one.election.leading, two.acts, two.election.leading]).toEqual([true, true, false, false]);
    expect(one.terms).toHaveLength(1);
    expect(kubernetes.object(leases, KEY)?.spec).toEqual({
      holderIdentity: 'one',
      leaseDurationSeconds: 15,
      acquireTime: '2025-01-01T00:00:00.000000Z',
      renewTime: expect.stringMatching(/^2025-01-01T00:01:\d\d\.\d{3}000Z$/),
      leaseTransitions: 0,
    });
    const stopped = one.election.stop();
    await clock.advance(3_000);
    await stopped;
    expect([one.acts, one.election.leading, two.acts, two.election.leading]).toEqual([false, false, true, true]);
    expect(kubernetes.object(leases, KEY)?.spec).toMatchObject({ holderIdentity: 'two', leaseTransitions: 1 });
    await Promise.all([two.election.stop(), clock.advance(1_000)]);
    expect(holder(kubernetes)).toBe('');
    expect(clock.waiting).toBe(0);
  });

  test('a leader that died is followed after the whole lease, not before', async () => {
    const { kubernetes, clock, candidate } = bed();
    kubernetes.seed(leases, {
      metadata: KEY,
      spec: { holderIdentity: 'dead', leaseDurationSeconds: 30, renewTime: '2001-01-01T00:00:00.000000Z' },
    });
    const two = candidate('two');
    await clock.advance(29_000);
    expect(two.acts).toBe(false);
    await clock.advance(5_000);
    expect(two.acts).toBe(true);
    await Promise.all([two.election.stop(), clock.advance(1_000)]);
  });

  test('the same identity goes on at once after a restart', async () => {
    const { kubernetes, clock, candidate } = bed();
    kubernetes.seed(leases, {
      metadata: KEY,
      spec: { holderIdentity: 'one', leaseDurationSeconds: 15, renewTime: 'x', leaseTransitions: 4 },
    });
    const one = candidate('one');
    await clock.advance(100);
    expect(one.acts).toBe(true);
    expect(kubernetes.object(leases, KEY)?.spec.leaseTransitions).toBe(4);
    await Promise.all([one.election.stop(), clock.advance(1_000)]);
  });

  test('without the API the leader stops well before its lease is free, and leads again when it is back', async () => {
    const { kubernetes, clock, candidate } = bed();
    const one = candidate('one');
    await clock.advance(1_000);
    kubernetes.goAway();
    await clock.advance(8_900);
    expect(one.acts).toBe(true);
    await clock.advance(1_100);
    expect([one.acts, one.election.leading]).toEqual([false, false]);
    kubernetes.comeBack();
    await clock.advance(3_000);
    expect([one.acts, one.terms.length]).toEqual([true, 2]);
    await Promise.all([one.election.stop(), clock.advance(1_000)]);
  });

  test('a renewal whose answer is lost is no loss of the lease', async () => {
    const { kubernetes, clock, candidate } = bed();
    const one = candidate('one');
    await clock.advance(1_000);
    kubernetes.fail({ verb: 'replace', resource: leases, afterEffect: true, times: 2 });
    await clock.advance(60_000);
    expect([one.acts, one.terms.length]).toEqual([true, 1]);
    await Promise.all([one.election.stop(), clock.advance(1_000)]);
  });

  test('a renewal that hangs ends the term in time, also if it is done much later', async () => {
    const { kubernetes, clock, candidate } = bed();
    const one = candidate('one');
    await clock.advance(1_000);
    const held = kubernetes.hold({ verb: 'replace', resource: leases });
    kubernetes.fail({ resource: leases, times: 3 });
    await clock.advance(10_100);
    expect(one.acts).toBe(false);
    const two = candidate('two');
    held.release();
    await clock.advance(2_000);
    expect([one.acts, two.acts].filter(Boolean).length).toBeLessThan(2);
    await clock.advance(20_000);
    expect([one.acts, two.acts].filter(Boolean)).toHaveLength(1);
    await Promise.all([one.election.stop(), two.election.stop(), clock.advance(10_000)]);
  });

  test('work that takes its time to end keeps its process from leading again, and its lease from being given up too early', async () => {
    const { kubernetes, clock, candidate } = bed();
    const one = candidate('one');
    one.lingerMs = 60_000;
    await clock.advance(1_000);
    kubernetes.change(leases, KEY, { spec: { holderIdentity: 'two' } });
    await clock.advance(59_000);
    expect(one.terms).toEqual([{ over: true }]);
    kubernetes.change(leases, KEY, { spec: { holderIdentity: '' } });
    await clock.advance(10_000);
    expect(one.acts).toBe(true);
    const stopped = one.election.stop();
    await clock.advance(11_000);
    await stopped;
    expect(holder(kubernetes)).toBe('one');
  });

  test('work that fails is begun again, in a new term', async () => {
    const { clock, candidate } = bed();
    let begun = 0;
    const one = candidate('one', {
      lead: () => {
        begun++;
        return Promise.reject(new StoreError('unavailable', 'no'));
      },
    });
    await clock.advance(10_000);
    expect(begun).toBeGreaterThan(3);
    expect(begun).toBeLessThan(8);
    await Promise.all([one.election.stop(), clock.advance(1_000)]);
  });

  test('a clock that is set ends the term rather than prolong it', async () => {
    const { kubernetes, clock } = bed();
    let skewMs = 0;
    const skewed: Clock = { nowMs: () => clock.nowMs() + skewMs, after: (delayMs, action) => clock.after(delayMs, action) };
    const one = new Candidate('one', kubernetes, skewed, () => clock.nowMs());
    await clock.advance(1_000);
    skewMs = 3_600_000;
    expect(one.election.leading).toBe(false);
    await clock.advance(5_000);
    expect([one.election.leading, one.terms.length]).toEqual([true, 2]);
    skewMs = -3_600_000;
    kubernetes.goAway();
    await clock.advance(10_100);
    expect([one.election.leading, one.acts]).toEqual([false, false]);
    await Promise.all([one.election.stop(), clock.advance(20_000)]);
  });

  test('a lease deleted under a leader: who watched it waits for the leader to notice', async () => {
    const { kubernetes, clock, candidate } = bed();
    const one = candidate('one');
    await clock.advance(100);
    const two = candidate('two');
    await clock.advance(5_000);
    for (let count = 0; count < 20; count++) {
      kubernetes.remove(leases, KEY);
      for (let step = 0; step < 30; step++) {
        await clock.advance(100);
        expect([one.acts, two.acts].filter(Boolean).length).toBeLessThan(2);
      }
    }
    await clock.advance(20_000);
    expect([one.acts, two.acts].filter(Boolean)).toHaveLength(1);
    await Promise.all([one.election.stop(), two.election.stop(), clock.advance(1_000)]);
  });
});

/** Between a candidate and the API: refuses, loses answers, delays calls before and after their effect. */
class Link implements Api {
  broken = false;
  readonly #api: Api;
  readonly #clock: Clock;
  readonly #random: SeededRandom;

  constructor(api: Api, clock: Clock, random: SeededRandom) {
    this.#api = api;
    this.#clock = clock;
    this.#random = random;
  }

  get: Api['get'] = (...call) => this.#carry(() => this.#api.get(...call));
  create: Api['create'] = (...call) => this.#carry(() => this.#api.create(...call));
  replace: Api['replace'] = (...call) => this.#carry(() => this.#api.replace(...call));

  async #carry<Result>(call: () => Promise<Result>): Promise<Result> {
    const fate = this.broken ? this.#random.below(4) : this.#random.below(20);
    if (fate === 0) throw new StoreError('unavailable', 'refused');
    if (fate === 1) await this.#wait();
    const result = await call();
    if (fate === 2) await this.#wait();
    if (fate === 3) throw new StoreError('unavailable', 'answer lost');
    return result;
  }

  #wait(): Promise<void> {
    return new Promise((resolve) => {
      this.#clock.after(this.#random.below(30_000), resolve);
    });
  }
}

describe('leader election under faults', () => {
  test.each([1, 2, 3, 4, 5, 6])('three candidates never lead at once, and one leads when all is well (seed %d)', async (seed) => {
    const random = new SeededRandom(seed);
    const clock = new ManualClock();
    const kubernetes = new FakeKubernetes({ now: () => clock.nowMs() });
    const links: Link[] = [];
    const start = (identity: string): Candidate => {
      const skewMs = random.between(-100_000_000, 100_000_000);
      const skewed: Clock = { nowMs: () => clock.nowMs() + skewMs, after: (delayMs, action) => clock.after(delayMs, action) };
      const link = new Link(kubernetes, skewed, random);
      links.push(link);
      return new Candidate(identity, link, skewed, () => clock.nowMs() + skewMs / 2);
    };
    const candidates = ['a', 'b', 'c'].map(start);
    let changes = 0;
    let last: Candidate | undefined;
    const run = async (steps: number): Promise<void> => {
      for (let step = 0; step < steps; step++) {
        await clock.advance(500);
        const acting = candidates.filter((candidate) => candidate.acts);
        expect(acting.length).toBeLessThan(2);
        expect(candidates.filter((candidate) => candidate.election.leading).length).toBeLessThan(2);
        if (acting[0] !== undefined && acting[0] !== last) changes++;
        last = acting[0] ?? last;
      }
    };
    for (let round = 0; round < 12; round++) {
      for (const link of links) link.broken = random.below(2) === 0;
      await run(random.between(10, 100));
    }
    for (const link of links) link.broken = false;
    await run(200);
    expect(candidates.some((candidate) => candidate.terms.length > 0)).toBe(true);
    expect(changes).toBeGreaterThan(1);
    await Promise.all([...candidates.map((candidate) => candidate.election.stop()), clock.advance(100_000)]);
    expect(candidates.some((candidate) => candidate.acts)).toBe(false);
  });
});
