/**
 * The life of a store process: it prepares, comes to have its pool, serves, and ends or hands over. After a hand-over it
 * is a standby: alive and not ready, so that nobody starts its container anew, until it is ended, or until nobody else
 * wants the pool.
 *
 * Invariants: the pool is open in at most one part of this life; what it served is ended before the locks are given back;
 * and after a hand-over its copies of what the keeper holds are kept until the successor has served.
 */
import { HandOver } from '../store/succession/hand-over.ts';
import { claimPoolAlone, claimPoolForPod, type AskAnswer, type Claim, type ClaimTimes } from '../store/succession/claim.ts';
import type { PoolLock } from '../store/pool/lock.ts';
import type { HandOverHandler } from '../store/wire/server.ts';
import type { PreparedStore, RunningStore } from '../store/store.ts';
import { afterLeaving, afterTaking, isSucceeded, type Succession } from '../store/succession/succession.ts';
import { StoreError } from '../util/errors.ts';
import { wait } from '../util/wait.ts';
import type { Logger } from '../util/log.ts';

export type StoreState = 'preparing' | 'waiting' | 'opening' | 'serving' | 'handing over' | 'ending' | 'ended';

export interface StoreLifePorts {
  readonly poolFolder: string;
  readonly poolId: string;
  /** Null: outside a pod. Then a pool in use is an error, and it is never handed over. */
  readonly podUid: string | null;
  readonly succession: { read(): Succession; write(succession: Succession): void };
  readonly openLock: () => PoolLock;
  /** `asItIs`: without the size that is asked for, because a successor may have grown the pool. */
  readonly prepare: (options: { readonly asItIs: boolean }) => Promise<PreparedStore>;
  /** Asks whoever serves at this store's socket to hand over to this pod. */
  readonly ask: () => Promise<AskAnswer>;
  /** Whether somebody serves this pool at this store's socket. */
  readonly isServed: () => Promise<boolean>;
  /** Begins to serve calls, and whatever else stands on an open pool. */
  readonly serve: (store: RunningStore, handOver: HandOverHandler) => Promise<Serving>;
  /** Nothing is served any more, and the process must end at once. */
  readonly failed: (error: unknown) => void;
  readonly log: Logger;
  readonly times?: LifeTimes;
}

export interface LifeTimes {
  readonly claim: ClaimTimes;
  readonly againMs: number;
  readonly keeperLimitMs?: number;
  readonly successorLimitMs?: number;
}

/** What `serve` began. */
export interface Serving {
  /** The calls under way have ended, or had their time. */
  end(): Promise<void>;
}

/** Between two attempts of what failed because something else was away. */
const AGAIN_MS = 1_000;
/** How long an end in standby waits for the successor to serve. */
const SUCCESSOR_LIMIT_MS = 5_000;
const SUCCESSOR_POLL_MS = 50;
/** A call may wait ten seconds for a node to sync. */
const CALLS_LIMIT_MS = 11_000;
/** Together with what comes after it, below the limit of an orderly end. A new pod of the keeper is there in seconds. */
const KEEPER_LIMIT_MS = 40_000;
/** Below the time that a pod has (terminationGracePeriodSeconds). */
export const STORE_STOP_LIMIT_MS = 55_000;
/** The shared memory alone: what it holds is in the pool when a store has ended in order. */
const KEYS_WITHOUT_DEVICES = 1;
/** Where nobody hands over: with memory of a predecessor its last writes are waited for; otherwise only as long as the
 * kernel needs to clear up after a process that was killed together with its keeper. */
const ALONE_WAIT_MS = { successor: 60_000, other: 10_000 };

export class StoreLife {
  readonly #ports: StoreLifePorts;
  readonly #stopping = new AbortController();
  readonly #served = Promise.withResolvers<void>();
  #run: Promise<void> | null = null;
  #state: StoreState = 'preparing';
  /** What it waits for. */
  #detail = 'the store is starting';
  #store: RunningStore | null = null;
  /** The store that handed over, until its successor has served. */
  #former: RunningStore | null = null;

  constructor(ports: StoreLifePorts) {
    this.#ports = ports;
  }

  get state(): StoreState {
    return this.#state;
  }

  /** Resolves when it serves for the first time. */
  get served(): Promise<void> {
    return this.#served.promise;
  }

  /** Begins; once. */
  start(): void {
    this.#run = this.#live();
  }

  /** Ends in order, whatever it is doing. Limited in time by the caller. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#run;
  }

  /** For the liveness probe: resolves when the event loop runs and, while the pool is served, the data thread answers. A
   * recovery, a wait and a full pool are no reason to start the process anew. Limited in time by the caller. */
  async live(): Promise<void> {
    if (this.#state === 'serving') await this.#store?.ping();
  }

  /** For the readiness probe: `unavailable`, with the reason in words, unless this process serves the pool. */
  async ready(): Promise<void> {
    if (this.#state !== 'serving') throw new StoreError('unavailable', this.#detail);
  }

  async #live(): Promise<void> {
    try {
      while (!this.#stopping.signal.aborted) {
        const store = await this.#accede();
        if (store === null) break;
        if (await this.#serve(store)) this.#former = store;
      }
      await this.#leaveStandby();
      this.#enter('ended', 'the store has ended');
    } catch (error) {
      this.#ports.failed(error);
    }
  }

  /** Comes to have the pool, and opens it. Null: it is to end. In a pod what is away, as a keeper that does not answer in time,
   * is waited for: the container would only be started again, and I/O wait for longer. */
  async #accede(): Promise<RunningStore | null> {
    const { podUid, log } = this.#ports;
    while (!this.#stopping.signal.aborted) {
      try {
        return await this.#accedeOnce();
      } catch (error) {
        if (podUid === null || !isAway(error)) throw error;
        log.warn({ reason: error.message }, 'cannot open the pool yet; trying again');
        this.#detail = error.message;
      }
      await wait(this.#againMs, this.#stopping.signal);
    }
    return null;
  }

  async #accedeOnce(): Promise<RunningStore | null> {
    const { podUid, succession } = this.#ports;
    // One that lets others go first may wait for ever: it starts what it needs when it has the pool.
    const eager = this.#former === null && (podUid === null || !succession.read().past.includes(podUid));
    const poolLock = this.#ports.openLock();
    let prepared = eager ? await this.#prepare() : null;
    const claim = this.#stopping.signal.aborted ? null : await this.#claim(poolLock, prepared);
    if (claim === null) {
      poolLock.close();
      await prepared?.discard();
      return null;
    }
    this.#enter('opening', 'the store is recovering its pool');
    prepared ??= await this.#prepareWithPool(poolLock);
    const store = await prepared.open(poolLock, claim);
    if (podUid !== null) succession.write(afterTaking(succession.read(), podUid));
    await this.#former?.letGo();
    this.#former = null;
    return store;
  }

  async #prepareWithPool(poolLock: PoolLock): Promise<PreparedStore> {
    try {
      return await this.#ports.prepare({ asItIs: true });
    } catch (error) {
      poolLock.close();
      throw error;
    }
  }

  /** In a pod it waits for a keeper that is still to come; the container would only be started again. */
  async #prepare(): Promise<PreparedStore | null> {
    const { log, podUid } = this.#ports;
    this.#enter('preparing', 'the store is starting');
    while (!this.#stopping.signal.aborted) {
      try {
        return await this.#ports.prepare({ asItIs: false });
      } catch (error) {
        if (podUid === null || !isAway(error)) throw error;
        if (error.message !== this.#detail) log.warn({ reason: error.message }, 'cannot start yet; trying again');
        this.#detail = error.message;
      }
      await wait(this.#againMs, this.#stopping.signal);
    }
    return null;
  }

  #claim(poolLock: PoolLock, prepared: PreparedStore | null): Promise<Claim | null> {
    const { podUid, poolFolder: folder, isServed, ask, log, times } = this.#ports;
    this.#enter('waiting', 'the store waits for its pool');
    if (podUid === null) {
      const waitMs = prepared?.succeeds === true ? ALONE_WAIT_MS.successor : ALONE_WAIT_MS.other;
      return claimPoolAlone({ folder, lock: poolLock, isServed, waitMs }, this.#stopping.signal);
    }
    return claimPoolForPod(
      {
        podUid,
        lock: poolLock,
        succession: { read: () => this.#readSuccession(podUid) },
        ask,
        waiting: (reason) => {
          if (reason !== this.#detail) log.info({ reason }, 'waiting for the pool');
          this.#detail = reason;
        },
        ...(times === undefined ? {} : { times: times.claim }),
      },
      this.#stopping.signal,
    );
  }

  #readSuccession(podUid: string): Succession {
    const succession = this.#ports.succession.read();
    const former = this.#former;
    if (former !== null && isSucceeded(succession, podUid)) {
      this.#former = null;
      this.#ports.log.info('the successor serves; this store stands by');
      void former.letGo();
    }
    return succession;
  }

  /** Serves until it is to end (false) or has handed over (true). */
  async #serve(store: RunningStore): Promise<boolean> {
    const { podUid, poolId, succession, failed, log } = this.#ports;
    const handOver = new HandOver({
      poolId,
      podUid,
      succession,
      admission: store.admission,
      store,
      changed: (state) => (state === 'begun' ? this.#enter('handing over', 'the store hands its pool over') : this.#enter('serving', '')),
      failed,
      log,
    });
    let serving: Serving | null = null;
    if (!this.#stopping.signal.aborted) {
      serving = await this.#ports.serve(store, handOver.handle);
      this.#store = store;
      // A hand-over may have begun as soon as the socket was there.
      if (this.#state === 'opening') this.#enter('serving', '');
      this.#served.resolve();
      await Promise.race([handOver.done, aborted(this.#stopping.signal)]);
    }
    await handOver.close();
    this.#store = null;
    if (handOver.isDone) {
      this.#enter('waiting', 'the store has handed its pool over and stands by');
      await serving?.end();
      return true;
    }
    this.#enter('ending', 'the store is ending');
    await this.#end(store, serving);
    return false;
  }

  /** Until the successor has served, only the keeper and this process have the connections; it should be both. */
  async #leaveStandby(): Promise<void> {
    const { podUid, succession, times } = this.#ports;
    const deadline = performance.now() + (times?.successorLimitMs ?? SUCCESSOR_LIMIT_MS);
    while (this.#former !== null && podUid !== null && performance.now() < deadline) {
      if (isSucceeded(succession.read(), podUid)) return this.#former.letGo();
      await wait(SUCCESSOR_POLL_MS);
    }
    if (this.#former !== null) await this.#leave(this.#former, performance.now() + this.#keeperLimitMs);
    await this.#former?.letGo();
  }

  async #end(store: RunningStore, serving: Serving | null): Promise<void> {
    const { podUid, succession, log } = this.#ports;
    store.admission.close();
    const deadlineMs = performance.now() + this.#keeperLimitMs;
    // I/O goes on meanwhile.
    const [callsEnded] = await Promise.all([store.admission.idle({ timeoutMs: CALLS_LIMIT_MS }), this.#leave(store, deadlineMs)]);
    if (!callsEnded) log.warn('calls under way are cut off by the end');
    await serving?.end();
    await store.stop();
    if (podUid !== null) succession.write(afterLeaving(succession.read(), hasDevices(store) ? store.keeperKeys() : []));
    store.release();
    // The keeper may have been killed since.
    await this.#leave(store, deadlineMs);
    await store.letGo();
  }

  /** Keeper and store may be ended together: whoever goes has the word of the other that it stays. Without a limit a node
   * without a keeper would never end. */
  async #leave(store: RunningStore, deadlineMs: number): Promise<void> {
    const { podUid, log } = this.#ports;
    if (podUid === null || !hasDevices(store)) return;
    if (!store.keeperReady) log.warn('no keeper has the devices of this store: waiting for one before the end');
    if (!(await store.leave({ timeoutMs: deadlineMs - performance.now() })))
      log.error('no keeper has come: the devices in use on this node end with this store');
  }

  get #keeperLimitMs(): number {
    return this.#ports.times?.keeperLimitMs ?? KEEPER_LIMIT_MS;
  }

  get #againMs(): number {
    return this.#ports.times?.againMs ?? AGAIN_MS;
  }

  #enter(state: StoreState, detail: string): void {
    if (state !== this.#state) this.#ports.log.debug({ state }, 'store');
    this.#state = state;
    this.#detail = detail;
  }
}

function hasDevices(store: RunningStore): boolean {
  return store.keeperKeys().length > KEYS_WITHOUT_DEVICES;
}

function isAway(error: unknown): error is StoreError {
  return error instanceof StoreError && error.code === 'unavailable';
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
}
