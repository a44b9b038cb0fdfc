/**
 * fio verifies what it wrote by crc32c on a real device, while snapshots and clones come and go and the store is killed.
 * Every snapshot keeps what it was cut with, the reference counts hold, and all space comes back at the end.
 */
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { runCommand } from '../../src/util/exec.ts';
import { canMount, canUseFuse, canUseLoop, describeIf, hasCommand, hasPrograms } from '../support/capabilities.ts';
import { blockCapability, publishVolume, unpublishVolume } from '../support/csi-volume.ts';
import { DriverBed } from '../support/driver-bed.ts';
import { eventually } from '../support/eventually.ts';
import { retried } from '../support/retried.ts';

interface FioReport {
  readonly jobs: readonly {
    readonly error: number;
    readonly read: { readonly total_ios: number };
    readonly write: { readonly total_ios: number };
  }[];
}

const MIB = 2 ** 20;
const VOLUME_BYTES = 128 * MIB;
const LOAD_SECONDS = 15;
const TEST_LIMIT_MS = 180_000;
const READ_LIMIT_MS = 60_000;

describeIf(
  hasCommand(),
  canUseFuse(),
  canUseLoop(),
  canMount(),
  hasPrograms('fio', 'dd'),
)('a verified load on a real device', () => {
  let bed: DriverBed;
  beforeAll(async () => {
    // So large that no write ever waits for room: the load itself cannot fill more than this.
    bed = new DriverBed({ size: '2GiB' });
    await bed.start();
  }, TEST_LIMIT_MS);
  afterAll(async () => {
    expect(await bed.cleanUp()).toEqual([]);
  }, TEST_LIMIT_MS);

  /** fio's own verification, repeated over the whole run: what does not verify is an error of the job. */
  async function load(devicePath: string): Promise<FioReport> {
    const report = bed.place('fio.json');
    const parameters = [
      '--name=load',
      `--filename=${devicePath}`,
      `--size=${VOLUME_BYTES}`,
      '--rw=randrw',
      '--bsrange=4k-64k',
      '--ba=4k',
      '--iodepth=16',
      '--ioengine=io_uring',
      '--direct=1',
      '--verify=crc32c',
      '--verify_fatal=1',
      '--verify_backlog=256',
      '--fsync=512',
      '--randrepeat=0',
      '--time_based',
      `--runtime=${LOAD_SECONDS}`,
      `--aux-path=${bed.folder}`,
      '--verify_state_save=0',
      '--output-format=json',
      `--output=${report}`,
    ];
    await runCommand('fio', parameters, { timeoutMs: (LOAD_SECONDS + 60) * 1000 });
    // Notes of fio may stand before the document.
    const text = fs.readFileSync(report, 'utf8');
    return JSON.parse(text.slice(text.indexOf('{'))) as FioReport;
  }

  /** The digest of all that a snapshot's device holds. */
  async function digestOf(id: string): Promise<string> {
    const { devicePath, readOnly } = await bed.driver.operate<{ readonly devicePath: string; readonly readOnly: boolean }>('attach', id);
    expect(readOnly).toBe(true);
    const copy = bed.place('copy');
    await runCommand('dd', [`if=${devicePath}`, `of=${copy}`, 'bs=1M', 'iflag=direct'], { timeoutMs: READ_LIMIT_MS });
    await bed.driver.operate('detach', id);
    const digest = createHash('sha256').update(fs.readFileSync(copy)).digest('hex');
    fs.rmSync(copy);
    return digest;
  }

  test(
    'fio finds every byte, while snapshots and clones come and go and the store dies once',
    async () => {
      const { controller } = bed.driver.csi;
      const make = async (name: string): Promise<string> => {
        const request = { name, capacityRange: { requiredBytes: VOLUME_BYTES }, volumeCapabilities: [blockCapability] };
        return (await controller.createVolume(request)).volume!.volumeId;
      };
      const snapshot = async (name: string): Promise<string> =>
        (await retried(() => controller.createSnapshot({ name, sourceVolumeId: volumeId }))).snapshot!.snapshotId;
      const cloneOf = async (source: { readonly snapshot: string } | { readonly volume: string }, name: string): Promise<string> => {
        const content = 'snapshot' in source ? { snapshot: { snapshotId: source.snapshot } } : { volume: { volumeId: source.volume } };
        const request = { name, volumeCapabilities: [blockCapability], volumeContentSource: content };
        return (await retried(() => controller.createVolume(request))).volume!.volumeId;
      };

      const volumeId = await make('loaded');
      const published = await publishVolume(bed.driver, { volumeId, name: 'loaded', capability: blockCapability });
      const devicePath = (await bed.devices())[0]!.path;

      let loading = true;
      const running = load(devicePath).finally(() => (loading = false));
      running.catch(() => {});
      const { store } = bed.driver;
      await eventually('fio writes', async () => (await store.getUsage(volumeId)).usedBytes > 0, 20_000);
      const kept: string[] = [];
      const clones: string[] = [];
      let rounds = 0;
      let killed = 0;
      const started = performance.now();
      while (loading) {
        const first = await snapshot(`kept-${rounds}`);
        const second = await snapshot(`passing-${rounds}`);
        const ofSnapshot = await cloneOf({ snapshot: second }, `of-snapshot-${rounds}`);
        const ofVolume = await cloneOf({ volume: volumeId }, `of-volume-${rounds}`);
        // In turns the source before its clone, and the clone before its source.
        const ends: (() => Promise<unknown>)[] = [
          () => controller.deleteSnapshot({ snapshotId: second }),
          () => controller.deleteVolume({ volumeId: ofSnapshot }),
        ];
        for (const end of rounds % 2 === 0 ? ends : ends.toReversed()) await retried(end);
        // Not more than the pool holds when each of them has diverged altogether: a fast machine makes many rounds.
        if (clones.length < 4) clones.push(ofVolume);
        else await retried(() => controller.deleteVolume({ volumeId: ofVolume }));
        if (kept.length < 4) kept.push(first);
        else await retried(() => controller.deleteSnapshot({ snapshotId: first }));
        if (killed === 0 && performance.now() - started > (LOAD_SECONDS * 1000) / 3) {
          bed.kill('store');
          killed += 1;
        }
        rounds += 1;
        await delay(200);
      }
      const { jobs } = await running;
      expect(jobs).toHaveLength(1);
      expect(jobs[0]!.error).toBe(0);
      expect(jobs[0]!.write.total_ios).toBeGreaterThan(1000);
      expect(killed).toBe(1);
      expect(rounds).toBeGreaterThan(4);
      expect(kept).toHaveLength(4);

      // What a snapshot holds is the same whenever it is read, also after its volume has changed altogether.
      const before: string[] = [];
      for (const id of kept) before.push(await digestOf(id));
      expect(await digestOf(kept[0]!)).toBe(before[0]);
      expect(new Set(before).size).toBe(kept.length);
      const noise = ['if=/dev/urandom', `of=${devicePath}`, 'bs=1M', `count=${VOLUME_BYTES / MIB}`, 'oflag=direct', 'conv=fsync'];
      await runCommand('dd', noise, { timeoutMs: READ_LIMIT_MS });
      for (const [index, id] of kept.entries()) expect(await digestOf(id)).toBe(before[index]);

      expect(await bed.driver.operate('check')).toMatchObject({ problems: [] });

      await unpublishVolume(bed.driver, published);
      await controller.deleteVolume({ volumeId });
      for (const id of clones) await controller.deleteVolume({ volumeId: id });
      for (const id of kept) await controller.deleteSnapshot({ snapshotId: id });
      await eventually('all space is free again', async () => (await store.getPool()).usedBytes === 0, 30_000);
      expect(await store.getPool()).toMatchObject({ provisionedBytes: 0, volumes: 0, snapshots: 0, parkedWrites: 0 });
      expect(await bed.driver.operate('check')).toMatchObject({ objects: 0, slotsUsed: 0, problems: [] });
    },
    TEST_LIMIT_MS,
  );
});
