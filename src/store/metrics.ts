/**
 * The store's figures for Prometheus. All but the space of single volumes is read at each scrape; that space needs a walk
 * through every tree, so it is surveyed now and then, and the time of the survey is told.
 */
import { Counter, Gauge, type Metric } from 'prom-client';
import { LATENCY_BOUNDS_SECONDS, OPERATION_NAMES } from '../block/statistics.ts';
import type { Logger } from '../util/log.ts';
import type { Metrics } from '../util/metrics.ts';
import { CHANGING_CALLS } from './data-thread/call-times.ts';
import type { DataStatistics, DeviceStatistics, EngineControl, MetadataWatch } from './data-thread/control.ts';
import { wireId } from './wire/ids.ts';
import type { DefragmentMessage, ScrubMessage, SnapshotMessage, UsageMessage, VolumeMessage } from './wire/messages.ts';

export interface StoreMetricsOptions {
  readonly metrics: Metrics;
  readonly poolId: string;
  readonly engine: EngineControl;
  readonly statistics: DataStatistics;
  readonly metadata: MetadataWatch;
  /** The pool's provisioning limit in bytes, for its present size. */
  readonly service: {
    getPool(): Promise<{ readonly provisionLimitBytes: number; readonly reserveBytes: number }>;
    listVolumes(): Promise<{ readonly volumes: readonly VolumeMessage[] }>;
    listSnapshots(): Promise<{ readonly snapshots: readonly SnapshotMessage[] }>;
    listUsage(): Promise<{ readonly usages: readonly UsageMessage[] }>;
    getScrub(): Promise<ScrubMessage>;
    getDefragment(request: { readonly id: string }): Promise<DefragmentMessage>;
  };
  /** What this process found at its start: requests that its predecessor had answered, and those it did again. */
  readonly recovered: { readonly answered: number; readonly submitted: number };
  readonly log: Logger;
  readonly surveyMs?: number;
}

const SURVEY_MS = 10 * 60_000;

/** Begins to tell them; `stop` takes them away again, for a store that stands by. */
export function tellStoreMetrics(options: StoreMetricsOptions): { stop(): void } {
  const { metrics } = options;
  const figures = new Figures(options);
  const refreshing = metrics.beforeScrape(() => figures.refresh());
  const survey = (): void =>
    void figures.survey().catch((error: unknown) => options.log.debug({ err: error }, 'the space was not surveyed'));
  const timer = setInterval(survey, options.surveyMs ?? SURVEY_MS);
  timer.unref();
  return {
    stop: () => {
      clearInterval(timer);
      refreshing.stop();
      figures.remove();
    },
  };
}

class Figures {
  readonly #options: StoreMetricsOptions;
  readonly #registers;
  readonly #names: string[] = [];
  readonly #pool: Readonly<Record<PoolFigure, Gauge>>;
  readonly #engine: Readonly<Record<EngineFigure, Gauge>>;
  readonly #metadata: Readonly<Record<MetadataFigure, Gauge>>;
  readonly #scrub: Readonly<Record<ScrubFigure, Gauge>>;
  readonly #defragment: Readonly<Record<DefragmentFigure, Gauge>>;
  readonly #checkpoints: Counter;
  readonly #syncs: Counter;
  readonly #volumeSize: Gauge;
  readonly #volumeAttached: Gauge;
  readonly #volumeUsed: Gauge;
  readonly #volumeExclusive: Gauge;
  readonly #surveyedAt: Gauge;
  readonly #requests: Counter;
  readonly #bytes: Counter;
  readonly #errors: Counter;
  readonly #latency = new LatencyHistogram();
  readonly #calls = new EngineCalls();
  #surveying: Promise<void> | null = null;

  constructor(options: StoreMetricsOptions) {
    this.#options = options;
    this.#registers = [options.metrics.registry];
    this.#pool = this.#gauges('chunkstore_pool_', POOL_FIGURES);
    this.#engine = this.#gauges('chunkstore_', ENGINE_FIGURES);
    this.#metadata = this.#gauges('chunkstore_metadata_', METADATA_FIGURES);
    this.#scrub = this.#gauges('chunkstore_scrub_', SCRUB_FIGURES);
    this.#defragment = this.#gauges('chunkstore_defragment_', DEFRAGMENT_FIGURES);
    this.#checkpoints = this.#counter('chunkstore_checkpoints_total', 'Checkpoints that became durable.');
    this.#syncs = this.#counter('chunkstore_syncs_total', "Syncs of the pool's data and record log.");
    this.#volumeSize = this.#gauge('chunkstore_volume_size_bytes', 'Size of a volume or snapshot.', OBJECT_LABELS);
    this.#volumeAttached = this.#gauge('chunkstore_volume_attached', '1 while its block device is set up.', OBJECT_LABELS);
    this.#volumeUsed = this.#gauge('chunkstore_volume_used_bytes', 'Chunks that it refers to, at the last survey.', ['volume']);
    this.#volumeExclusive = this.#gauge(
      'chunkstore_volume_exclusive_bytes',
      'Chunks that nobody else refers to, at the last survey: what deleting it would free.',
      ['volume'],
    );
    this.#surveyedAt = this.#gauge('chunkstore_volume_survey_timestamp_seconds', 'When the space of the volumes was surveyed.', []);
    this.#requests = this.#counter('chunkstore_volume_requests_total', 'Requests of the block device that are done.', REQUEST_LABELS);
    this.#bytes = this.#counter('chunkstore_volume_bytes_total', 'Bytes that these requests read, wrote or zeroed.', REQUEST_LABELS);
    this.#errors = this.#counter('chunkstore_volume_errors_total', 'Requests that failed.', REQUEST_LABELS);
    options.metrics.registry.registerMetric(this.#latency as unknown as Metric);
    options.metrics.registry.registerMetric(this.#calls as unknown as Metric);
    this.#names.push(this.#latency.name, this.#calls.name);
    const recovered = this.#gauge('chunkstore_recovered_requests', 'Requests that a predecessor left, at the start of this process.', [
      'how',
    ]);
    recovered.set({ how: 'answered_again' }, options.recovered.answered);
    recovered.set({ how: 'done_again' }, options.recovered.submitted);
  }

  remove(): void {
    for (const name of this.#names) this.#options.metrics.registry.removeSingleMetric(name);
  }

  async refresh(): Promise<void> {
    const { engine, service, statistics, metadata } = this.#options;
    const [pool, { provisionLimitBytes, reserveBytes }, busy, devices, { volumes }, { snapshots }, space, scrub, defragment] =
      await Promise.all([
        engine.call({ kind: 'pool' }),
        service.getPool(),
        engine.call({ kind: 'statistics' }),
        statistics.statistics(),
        service.listVolumes(),
        service.listSnapshots(),
        metadata.metadataSpace({ fresh: false }),
        service.getScrub(),
        service.getDefragment({ id: '' }),
      ]);
    for (const [name, gauge] of entries(this.#metadata)) gauge.set(space[name]);
    const figures = { ...pool, provisionLimitBytes, reserveBytes, counted: pool.counted ? 1 : 0 };
    for (const [name, gauge] of entries(this.#pool)) gauge.set(figures[name]);
    const engineFigures = { ...busy, checkpointedAtSeconds: busy.checkpointedAtMs / 1_000 };
    for (const [name, gauge] of entries(this.#engine)) gauge.set(engineFigures[name]);
    const scrubFigures = {
      ...scrub,
      completedAtSeconds: scrub.completedAtMs / 1_000,
      running: scrub.running === 'SCRUB_MODE_VERIFY' ? 1 : 0,
      sealing: scrub.running === 'SCRUB_MODE_SEAL' ? 1 : 0,
    };
    for (const [name, gauge] of entries(this.#scrub)) gauge.set(scrubFigures[name]);
    const defragmentFigures = { ...defragment, running: defragment.state === 'DEFRAGMENT_STATE_RUNNING' ? 1 : 0 };
    for (const [name, gauge] of entries(this.#defragment)) gauge.set(defragmentFigures[name]);
    setTotal(this.#checkpoints, {}, busy.checkpoints);
    setTotal(this.#syncs, {}, busy.syncs);
    this.#showObjects(volumes, snapshots);
    this.#showRequests(devices);
  }

  /** One at a time: it may take longer than the time between two. */
  survey(): Promise<void> {
    this.#surveying ??= this.#survey().finally(() => {
      this.#surveying = null;
    });
    return this.#surveying;
  }

  async #survey(): Promise<void> {
    const { usages } = await this.#options.service.listUsage();
    this.#volumeUsed.reset();
    this.#volumeExclusive.reset();
    for (const { id, usedBytes, exclusiveBytes } of usages) {
      this.#volumeUsed.set({ volume: id }, usedBytes);
      this.#volumeExclusive.set({ volume: id }, exclusiveBytes);
    }
    this.#surveyedAt.setToCurrentTime();
  }

  #showObjects(volumes: readonly VolumeMessage[], snapshots: readonly SnapshotMessage[]): void {
    this.#volumeSize.reset();
    this.#volumeAttached.reset();
    const kinds = [
      ['volume', volumes],
      ['snapshot', snapshots],
    ] as const;
    for (const [kind, objects] of kinds) {
      for (const { id, name, sizeBytes, attached } of objects) {
        this.#volumeSize.set({ volume: id, name, kind }, sizeBytes);
        this.#volumeAttached.set({ volume: id, name, kind }, attached ? 1 : 0);
      }
    }
  }

  #showRequests({ devices, latency, calls }: DeviceStatistics): void {
    for (const counter of [this.#requests, this.#bytes, this.#errors]) counter.reset();
    for (const { objectId, counts } of devices) {
      const volume = wireId(this.#options.poolId, objectId);
      for (const operation of OPERATION_NAMES) {
        const { requests, bytes, errors } = counts[operation];
        this.#requests.inc({ volume, operation }, requests);
        this.#bytes.inc({ volume, operation }, bytes);
        this.#errors.inc({ volume, operation }, errors);
      }
    }
    this.#latency.show(latency);
    this.#calls.show(calls);
  }

  #gauges<Name extends string>(prefix: string, help: Readonly<Record<Name, readonly [name: string, help: string]>>): Record<Name, Gauge> {
    const made = entries(help).map(([key, [name, text]]) => [key, this.#gauge(`${prefix}${name}`, text, [])] as const);
    return Object.fromEntries(made) as Record<Name, Gauge>;
  }

  #gauge(name: string, help: string, labelNames: readonly string[]): Gauge {
    this.#names.push(name);
    return new Gauge({ name, help, labelNames: [...labelNames], registers: this.#registers });
  }

  #counter(name: string, help: string, labelNames: readonly string[] = []): Counter {
    this.#names.push(name);
    return new Counter({ name, help, labelNames: [...labelNames], registers: this.#registers });
  }
}

const OBJECT_LABELS = ['volume', 'name', 'kind'];
const REQUEST_LABELS = ['volume', 'operation'];

const POOL_FIGURES = {
  sizeBytes: ['size_bytes', 'What the pool can hold.'],
  usedBytes: ['used_bytes', 'Chunks referred to; an upper bound until counted is 1.'],
  freeBytes: ['free_bytes', 'What writes can still take.'],
  reserveBytes: ['reserve_bytes', 'When less is free, nothing new is made.'],
  provisionedBytes: ['provisioned_bytes', 'Sum of the sizes of all volumes.'],
  provisionLimitBytes: ['provision_limit_bytes', 'How large that sum may become.'],
  volumes: ['volumes', 'Volumes in the pool.'],
  snapshots: ['snapshots', 'Snapshots in the pool.'],
  parkedWrites: ['parked_writes', 'Writes that wait for room.'],
  counted: ['counted', '1 once the count after a start is over.'],
  sequence: ['sequence', 'Records made since the pool was created.'],
  durableSequence: ['durable_sequence', 'The last of them that a power cut leaves.'],
} as const;
type PoolFigure = keyof typeof POOL_FIGURES;

const METADATA_FIGURES = {
  usedBytes: ['used_bytes', "How much of the metadata's file is used or was once."],
  reservedBytes: ['reserved_bytes', 'How much its file system has reserved for it; more is reserved in time.'],
  hostFreeBytes: ['host_free_bytes', 'What that file system has beside it.'],
} as const;
type MetadataFigure = keyof typeof METADATA_FIGURES;

const ENGINE_FIGURES = {
  ringUsedBytes: ['ring_used_bytes', 'Records in shared memory since the last checkpoint.'],
  ringBytes: ['ring_size_bytes', 'Room for records in shared memory.'],
  logUsedBytes: ['log_used_bytes', "The part of the pool's record log that recovery would read."],
  logBytes: ['log_size_bytes', "Size of the pool's record log."],
  dirtyPages: ['dirty_pages', 'Map pages that the next checkpoint writes.'],
  residentPages: ['resident_pages', 'Map pages in memory.'],
  slotsInLimbo: ['slots_in_limbo', 'Free slots that wait for their last record to be durable.'],
  checkpointedAtSeconds: ['checkpoint_timestamp_seconds', 'When the last checkpoint became durable; 0: none since the start.'],
} as const;
type EngineFigure = keyof typeof ENGINE_FIGURES;

const SCRUB_FIGURES = {
  completedAtSeconds: ['completed_timestamp_seconds', 'When the last verifying pass came to its end; 0: never.'],
  running: ['running', '1 while a verifying pass is under way.'],
  sealing: ['sealing', '1 while a pass gives checksums to what is new.'],
  positionBytes: ['position_bytes', "How far the verifying pass under way came, of the pool's size."],
  verifiedBytes: ['verified_bytes', 'What it has held against a checksum so far.'],
  protectedBytes: ['protected_bytes', 'Chunks that have a checksum.'],
  damagedChunks: ['damaged_chunks', 'Chunks that do not equal their checksum, or cannot be read.'],
} as const;
type ScrubFigure = keyof typeof SCRUB_FIGURES;

const DEFRAGMENT_FIGURES = {
  running: ['running', '1 while a volume is being defragmented.'],
  movedBytes: ['moved_bytes', 'What was moved in the volume that is being defragmented, or was last.'],
  foundPieces: ['found_pieces', 'In how many pieces that lay on the disk, as far as it was passed over.'],
  leftPieces: ['left_pieces', 'In how many it lies now.'],
} as const;
type DefragmentFigure = keyof typeof DEFRAGMENT_FIGURES;

/** The data thread keeps the classes itself, so that recording costs nothing; here they only get Prometheus' shape. */
class LatencyHistogram {
  readonly name = 'chunkstore_request_duration_seconds';
  readonly help = 'How long requests of block devices took, from their arrival to the answer.';
  readonly type = 'histogram';
  readonly aggregator = 'sum';
  #values: { readonly labels: Record<string, string | number>; readonly value: number; readonly metricName: string }[] = [];

  show(latency: DeviceStatistics['latency']): void {
    this.#values = OPERATION_NAMES.flatMap((operation) => {
      const { counts, sumSeconds } = latency[operation];
      let total = 0;
      const buckets = counts.map((count, place) => {
        total += count;
        const le = LATENCY_BOUNDS_SECONDS[place] ?? '+Inf';
        return { labels: { le, operation }, value: total, metricName: `${this.name}_bucket` };
      });
      const sum = { labels: { operation }, value: sumSeconds, metricName: `${this.name}_sum` };
      return [...buckets, sum, { labels: { operation }, value: total, metricName: `${this.name}_count` }];
    });
  }

  get(): Promise<object> {
    return Promise.resolve({ name: this.name, help: this.help, type: this.type, values: this.#values, aggregator: this.aggregator });
  }

  reset(): void {
    this.#values = [];
  }
}

/** Sums alone, which the data thread keeps: between two scrapes they tell the mean, and of one call all there is. */
class EngineCalls {
  readonly name = 'chunkstore_engine_call_duration_seconds';
  readonly help = 'How long the engine took for calls that change what there is, until that was durable.';
  readonly type = 'summary';
  readonly aggregator = 'sum';
  #values: { readonly labels: Record<string, string>; readonly value: number; readonly metricName: string }[] = [];

  show(calls: DeviceStatistics['calls']): void {
    this.#values = CHANGING_CALLS.flatMap((call) => [
      { labels: { call }, value: calls[call].sumSeconds, metricName: `${this.name}_sum` },
      { labels: { call }, value: calls[call].count, metricName: `${this.name}_count` },
    ]);
  }

  get(): Promise<object> {
    return Promise.resolve({ name: this.name, help: this.help, type: this.type, values: this.#values, aggregator: this.aggregator });
  }

  reset(): void {
    this.#values = [];
  }
}

/** Counters here follow counts that are kept elsewhere. */
function setTotal(counter: Counter, labels: Record<string, string>, total: number): void {
  counter.reset();
  counter.inc(labels, total);
}

function entries<Key extends string, Value>(record: Readonly<Record<Key, Value>>): readonly (readonly [Key, Value])[] {
  return Object.entries(record) as [Key, Value][];
}
