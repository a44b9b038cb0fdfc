/**
 * What the node role tidies up by itself: file systems that a predecessor left frozen, and loop devices that a store left
 * behind when it and its keeper died at once. Both can wait, for a process that is not quite gone, or for the store; so
 * they are tried again until they are done.
 */
import { setTimeout as delay } from 'node:timers/promises';
import type { LoopDevices } from '../block/node-devices.ts';
import type { FreezeNotes } from '../mount/freeze-notes.ts';
import type { StoreClient } from '../store/wire/client.ts';
import { systemClock, type Clock } from '../util/clock.ts';
import { StoreError } from '../util/errors.ts';
import type { Logger } from '../util/log.ts';
import { Recurring } from '../util/recurring.ts';

export interface NodeUpkeepOptions {
  readonly notes: Pick<FreezeNotes, 'undo'>;
  readonly devices: Pick<LoopDevices, 'clearLeftovers'>;
  readonly store: Pick<StoreClient, 'getPool' | 'listVolumes' | 'listSnapshots'>;
  readonly log: Logger;
  readonly clock?: Clock;
}

/** The kubelet need not wait for more than a glance. */
const FIRST_SWEEP_LIMIT_MS = 2_000;
const RETRY_MS = { first: 500, most: 10_000 };
/** Devices that were in use when they were found dead may have been let go by now, and somebody may have died unseen. */
const SWEEP_INTERVAL_MS = 10 * 60_000;
const THAW_RETRY_MS = 1_000;
const THAW_INTERVAL_MS = 60_000;

export class NodeUpkeep {
  readonly #options: NodeUpkeepOptions;
  readonly #thawing: Recurring;
  readonly #sweeping: Recurring;
  /** Whether it worked or not. */
  readonly #sweptOnce = Promise.withResolvers<void>();

  private constructor(options: NodeUpkeepOptions) {
    this.#options = options;
    const { clock = systemClock, log } = options;
    this.#thawing = new Recurring({
      clock,
      action: () => this.#thaw(),
      onError: (error) => log.error({ err: error }, 'what a predecessor left frozen could not be looked at'),
      retryMs: RETRY_MS,
    });
    this.#sweeping = new Recurring({
      clock,
      action: () => this.#sweep(),
      onError: (error) => {
        this.#sweptOnce.resolve();
        // The store starts later than this process, or anew: it is asked again.
        if (error instanceof StoreError && error.code === 'unavailable')
          log.debug({ reason: error.message }, 'left-over devices are looked for later');
        else log.warn({ err: error }, 'left-over devices could not be taken down');
      },
      retryMs: RETRY_MS,
    });
  }

  /** Resolves when all that can be thawed at once is, and what a store that answers at once left behind is gone. */
  static async start(options: NodeUpkeepOptions): Promise<NodeUpkeep> {
    const remaining = await options.notes.undo();
    for (const [volume, reason] of remaining) options.log.warn({ volume, reason }, 'left frozen by a predecessor; tried again');
    const upkeep = new NodeUpkeep(options);
    const waiting = new AbortController();
    await Promise.race([upkeep.#sweptOnce.promise, delay(FIRST_SWEEP_LIMIT_MS, null, { signal: waiting.signal }).catch(() => {})]);
    waiting.abort();
    return upkeep;
  }

  /** The store may have died: its devices are looked at once the next one answers. */
  storeLost(): void {
    this.#sweeping.poke();
  }

  async stop(): Promise<void> {
    await Promise.all([this.#thawing.stop(), this.#sweeping.stop()]);
  }

  async #thaw(): Promise<number> {
    const remaining = await this.#options.notes.undo();
    // A freeze of this process's own is among them for its moment.
    if (remaining.size > 0) this.#options.log.debug({ remaining: [...remaining] }, 'notes of freezes that are not to be undone yet');
    return remaining.size > 0 ? THAW_RETRY_MS : THAW_INTERVAL_MS;
  }

  async #sweep(): Promise<number> {
    const { devices, store, log } = this.#options;
    const { id } = await store.getPool();
    const { cleared, inUse } = await devices.clearLeftovers(id, async () => {
      const [volumes, snapshots] = await Promise.all([store.listVolumes(), store.listSnapshots()]);
      return new Set([...volumes, ...snapshots].filter(({ attached }) => attached).map((object) => object.id));
    });
    if (cleared.length > 0) log.info({ devices: cleared }, 'devices of a store that ended were taken down');
    if (inUse.length > 0)
      log.warn({ devices: inUse }, 'devices of a store that ended are still in use; they fail until they are unmounted');
    this.#sweptOnce.resolve();
    return SWEEP_INTERVAL_MS;
  }
}
