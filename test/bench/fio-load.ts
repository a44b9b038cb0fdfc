/** fio as parts need it that look at single requests, or at a load while something else happens. */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import path from 'node:path';
import { completedRequests } from '../support/block-statistics.ts';

/** How long fio may take to end once it is told to. */
const endLimitMs = 20_000;
const killLimitMs = 10_000;

export interface FioOptions {
  /** For its files; the caller removes it. */
  readonly folder: string;
  readonly devicePath: string;
  readonly sizeBytes: number;
  readonly flags: readonly string[];
  readonly signal: AbortSignal;
}

/** One request of a load, in milliseconds since the epoch. */
export interface LoggedRequest {
  readonly endedMs: number;
  readonly tookMs: number;
}

/** Runs fio to its end. */
export async function runFio(options: FioOptions & { readonly limitMs: number }): Promise<void> {
  const load = new FioLoad(options);
  const timer = setTimeout(() => load.kill(), options.limitMs);
  try {
    await load.over();
  } finally {
    clearTimeout(timer);
  }
}

/** One granule of each chunk: what is mapped is all of the device, and a sixteenth of it is written. */
export async function mapWhole(options: Omit<FioOptions, 'flags'> & { readonly order: 'sequential' | 'random' }): Promise<void> {
  const chunkKib = 64;
  const chunks = options.sizeBytes / (chunkKib * 1024);
  const order = options.order === 'sequential' ? [`--rw=write:${chunkKib - 4}k`] : ['--rw=randwrite', `--blockalign=${chunkKib}k`];
  const flags = [...order, '--bs=4k', '--iodepth=32', `--io_size=${chunks * 4096}`, '--end_fsync=1'];
  await runFio({ ...options, flags, limitMs: 60_000 + chunks });
}

/** A load that goes on until it is stopped or its own time is over. */
export class FioLoad {
  readonly #child: ChildProcess;
  readonly #devicePath: string;
  readonly #ended: Promise<void>;
  #errors = '';

  constructor(options: FioOptions) {
    this.#devicePath = options.devicePath;
    const parameters = [
      '--name=load',
      `--filename=${options.devicePath}`,
      `--size=${options.sizeBytes}`,
      '--direct=1',
      '--ioengine=io_uring',
    ];
    this.#child = spawn('fio', [...parameters, '--thread', '--randrepeat=0', '--output-format=terse', ...options.flags], {
      stdio: ['ignore', 'ignore', 'pipe'],
      cwd: options.folder,
      signal: options.signal,
      killSignal: 'SIGKILL',
    });
    this.#child.stderr?.on('data', (data: Buffer) => (this.#errors += data.toString()));
    this.#ended = this.#end();
    // Whoever wants to know waits for it himself.
    this.#ended.catch(() => undefined);
  }

  async #end(): Promise<void> {
    const [status, signal] = (await once(this.#child, 'close')) as [number | null, string | null];
    const complaints = this.#errors.split('\n').filter((line) => line !== '' && !line.includes('terminating on signal'));
    if (status !== 0 && complaints.length > 0) throw new Error(`fio: ${complaints.join('; ')}`);
    if (signal !== null) throw new Error(`fio was ended by ${signal}`);
  }

  /** Resolves when it has ended by itself, in order. */
  async over(): Promise<void> {
    await this.#ended;
  }

  /** Requests of the device that were answered, whoever asked. */
  get completed(): number {
    return completedRequests(this.#devicePath);
  }

  async stop(): Promise<void> {
    const timer = setTimeout(() => this.kill(), endLimitMs);
    this.#child.kill('SIGINT');
    try {
      await this.#ended;
    } finally {
      clearTimeout(timer);
    }
  }

  kill(): void {
    this.#child.kill('SIGKILL');
  }

  /** For the taking down after a failure. */
  async endByForce(): Promise<void> {
    this.kill();
    await Promise.race([this.#ended.catch(() => undefined), new Promise((resolve) => setTimeout(resolve, killLimitMs))]);
  }
}

/** Runs a load with its requests logged, and something beside it; answers each request. */
export async function loggedRequests(options: FioOptions, beside: () => Promise<void>): Promise<LoggedRequest[]> {
  const prefix = path.join(options.folder, 'requests');
  const logging = [`--write_lat_log=${prefix}`, '--log_unix_epoch=1', '--disable_slat=1', '--disable_clat=1', '--per_job_logs=0'];
  const load = new FioLoad({ ...options, flags: [...options.flags, ...logging] });
  try {
    await beside();
    await load.over();
    const text = fs.readFileSync(`${prefix}_lat.log`, 'utf8');
    return text
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => {
        const [endedMs = NaN, nanoseconds = NaN] = line.split(',', 2).map(Number);
        return { endedMs, tookMs: nanoseconds / 1e6 };
      });
  } finally {
    await load.endByForce();
    for (const kind of ['lat', 'clat', 'slat']) fs.rmSync(`${prefix}_${kind}.log`, { force: true });
  }
}

/** The value that this part of the samples does not exceed: 0.99 for p99. */
export function quantile(samples: readonly number[], part: number): number {
  const sorted = samples.toSorted((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(sorted.length * part) - 1)] ?? Number.NaN;
}
