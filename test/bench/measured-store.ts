/**
 * One store with a keeper of its own, without CSI and without a node role: what is measured on it is the store. Its pool is
 * either reserved on the disk as an operator's is, or sparse, for maps that are larger than the disk.
 */
import { createServer } from 'node:net';
import { once } from 'node:events';
import path from 'node:path';
import { makeSparse } from '../support/sparse-pool.ts';
import { Scrape } from '../support/prometheus-text.ts';
import { StoreBed, type BedProcess } from '../support/store-bed.ts';
import { timed } from './statistics.ts';

const MIB = 2 ** 20;
/** What a sparse pool is made with. */
const firstBytes = 1024 * MIB;
const scrapeLimitMs = 5_000;
/** Of the time that has passed: asking more often would be a load of its own. */
const pollPart = 1 / 20;
const pollMs = { least: 5, most: 100 };

export interface MeasuredStoreOptions {
  /** On the disk that is measured. */
  readonly parent: string;
  readonly poolBytes: number;
  readonly sparse: boolean;
  /** Done with the folder of a pool that nobody has open, before the store that is measured starts. */
  readonly prepare?: (poolFolder: string) => Promise<void>;
}

/** How long a call took: for whoever called, and of that in the engine until the change was durable. */
export interface CallTime {
  readonly callMs: number;
  readonly engineMs: number;
}

export type TimedCall = 'snapshot' | 'clone' | 'revert' | 'delete';

export class MeasuredStore {
  readonly bed: StoreBed;
  readonly #poolSize: string;
  readonly #port: number;
  #store: BedProcess | null = null;

  private constructor(bed: StoreBed, options: { readonly poolBytes: number; readonly port: number }) {
    this.bed = bed;
    this.#poolSize = `${options.poolBytes / MIB}MiB`;
    this.#port = options.port;
  }

  static async start(options: MeasuredStoreOptions): Promise<MeasuredStore> {
    const bed = new StoreBed({
      built: true,
      parent: options.parent,
      poolSize: `${(options.sparse ? firstBytes : options.poolBytes) / MIB}MiB`,
    });
    try {
      await bed.startKeeper();
      if (options.sparse || options.prepare !== undefined) {
        const first = await bed.startStore({ pod: null });
        first.signal('SIGTERM');
        await first.ended();
        const folder = path.join(bed.folder, 'pool');
        if (options.sparse) makeSparse(folder, options.poolBytes);
        await options.prepare?.(folder);
      }
      const store = new MeasuredStore(bed, { poolBytes: options.poolBytes, port: await freePort() });
      await store.startAgain();
      return store;
    } catch (error) {
      await bed.cleanUp();
      throw error;
    }
  }

  get process(): BedProcess {
    return this.#store!;
  }

  get processId(): number {
    return this.process.child.pid!;
  }

  /** Starts the next store; resolves when it says that it is ready. */
  async startAgain(): Promise<void> {
    this.#store = await this.bed.startStore(this.#flags());
  }

  /** Starts the next store, and does not wait for it. */
  spawnAgain(): BedProcess {
    this.#store = this.bed.spawnStore(this.#flags());
    return this.#store;
  }

  /** Prewriting would write into the holes of a sparse pool, and scrubbing read, at moments of its own. */
  #flags() {
    const flags = ['--prewrite', 'off', '--scrub-every', 'off', '--http', `127.0.0.1:${this.#port}`];
    return { pod: null, poolSize: this.#poolSize, flags };
  }

  async makeVolume(name: string, sizeBytes: number): Promise<string> {
    const { volume } = await this.bed.client.createVolume({ name, sizeBytes, source: null, attributes: {} });
    return volume.id;
  }

  async metrics(): Promise<Scrape> {
    const response = await fetch(`http://127.0.0.1:${this.#port}/metrics`, { signal: AbortSignal.timeout(scrapeLimitMs) });
    return new Scrape(await response.text());
  }

  /** Nobody else may make such a call meanwhile: the engine tells sums. */
  async timed<Answer>(call: TimedCall, action: () => Promise<Answer>): Promise<CallTime & { readonly answer: Answer }> {
    const before = await this.#engineSeconds(call);
    const answers: Answer[] = [];
    const callMs = await timed(async () => answers.push(await action()));
    return { callMs, engineMs: ((await this.#engineSeconds(call)) - before) * 1_000, answer: answers[0]! };
  }

  async #engineSeconds(call: TimedCall): Promise<number> {
    return (await this.metrics()).value('chunkstore_engine_call_duration_seconds_sum', { call });
  }

  /** Resolves with the time until no more than this is used, to a twentieth, or to `everyMs`. */
  async untilUsed(
    mostBytes: number,
    options: { readonly limitMs: number; readonly signal: AbortSignal; readonly everyMs?: number },
  ): Promise<number> {
    const { usedBytes, tookMs } = await this.#askUntil((used) => used <= mostBytes, options);
    if (usedBytes > mostBytes) throw new Error(`after ${options.limitMs} ms ${usedBytes} bytes are used, ${mostBytes} were expected`);
    return tookMs;
  }

  /** Asks for the time given what is used, as `untilUsed` does. */
  async askFor(timeMs: number, options: { readonly signal: AbortSignal; readonly everyMs: number }): Promise<void> {
    await this.#askUntil(() => false, { ...options, limitMs: timeMs });
  }

  async #askUntil(
    enough: (usedBytes: number) => boolean,
    { limitMs, signal, everyMs }: { readonly limitMs: number; readonly signal: AbortSignal; readonly everyMs?: number },
  ): Promise<{ readonly usedBytes: number; readonly tookMs: number }> {
    const beganMs = performance.now();
    for (;;) {
      signal.throwIfAborted();
      const { usedBytes, counted } = await this.bed.client.getPool();
      const tookMs = performance.now() - beganMs;
      if (counted && enough(usedBytes)) return { usedBytes, tookMs };
      if (tookMs > limitMs) return { usedBytes: counted ? usedBytes : Infinity, tookMs };
      const pauseMs = everyMs ?? Math.min(pollMs.most, Math.max(pollMs.least, tookMs * pollPart));
      await new Promise((resolve) => setTimeout(resolve, pauseMs));
    }
  }

  async stop(): Promise<void> {
    await this.bed.cleanUp();
  }
}

/** Starts a store, lets it be used, and takes it down whatever happens. */
export async function withStore<Result>(options: MeasuredStoreOptions, use: (store: MeasuredStore) => Promise<Result>): Promise<Result> {
  const store = await MeasuredStore.start(options);
  try {
    return await use(store);
  } finally {
    await store.stop();
  }
}

async function freePort(): Promise<number> {
  const server = createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { readonly port: number };
  server.close();
  await once(server, 'close');
  return port;
}
