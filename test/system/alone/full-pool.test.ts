/**
 * A pool that fills up under use: who waits and who does not, what file systems make of the end, and what a larger pool does
 * for those who wait. (One writer over one device, and the words of refusals, are in local.test.ts; a hand-over with writes
 * that wait in hand-over.test.ts; a file system that is full around the pool in `make torture CAMPAIGN=full-pool`.)
 */
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import fs from 'node:fs';
import path from 'node:path';
import { runCommand } from '../../../src/util/exec.ts';
import { canMount, canUseFuse, canUseLoop, describeIf, hasCommand, hasFileSystem, hasPrograms } from '../../support/capabilities.ts';
import { blockCapability, publishNewVolume, unpublishVolume, type Capability } from '../../support/csi-volume.ts';
import { bedOfEachTest, type DriverBed } from '../../support/driver-bed.ts';
import { eventually } from '../../support/eventually.ts';
import { StoreBed } from '../../support/store-bed.ts';

const MIB = 2 ** 20;
const GRANULE_BYTES = 4096;
const LIMIT_MS = 120_000;
const programLimit = { timeoutMs: 60_000 };
/** XFS makes no file system below 300 MiB. */
const VOLUME_BYTES = 304 * MIB;
const FILE_SYSTEMS = ['ext4', 'xfs'] as const;

/** Writes random bytes until an error or the end of the count; answers its status and its words. */
function writer(target: string, flags: readonly string[]): { readonly ended: Promise<number | null>; readonly words: () => string } {
  const child = spawn('dd', ['if=/dev/urandom', `of=${target}`, 'bs=1M', ...flags], {
    stdio: ['ignore', 'ignore', 'pipe'],
    env: { ...process.env, LC_ALL: 'C' },
  });
  let words = '';
  child.stderr.on('data', (data: Buffer) => (words += data.toString()));
  return { ended: once(child, 'exit').then(([code]) => code as number | null), words: () => words };
}

describeIf(
  hasCommand(),
  canUseFuse(),
  canUseLoop(),
  canMount(),
  hasPrograms('dd', 'fio', 'cmp'),
)('volumes of a full pool', () => {
  const started = bedOfEachTest({ timeoutMs: LIMIT_MS });

  test(
    'while one volume waits with all that its queue holds, another is read, overwritten and verified; then all is deleted, and nobody finds it again',
    async () => {
      const bed = await started({ size: '128MiB', flags: ['--full-pool-wait', '60'] });
      const { driver } = bed;
      const steady = await publishNewVolume(driver, { name: 'steady', sizeBytes: 16 * MIB, capability: blockCapability });
      const [device] = (await bed.devices()).map((one) => one.path);
      // All of it is written once: from then on it needs no room.
      await runCommand('dd', ['if=/dev/zero', `of=${device}`, 'bs=1M', 'count=16', 'oflag=direct', 'conv=fsync'], programLimit);
      const greedy = await publishNewVolume(driver, { name: 'greedy', sizeBytes: 256 * MIB, capability: blockCapability });
      const victim = (await bed.devices()).map((one) => one.path).find((one) => one !== device)!;
      const filler = spawn(
        'fio',
        [
          ...['--name=fill', `--filename=${victim}`, `--size=${256 * MIB}`, '--rw=write', '--bs=64k', '--iodepth=128', '--thread'],
          ...['--ioengine=io_uring', '--direct=1', `--aux-path=${bed.folder}`, '--output-format=terse'],
        ],
        { stdio: 'ignore', cwd: bed.folder },
      );
      const filled = once(filler, 'exit');
      await eventually('writes wait', async () => (await driver.store.getPool()).parkedWrites > 0, 60_000);

      const verified = await runCommand(
        'fio',
        [
          ...['--name=steady', `--filename=${device}`, `--size=${16 * MIB}`, '--rw=randrw', '--bs=4k', '--iodepth=8', '--loops=2'],
          ...['--ioengine=io_uring', '--direct=1', '--verify=crc32c', '--verify_fatal=1', '--verify_backlog=64', '--fsync=256'],
          ...['--verify_state_save=0', `--aux-path=${bed.folder}`, '--output-format=terse'],
        ],
        { timeoutMs: 60_000 },
      );
      expect(verified.status).toBe(0);
      expect((await driver.store.getPool()).parkedWrites).toBeGreaterThan(0);
      expect(filler.exitCode).toBeNull();

      // A discard needs no room, and gives some: those who wait go on by it alone.
      await runCommand('blkdiscard', ['--force', '--offset', '0', '--length', String(8 * MIB), device!], programLimit);
      await runCommand('dd', [`if=${device}`, 'of=/dev/null', 'bs=1M', 'iflag=direct'], programLimit);
      await eventually('the room is taken', async () => (await driver.store.getPool()).freeBytes === 0, 20_000);
      expect(filler.exitCode).toBeNull();

      filler.kill('SIGKILL');
      await unpublishVolume(driver, steady);
      await driver.csi.controller.deleteVolume({ volumeId: steady.volumeId });
      await filled;
      await unpublishVolume(driver, greedy);
      await driver.csi.controller.deleteVolume({ volumeId: greedy.volumeId });
      await eventually('all is free', async () => (await driver.store.getPool()).usedBytes === 0, 20_000);
      await expectZerosBesideWrites(bed);
      expect(await driver.store.check()).toMatchObject({ problems: [] });
    },
    LIMIT_MS,
  );
});

/** A new volume, whose slots were all others', written a granule here and there: it is zeros but for these. */
async function expectZerosBesideWrites(bed: DriverBed): Promise<void> {
  const sizeMebibytes = 64;
  const fresh = await publishNewVolume(bed.driver, { name: 'fresh', sizeBytes: sizeMebibytes * MIB, capability: blockCapability });
  const [device] = (await bed.devices()).map((one) => one.path);
  const noise = bed.place('noise');
  fs.writeFileSync(noise, randomBytes(GRANULE_BYTES));
  const copy = bed.place('copy');
  fs.writeFileSync(copy, '');
  fs.truncateSync(copy, sizeMebibytes * MIB);
  for (let granule = 5; granule < (sizeMebibytes * MIB) / GRANULE_BYTES; granule += 1021) {
    const write = [`if=${noise}`, `bs=${GRANULE_BYTES}`, 'count=1', `seek=${granule}`, 'conv=notrunc'];
    await runCommand('dd', [...write, `of=${device}`, 'oflag=direct'], programLimit);
    await runCommand('dd', [...write, `of=${copy}`], programLimit);
  }
  await runCommand('cmp', [device!, copy], programLimit);
  await unpublishVolume(bed.driver, fresh);
  await bed.driver.csi.controller.deleteVolume({ volumeId: fresh.volumeId });
}

describeIf(
  hasCommand(),
  canUseFuse(),
  canUseLoop(),
  canMount(),
  hasFileSystem('ext4'),
  hasFileSystem('xfs'),
  hasPrograms('dd', 'mkfs.ext4', 'mkfs.xfs', 'e2fsck', 'xfs_repair'),
)('file systems whose pool is full', () => {
  const started = bedOfEachTest({ timeoutMs: LIMIT_MS });

  test(
    'get ENOSPC after the time, lose nothing that they were told is safe, and are whole again when there is room',
    async () => {
      const bed = await started({ size: '160MiB', flags: ['--full-pool-wait', '1'] });
      const { driver } = bed;
      const capabilityOf = (fsType: string): Capability => ({
        mount: { fsType, mountFlags: [], volumeMountGroup: '' },
        accessMode: { mode: 'SINGLE_NODE_WRITER' },
      });
      const ballast = await publishNewVolume(driver, { name: 'ballast', sizeBytes: 64 * MIB, capability: blockCapability });
      const [device] = (await bed.devices()).map((one) => one.path);
      await runCommand('dd', ['if=/dev/urandom', `of=${device}`, 'bs=1M', 'count=48', 'oflag=direct'], programLimit);
      const volumes = await Promise.all(
        FILE_SYSTEMS.map((type) => publishNewVolume(driver, { name: type, sizeBytes: VOLUME_BYTES, capability: capabilityOf(type) })),
      );
      for (const { targetPath } of volumes) fs.writeFileSync(path.join(targetPath, 'safe'), 'kept'.repeat(10_000), { flush: true });

      const writers = volumes.map(({ targetPath }) => writer(path.join(targetPath, 'large'), ['count=200', 'conv=fsync']));
      for (const writing of writers) {
        // A file system whose journal found no room ends its writes in its own way, as a rule by going read-only.
        const status = await writing.ended;
        expect({ status, words: writing.words() }).toMatchObject({
          status: 1,
          words: expect.stringMatching(/No space left|Input\/output|Read-only/),
        });
      }
      for (const volume of [...volumes, ballast]) await unpublishVolume(driver, volume);
      await driver.csi.controller.deleteVolume({ volumeId: ballast.volumeId });
      await eventually('there is room', async () => (await driver.store.getPool()).freeBytes > 40 * MIB, 20_000);

      for (const type of FILE_SYSTEMS) {
        const { devicePath } = await driver.operate<{ readonly devicePath: string }>('attach', type);
        await repair(type, devicePath, bed.place('mnt'));
        await driver.operate('detach', type);
        const again = await publishNewVolume(driver, { name: type, sizeBytes: VOLUME_BYTES, capability: capabilityOf(type) });
        expect(fs.readFileSync(path.join(again.targetPath, 'safe'), 'utf8')).toBe('kept'.repeat(10_000));
        // What was never safe may be gone altogether.
        fs.rmSync(path.join(again.targetPath, 'large'), { force: true });
        fs.writeFileSync(path.join(again.targetPath, 'new'), 'works', { flush: true });
        await unpublishVolume(driver, again);
      }
      expect(await driver.store.check()).toMatchObject({ problems: [] });
    },
    LIMIT_MS,
  );
});

/** Replays the journal; then a check that changes nothing must find nothing. */
async function repair(type: 'ext4' | 'xfs', device: string, folder: string): Promise<void> {
  if (type === 'ext4') {
    // 1: corrected, as the replay of a journal counts.
    await runCommand('e2fsck', ['-p', device], { ...programLimit, expectedStatuses: [0, 1] });
    await runCommand('e2fsck', ['-fn', device], programLimit);
    return;
  }
  fs.mkdirSync(folder);
  await runCommand('mount', [device, folder], programLimit);
  await runCommand('umount', [folder], programLimit);
  await runCommand('xfs_repair', ['-n', device], programLimit);
}

describeIf(
  canUseFuse(),
  canUseLoop(),
  hasPrograms('dd'),
)('a larger pool', () => {
  let bed: StoreBed;
  beforeEach(() => {
    bed = new StoreBed({ poolSize: '128MiB' });
  });
  afterEach(async () => {
    await bed.cleanUp();
  }, LIMIT_MS);

  test(
    'comes with the next store, under writes that wait, and they go on by it',
    async () => {
      await bed.startKeeper();
      const old = await bed.startStore({ pod: 'old' });
      const device = await bed.makeDevice('data', 192 * MIB);
      const writing = writer(device, ['count=160', 'oflag=direct', 'conv=fsync']);
      await eventually('writes wait', async () => (await bed.client.getPool()).parkedWrites > 0, 60_000);
      await bed.startStore({ pod: 'new', flags: ['--size', '256MiB'] });
      await old.says('"the successor serves');
      expect({ status: await writing.ended, words: writing.words() }).toMatchObject({ status: 0 });
      expect(await bed.client.getPool()).toMatchObject({ parkedWrites: 0, sizeBytes: 256 * MIB - 65_536 });
      expect(await bed.client.check()).toMatchObject({ problems: [] });
    },
    LIMIT_MS,
  );
});
