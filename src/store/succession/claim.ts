/**
 * How a starting store comes to have its pool: by taking its locks when they are free and nobody goes first
 * (succession.ts), and by asking whoever has them to hand over, if it may.
 *
 * Invariant: the locks are taken when a claim is answered, and not otherwise.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { StoreError } from '../../util/errors.ts';
import { wait } from '../../util/wait.ts';
import { poolInUse } from '../pool/pool.ts';
import { keptFor, mayAsk, mustWait, type Succession } from './succession.ts';

/** Both or none: see PoolLock. */
export interface ClaimableLock {
  take(): boolean;
  release(): void;
}

/** What whoever has the pool answers. */
export type AskAnswer =
  | { readonly kind: 'released'; readonly keeperKeys: readonly string[] }
  | { readonly kind: 'refused'; readonly reason: string }
  /** Nobody answers, or not now. */
  | { readonly kind: 'away'; readonly reason: string };

export interface PodClaimPorts {
  readonly podUid: string;
  readonly lock: ClaimableLock;
  readonly succession: { read(): Succession };
  /** Limited in time, and fails only by a bug. */
  readonly ask: () => Promise<AskAnswer>;
  /** Called now and then while others have the pool, with what it waits for in words. */
  readonly waiting: (reason: string) => void;
  readonly times?: ClaimTimes;
}

export interface ClaimTimes {
  /** How long the pool must have been free before it is taken by a pod that lets others go first. */
  readonly patienceMs: number;
  /** Between two looks: while it is asked for, when it may be free at any moment; otherwise; and of one that lets others go
   * first. */
  readonly pollMs: { readonly asking: number; readonly eager: number; readonly patient: number };
  readonly askAgainMs: { readonly away: number; readonly refused: number };
}

const TIMES: ClaimTimes = {
  patienceMs: 10_000,
  pollMs: { asking: 2, eager: 20, patient: 200 },
  askAgainMs: { away: 250, refused: 5_000 },
};

const LATE_ANSWER_MS = 1_000;

export interface Claim {
  /** What the keeper is to hold, by the word of whoever handed over, which may be on its way (an older version writes nothing
   * down); null when nobody did. */
  readonly keeperKeys: Promise<readonly string[] | null>;
}

/** Waits, for as long as it takes, until the pool is this pod's. Null: `signal` was aborted. */
export async function claimPoolForPod(ports: PodClaimPorts, signal: AbortSignal): Promise<Claim | null> {
  const { podUid, lock, succession } = ports;
  const times = ports.times ?? TIMES;
  const asking = new Asking(ports, times);
  let freeSinceMs: number | null = null;
  while (!signal.aborted) {
    let pollMs = times.pollMs.asking;
    if (lock.take()) {
      const nowMs = performance.now();
      freeSinceMs ??= nowMs;
      // Under the locks, because the last holder wrote it under them.
      const present = succession.read();
      if (!mustWait(present, podUid) || nowMs - freeSinceMs >= times.patienceMs) {
        const kept = keptFor(present, podUid);
        return { keeperKeys: kept === null ? asking.answer() : Promise.resolve(kept) };
      }
      lock.release();
      ports.waiting('the pool is free, but the pod that it is meant for goes first');
      pollMs = times.pollMs.patient;
    } else {
      freeSinceMs = null;
      if (!asking.isUnderWay) {
        const present = succession.read();
        if (mayAsk(present, podUid)) asking.askIfDue();
        else ports.waiting(whyNotAsked(present, podUid));
        pollMs = asking.isUnderWay ? times.pollMs.asking : mustWait(present, podUid) ? times.pollMs.patient : times.pollMs.eager;
      }
    }
    await Promise.race([wait(pollMs, signal), asking.news]);
  }
  return null;
}

function whyNotAsked({ holder, promised }: Succession, podUid: string): string {
  if (holder === podUid && promised === null) return 'the last disk writes of this store, from before it was started again, are not over';
  const name = promised ?? holder;
  return `${name === null ? 'another store' : `pod ${name}`} has the pool; this one had its turn, and does not ask again: a new pod in its place would`;
}

/** One question at a time, and the last answer. */
class Asking {
  readonly #ports: PodClaimPorts;
  readonly #times: ClaimTimes;
  #underWay: Promise<void> | null = null;
  #keeperKeys: readonly string[] | null = null;
  #dueMs = 0;

  constructor(ports: PodClaimPorts, times: ClaimTimes) {
    this.#ports = ports;
    this.#times = times;
  }

  get isUnderWay(): boolean {
    return this.#underWay !== null;
  }

  /** Resolves when there is a new answer; never, while nothing is asked. */
  get news(): Promise<void> {
    return this.#underWay ?? new Promise<void>(() => {});
  }

  askIfDue(): void {
    if (this.#underWay !== null || performance.now() < this.#dueMs) return;
    this.#keeperKeys = null;
    this.#underWay = this.#ask().finally(() => (this.#underWay = null));
  }

  /** What the holder said when it let go; it may have given the locks back a moment before its answer came. */
  async answer(): Promise<readonly string[] | null> {
    if (this.#underWay !== null) await Promise.race([this.#underWay, delay(LATE_ANSWER_MS, undefined, { ref: false })]);
    return this.#keeperKeys;
  }

  async #ask(): Promise<void> {
    const answer = await this.#ports.ask();
    if (answer.kind === 'released') {
      this.#keeperKeys = answer.keeperKeys;
      this.#dueMs = performance.now() + this.#times.askAgainMs.away;
      return;
    }
    this.#dueMs = performance.now() + this.#times.askAgainMs[answer.kind];
    this.#ports.waiting(answer.reason);
  }
}

export interface AloneClaimPorts {
  readonly folder: string;
  readonly lock: ClaimableLock;
  /** Whether a store answers for this pool where this one is to serve. Limited in time. */
  readonly isServed: () => Promise<boolean>;
  /** How long the kernel may take to clear up after a dead predecessor. */
  readonly waitMs: number;
  readonly times?: { readonly pollMs: number; readonly askMs: number };
}

/** Where nobody hands over: a pool that a living store serves is `in-use` at once; for what a dead one left behind (its
 * last disk writes) it waits a while. Null: `signal` was aborted. */
export async function claimPoolAlone(ports: AloneClaimPorts, signal: AbortSignal): Promise<Claim | null> {
  const { pollMs, askMs } = ports.times ?? ALONE_TIMES;
  const startMs = performance.now();
  let askAtMs = startMs;
  while (!signal.aborted) {
    if (ports.lock.take()) return { keeperKeys: Promise.resolve(null) };
    if (performance.now() >= askAtMs) {
      if (await ports.isServed())
        throw new StoreError('in-use', `the pool in ${ports.folder} is served by another store, at the same socket: stop that store first`);
      askAtMs = performance.now() + askMs;
    }
    if (performance.now() >= startMs + ports.waitMs) throw poolInUse(ports.folder);
    await wait(pollMs, signal);
  }
  return null;
}

const ALONE_TIMES = { pollMs: 10, askMs: 1_000 };
