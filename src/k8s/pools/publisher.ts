/**
 * Keeps the ChunkStorePool of the pool that this store has open: makes it, makes it again when somebody deletes it, says how
 * the pool is, and obeys `spec.lost`. Nothing that serves data waits for it; without the API it goes on trying.
 *
 * It never changes an object that names another node. This pool may have come from there with its disk, or be a copy of it:
 * both have a lock of their own, and only a person knows. Who deletes the object says that the disk has moved, and then it
 * is made anew here. So a store needs no right to change what others rely on, and none to end a declaration.
 *
 * What `spec.lost` says is made durable in the pool before it is in effect, and what takes the pool back is read afresh
 * rather than from the informer, which may be late. An object that was deleted while the pool is lost is made again as lost.
 */
import { StoreError } from '../../util/errors.ts';
import type { Clock } from '../../util/clock.ts';
import type { Logger } from '../../util/log.ts';
import { Recurring } from '../../util/recurring.ts';
import { withinTime } from '../../util/time-limit.ts';
import type { Informer, KubernetesApi } from '../api.ts';
import type { RecordedEvent } from '../events.ts';
import { conditionOf } from '../conditions.ts';
import { chunkStorePools, type ChunkStorePool } from '../resources.ts';
import {
  differenceOf,
  poolStatus,
  type PoolFigures,
  type PoolPhase,
  type PoolProblem,
  type PoolStatus,
  type PoolView,
  UNREACHABLE,
} from './status.ts';

/** The open pool, as the store role has it. */
export interface PublishedPool {
  readonly id: string;
  phase(): PoolPhase;
  problems(): readonly PoolProblem[];
  figures(): Promise<PoolFigures>;
  readonly fence: {
    readonly lost: boolean;
    /** In effect, and durable, when it resolves. */
    setLost(lost: boolean): Promise<void>;
  };
}

export interface PoolPublisherOptions {
  readonly api: KubernetesApi;
  readonly pool: PublishedPool;
  /** Name of the Kubernetes node. */
  readonly node: string;
  readonly version: string;
  readonly clock: Clock;
  /** Records an event. Never fails and never waits. */
  readonly record: (event: RecordedEvent) => void;
  readonly log: Logger;
}

const LOOK_MS = 5_000;
/** Between two writes of the status at least. What only changes figures can wait longer. */
const WRITE_PAUSE_MS = { conditions: 2_000, figures: 15_000 };
/**
 * The controller says that the store does not answer, and the store that it serves: each time that this comes again the
 * store lets it stand for longer, because then both are right, and two that contradict each other would write for ever.
 */
const CONTRADICTION_PAUSE_MS = { growth: 4, most: 5 * 60_000 };
/** Uncontradicted for so long, the store is reached again. */
const BELIEVED_AFTER_MS = 60_000;
const RETRY_MS = { first: 1_000, most: 30_000 };
/** Of the store, and of its disk. */
const ANSWER_LIMIT_MS = 5_000;
const STOP_LIMIT_MS = 3_000;

export class PoolPublisher {
  readonly #options: PoolPublisherOptions;
  readonly #informer: Informer<ChunkStorePool>;
  readonly #stopListening: () => void;
  readonly #recurring: Recurring;
  #isReady = false;
  #writtenAtMs = Number.NEGATIVE_INFINITY;
  /** How often what the controller had said was overruled in a row. */
  #contradictions = 0;
  /** The version of the object when it last said what is to be said. */
  #agreed: string | undefined;
  /** What was logged last, so that a lasting trouble is said once. */
  #trouble = '';

  /** Begins at once; for as long as this store has the pool. */
  constructor(options: PoolPublisherOptions) {
    this.#options = options;
    const { api, pool, clock } = options;
    this.#informer = api.watch(chunkStorePools, { fieldSelector: `metadata.name=${pool.id}` });
    this.#recurring = new Recurring({
      clock,
      action: () => this.#publish(),
      onError: (error) => this.#failed(error),
      retryMs: RETRY_MS,
    });
    this.#stopListening = this.#informer.onChange(() => this.#recurring.poke());
    void this.#informer.ready.then(() => {
      this.#isReady = true;
      this.#recurring.poke();
    });
  }

  /** Something has changed that people should know soon: the phase, or a problem. */
  poke(): void {
    this.#recurring.poke();
  }

  /** Says a last word, if the API takes it in a few seconds: that the pool is stopped or handed over. Never fails, and says
   * nothing when somebody else has had a word since: that may be the successor. */
  async stop(phase: PoolPhase): Promise<void> {
    this.#stopListening();
    const { log } = this.#options;
    try {
      await withinTime(this.#sayLast(phase), { timeoutMs: STOP_LIMIT_MS, what: 'the Kubernetes API' });
    } catch (error) {
      log.info({ reason: error instanceof Error ? error.message : String(error) }, 'the ChunkStorePool was not told of the end');
    } finally {
      this.#informer.close();
    }
  }

  async #sayLast(phase: PoolPhase): Promise<void> {
    await this.#recurring.stop();
    const { api, pool, node } = this.#options;
    if (!this.#isReady) return;
    const object = await api.get(chunkStorePools, { name: pool.id });
    if (object === null || object.spec.node !== node || object.metadata.resourceVersion !== this.#agreed) return;
    const status = this.#statusOf(object, { phase, figures: null, problems: pool.problems() });
    await api.replaceStatus(chunkStorePools, { ...object, status });
  }

  /** Answers when to look again. */
  async #publish(): Promise<number> {
    const { api, pool, node } = this.#options;
    if (!this.#isReady) return LOOK_MS;
    const object = this.#informer.get({ name: pool.id });
    if (object === null) {
      const lost = pool.fence.lost ? { lost: true } : {};
      await api.create(chunkStorePools, { metadata: { name: pool.id }, spec: { node, ...lost } });
      this.#options.log.info({ pool: pool.id, node }, 'ChunkStorePool created');
      return LOOK_MS;
    }
    await this.#obey(object);
    if (object.spec.node !== node) {
      this.#troubled(
        `the ChunkStorePool names node ${object.spec.node}: if the disk has moved here, delete the object, and it is made anew; if this is a copy of the pool, stop this store`,
      );
      return LOOK_MS;
    }
    const waitMs = await this.#tell(object);
    this.#trouble = '';
    return waitMs;
  }

  /** Sets up or takes down the fence as the object demands. */
  async #obey(object: ChunkStorePool): Promise<void> {
    const { api, pool, log } = this.#options;
    const limit = { timeoutMs: ANSWER_LIMIT_MS, what: "the pool's disk" };
    const wanted = object.spec.lost === true;
    if (wanted === pool.fence.lost) return;
    if (!wanted) {
      const fresh = await api.get(chunkStorePools, { name: pool.id });
      if (fresh === null || fresh.spec.lost === true) return;
    }
    await withinTime(pool.fence.setLost(wanted), limit);
    log.warn({ pool: pool.id }, wanted ? 'the pool was declared lost: nothing is made from it or attached' : 'the pool was taken back');
  }

  async #tell(object: ChunkStorePool): Promise<number> {
    const { api, pool, clock } = this.#options;
    const status = this.#statusOf(object, await this.#look(pool.phase()));
    const difference = differenceOf(object.status, status);
    const sinceMs = clock.nowMs() - this.#writtenAtMs;
    if (difference === 'none') {
      this.#agreed = object.metadata.resourceVersion;
      if (sinceMs > BELIEVED_AFTER_MS) this.#contradictions = 0;
      return LOOK_MS;
    }
    const contradicts = conditionOf(object.status, 'Ready')?.reason === UNREACHABLE;
    const { growth, most } = CONTRADICTION_PAUSE_MS;
    const pauseMs = contradicts ? Math.min(WRITE_PAUSE_MS.conditions * growth ** this.#contradictions, most) : WRITE_PAUSE_MS[difference];
    // Unless the clock was set back.
    if (sinceMs >= 0 && sinceMs < pauseMs) return Math.min(pauseMs - sinceMs, LOOK_MS);
    this.#writtenAtMs = clock.nowMs();
    if (contradicts) this.#contradictions++;
    const written = await api.replaceStatus(chunkStorePools, { ...object, status });
    this.#agreed = written.metadata.resourceVersion;
    this.#tellOfFullness(object, written);
    this.#tellOfDamage(object, written);
    return LOOK_MS;
  }

  /** Each step towards a full pool, and the way back, is an event too: whoever looks later sees when it was. */
  #tellOfFullness(before: ChunkStorePool, after: ChunkStorePool): void {
    const [former, present] = [conditionOf(before.status, 'Full'), conditionOf(after.status, 'Full')];
    if (present === null || present.reason === former?.reason) return;
    const isFull = present.status === 'True';
    if (!isFull && (present.status !== 'False' || former?.status !== 'True')) return;
    const { reason, message } = present;
    const type = isFull ? 'Warning' : 'Normal';
    this.#options.record({ resource: chunkStorePools, object: after, type, reason, action: 'Allocating', note: message });
  }

  /** Each finding is an event, once; so is the end of all of them. */
  #tellOfDamage(before: ChunkStorePool, after: ChunkStorePool): void {
    const [former, present] = [before.status?.scrub?.damagedChunks ?? 0, after.status?.scrub?.damagedChunks ?? 0];
    const condition = conditionOf(after.status, 'Damaged');
    if (condition === null || (present <= former && (present > 0 || former === 0))) return;
    const { reason, message } = condition;
    const type = present > 0 ? 'Warning' : 'Normal';
    this.#options.record({ resource: chunkStorePools, object: after, type, reason, action: 'Scrubbing', note: message });
  }

  async #look(phase: PoolPhase): Promise<Look> {
    const { pool } = this.#options;
    const problems = pool.problems();
    if (phase !== 'serving') return { phase, figures: null, problems };
    try {
      return { phase, figures: await withinTime(pool.figures(), { timeoutMs: ANSWER_LIMIT_MS, what: 'the pool' }), problems };
    } catch (error) {
      const message = `the pool does not tell how it is: ${(error as Error).message}`;
      return { phase, figures: null, problems: [...problems, { reason: 'NotAnswering', message }] };
    }
  }

  #statusOf(object: ChunkStorePool, look: Look): PoolStatus {
    const { pool, version, clock } = this.#options;
    const view = { ...look, lost: pool.fence.lost };
    return poolStatus(view, { before: object.status, generation: object.metadata.generation, version, nowMs: clock.nowMs() });
  }

  #failed(error: unknown): void {
    // Somebody else was quicker: the informer brings what they wrote.
    if (error instanceof StoreError && error.code === 'busy') return;
    this.#troubled(error instanceof Error ? error.message : String(error));
  }

  #troubled(message: string): void {
    const { log, pool } = this.#options;
    if (message === this.#trouble) return;
    this.#trouble = message;
    log.warn({ pool: pool.id, reason: message }, 'the ChunkStorePool is not up to date; trying again');
  }
}

type Look = Omit<PoolView, 'lost'>;
