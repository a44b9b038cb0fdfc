/**
 * Store and keeper die at once: what docs/durability.md says in "When store and keeper die at once", sentence by sentence,
 * for a mounted volume, a raw one, and one that is not in use.
 */
import { expect, test } from '@jest/globals';
import { status } from '@grpc/grpc-js';
import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { canMount, canUseFuse, canUseLoop, describeIf, hasCommand, hasFileSystem, hasPrograms } from '../support/capabilities.ts';
import {
  blockCapability,
  ext4Capability,
  publishNewVolume,
  publishVolume,
  unpublishVolume,
  type PublishedVolume,
} from '../support/csi-volume.ts';
import { bedOfEachTest, type DriverBed, type Role } from '../support/driver-bed.ts';
import { eventually } from '../support/eventually.ts';
import { retried } from '../support/retried.ts';

const MIB = 2 ** 20;
const LIMIT_MS = 90_000;

describeIf(
  hasCommand(),
  canUseFuse(),
  canUseLoop(),
  canMount(),
  hasFileSystem('ext4'),
  hasPrograms('mkfs.ext4', 'dd'),
)('store and keeper die at once', () => {
  const started = bedOfEachTest({ timeoutMs: LIMIT_MS });

  test(
    'volumes in use fail until they are staged again, all that was flushed is there, and nobody else notices',
    async () => {
      const bed = await started({ size: '512MiB' });
      const { driver } = bed;
      const { controller, node } = driver.csi;
      const files = await publishNewVolume(driver, { name: 'files', sizeBytes: 64 * MIB, capability: ext4Capability });
      const raw = await publishNewVolume(driver, { name: 'raw', sizeBytes: 16 * MIB, capability: blockCapability });
      const idle = await publishNewVolume(driver, { name: 'idle', sizeBytes: 64 * MIB, capability: ext4Capability });
      const content = randomBytes(MIB);
      const flushed = (volume: PublishedVolume): string => path.join(volume.targetPath, 'flushed');
      for (const volume of [files, idle]) fs.writeFileSync(flushed(volume), content, { flush: true });
      writeRaw(raw.targetPath, content);
      await unpublishVolume(driver, idle);

      await killBoth(bed);

      // Errors, before and after the next store serves; what the page cache holds can be read.
      const requireErrors = (): void => {
        expect(() => fs.writeFileSync(path.join(files.targetPath, 'later'), 'later', { flush: true })).toThrow(/EIO|EROFS/);
        expect(() => writeRaw(raw.targetPath, content)).toThrow('Input/output error');
        expect(fs.readFileSync(flushed(files)).equals(content)).toBe(true);
      };
      requireErrors();
      await retried(() => driver.store.getPool());
      requireErrors();

      // Whatever is not in use works at once, and so does a snapshot of a volume that fails.
      const again = await retried(() => publishVolume(driver, { ...idle, name: 'idle' }));
      expect(fs.readFileSync(flushed(again)).equals(content)).toBe(true);
      const passing = await publishNewVolume(driver, { name: 'new', sizeBytes: 64 * MIB, capability: ext4Capability });
      const cut = (await controller.createSnapshot({ name: 'cut', sourceVolumeId: files.volumeId })).snapshot!;
      const { volumeId } = (
        await controller.createVolume({
          name: 'restored',
          volumeCapabilities: [ext4Capability],
          volumeContentSource: { snapshot: { snapshotId: cut.snapshotId } },
        })
      ).volume!;
      const restored = await publishVolume(driver, { volumeId, name: 'restored', capability: ext4Capability });
      expect(fs.readFileSync(flushed(restored)).equals(content)).toBe(true);

      // Only unmounting brings a mounted one back.
      const request = { volumeId: files.volumeId, stagingTargetPath: files.stagingPath, volumeCapability: ext4Capability };
      await expect(node.nodeStageVolume(request)).rejects.toMatchObject({
        code: status.FAILED_PRECONDITION,
        message: expect.stringContaining('unmount it first'),
      });
      for (const volume of [files, raw]) await unpublishVolume(driver, volume);
      await publishVolume(driver, { ...files, name: 'files' });
      await publishVolume(driver, { ...raw, name: 'raw' });
      expect(fs.readFileSync(flushed(files)).equals(content)).toBe(true);
      expect(fs.readFileSync(raw.targetPath).subarray(0, MIB).equals(content)).toBe(true);
      fs.writeFileSync(path.join(files.targetPath, 'later'), 'later', { flush: true });
      writeRaw(raw.targetPath, content);

      for (const volume of [files, raw, again, passing, restored]) await unpublishVolume(driver, volume);
      expect(await driver.devices()).toEqual([]);
      expect(await driver.store.check()).toMatchObject({ problems: [] });
    },
    LIMIT_MS,
  );
});

/** Answers when both are back. */
async function killBoth(bed: DriverBed): Promise<void> {
  const roles = ['keeper', 'store'] as const;
  const before = roles.map((role) => bed.processOf(role));
  for (const role of roles) bed.kill(role);
  const isBack = (role: Role, index: number): boolean => ![before[index], null].includes(bed.processOf(role));
  await eventually('both are back', () => roles.every(isBack), 20_000);
}

function writeRaw(device: string, content: Uint8Array): void {
  const result = spawnSync('dd', [`of=${device}`, 'bs=1M', 'oflag=direct', 'conv=fsync,notrunc', 'status=none'], {
    input: content,
    encoding: 'utf8',
  });
  if (result.status !== 0) throw new Error(result.stderr);
}
