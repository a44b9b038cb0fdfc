/** Image files on XFS, copied by FICLONE: each copy of an extent costs, and so does each first write to a shared one. */
import fs from 'node:fs';
import path from 'node:path';
import { canUseLoop, hasFileSystem, hasPrograms } from '../../../support/machine.ts';
import { runCommand } from '../../../../src/util/exec.ts';
import { mountNewImage } from './file-system-image.ts';
import { untilStill } from './still-space.ts';
import { ImageVolumes, type ImageCopies } from './image-volumes.ts';
import type { SubjectKind } from './subject.ts';

const MIB = 2 ** 20;
/** The log, and the records of shared extents, which are many after random writes. */
const spareBytes = 512 * MIB;
const copyLimitMs = 120_000;
const removeLimitMs = 120_000;

export const xfsReflink: SubjectKind = {
  name: 'xfs-reflink',
  abilities: new Set(['snapshot', 'clone', 'revert']),
  stateless: false,
  lack: () =>
    [canUseLoop(), hasFileSystem('xfs'), hasPrograms('mkfs.xfs', 'losetup', 'mount', 'umount', 'cp')].find(({ lack }) => lack !== undefined)
      ?.lack,
  async make(options) {
    // What is discarded is taken out of the file below, and the next write there allocates: never, not even at first (-K).
    const parameters = ['-q', '-K', '-m', 'reflink=1', '-s', 'size=4096'];
    const image = await mountNewImage(
      { sizeBytes: options.poolBytes + spareBytes, type: 'xfs', parameters, mountOptions: 'nodiscard' },
      options,
    );
    const fileOf = (name: string): string => path.join(image.mountPoint, name);
    const copies: ImageCopies = {
      fileOf,
      make: async (name, sizeBytes) => {
        fs.writeFileSync(fileOf(name), '');
        fs.truncateSync(fileOf(name), sizeBytes);
        return Promise.resolve();
      },
      copy: async (source, name) => {
        await runCommand('cp', ['--reflink=always', fileOf(source), fileOf(name)], { timeoutMs: copyLimitMs });
      },
      remove: async (name) => {
        await runCommand('rm', [fileOf(name)], { timeoutMs: removeLimitMs });
      },
      usedBytes: image.usedBytes,
      settle: async () => {
        await runCommand('sync', ['--file-system', image.mountPoint], { timeoutMs: removeLimitMs });
        await untilStill(image.usedBytes);
      },
    };
    const volumes = new ImageVolumes(copies);
    options.atEnd(() => volumes.detachAll());
    return volumes;
  },
};
