/**
 * The holder's side of a hand-over: another store of this node asks for the pool, and this one ends its service in order.
 *
 *   1. The keeper must hold everything: for a moment only it does, besides this process, which stays.
 *   2. The promise is written down, so that nobody else takes the pool in between.
 *   3. New calls are refused, those under way may end. Volumes are served on.
 *   4. The threads end: a checkpoint is written, the requests under way are answered; what the kernel sends from now on
 *      waits for the successor. From here there is no way back.
 *   5. The locks are given back, and the answer says what the keeper holds.
 *
 * Nothing is lost when either process dies at any step: it is then as after any death.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { StoreError } from '../../util/errors.ts';
import type { Logger } from '../../util/log.ts';
import type { HandOverHandler } from '../wire/server.ts';
import type { Admission } from './admission.ts';
import { afterPromise, mayAsk, type Succession } from './succession.ts';

/** The version of all that two stores must agree on for a hand-over. It is raised when that changes incompatibly. */
export const HAND_OVER_VERSION = 1;

export interface HandOverPorts {
  readonly poolId: string;
  /** Null: this store is not one that can be succeeded. */
  readonly podUid: string | null;
  readonly succession: { read(): Succession; write(succession: Succession): void };
  readonly admission: Admission;
  readonly store: {
    /** Whether a keeper holds everything. */
    readonly keeperReady: boolean;
    keeperKeys(): readonly string[];
    /** Ends the service; afterwards nothing of this process touches the pool. */
    stop(): Promise<void>;
    /** Gives the locks back. */
    release(): void;
  };
  /** It begins, or it is called off. */
  readonly changed: (state: 'begun' | 'called off') => void;
  /** The service could not be ended: the process must end, so that the kernel gives the pool free. */
  readonly failed: (error: Error) => void;
  readonly log: Logger;
  readonly limits?: HandOverLimits;
}

export interface HandOverLimits {
  readonly keeperMs: number;
  readonly callsMs: number;
  readonly stopMs: number;
}

/** A call may wait ten seconds for a node to sync. The successor waits for longer than the sum. */
const LIMITS: HandOverLimits = { keeperMs: 5_000, callsMs: 11_000, stopMs: 15_000 };
export const HAND_OVER_TIMEOUT_MS = 40_000;
const KEEPER_POLL_MS = 20;

export class HandOver {
  readonly #ports: HandOverPorts;
  readonly #limits: HandOverLimits;
  readonly #done = Promise.withResolvers<string>();
  #underWay: Promise<unknown> | null = null;
  #closed = false;
  #isDone = false;

  constructor(ports: HandOverPorts) {
    this.#ports = ports;
    this.#limits = ports.limits ?? LIMITS;
  }

  /** Resolves with the successor's pod once the locks are free. */
  get done(): Promise<string> {
    return this.#done.promise;
  }

  /** It has taken place. */
  get isDone(): boolean {
    return this.#isDone;
  }

  readonly handle: HandOverHandler = async (request, { gone }) => {
    this.#demand(request);
    const run = this.#run(request.successor, gone);
    this.#underWay = run.catch(() => {});
    try {
      return { keeperKeys: await run };
    } finally {
      this.#underWay = null;
    }
  };

  /** Takes no more requests; resolves when one that is under way is over. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#underWay;
  }

  #demand({ version, poolId, successor }: Parameters<HandOverHandler>[0]): void {
    const { podUid, succession } = this.#ports;
    if (poolId !== this.#ports.poolId)
      throw new StoreError(
        'failed-precondition',
        `this store has pool ${this.#ports.poolId}, not ${poolId}: its socket is not the one to ask`,
      );
    if (version !== HAND_OVER_VERSION)
      throw new StoreError(
        'failed-precondition',
        `this store hands over by version ${HAND_OVER_VERSION}, not ${version}: stop it (delete its pod), and its successor takes the pool like after a restart`,
      );
    if (podUid === null)
      throw new StoreError('failed-precondition', 'this store was started without --pod-uid and keeps its pool: stop it first');
    if (successor === '' || successor === podUid) throw new StoreError('invalid-argument', 'the successor must be another pod');
    if (!mayAsk(succession.read(), successor))
      throw new StoreError(
        'failed-precondition',
        `pod ${successor} had this pool before and lost it to pod ${podUid}: delete it, so that a new one takes its place`,
      );
    if (this.#closed || this.#isDone || this.#underWay !== null)
      throw new StoreError('unavailable', 'this store is ending already; ask again');
  }

  async #run(successor: string, gone: AbortSignal): Promise<readonly string[]> {
    const { store, succession, admission, log } = this.#ports;
    if (!(await this.#keeperHoldsAll()))
      throw new StoreError('unavailable', 'the keeper does not hold everything at the moment; ask again');
    const before = performance.now();
    succession.write(afterPromise(succession.read(), successor));
    log.info({ successor }, 'handing the pool over');
    admission.close();
    this.#ports.changed('begun');
    if (!(await admission.idle({ timeoutMs: this.#limits.callsMs }))) log.warn('calls under way are cut off by the hand-over');
    if (gone.aborted || !store.keeperReady) {
      succession.write(afterPromise(succession.read(), null));
      admission.open();
      this.#ports.changed('called off');
      log.warn({ successor }, gone.aborted ? 'the successor is gone: serving on' : 'the keeper is gone: serving on');
      throw new StoreError('unavailable', 'the hand-over was called off; ask again');
    }
    const keeperKeys = store.keeperKeys();
    // As the calls under way have left it, and not only in the answer: the successor may die and come again.
    succession.write(afterPromise(succession.read(), successor, keeperKeys));
    await this.#end();
    log.info({ successor, durationMs: Math.round(performance.now() - before) }, 'the pool is handed over');
    this.#isDone = true;
    this.#done.resolve(successor);
    return keeperKeys;
  }

  async #end(): Promise<void> {
    const { store } = this.#ports;
    const timer = setTimeout(
      () => this.#ports.failed(new Error(`the service did not end within ${this.#limits.stopMs} ms`)),
      this.#limits.stopMs,
    );
    try {
      await store.stop();
      store.release();
    } catch (error) {
      this.#ports.failed(error as Error);
      throw error;
    } finally {
      clearTimeout(timer);
    }
  }

  async #keeperHoldsAll(): Promise<boolean> {
    const { store } = this.#ports;
    const deadline = performance.now() + this.#limits.keeperMs;
    while (!store.keeperReady) {
      if (performance.now() >= deadline) return false;
      await delay(KEEPER_POLL_MS);
    }
    return true;
  }
}
