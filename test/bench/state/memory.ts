/**
 * Memory and metadata by how much is mapped. Told are the store's memory once its references are counted and nothing was
 * read, of which the growth from the smaller to the larger map is what a mapped TiB costs; and what the cache of pages adds
 * when all of the map is gone through, one read for each of its leaves, twice: the map of the smaller store just fits into
 * the cache, that of the larger one does not, so that what it adds there is its bound.
 *
 * A process's own memory counts (RssAnon): the shared memory is of one size whatever is mapped, and the pages of LMDB's file
 * belong to the kernel's cache.
 */
import fs from 'node:fs';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { runFio } from '../fio-load.ts';
import type { Measurement, PartContext } from '../measurement.ts';
import { nameOf, type MappedStore } from './mapped-store.ts';

const MIB = 2 ** 20;
const TIB = 2 ** 40;
const blockBytes = 4096;
/** What one leaf of the map speaks of. */
const leafBytes = 256 * 64 * 1024;
const countLimitMs = 60_000;
const passLimitMs = 120_000;
/** The collector of garbage takes its time: the least of some looks counts. */
const looks = { count: 10, pauseMs: 300 };

interface Memory {
  readonly mappedBytes: number;
  readonly countedBytes: number;
  /** After each pass. */
  readonly firstBytes: number;
  readonly secondBytes: number;
  readonly metadataBytes: number;
  readonly residentPages: number;
}

export async function measureMemory(stores: readonly MappedStore[], context: PartContext): Promise<Measurement[]> {
  const found: Memory[] = [];
  for (const mapped of stores) found.push(await look(mapped, context));
  const [smaller, larger] = found.toSorted((a, b) => a.mappedBytes - b.mappedBytes);
  const of = (condition: string, workload: string, figure: string, sample: number): Measurement => {
    const unit = figure.includes('÷') ? 'ratio' : 'bytes';
    return { part: 'state', workload, subject: 'chunkstore', condition, figure, unit, samples: [sample] };
  };
  const each = found.flatMap(({ mappedBytes, countedBytes, firstBytes, secondBytes, metadataBytes }) => [
    of(nameOf(mappedBytes), 'memory', 'own memory of the store, nothing read', countedBytes),
    of(nameOf(mappedBytes), 'memory', 'own memory of the store, all of the map read', secondBytes),
    of(nameOf(mappedBytes), 'memory', 'cache of pages', secondBytes - countedBytes),
    of(nameOf(mappedBytes), 'memory', 'after a second pass over the map ÷ after the first', secondBytes / firstBytes),
    of(nameOf(mappedBytes), 'metadata', 'LMDB and log', metadataBytes),
  ]);
  if (smaller === undefined || larger === undefined) return each;
  const tebibytes = (larger.mappedBytes - smaller.mappedBytes) / TIB;
  const range = `from ${nameOf(smaller.mappedBytes)} to ${nameOf(larger.mappedBytes)}`;
  return [
    ...each,
    of(range, 'memory', 'own memory per TiB', (larger.countedBytes - smaller.countedBytes) / tebibytes),
    of(range, 'metadata', 'LMDB per TiB', (larger.metadataBytes - smaller.metadataBytes) / tebibytes),
  ];
}

async function look({ store, id, mappedBytes }: MappedStore, context: PartContext): Promise<Memory> {
  const { signal } = context;
  await store.untilUsed(Number.MAX_SAFE_INTEGER, { limitMs: countLimitMs, signal });
  const devicePath = await store.bed.attachAgain(id);
  const skipKib = (leafBytes - blockBytes) / 1024;
  const ioBytes = (mappedBytes / leafBytes) * blockBytes;
  const flags = [`--rw=read:${skipKib}k`, `--bs=${blockBytes}`, '--iodepth=32', `--io_size=${ioBytes}`];
  const pass = async (): Promise<number> => {
    await runFio({ folder: store.bed.folder, devicePath, sizeBytes: mappedBytes, flags, signal, limitMs: passLimitMs });
    return leastOwnBytes(store.processId, signal);
  };
  const countedBytes = await leastOwnBytes(store.processId, signal);
  const firstBytes = await pass();
  const secondBytes = await pass();
  await store.bed.detachAgain(id);
  const metrics = await store.metrics();
  const log = fs.statSync(path.join(store.bed.folder, 'pool/log'));
  const residentPages = metrics.value('chunkstore_resident_pages');
  const bytes = [countedBytes, firstBytes, secondBytes].map((one) => Math.round(one / MIB)).join(', ');
  context.progress(
    `${nameOf(mappedBytes)}: ${bytes} MiB of memory before and after each pass over the map, ${residentPages} pages of it kept`,
  );
  return {
    mappedBytes,
    countedBytes,
    firstBytes,
    secondBytes,
    metadataBytes: metrics.value('chunkstore_metadata_used_bytes') + log.size,
    residentPages,
  };
}

async function leastOwnBytes(processId: number, signal: AbortSignal): Promise<number> {
  let least = Infinity;
  for (let count = 0; count < looks.count; count += 1) {
    await delay(looks.pauseMs, undefined, { signal });
    const status = fs.readFileSync(`/proc/${processId}/status`, 'utf8');
    least = Math.min(least, Number(/^RssAnon:\s+(\d+) kB/m.exec(status)?.[1]) * 1024);
  }
  return least;
}
