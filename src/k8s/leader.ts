/**
 * Which of several controllers runs the reconcilers: the one that holds a Lease.
 *
 * Who leads renews the lease well within its duration, and counts from the moment at which the last renewal that was
 * answered had been sent. Who follows takes it over only after it saw no change for the whole duration, on its own clock
 * that never jumps; times in the lease are for people. So two never lead at once, whatever their clocks say, however late
 * a call answers, and whether or not a call without an answer took effect. What no lease can prevent is that a call sent
 * by a leader arrives after its time: what it does must bear that, by resource versions and names.
 */
import { assert } from '../util/assert.ts';
import type { Clock } from '../util/clock.ts';
import { StoreError } from '../util/errors.ts';
import type { Logger } from '../util/log.ts';
import { pause } from '../util/pause.ts';
import type { KubernetesApi } from './api.ts';
import { leases, type Lease } from './resources.ts';
import { microTimestamp } from './times.ts';

export interface LeaderElectionOptions {
  readonly api: Pick<KubernetesApi, 'get' | 'create' | 'replace'>;
  readonly namespace: string;
  /** Of the Lease. */
  readonly name: string;
  /** Unlike that of every other process that runs, for instance the name of the pod. The same again after a restart goes
   * on at once, as its predecessor is dead. */
  readonly identity: string;
  /**
   * What a leader does, until `signal` is aborted: then it stops, and nothing else is tried before it has. It is called
   * again when the lease was lost and had again, and also when it ended by itself.
   */
  readonly lead: (signal: AbortSignal) => Promise<void>;
  readonly clock: Clock;
  /** Never jumps. `performance.now`, unless said otherwise. */
  readonly monotonicMs?: () => number;
  /** From 0 to below 1. */
  readonly random?: () => number;
  readonly logger: Logger;
  readonly times?: Partial<LeaderElectionTimes>;
}

export interface LeaderElectionTimes {
  /** A lease that nobody renewed for so long is free. */
  readonly leaseMs: number;
  /** A leader that could not renew for so long stops, and has the rest of the duration for it. */
  readonly renewDeadlineMs: number;
  /** Between two tries. */
  readonly retryMs: number;
  /** How long `stop` waits for the leader's work before it keeps the lease rather than give it up. */
  readonly stopMs: number;
}

/** Those of Kubernetes' own controllers. */
const DEFAULT_TIMES: LeaderElectionTimes = { leaseMs: 15_000, renewDeadlineMs: 10_000, retryMs: 2_000, stopMs: 10_000 };
/** A lease of somebody else may be written with another duration; a senseless one is not waited for. */
const LONGEST_LEASE_MS = 10 * 60_000;

interface Term {
  lease: Lease;
  /** On both clocks: one stands still while the machine sleeps, the other may be set. Either ends the term. */
  renewedAt: { readonly monotonicMs: number; readonly wallMs: number };
}

export class LeaderElection {
  readonly #options: LeaderElectionOptions;
  readonly #times: LeaderElectionTimes;
  readonly #monotonicMs: () => number;
  readonly #stopping = new AbortController();
  readonly #running: Promise<void>;
  #term: Term | null = null;
  /** The lease of somebody else as it was when it last changed. */
  #observed: { readonly record: string; readonly durationMs: number; readonly atMs: number } | null = null;
  #failures = 0;

  constructor(options: LeaderElectionOptions) {
    this.#options = options;
    this.#times = { ...DEFAULT_TIMES, ...options.times };
    assert(this.#times.renewDeadlineMs < this.#times.leaseMs, 'a leader stops before its lease is free');
    this.#monotonicMs = options.monotonicMs ?? (() => performance.now());
    this.#running = this.#run();
  }

  /** Whether it leads at this very moment; to be asked before each step that must not be done by two. */
  get leading(): boolean {
    return this.#term !== null && this.#remainingMs(this.#term) > 0;
  }

  /** Ends the work, gives the lease up so that another one need not wait, and never leads again. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#running;
  }

  async #run(): Promise<void> {
    const { clock, random = Math.random } = this.#options;
    while (!this.#stopping.signal.aborted) {
      const term = await this.#tryToAcquire();
      if (term !== null) await this.#serve(term);
      if (!this.#stopping.signal.aborted) await pause(clock, this.#times.retryMs * (1 + random() / 5), [this.#stopping.signal]);
    }
  }

  /** A term if the lease is to be had and was had, else null. */
  async #tryToAcquire(): Promise<Term | null> {
    const { api, namespace, name, identity, logger } = this.#options;
    try {
      const current = await this.#within(api.get(leases, { namespace, name }), this.#times.renewDeadlineMs);
      if (this.#stopping.signal.aborted || !this.#isFree(current)) return null;
      const sentAt = this.#moment();
      const lease = await this.#within(this.#write(current, { acquire: true }), this.#times.renewDeadlineMs);
      this.#failures = 0;
      this.#observed = null;
      logger.info({ lease: name, identity, before: current?.spec.holderIdentity ?? null }, 'leads from now on');
      return { lease, renewedAt: sentAt };
    } catch (error) {
      this.#report(error, 'the lease cannot be had');
      return null;
    }
  }

  /** Whether a lease may be taken. Who else holds it is watched here. */
  #isFree(current: Lease | null): boolean {
    const { identity } = this.#options;
    const holder = current?.spec.holderIdentity ?? '';
    if (current !== null && (holder === '' || holder === identity)) return true;
    if (current !== null) {
      const record = JSON.stringify([holder, current.spec.renewTime, current.spec.leaseTransitions]);
      if (this.#observed?.record !== record) {
        const durationMs = Math.min((current.spec.leaseDurationSeconds ?? 0) * 1000, LONGEST_LEASE_MS);
        this.#observed = { record, durationMs: Math.max(durationMs, this.#times.leaseMs), atMs: this.#monotonicMs() };
      }
    }
    // Somebody may delete the lease of a leader, who notices only when it renews. Whoever starts just then cannot know.
    return this.#observed === null || this.#monotonicMs() - this.#observed.atMs >= this.#observed.durationMs;
  }

  /** Runs the work and renews, until one of them ends. */
  async #serve(term: Term): Promise<void> {
    const { logger, name } = this.#options;
    this.#term = term;
    const controller = new AbortController();
    let ended = false;
    const work = this.#work(controller.signal).then(() => {
      ended = true;
      controller.abort();
    });
    await this.#renewUntil(term, controller.signal);
    this.#term = null;
    controller.abort();
    if (this.#stopping.signal.aborted) await this.#within(work, this.#times.stopMs).catch(() => {});
    else await work;
    logger.info({ lease: name }, 'does not lead any more');
    if (ended && this.#remainingMs(term) > 0) await this.#release(term);
  }

  async #work(signal: AbortSignal): Promise<void> {
    const { logger, lead } = this.#options;
    try {
      await lead(signal);
    } catch (error) {
      if (!signal.aborted) logger.error({ err: error }, 'what the leader does has failed; it is begun again');
    }
  }

  /** Until the work has ended, the lease is lost or another's, or this election is stopped. */
  async #renewUntil(term: Term, workEnded: AbortSignal): Promise<void> {
    const { clock } = this.#options;
    let again = false;
    while (true) {
      const remainingMs = this.#remainingMs(term);
      if (!again) await pause(clock, Math.min(this.#times.retryMs, Math.max(remainingMs, 0)), [this.#stopping.signal, workEnded]);
      if (this.#stopping.signal.aborted || workEnded.aborted) return;
      if (this.#remainingMs(term) <= 0) return this.#report(null, 'the lease could not be renewed in time');
      const renewal = await this.#renew(term);
      if (renewal === 'lost') return;
      // One step at once after each read, so that this cannot spin.
      again = renewal === 'read' && !again;
    }
  }

  async #renew(term: Term): Promise<'renewed' | 'read' | 'failed' | 'lost'> {
    const { api, namespace, name, identity } = this.#options;
    const limitMs = Math.max(0, Math.min(this.#remainingMs(term), this.#times.renewDeadlineMs / 2));
    const sentAt = this.#moment();
    try {
      term.lease = await this.#within(this.#write(term.lease, { acquire: false }), limitMs);
      term.renewedAt = sentAt;
      this.#failures = 0;
      return 'renewed';
    } catch (error) {
      if (!(error instanceof StoreError) || (error.code !== 'busy' && error.code !== 'not-found')) {
        this.#report(error, 'the lease cannot be renewed');
        return 'failed';
      }
    }
    // An earlier renewal that had no answer may have been done all the same; or it is another's by now, or was deleted.
    try {
      const current = await this.#within(api.get(leases, { namespace, name }), limitMs);
      if (current?.spec.holderIdentity !== identity) {
        this.#report(null, `the lease is ${current === null ? 'gone' : `held by ${current.spec.holderIdentity}`}`);
        return 'lost';
      }
      term.lease = current;
      return 'read';
    } catch (error) {
      this.#report(error, 'the lease cannot be read');
      return 'failed';
    }
  }

  async #release(term: Term): Promise<void> {
    const { api } = this.#options;
    const spec = {
      ...term.lease.spec,
      holderIdentity: '',
      leaseDurationSeconds: 1,
      renewTime: microTimestamp(this.#options.clock.nowMs()),
    };
    try {
      await this.#within(api.replace(leases, { ...term.lease, spec }), this.#times.retryMs);
    } catch (error) {
      this.#report(error, 'the lease cannot be given up; it runs out');
    }
  }

  #write(current: Lease | null, options: { readonly acquire: boolean }): Promise<Lease> {
    const { api, namespace, name, identity } = this.#options;
    const nowText = microTimestamp(this.#options.clock.nowMs());
    const renewal = { holderIdentity: identity, leaseDurationSeconds: Math.ceil(this.#times.leaseMs / 1000), renewTime: nowText };
    if (current === null)
      return api.create(leases, { metadata: { namespace, name }, spec: { ...renewal, acquireTime: nowText, leaseTransitions: 0 } });
    const transitions = (current.spec.leaseTransitions ?? 0) + (current.spec.holderIdentity === identity ? 0 : 1);
    const acquisition = options.acquire ? { acquireTime: nowText, leaseTransitions: transitions } : {};
    return api.replace(leases, { ...current, spec: { ...current.spec, ...renewal, ...acquisition } });
  }

  #remainingMs(term: Term): number {
    const now = this.#moment();
    const { monotonicMs, wallMs } = term.renewedAt;
    return this.#times.renewDeadlineMs - Math.max(now.monotonicMs - monotonicMs, now.wallMs - wallMs);
  }

  #moment(): Term['renewedAt'] {
    return { monotonicMs: this.#monotonicMs(), wallMs: this.#options.clock.nowMs() };
  }

  /** What comes later is dropped, as if it had not come. */
  async #within<Result>(call: Promise<Result>, limitMs: number): Promise<Result> {
    const { promise: late, reject } = Promise.withResolvers<never>();
    const error = new StoreError('unavailable', `no answer within ${Math.round(limitMs)} ms`);
    const end = this.#options.clock.after(limitMs, () => reject(error));
    try {
      return await Promise.race([call, late]);
    } finally {
      end();
    }
  }

  /** The first of a row of failures is worth a warning. */
  #report(error: unknown, words: string): void {
    const { logger, name } = this.#options;
    if (this.#failures++ === 0) logger.warn({ ...(error !== null && { err: error }), lease: name }, words);
    else logger.debug({ ...(error !== null && { err: error }), lease: name }, words);
  }
}
