/**
 * Image files on btrfs, each in a subvolume that is snapshotted. They are nodatacow (`chattr +C`), as its users have images
 * of disks: with copy on write each random write would go elsewhere, snapshot or not, and with checksums of the data at
 * that. Metadata is kept once, as all others keep it.
 */
import fs from 'node:fs';
import path from 'node:path';
import { canUseLoop, hasFileSystem, hasPrograms } from '../../../support/machine.ts';
import { runCommand } from '../../../../src/util/exec.ts';
import { mountNewImage } from './file-system-image.ts';
import { untilStill } from './still-space.ts';
import { ImageVolumes, type ImageCopies } from './image-volumes.ts';
import type { SubjectKind } from './subject.ts';

const MIB = 2 ** 20;
/** It sets space aside for metadata by the gibibyte. */
const spareBytes = 1280 * MIB;
const commandLimitMs = 120_000;

export const btrfs: SubjectKind = {
  name: 'btrfs',
  abilities: new Set(['snapshot', 'clone', 'revert']),
  stateless: false,
  lack: () =>
    [canUseLoop(), hasFileSystem('btrfs'), hasPrograms('mkfs.btrfs', 'btrfs', 'chattr', 'losetup', 'mount', 'umount')].find(
      ({ lack }) => lack !== undefined,
    )?.lack,
  async make(options) {
    // What is discarded is taken out of the file below, and the next write there allocates: never, not even at first (-K).
    const parameters = ['-q', '-K', '-m', 'single'];
    const mountOptions = 'nodiscard';
    const image = await mountNewImage({ sizeBytes: options.poolBytes + spareBytes, type: 'btrfs', parameters, mountOptions }, options);
    const folderOf = (name: string): string => path.join(image.mountPoint, name);
    const run = async (program: string, ...parametersOf: readonly string[]): Promise<void> => {
      await runCommand(program, parametersOf, { timeoutMs: commandLimitMs });
    };
    const copies: ImageCopies = {
      fileOf: (name) => path.join(folderOf(name), 'image'),
      make: async (name, sizeBytes) => {
        await run('btrfs', 'subvolume', 'create', folderOf(name));
        await run('chattr', '+C', folderOf(name));
        const file = path.join(folderOf(name), 'image');
        fs.writeFileSync(file, '');
        fs.truncateSync(file, sizeBytes);
      },
      copy: (source, name, { writable }) =>
        run('btrfs', 'subvolume', 'snapshot', ...(writable ? [] : ['-r']), folderOf(source), folderOf(name)),
      remove: (name) => run('btrfs', 'subvolume', 'delete', folderOf(name)),
      usedBytes: image.usedBytes,
      // Deleted subvolumes are taken apart in the background, once the deletion is committed; then that must be, too.
      settle: async () => {
        await run('btrfs', 'filesystem', 'sync', image.mountPoint);
        await run('btrfs', 'subvolume', 'sync', image.mountPoint);
        await run('btrfs', 'filesystem', 'sync', image.mountPoint);
        await untilStill(image.usedBytes);
      },
    };
    const volumes = new ImageVolumes(copies);
    options.atEnd(() => volumes.detachAll());
    return volumes;
  },
};
