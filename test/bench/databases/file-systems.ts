/** Where the databases are: an ext4 on a volume of ours, and one on a plain loop device. Both on space written before. */
import fs from 'node:fs';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { runCommand } from '../../../src/util/exec.ts';
import { blockCapability, ext4Capability, publishNewVolume, unpublishVolume } from '../../support/csi-volume.ts';
import type { Guarded } from '../../support/guarded-run.ts';
import type { LocalDriver } from '../../support/local-driver.ts';
import { timed } from '../statistics.ts';
import { fill } from '../fio.ts';
import { attachFile, detachFile } from '../io/subjects/loop-file.ts';

const MIB = 2 ** 20;
/** The pool keeps some slots in reserve. */
const unusedBytes = 256 * MIB;
const commandLimitMs = 60_000;
const settleLimitMs = 60_000;
/** Used space that has not changed for so long is taken as settled. */
const restMs = 500;

export interface Sizes {
  readonly volumeBytes: number;
  /** The volume, and what its snapshots hold. */
  readonly poolBytes: number;
}

export interface FileSystem {
  readonly subject: string;
  readonly folder: string;
  /** Null where there are none to be had. */
  readonly snapshots: Snapshots | null;
}

export interface Snapshots {
  /** Takes one; answers its time in milliseconds. */
  take(): Promise<number>;
  /** Deletes all; ends when their space has come back, or a minute later. */
  deleteAll(): Promise<void>;
}

export async function makeOwn(guarded: Guarded, { volumeBytes, poolBytes }: Sizes): Promise<FileSystem> {
  const driver = await guarded.startDriver({ name: 'own', size: `${poolBytes / MIB}MiB` });
  const all = await publishNewVolume(driver, { name: 'all', sizeBytes: poolBytes - unusedBytes, capability: blockCapability });
  await fill(all.targetPath, { sizeBytes: poolBytes - unusedBytes, order: 'sequential', signal: guarded.signal });
  await unpublishVolume(driver, all);
  await driver.csi.controller.deleteVolume({ volumeId: all.volumeId });
  await settle(driver, guarded.signal);
  const { volumeId, targetPath } = await publishNewVolume(driver, {
    name: 'databases',
    sizeBytes: volumeBytes,
    capability: ext4Capability,
  });
  return { subject: 'chunkstore', folder: targetPath, snapshots: snapshotsOf(driver, { volumeId, signal: guarded.signal }) };
}

export async function makePlain(guarded: Guarded, { volumeBytes }: Pick<Sizes, 'volumeBytes'>): Promise<FileSystem> {
  const file = path.join(guarded.folder, 'plain');
  const folder = path.join(guarded.folder, 'plain-mounted');
  fs.mkdirSync(folder);
  await fill(file, { sizeBytes: volumeBytes, order: 'sequential', signal: guarded.signal });
  const device = await attachFile(file);
  guarded.atEnd(() => detachFile(device));
  const { devicePath } = device;
  // With the options of the driver, or the two would differ in more than what is below them.
  await runCommand('mkfs.ext4', ['-q', '-E', 'nodiscard,lazy_itable_init=1,lazy_journal_init=1', devicePath], {
    timeoutMs: commandLimitMs,
  });
  await runCommand('mount', ['-t', 'ext4', devicePath, folder], { timeoutMs: commandLimitMs });
  guarded.atEnd(async () => {
    await runCommand('umount', [folder], { timeoutMs: commandLimitMs });
  });
  return { subject: 'loop', folder, snapshots: null };
}

/** Through CSI, as users take them: the file system is synced before each. */
function snapshotsOf(driver: LocalDriver, options: { readonly volumeId: string; readonly signal: AbortSignal }): Snapshots {
  const ids: string[] = [];
  let taken = 0;
  return {
    take: () =>
      timed(async () => {
        taken += 1;
        const request = { name: `under-load-${taken}`, sourceVolumeId: options.volumeId };
        ids.push((await driver.csi.controller.createSnapshot(request)).snapshot!.snapshotId!);
      }),
    deleteAll: async () => {
      for (const snapshotId of ids.splice(0)) await driver.csi.controller.deleteSnapshot({ snapshotId });
      await settle(driver, options.signal);
    },
  };
}

/** Deleted space comes back in the background; whoever is measured next must not pay for it. */
async function settle(driver: LocalDriver, signal: AbortSignal): Promise<void> {
  const deadline = performance.now() + settleLimitMs;
  for (let before = -1; performance.now() < deadline; await delay(restMs, undefined, { signal })) {
    const { usedBytes } = await driver.store.getPool();
    if (usedBytes === before) return;
    before = usedBytes;
  }
}
