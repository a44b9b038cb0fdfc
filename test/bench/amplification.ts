/**
 * What is written to the disk for what a user writes: random writes of 4 KiB at a fixed rate, flushed as a database does now
 * and then, with a snapshot every ten seconds of which the last three are kept: for an hour in a full run, two and a half
 * minutes in a normal one. The quick form is the same ten times as fast on a tenth of the volume. The first and the last
 * quarter are told by themselves too: what merges put off would make the last one dearer.
 *
 * Bytes are those that the store's process had written to the disk (/proc/PID/io): data, record log, LMDB and what merges
 * copied, all of it.
 */
import fs from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { FioLoad, runFio } from './fio-load.ts';
import { withStore, type MeasuredStore } from './measured-store.ts';
import type { Measurement, PartContext } from './measurement.ts';

const MIB = 2 ** 20;
const writesPerSecond = 2_000;
/** Writes between two flushes of the load. */
const flushEvery = 256;
const blockBytes = 4096;
const kept = 3;
const fillLimitMs = 300_000;
/** The last checkpoint and the last merges count, too. */
const settleMs = { quick: 1_000, full: 40_000 };
const turnsWithoutSnapshots = 5;

interface Scale {
  readonly volumeBytes: number;
  readonly betweenMs: number;
  readonly snapshots: number;
}

function scaleOf({ quick, full }: Pick<PartContext, 'quick' | 'full'>): Scale {
  if (quick) return { volumeBytes: 128 * MIB, betweenMs: 1_000, snapshots: 8 };
  return { volumeBytes: 1024 * MIB, betweenMs: 10_000, snapshots: full ? 360 : 15 };
}

export async function measureAmplification(context: PartContext): Promise<Measurement[]> {
  const scale = scaleOf(context);
  const { volumeBytes, betweenMs, snapshots } = scale;
  // A chunk that every kept snapshot has another version of, and what is on its way out.
  const poolBytes = volumeBytes * (kept + 3) + 512 * MIB;
  return withStore({ parent: context.folder, poolBytes, sparse: false }, async (store) => {
    const { signal } = context;
    const id = await store.makeVolume('amplified', volumeBytes);
    const devicePath = await store.bed.attachAgain(id);
    const common = { folder: store.bed.folder, devicePath, sizeBytes: volumeBytes, signal };
    await runFio({ ...common, flags: ['--rw=write', '--bs=1M', '--iodepth=8', '--end_fsync=1'], limitMs: fillLimitMs });
    const condition = `a snapshot every ${betweenMs / 1000} s, ${writesPerSecond} writes a second on ${volumeBytes / MIB} MiB`;
    context.progress(`${condition}, ${snapshots} of them`);
    const alone = await amplified(store, { ...common, ...scale, id, snapshots: 0 });
    const withSnapshots = await amplified(store, { ...common, ...scale, id });
    await store.bed.detachAgain(id);
    const of = (one: string, figure: string, sample: number): Measurement => {
      const unit = figure.startsWith('LMDB') ? 'bytes' : 'ratio';
      return { part: 'amplification', workload: 'random writes', subject: 'chunkstore', condition: one, figure, unit, samples: [sample] };
    };
    return [
      of(condition.replace(/^.*? s, /, 'no snapshot, '), 'written to the disk ÷ by the user', alone.ratio),
      of(condition, 'written to the disk ÷ by the user', withSnapshots.ratio),
      of(condition, 'the same in the first quarter', withSnapshots.firstQuarter),
      of(condition, 'the same in the last quarter', withSnapshots.lastQuarter),
      of(condition, 'LMDB per GiB mapped', withSnapshots.metadataBytes / (volumeBytes / 2 ** 30)),
    ];
  });
}

interface AmplificationOptions extends Scale {
  readonly folder: string;
  readonly devicePath: string;
  readonly sizeBytes: number;
  readonly signal: AbortSignal;
  readonly id: string;
}

interface Amplified {
  /** All of it, with what was put off until after the load. */
  readonly ratio: number;
  readonly firstQuarter: number;
  readonly lastQuarter: number;
  readonly metadataBytes: number;
}

/** Bytes since the store started. */
interface Written {
  readonly diskBytes: number;
  readonly userBytes: number;
}

/** With `snapshots` 0: the same load for a short time, and none. */
async function amplified(store: MeasuredStore, options: AmplificationOptions): Promise<Amplified> {
  const { id, betweenMs, snapshots, signal } = options;
  const client = store.bed.client;
  const flags = [
    '--rw=randwrite',
    `--bs=${blockBytes}`,
    '--iodepth=8',
    '--norandommap',
    `--rate_iops=${writesPerSecond}`,
    `--fsync=${flushEvery}`,
  ];
  const turns = snapshots === 0 ? turnsWithoutSnapshots : snapshots;
  const written = [await writtenBy(store)];
  const load = new FioLoad({ ...options, flags: [...flags, '--time_based', '--runtime=100000'] });
  try {
    const ids: string[] = [];
    for (let turn = 0; turn < turns; turn += 1) {
      await delay(betweenMs, undefined, { signal });
      written.push(await writtenBy(store));
      if (snapshots === 0) continue;
      ids.push((await client.createSnapshot({ name: `turn-${turn}`, sourceVolumeId: id, attributes: {} })).snapshot.id);
      if (ids.length > kept) await client.deleteSnapshot(ids.shift()!);
    }
    await load.stop();
    const settled = betweenMs < 10_000 ? settleMs.quick : settleMs.full;
    await delay(settled, undefined, { signal });
    const after = await writtenBy(store);
    const metadataBytes = (await store.metrics()).value('chunkstore_metadata_used_bytes');
    for (const snapshotId of ids) await client.deleteSnapshot(snapshotId);
    const quarter = Math.ceil(turns / 4);
    return {
      ratio: ratioBetween(written[0]!, after),
      firstQuarter: ratioBetween(written[0]!, written[quarter]!),
      lastQuarter: ratioBetween(written[turns - quarter]!, written[turns]!),
      metadataBytes,
    };
  } finally {
    await load.endByForce();
  }
}

function ratioBetween(before: Written, after: Written): number {
  return (after.diskBytes - before.diskBytes) / (after.userBytes - before.userBytes);
}

async function writtenBy(store: MeasuredStore): Promise<Written> {
  const diskBytes = Number(/^write_bytes: (\d+)/m.exec(fs.readFileSync(`/proc/${store.processId}/io`, 'utf8'))?.[1]);
  return { diskBytes, userBytes: (await store.metrics()).sum('chunkstore_volume_bytes_total', { operation: 'write' }) };
}
