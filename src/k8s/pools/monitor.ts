/**
 * Says of a pool what its own store cannot say: that it does not answer, or that it was declared lost and nobody is there to
 * obey. For the controller that leads. A store that is back says otherwise by itself, at once.
 *
 * It speaks only after several failures in a row, because a store that is replaced or restarted is away for a moment.
 */
import { StoreError } from '../../util/errors.ts';
import type { Clock } from '../../util/clock.ts';
import type { Logger } from '../../util/log.ts';
import { Recurring } from '../../util/recurring.ts';
import type { Informer, KubernetesApi } from '../api.ts';
import { conditionAfter, conditionOf, type ConditionVerdict } from '../conditions.ts';
import { chunkStorePools, type ChunkStorePool } from '../resources.ts';
import { isLost } from './routing.ts';
import { LOST, UNREACHABLE } from './status.ts';

export interface PoolMonitorOptions {
  readonly api: KubernetesApi;
  /** Resolves when the pool's store has just answered; `unavailable` with words otherwise, within seconds. */
  readonly probe: (poolId: string) => Promise<unknown>;
  readonly clock: Clock;
  readonly log: Logger;
}

const PERIOD_MS = 15_000;
const FAILURES = 3;
const RETRY_MS = { first: 2_000, most: 30_000 };

export class PoolMonitor {
  readonly #options: PoolMonitorOptions;
  readonly #informer: Informer<ChunkStorePool>;
  readonly #recurring: Recurring;
  readonly #failures = new Map<string, number>();
  #isReady = false;

  /** Begins at once. */
  constructor(options: PoolMonitorOptions) {
    this.#options = options;
    this.#informer = options.api.watch(chunkStorePools);
    this.#recurring = new Recurring({
      clock: options.clock,
      action: () => this.#look(),
      onError: (error) => {
        if (!(error instanceof StoreError && error.code === 'busy')) options.log.warn({ err: error }, 'a ChunkStorePool was not written');
      },
      retryMs: RETRY_MS,
    });
    void this.#informer.ready.then(() => {
      this.#isReady = true;
      this.#recurring.poke();
    });
  }

  async stop(): Promise<void> {
    await this.#recurring.stop();
    this.#informer.close();
  }

  async #look(): Promise<number> {
    if (!this.#isReady) return PERIOD_MS;
    const pools = this.#informer.all();
    for (const poolId of this.#failures.keys()) if (!pools.some(({ metadata }) => metadata.name === poolId)) this.#failures.delete(poolId);
    const done = await Promise.allSettled(pools.map((pool) => (isLost(pool) ? this.#say(pool, LOST) : this.#probe(pool))));
    for (const result of done) if (result.status === 'rejected') throw result.reason;
    return PERIOD_MS;
  }

  async #probe(pool: ChunkStorePool): Promise<void> {
    const { name } = pool.metadata;
    try {
      await this.#options.probe(name);
      this.#failures.delete(name);
    } catch (error) {
      const failures = (this.#failures.get(name) ?? 0) + 1;
      this.#failures.set(name, failures);
      if (failures < FAILURES) return;
      const message = error instanceof Error ? error.message : String(error);
      await this.#say(pool, { status: 'Unknown', reason: UNREACHABLE, message });
    }
  }

  /** Of what the store itself said before, nothing but Ready is touched; and that only if it is news. */
  async #say(pool: ChunkStorePool, verdict: ConditionVerdict): Promise<void> {
    const { api, clock, log } = this.#options;
    // What was read before the probe may be old by now, and a store that said something since is there.
    const now = this.#informer.get({ name: pool.metadata.name });
    if (now === null || now.metadata.resourceVersion !== pool.metadata.resourceVersion) return;
    const former = conditionOf(now.status, 'Ready');
    if (former?.status === verdict.status && former.reason === verdict.reason) return;
    const { generation } = now.metadata;
    const ready = conditionAfter(now.status, { type: 'Ready', ...verdict }, { generation, nowMs: clock.nowMs() });
    const others = now.status?.conditions?.filter(({ type }) => type !== 'Ready') ?? [];
    await api.replaceStatus(chunkStorePools, { ...now, status: { ...now.status, conditions: [ready, ...others] } });
    log.warn({ pool: now.metadata.name, node: now.spec.node, reason: verdict.message }, `the pool is said to be ${verdict.reason}`);
  }
}
