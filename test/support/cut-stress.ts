/**
 * Snapshots of a mounted ext4 volume while its page cache cannot be written out in time: because the store is slow, or
 * because the pool gets full meanwhile. In both the call is answered within its limit, the snapshot holds a file system as
 * after a power cut, nothing stays frozen or hangs, and I/O goes on.
 */
import fs from 'node:fs';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { status } from '@grpc/grpc-js';
import { runCommand } from '../../src/util/exec.ts';
import { ext4Capability, publishNewVolume, publishVolume, unpublishVolume } from './csi-volume.ts';
import { eventually } from './eventually.ts';
import { LocalDriver } from './local-driver.ts';
import { Stalls } from './stalls.ts';

const MIB = 2 ** 20;
const COMMAND_LIMIT_MS = 240_000;
/** docs/durability.md: a cut waits 10 s for the node role. */
const CUT_LIMIT_MS = 10_000;
/** For the rest of the call, in a store that is given a hundredth of its time. */
const SLOW_CALL_MS = 12_000;
const CALL_MS = 4_000;
/** What is surely shorter is no cut that had to give up its sync. */
const GAVE_UP_MS = 8_500;
/** So many times what is asked for is made dirty, until a cut has to give up. */
const DIRTY_FACTORS = [1, 3, 9];
/** docs/durability.md: a freeze is undone within ten seconds. */
const FROZEN_LIMIT_MS = 10_000;

export interface CutOptions {
  readonly folder: string;
  readonly dirtyMebibytes: number;
  readonly freeze: boolean;
}

export interface CutReport {
  readonly cutMs: number;
  readonly longestStallMs: number;
}

/** A part of its time, the store is stopped. */
export async function cutOnSlowStore(options: CutOptions): Promise<CutReport> {
  const { dirtyMebibytes, freeze } = options;
  const most = dirtyMebibytes * DIRTY_FACTORS.at(-1)!;
  return withDriver(options.folder, 2 * most + 256, async (driver) => {
    const volume = await publishNewVolume(driver, {
      name: 'slow',
      sizeBytes: (2 * most + 256) * MIB,
      capability: ext4Capability,
    });
    const stalls = await Stalls.watch(volume.targetPath);
    const file = path.join(volume.targetPath, 'dirty');
    let store = new SlowProcess(pidOf(driver, 'chunkstore store'));
    try {
      let [cutMs, snapshotId]: [number, string | null] = [0, null];
      // How much a slow store still takes in that time depends on the machine.
      for (const factor of DIRTY_FACTORS) {
        await makeDirty(file, factor * dirtyMebibytes);
        store = new SlowProcess(pidOf(driver, 'chunkstore store'));
        store.slowDown();
        ({ cutMs, snapshotId } = await cut(driver, { volumeId: volume.volumeId, freeze, name: `cut-${factor}` }));
        await store.release();
        if (cutMs >= GAVE_UP_MS) break;
      }
      if (cutMs < GAVE_UP_MS) throw new Error(`the cut took ${cutMs} ms: the store was not slow enough for this to show anything`);
      if (cutMs > CUT_LIMIT_MS + SLOW_CALL_MS) throw new Error(`the cut took ${cutMs} ms`);
      await runCommand('sync', ['--file-system', volume.targetPath], { timeoutMs: COMMAND_LIMIT_MS });
      await expectWhole(driver, snapshotId!);
      return { cutMs, longestStallMs: await settled(driver, stalls) };
    } finally {
      await store.release();
      await stalls.kill();
    }
  });
}

/** What is dirty does not fit into the pool any more; a snapshot that is deleted makes room. */
export async function cutOfFullPool(options: CutOptions): Promise<CutReport> {
  const { dirtyMebibytes, freeze } = options;
  // Room for what is there, and for a half of it once more.
  const written = dirtyMebibytes;
  return withDriver(options.folder, Math.ceil(1.5 * written) + 8, async (driver) => {
    const { controller } = driver.csi;
    const volume = await publishNewVolume(driver, { name: 'full', sizeBytes: (2 * written + 128) * MIB, capability: ext4Capability });
    const file = path.join(volume.targetPath, 'dirty');
    await makeDirty(file, written);
    await runCommand('sync', ['--file-system', volume.targetPath], { timeoutMs: COMMAND_LIMIT_MS });
    const { snapshotId: first } = await cut(driver, { volumeId: volume.volumeId, freeze: false, name: 'first' });
    const stalls = await Stalls.watch(volume.targetPath);
    try {
      await makeDirty(file, written);
      const { cutMs, snapshotId } = await cut(driver, { volumeId: volume.volumeId, freeze });
      if (cutMs < GAVE_UP_MS) throw new Error(`the cut took ${cutMs} ms: the pool did not get full`);
      if (cutMs > CUT_LIMIT_MS + CALL_MS) throw new Error(`the cut took ${cutMs} ms`);
      const { parkedWrites } = await driver.store.getPool();
      if (parkedWrites === 0) throw new Error('no write waits: the pool is not full');
      for (const id of [first!, ...(snapshotId === null ? [] : [snapshotId])]) await controller.deleteSnapshot({ snapshotId: id });
      await runCommand('sync', ['--file-system', volume.targetPath], { timeoutMs: COMMAND_LIMIT_MS });
      const again = await cut(driver, { volumeId: volume.volumeId, freeze, name: 'again' });
      await expectWhole(driver, again.snapshotId!);
      return { cutMs, longestStallMs: await settled(driver, stalls) };
    } finally {
      await stalls.kill();
    }
  });
}

async function withDriver<Result>(folder: string, poolMebibytes: number, use: (driver: LocalDriver) => Promise<Result>): Promise<Result> {
  const driver = await LocalDriver.start({ folder, size: `${poolMebibytes}MiB`, flags: ['--prewrite', 'off'] });
  let result: Result;
  try {
    result = await use(driver);
  } catch (error) {
    const log = driver.log.join('\n');
    await driver.stop();
    throw new Error(`${(error as Error).message}\n${log}`, { cause: error });
  }
  const problems = await driver.stop();
  if (problems.length > 0) throw new Error(problems.join('\n'));
  return result;
}

/** Into the page cache: whatever has to be written out is not, yet. */
async function makeDirty(file: string, mebibytes: number): Promise<void> {
  const parameters = ['if=/dev/zero', `of=${file}`, 'bs=1M', `count=${mebibytes}`, 'conv=notrunc', 'status=none'];
  await runCommand('dd', parameters, { timeoutMs: COMMAND_LIMIT_MS });
}

/** `snapshotId`: null when the pool is too full for one. */
async function cut(
  driver: LocalDriver,
  request: { readonly volumeId: string; readonly freeze: boolean; readonly name?: string },
): Promise<{ readonly cutMs: number; readonly snapshotId: string | null }> {
  const startMs = performance.now();
  const took = (): number => Math.round(performance.now() - startMs);
  const { volumeId, freeze, name = 'cut' } = request;
  try {
    const parameters = { freeze: String(freeze) };
    const { snapshot } = await driver.csi.controller.createSnapshot({ name, sourceVolumeId: volumeId, parameters });
    return { cutMs: took(), snapshotId: snapshot!.snapshotId };
  } catch (error) {
    if ((error as { readonly code?: unknown }).code !== status.FAILED_PRECONDITION) throw error;
    return { cutMs: took(), snapshotId: null };
  }
}

/** A clone of it is mounted, which repairs what a power cut would have left, and is clean then. */
async function expectWhole(driver: LocalDriver, snapshotId: string): Promise<void> {
  const request = {
    name: `of ${snapshotId}`,
    volumeCapabilities: [ext4Capability],
    volumeContentSource: { snapshot: { snapshotId } },
  };
  const { volumeId } = (await driver.csi.controller.createVolume(request)).volume!;
  await unpublishVolume(driver, await publishVolume(driver, { volumeId, name: 'clone', capability: ext4Capability }));
  const { devicePath } = await driver.operate<{ readonly devicePath: string }>('attach', volumeId);
  await runCommand('e2fsck', ['-fn', devicePath], { timeoutMs: COMMAND_LIMIT_MS });
  await driver.operate('detach', volumeId);
}

/** Everybody goes on: nothing is frozen, no helper and no note stays. Answers the longest wait. */
async function settled(driver: LocalDriver, stalls: Stalls): Promise<number> {
  const notes = path.join(driver.folder, 'state/run/frozen');
  const helpers = (): number[] => driver.processes().filter((pid) => titleOf(pid) === 'chunkstore freezer');
  await eventually(
    'no helper and no note stays',
    () => helpers().length === 0 && (!fs.existsSync(notes) || fs.readdirSync(notes).length === 0),
    FROZEN_LIMIT_MS,
  );
  const longestMs = await stalls.longestMs();
  const { problems } = await driver.store.check();
  if (problems.length > 0) throw new Error(problems.join('\n'));
  return longestMs;
}

export function pidOf(driver: LocalDriver, title: string): number {
  const pid = driver.processes().find((each) => titleOf(each) === title);
  if (pid === undefined) throw new Error(`there is no process "${title}"`);
  return pid;
}

function titleOf(pid: number): string {
  try {
    return fs.readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ').trim();
  } catch {
    return '';
  }
}

/** Runs a hundredth of its time, as if its disk were that slow. */
class SlowProcess {
  readonly #pid: number;
  readonly #slowed = new AbortController();
  #running: Promise<void> | null = null;

  constructor(pid: number) {
    this.#pid = pid;
  }

  slowDown(): void {
    this.#running = this.#run();
  }

  async release(): Promise<void> {
    this.#slowed.abort();
    await this.#running;
    this.#running = null;
  }

  async #run(): Promise<void> {
    while (!this.#slowed.signal.aborted) {
      process.kill(this.#pid, 'SIGSTOP');
      await delay(300, null, { signal: this.#slowed.signal }).catch(() => {});
      process.kill(this.#pid, 'SIGCONT');
      if (!this.#slowed.signal.aborted) await delay(3, null, { signal: this.#slowed.signal }).catch(() => {});
    }
  }
}
