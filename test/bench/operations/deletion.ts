/**
 * The deletion of a snapshot by what it alone holds: how long until its space is back, and what random writes on another
 * volume of the pool do meanwhile, against two seconds before in which the store is asked as often. What it holds are whole
 * maps that nobody wrote (test/support/synthetic-pool.ts): the volume is discarded after the snapshot. A snapshot of which
 * everything is still the volume's as well is deleted for comparison.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { runCommand } from '../../../src/util/exec.ts';
import { addMappedVolumes } from '../../support/synthetic-pool.ts';
import { FioLoad, runFio } from '../fio-load.ts';
import { withStore, type MeasuredStore } from '../measured-store.ts';
import type { Measurement, PartContext } from '../measurement.ts';
import { timed } from '../statistics.ts';

const MIB = 2 ** 20;
const GIB = 2 ** 30;
const foregroundBytes = 256 * MIB;
const spareBytes = 64 * GIB;
const limitMs = 300_000;
/** A shorter time is no measure of throughput. */
const leastWindowMs = 500;
const warmUpMs = 1_000;
const beforeMs = 2_000;
const askEveryMs = 25;

interface Deletion {
  readonly backMs: number;
  readonly ratio: number;
}

export async function measureDeletions(context: PartContext): Promise<Measurement[]> {
  const sizesGib = context.quick ? [16, 64] : context.full ? [16, 128, 1024] : [16, 128, 256];
  const names = sizesGib.flatMap((gib) =>
    Array.from({ length: context.rounds }, (_, round) => ({ name: `held-${gib}-${round}`, mappedBytes: gib * GIB })),
  );
  const poolBytes = names.reduce((sum, { mappedBytes }) => sum + mappedBytes, spareBytes);
  // Addresses are counted against the pool's own size, so there is room for all of them.
  const prepare = (folder: string): Promise<void> => addMappedVolumes(folder, names);
  return withStore({ parent: context.folder, poolBytes, sparse: true, prepare }, async (store) => {
    const { signal } = context;
    const foreground = await store.makeVolume('foreground', foregroundBytes);
    const devicePath = await store.bed.attachAgain(foreground);
    const common = { folder: store.bed.folder, devicePath, sizeBytes: foregroundBytes, signal };
    await runFio({ ...common, flags: ['--rw=write', '--bs=1M', '--iodepth=8', '--end_fsync=1'], limitMs });
    await store.untilUsed(Number.MAX_SAFE_INTEGER, { limitMs, signal });
    const flags = ['--rw=randwrite', '--bs=4k', '--iodepth=8', '--norandommap', '--time_based', '--runtime=100000'];
    const load = new FioLoad({ ...common, flags });
    const found = new Map<string, Deletion[]>();
    const add = (condition: string, deletion: Deletion): void => void found.set(condition, [...(found.get(condition) ?? []), deletion]);
    try {
      for (let round = 0; round < context.rounds; round += 1) {
        context.progress(`deletions of snapshots, round ${round + 1} of ${context.rounds}`);
        for (const gib of sizesGib) {
          const name = `held-${gib}-${round}`;
          if (gib === sizesGib.at(-1)) add(`none of ${gib} GiB held by it alone`, await deleteShared(store, name, { load, signal }));
          add(`${gib} GiB held by it alone`, await deleteHeld(store, name, { load, signal }));
        }
      }
      await load.stop();
    } finally {
      await load.endByForce();
    }
    await store.bed.detachAgain(foreground);
    return [...found].flatMap(([condition, deletions]): Measurement[] => {
      const same = { part: 'operations', workload: 'delete of a snapshot', subject: 'chunkstore', condition } as const;
      const backs = deletions.map(({ backMs }) => backMs);
      const ratios = deletions.map(({ ratio }) => ratio);
      return [
        { ...same, figure: 'time until its space is back', unit: 'ms', samples: backs },
        { ...same, figure: 'foreground throughput meanwhile ÷ before', unit: 'ratio', samples: ratios },
      ];
    });
  });
}

interface Beside {
  readonly load: FioLoad;
  readonly signal: AbortSignal;
}

async function deleteHeld(store: MeasuredStore, name: string, beside: Beside): Promise<Deletion> {
  const { client } = store.bed;
  const volume = (await client.findVolume(name))!;
  const { snapshot } = await client.createSnapshot({ name, sourceVolumeId: volume.id, attributes: {} });
  const devicePath = await store.bed.attachAgain(volume.id);
  await runCommand('blkdiscard', ['--force', devicePath], { timeoutMs: limitMs });
  await store.bed.detachAgain(volume.id);
  const { usedBytes } = await client.getPool();
  return watch(store, { snapshotId: snapshot.id, leftBytes: usedBytes - volume.sizeBytes }, beside);
}

async function deleteShared(store: MeasuredStore, name: string, beside: Beside): Promise<Deletion> {
  const { client } = store.bed;
  const { id } = (await client.findVolume(name))!;
  const { snapshot } = await client.createSnapshot({ name: `${name}-shared`, sourceVolumeId: id, attributes: {} });
  const { usedBytes } = await client.getPool();
  return watch(store, { snapshotId: snapshot.id, leftBytes: usedBytes }, beside);
}

/** Deletes it; `leftBytes`: what is used once its space is back. */
async function watch(
  store: MeasuredStore,
  deleted: { readonly snapshotId: string; readonly leftBytes: number },
  { load, signal }: Beside,
): Promise<Deletion> {
  await delay(warmUpMs, undefined, { signal });
  // Asking whether space is back takes its part of two processors too: it is done in both windows.
  const before = await throughput(load, () => store.askFor(beforeMs, { signal, everyMs: askEveryMs }));
  let backMs = 0;
  const meanwhile = await throughput(load, async () => {
    const tookMs = await timed(() => store.bed.client.deleteSnapshot(deleted.snapshotId));
    // Some slots of the load may wait for their records at any moment.
    backMs = tookMs + (await store.untilUsed(deleted.leftBytes + foregroundBytes, { limitMs, signal, everyMs: askEveryMs }));
    await store.askFor(leastWindowMs - backMs, { signal, everyMs: askEveryMs });
  });
  return { backMs, ratio: meanwhile / before };
}

async function throughput(load: FioLoad, action: () => Promise<unknown>): Promise<number> {
  const before = load.completed;
  const tookMs = await timed(action);
  return (load.completed - before) / tookMs;
}
