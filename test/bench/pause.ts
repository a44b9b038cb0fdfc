/**
 * How long I/O pauses when the store is killed and started again at once, by how much the pool has mapped. Needs root and
 * fio; the data of the pool is a sparse file, in which each chunk gets one granule: 1/16 of what is mapped.
 * With TMPDIR on a tmpfs (6.6 or newer) the disk takes no part.
 *
 *   make build; TMPDIR=/dev/shm node test/bench/pause.ts [--mapped GIB] [--deaths N]
 */
import { spawnSync } from 'node:child_process';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { makeSparse } from '../support/sparse-pool.ts';
import { StoreBed, type BedProcess, type Load } from '../support/store-bed.ts';
import { median } from './statistics.ts';

const GIB = 2 ** 30;
const CHUNK_KIB = 64;
const FILL_LIMIT_MS = 600_000;
const START_LIMIT_MS = 120_000;
const POLL_MS = 2;
/** Watched after a death: the references are counted meanwhile. */
const WATCH_MS = 6_000;
const STOPPING = ['SIGINT', 'SIGTERM'] as const;

const { values } = parseArgs({ options: { mapped: { type: 'string', default: '100' }, deaths: { type: 'string', default: '5' } } });
const mappedGib = Number(values.mapped);
const deaths = Number(values.deaths);
const stopping = new AbortController();
for (const signal of STOPPING) process.once(signal, () => stopping.abort(new Error(`stopped by ${signal}`)));

const bed = new StoreBed({ poolSize: '1GiB', built: true });
try {
  await measure();
} finally {
  await bed.cleanUp();
}

async function measure(): Promise<void> {
  await bed.startKeeper();
  const first = await bed.startStore({ pod: null });
  first.signal('SIGTERM');
  await first.ended();
  const poolSize = `${mappedGib + 8}GiB`;
  makeSparse(path.join(bed.folder, 'pool'), (mappedGib + 8) * GIB);
  let store = await bed.startStore({ pod: null, poolSize });
  const device = await bed.makeDevice('large', mappedGib * GIB);
  const began = performance.now();
  fill(device);
  const { usedBytes } = await bed.client.getPool();
  console.log(
    `${mappedGib} GiB mapped in ${Math.round((performance.now() - began) / 1000)} s; used ${usedBytes / GIB} GiB; load ${os.loadavg()[0]!.toFixed(1)}`,
  );
  const load = bed.load(device, mappedGib * GIB, ['--bs=4k']);
  await delay(5_000);
  const pauses: number[] = [];
  for (let death = 0; death < deaths; death++) {
    stopping.signal.throwIfAborted();
    const [next, line] = await die(store, load, { poolSize, pauses });
    store = next;
    console.log(line);
  }
  const complaints = await load.stop();
  if (complaints !== '') throw new Error(`fio: ${complaints}`);
  console.log(`pause: median ${Math.round(median(pauses))} ms, at most ${Math.round(Math.max(...pauses))} ms (${pauses.length} deaths)`);
}

async function die(store: BedProcess, load: Load, options: { poolSize: string; pauses: number[] }): Promise<[BedProcess, string]> {
  const { poolSize, pauses } = options;
  const killed = performance.now();
  await store.kill();
  const gone = performance.now();
  const before = load.completed;
  const next = bed.spawnStore({ pod: null, poolSize });
  while (load.completed === before && performance.now() - killed < START_LIMIT_MS) await delay(POLL_MS);
  const resumed = performance.now();
  pauses.push(resumed - killed);
  // Whether it stops again: while references are counted, slots come from a reserve.
  let longestMs = 0;
  let last = resumed;
  for (let seen = load.completed; performance.now() - resumed < WATCH_MS; await delay(POLL_MS)) {
    const now = performance.now();
    if (load.completed !== seen) {
      seen = load.completed;
      last = now;
    } else longestMs = Math.max(longestMs, now - last);
  }
  await next.says('"ready"', { limitMs: START_LIMIT_MS });
  const text = `resumed after ${ms(resumed - killed)} (process gone after ${ms(gone - killed)}), longest pause after that ${ms(longestMs)}; load ${os.loadavg()[0]!.toFixed(1)}`;
  return [next, `${text}\n${stepsOf(next.log)}`];
}

/** What the store itself says of its start, with its times. */
function stepsOf(log: string): string {
  return log
    .split('\n')
    .slice(0, 30)
    .map((line) => `    ${line.slice(0, 260)}`)
    .join('\n');
}

function ms(value: number): string {
  return `${Math.round(value)} ms`;
}

/** A granule in each chunk. */
function fill(device: string): void {
  const skip = CHUNK_KIB - 4;
  const parameters = [
    ...['--name=fill', `--filename=${device}`, `--rw=write:${skip}k`, '--bs=4k', '--direct=1', '--ioengine=io_uring'],
    ...['--iodepth=32', `--io_size=${(mappedGib * GIB) / (CHUNK_KIB / 4)}`, `--size=${mappedGib * GIB}`, '--output-format=terse'],
  ];
  const { status, stderr } = spawnSync('fio', parameters, { encoding: 'utf8', timeout: FILL_LIMIT_MS, cwd: bed.folder });
  if (status !== 0) throw new Error(`fio: ${stderr}`);
}
