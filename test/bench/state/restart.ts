/**
 * A restart by how much is mapped: a store is killed (SIGKILL) under random writes of 4 KiB at depth 8 and the next one
 * started at once. Told are the time until a request is answered again, and the longest pause after that until the
 * references are counted: until then writes take their slots from a reserve.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { FioLoad } from '../fio-load.ts';
import type { Measurement, PartContext } from '../measurement.ts';
import { nameOf, type MappedStore } from './mapped-store.ts';

const loadSeconds = 600;
const beforeDeathMs = 2_000;
const pollMs = 2;
const limitMs = 120_000;
/** Watched at least, so that the count is over in any case. */
const watchMs = 1_000;

interface Restart {
  readonly servedMs: number;
  readonly longestPauseMs: number;
  readonly countedMs: number;
}

export async function measureRestarts(mapped: MappedStore, context: PartContext): Promise<Measurement[]> {
  const { store, id, mappedBytes } = mapped;
  const devicePath = await store.bed.attachAgain(id);
  const flags = ['--rw=randwrite', '--bs=4k', '--iodepth=8', '--norandommap', '--time_based', `--runtime=${loadSeconds}`];
  const load = new FioLoad({ folder: store.bed.folder, devicePath, sizeBytes: mappedBytes, flags, signal: context.signal });
  const restarts: Restart[] = [];
  try {
    for (let round = 1; round <= context.rounds; round += 1) {
      await delay(beforeDeathMs, undefined, { signal: context.signal });
      restarts.push(await restartOnce(mapped, load, context));
      context.progress(`a restart with ${nameOf(mappedBytes)}: ${describe(restarts.at(-1)!)}`);
    }
    await load.stop();
  } finally {
    await load.endByForce();
  }
  await store.bed.detachAgain(id);
  const common = { part: 'state', workload: 'restart', subject: 'chunkstore', condition: nameOf(mappedBytes), unit: 'ms' } as const;
  return [
    { ...common, figure: 'time until I/O is served', samples: restarts.map(({ servedMs }) => servedMs) },
    { ...common, figure: 'longest pause after that', samples: restarts.map(({ longestPauseMs }) => longestPauseMs) },
    { ...common, figure: 'references counted after', samples: restarts.map(({ countedMs }) => countedMs) },
  ];
}

async function restartOnce({ store }: MappedStore, load: FioLoad, { signal }: PartContext): Promise<Restart> {
  const killedMs = performance.now();
  await store.process.kill();
  const before = load.completed;
  const next = store.spawnAgain();
  while (load.completed === before) await pause(killedMs, signal);
  const servedAtMs = performance.now();
  const counting = next
    .says('"ready"', { limitMs })
    .then(() => store.untilUsed(Number.MAX_SAFE_INTEGER, { limitMs, signal }))
    .then(() => performance.now());
  const watch = { over: false };
  const counted = counting.finally(() => (watch.over = true));
  counted.catch(() => undefined);
  let longestPauseMs = 0;
  let [seen, sinceMs] = [load.completed, servedAtMs];
  while (!watch.over || performance.now() - servedAtMs < watchMs) {
    await pause(killedMs, signal);
    const present = load.completed;
    longestPauseMs = Math.max(longestPauseMs, performance.now() - sinceMs);
    if (present !== seen) [seen, sinceMs] = [present, performance.now()];
  }
  return { servedMs: servedAtMs - killedMs, longestPauseMs, countedMs: (await counted) - killedMs };
}

async function pause(killedMs: number, signal: AbortSignal): Promise<void> {
  if (performance.now() - killedMs > limitMs) throw new Error(`no request was answered for ${limitMs} ms`);
  await delay(pollMs, undefined, { signal });
}

function describe({ servedMs, longestPauseMs, countedMs }: Restart): string {
  return `I/O after ${Math.round(servedMs)} ms, longest pause after that ${Math.round(longestPauseMs)} ms, counted after ${Math.round(countedMs)} ms`;
}
