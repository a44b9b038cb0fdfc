/**
 * Begins the passes over what snapshots hold when they are due (due.ts), for as long as a store serves its pool, and says in
 * the log what they find.
 *
 * It asks through the store's gate: when the pool is given up, what it asked for is over before the locks are free. Where a
 * pass is, the engine remembers; so an end needs no care here.
 */
import type { Clock } from '../../util/clock.ts';
import { StoreError } from '../../util/errors.ts';
import type { Logger } from '../../util/log.ts';
import { Recurring } from '../../util/recurring.ts';
import type { ScrubMessage, StoreCalls } from '../wire/messages.ts';
import { scrubStatusOf } from '../wire/scrub-messages.ts';
import { dueScrub } from './due.ts';

export interface ScrubScheduleOptions {
  /** Behind the store's gate. */
  readonly calls: {
    getScrub(): Promise<ScrubMessage>;
    startScrub(request: StoreCalls['startScrub']['request']): Promise<unknown>;
    listSnapshots(): Promise<{ readonly snapshots: readonly { readonly createdAtMs: number }[] }>;
  };
  /** From verifying pass to verifying pass; null: none begins by itself, and no sealing pass either. */
  readonly verifyEveryMs: number | null;
  readonly clock: Clock;
  readonly log: Logger;
}

/** Also before the first look: just after a start there is other work. */
export const LOOK_MS = 60_000;
const RETRY_MS = { first: LOOK_MS, most: 10 * LOOK_MS };

export class ScrubSchedule {
  readonly #options: ScrubScheduleOptions;
  readonly #recurring: Recurring;
  #looks = 0;
  #sealBeganAtMs = 0;
  #damagedChunks = 0;
  /** What was logged last, so that a lasting trouble is said once. */
  #trouble = '';

  /** Begins at once. */
  constructor(options: ScrubScheduleOptions) {
    this.#options = options;
    let isWaiting = true;
    this.#recurring = new Recurring({
      clock: options.clock,
      action: async () => {
        if (!isWaiting) await this.#look();
        isWaiting = false;
        return LOOK_MS;
      },
      onError: (error) => this.#failed(error),
      retryMs: RETRY_MS,
    });
  }

  /** Begins no pass any more; one under way is the engine's. */
  stop(): Promise<void> {
    return this.#recurring.stop();
  }

  async #look(): Promise<void> {
    const { calls, verifyEveryMs, clock, log } = this.#options;
    const status = scrubStatusOf(await calls.getScrub());
    this.#tellOfDamage(status.damagedChunks);
    if (verifyEveryMs === null || status.running !== null) return;
    const { snapshots } = await calls.listSnapshots();
    const mode = dueScrub({
      status,
      newestSnapshotAtMs: snapshots.length === 0 ? null : snapshots.reduce((newest, { createdAtMs }) => Math.max(newest, createdAtMs), 0),
      verifyEveryMs,
      nowMs: clock.nowMs(),
      isFirstLook: this.#looks === 0,
      sealBeganAtMs: this.#sealBeganAtMs,
    });
    if (mode !== null) {
      await calls.startScrub({ mode: mode === 'verify' ? 'SCRUB_MODE_VERIFY' : 'SCRUB_MODE_SEAL', bytesPerSecond: 0 });
      if (mode === 'seal') this.#sealBeganAtMs = clock.nowMs();
      log.info({ mode }, 'a pass over what snapshots hold begins');
    }
    this.#looks += 1;
    this.#trouble = '';
  }

  #tellOfDamage(damagedChunks: number): void {
    const { log } = this.#options;
    if (damagedChunks > this.#damagedChunks)
      log.error({ damagedChunks }, 'the disk has changed or lost what snapshots hold; "chunkstore scrub status" says where');
    this.#damagedChunks = damagedChunks;
  }

  #failed(error: unknown): void {
    // The pool is given up, or the store is ending.
    if (error instanceof StoreError && error.code === 'unavailable') return;
    const message = error instanceof Error ? error.message : String(error);
    if (message === this.#trouble) return;
    this.#trouble = message;
    this.#options.log.error({ reason: message }, 'no pass over what snapshots hold could begin; trying again');
  }
}
