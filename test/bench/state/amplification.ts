/**
 * What is written to the disk for what a user writes: random writes of 4 KiB at a fixed rate, flushed as a database does now
 * and then, with a snapshot every ten seconds of which the last three are kept. The quick form is the same ten times as fast
 * on a tenth of the volume.
 *
 * Bytes are those that the store's process had written to the disk (/proc/PID/io): data, record log, LMDB and what merges
 * copied, all of it.
 */
import fs from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { FioLoad, runFio } from '../fio-load.ts';
import { withStore, type MeasuredStore } from '../measured-store.ts';
import type { Measurement, PartContext } from '../measurement.ts';

const MIB = 2 ** 20;
const writesPerSecond = 2_000;
/** Writes between two flushes of the load. */
const flushEvery = 256;
const blockBytes = 4096;
const kept = 3;
const snapshotsOfSeconds = 30;
const fillLimitMs = 300_000;
/** The last checkpoint and the last merges count, too. */
const settleMs = { quick: 1_000, full: 40_000 };

interface Scale {
  readonly volumeBytes: number;
  readonly betweenMs: number;
  readonly snapshots: number;
}

/** Ten seconds between snapshots, as many as there are thirds of a second in a load: five minutes of the longest bench. */
function scaleOf({ quick, seconds }: PartContext): Scale {
  if (quick) return { volumeBytes: 128 * MIB, betweenMs: 1_000, snapshots: 8 };
  return { volumeBytes: 1024 * MIB, betweenMs: 10_000, snapshots: Math.ceil((seconds * snapshotsOfSeconds) / 4) };
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
      const unit = figure.includes('÷') ? 'ratio' : 'bytes';
      return { part: 'state', workload: 'amplification', subject: 'chunkstore', condition: one, figure, unit, samples: [sample] };
    };
    return [
      of(condition.replace(/^.*? s, /, 'no snapshot, '), 'written to the disk ÷ by the user', alone.ratio),
      of(condition, 'written to the disk ÷ by the user', withSnapshots.ratio),
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

/** With `snapshots` 0: the same load for a third of the time, and none. */
async function amplified(
  store: MeasuredStore,
  options: AmplificationOptions,
): Promise<{ readonly ratio: number; readonly metadataBytes: number }> {
  const { id, betweenMs, snapshots, signal } = options;
  const client = store.bed.client;
  const before = { disk: writtenBytesOf(store.processId), user: await userBytesOf(store) };
  const flags = [
    '--rw=randwrite',
    `--bs=${blockBytes}`,
    '--iodepth=8',
    '--norandommap',
    `--rate_iops=${writesPerSecond}`,
    `--fsync=${flushEvery}`,
  ];
  const load = new FioLoad({ ...options, flags: [...flags, '--time_based', '--runtime=100000'] });
  try {
    const ids: string[] = [];
    const turns = snapshots === 0 ? 5 : snapshots;
    for (let turn = 0; turn < turns; turn += 1) {
      await delay(betweenMs, undefined, { signal });
      if (snapshots === 0) continue;
      ids.push((await client.createSnapshot({ name: `turn-${turn}`, sourceVolumeId: id, attributes: {} })).snapshot.id);
      if (ids.length > kept) await client.deleteSnapshot(ids.shift()!);
    }
    await load.stop();
    const settled = betweenMs < 10_000 ? settleMs.quick : settleMs.full;
    await delay(settled, undefined, { signal });
    const disk = writtenBytesOf(store.processId) - before.disk;
    const user = (await userBytesOf(store)) - before.user;
    const metadataBytes = (await store.metrics()).value('chunkstore_metadata_used_bytes');
    for (const snapshotId of ids) await client.deleteSnapshot(snapshotId);
    return { ratio: disk / user, metadataBytes };
  } finally {
    await load.endByForce();
  }
}

function writtenBytesOf(processId: number): number {
  return Number(/^write_bytes: (\d+)/m.exec(fs.readFileSync(`/proc/${processId}/io`, 'utf8'))?.[1]);
}

async function userBytesOf(store: MeasuredStore): Promise<number> {
  return (await store.metrics()).sum('chunkstore_volume_bytes_total', { operation: 'write' });
}
