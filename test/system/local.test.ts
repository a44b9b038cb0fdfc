/**
 * `chunkstore local` where things go wrong: roles and parents that are killed under mounted volumes, and a full pool. (What
 * it refuses is in refusals.test.ts; that it starts, stops and starts again in local-tree.test.ts.)
 */
import { describe, expect, test } from '@jest/globals';
import { status } from '@grpc/grpc-js';
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { runCommand } from '../../src/util/exec.ts';
import { canMount, canUseFuse, canUseLoop, describeIf, hasCommand, hasFileSystem, hasPrograms } from '../support/capabilities.ts';
import { blockCapability, ext4Capability, publishNewVolume, publishVolume, unpublishVolume } from '../support/csi-volume.ts';
import { bedOfEachTest, type DriverBed, type Role } from '../support/driver-bed.ts';
import { eventually } from '../support/eventually.ts';
import { retried } from '../support/retried.ts';

const MIB = 2 ** 20;
const LIMIT_MS = 90_000;
const programLimit = { timeoutMs: 30_000 };
const ext4Volume = { name: 'data', sizeBytes: 64 * MIB, capability: ext4Capability };

describeIf(
  hasCommand(),
  canUseFuse(),
  canUseLoop(),
  canMount(),
  hasFileSystem('ext4'),
  hasPrograms('mkfs.ext4', 'dd', 'cp', 'blockdev'),
)('chunkstore local', () => {
  const started = bedOfEachTest({ timeoutMs: LIMIT_MS });

  test(
    'starts each role again that is killed, and every call works on with a volume in use',
    async () => {
      const bed = await started({ size: '512MiB' });
      const { driver } = bed;
      const { controller, node } = driver.csi;
      const volume = await publishNewVolume(driver, ext4Volume);
      const file = path.join(volume.targetPath, 'file');
      const roles: Role[] = ['controller', 'node', 'keeper', 'store', 'keeper', 'node', 'store'];
      for (const [index, role] of roles.entries()) {
        const before = bed.processOf(role);
        bed.kill(role);
        fs.writeFileSync(file, `written without ${role}`, { flush: true });
        const name = `volume-${index}`;
        const answer = await retried(() =>
          controller.createVolume({ name, capacityRange: { requiredBytes: 16 * MIB }, volumeCapabilities: [ext4Capability] }),
        );
        const { volumeId } = answer.volume!;
        // A role that is not needed for a call may still be on its way.
        await eventually(`another ${role}`, () => ![before, null].includes(bed.processOf(role)), 20_000);
        const other = await retried(() => publishVolume(driver, { volumeId, name, capability: ext4Capability }));
        const cut = { name: `snapshot-${index}`, sourceVolumeId: volume.volumeId };
        const { snapshotId } = (await retried(() => controller.createSnapshot(cut))).snapshot!;
        await retried(() => node.nodeGetVolumeStats({ volumeId: volume.volumeId, volumePath: volume.targetPath }));
        await retried(() => unpublishVolume(driver, other));
        await retried(() => controller.deleteVolume({ volumeId }));
        await retried(() => controller.deleteSnapshot({ snapshotId }));
        expect(fs.readFileSync(file, 'utf8')).toBe(`written without ${role}`);
      }
      expect(await driver.store.check()).toMatchObject({ objects: 1, problems: [] });
      await unpublishVolume(driver, volume);
      expect(await bed.devices()).toEqual([]);
    },
    LIMIT_MS,
  );

  test(
    'ends with its parent, and the next one serves the volumes again, as soon as what they left is unmounted',
    async () => {
      const bed = await started({ size: '512MiB' });
      const { driver } = bed;
      const volume = await publishNewVolume(driver, ext4Volume);
      const raw = await publishNewVolume(driver, { name: 'raw', sizeBytes: 16 * MIB, capability: blockCapability });
      fs.writeFileSync(path.join(volume.targetPath, 'file'), 'kept', { flush: true });
      const { snapshot } = await driver.csi.controller.createSnapshot({ name: 'cut', sourceVolumeId: volume.volumeId });

      expect(await bed.end('SIGKILL')).toBe('SIGKILL');
      // Nothing is served any more: an error, and no wait without end.
      const reading = await runCommand('dd', [`if=${volume.targetPath}/file`, 'iflag=direct', 'bs=4096'], {
        ...programLimit,
        expectedStatuses: [0, 1],
      });
      expect(reading.status).toBe(1);

      const next = await bed.start();
      expect((await next.csi.controller.listSnapshots({})).entries.map((entry) => entry.snapshot?.snapshotId)).toEqual([
        snapshot!.snapshotId,
      ]);
      for (const left of [volume, raw]) await unpublishVolume(next, left);
      await eventually('the devices of the former driver are gone', async () => (await bed.devices()).length === 0, 10_000);
      const again = await publishVolume(next, { volumeId: volume.volumeId, name: 'data', capability: ext4Capability });
      expect(fs.readFileSync(path.join(again.targetPath, 'file'), 'utf8')).toBe('kept');
      await unpublishVolume(next, again);
      expect(await next.store.check()).toMatchObject({ problems: [] });
    },
    LIMIT_MS,
  );

  describe('with a full pool', () => {
    const FIRST_MIB = 72;

    /** A volume that holds 72 of 128 MiB, a snapshot of it, and another volume with a little in it. */
    async function nearlyFull(
      flags: readonly string[],
    ): Promise<{ bed: DriverBed; device: string; other: string; volumeId: string; noise: string }> {
      const bed = await started({ size: '128MiB', flags });
      const { driver } = bed;
      const noise = bed.place('noise');
      await runCommand('dd', ['if=/dev/urandom', `of=${noise}`, 'bs=1M', `count=${2 * FIRST_MIB}`], programLimit);
      const { volumeId } = await publishNewVolume(driver, { name: 'data', sizeBytes: 96 * MIB, capability: blockCapability });
      const device = (await bed.devices())[0]!.path;
      await runCommand('dd', [`if=${noise}`, `of=${device}`, 'bs=1M', `count=${FIRST_MIB}`, 'oflag=direct', 'conv=fsync'], programLimit);
      await driver.operate('create', 'other', '--size', '16MiB');
      const { devicePath: other } = await driver.operate<{ readonly devicePath: string }>('attach', 'other');
      await runCommand('dd', [`if=${noise}`, `of=${other}`, 'bs=1M', 'count=4', 'oflag=direct', 'conv=fsync'], programLimit);
      await driver.csi.controller.createSnapshot({ name: 'before', sourceVolumeId: volumeId });
      return { bed, device, other, volumeId, noise };
    }

    /** Writes the other half of the noise over what the snapshot holds. */
    function overwrite(noise: string, device: string): { ended: Promise<number | null>; errors: () => string } {
      const parameters = [`if=${noise}`, `of=${device}`, 'bs=1M', `skip=${FIRST_MIB}`, `count=${FIRST_MIB}`, 'oflag=direct', 'conv=fsync'];
      const writer = spawn('dd', parameters, { stdio: ['ignore', 'ignore', 'pipe'], env: { ...process.env, LC_ALL: 'C' } });
      let errors = '';
      writer.stderr.on('data', (data: Buffer) => (errors += data.toString()));
      return { ended: once(writer, 'exit').then(([code]) => code as number | null), errors: () => errors };
    }

    test(
      'a writer waits, all else goes on, and when a snapshot is deleted it goes on without an error',
      async () => {
        const { bed, device, other, volumeId, noise } = await nearlyFull(['--full-pool-wait', '30']);
        const { driver } = bed;
        const { controller } = driver.csi;
        const writer = overwrite(noise, device);
        let done = false;
        void writer.ended.then(() => (done = true));
        await eventually('a write waits for room', async () => (await driver.store.getPool()).parkedWrites > 0, 30_000);
        await delay(1_500);
        expect(done).toBe(false);

        // Another volume is read, and written where it needs no room; so is this one read.
        await runCommand('dd', [`if=${other}`, 'of=/dev/null', 'bs=1M', 'count=4', 'iflag=direct'], programLimit);
        await runCommand('dd', [`if=${noise}`, `of=${other}`, 'bs=4096', 'count=64', 'skip=64', 'oflag=direct'], programLimit);
        await runCommand('dd', [`if=${device}`, 'of=/dev/null', 'bs=4096', 'count=64', 'iflag=direct'], programLimit);
        expect((await bed.command(['space'])).output).toMatch(/^\d+ writes? wait/m);
        expect(await driver.store.check()).toMatchObject({ problems: [] });

        // A snapshot would turn every write of the volume into one that needs room.
        const snapshot = controller.createSnapshot({ name: 'too-late', sourceVolumeId: volumeId });
        await expect(snapshot).rejects.toMatchObject({ code: status.FAILED_PRECONDITION, details: expect.stringMatching(/full/) });
        const clone = controller.createVolume({
          name: 'too-late',
          volumeCapabilities: [blockCapability],
          volumeContentSource: { volume: { volumeId } },
        });
        await expect(clone).rejects.toMatchObject({ code: status.RESOURCE_EXHAUSTED });
        expect(done).toBe(false);

        expect((await bed.command(['delete', 'before'])).output).toMatch(/^deleted snapshot before /);
        expect(await writer.ended).toBe(0);
        expect(await digestOf(device, FIRST_MIB)).toBe(digestOfRange(noise, FIRST_MIB * MIB, FIRST_MIB * MIB));
        expect(await driver.store.getPool()).toMatchObject({ parkedWrites: 0 });
        await controller.createSnapshot({ name: 'after', sourceVolumeId: volumeId });
        expect(await driver.store.check()).toMatchObject({ problems: [] });
        await driver.operate('detach', 'other');
      },
      LIMIT_MS,
    );

    test(
      'a writer is told after the time that the operator set',
      async () => {
        const { bed, device, noise } = await nearlyFull(['--full-pool-wait', '2']);
        const writer = overwrite(noise, device);
        expect(await writer.ended).toBe(1);
        expect(writer.errors()).toMatch(/No space left on device/);
        expect(await bed.driver.store.getPool()).toMatchObject({ parkedWrites: 0 });
        expect(await bed.driver.store.check()).toMatchObject({ problems: [] });
        await bed.driver.operate('detach', 'other');
      },
      LIMIT_MS,
    );
  });
});

function digestOfRange(file: string, start: number, length: number | null): string {
  const bytes = fs.readFileSync(file);
  return createHash('sha256')
    .update(length === null ? bytes : bytes.subarray(start, start + length))
    .digest('hex');
}

async function digestOf(device: string, mebibytes: number): Promise<string> {
  const copy = path.join(fs.mkdtempSync(path.join(os.tmpdir(), 'chunkstore-copy-')), 'copy');
  try {
    await runCommand('dd', [`if=${device}`, `of=${copy}`, 'bs=1M', `count=${mebibytes}`, 'iflag=direct'], programLimit);
    return digestOfRange(copy, 0, null);
  } finally {
    fs.rmSync(path.dirname(copy), { recursive: true });
  }
}
