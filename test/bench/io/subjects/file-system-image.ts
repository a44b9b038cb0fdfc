/** A file system of a peer's own on the measured disk: in a file that is written whole, under a loop device, mounted. */
import fs from 'node:fs';
import path from 'node:path';
import { runCommand } from '../../../../src/util/exec.ts';
import { fill } from '../../fio.ts';
import { attachFile, detachFile, type LoopFile } from './loop-file.ts';
import type { SubjectOptions } from './subject.ts';

const MIB = 2 ** 20;
const makeLimitMs = 60_000;
const mountLimitMs = 30_000;
/** What just ended may have it in use for a moment. */
const unmountAttempts = 3;

export interface FileSystemImage {
  readonly mountPoint: string;
  readonly devicePath: string;
  /** What is allocated, of all that is in it. */
  readonly usedBytes: () => number;
  /** Does nothing the second time. */
  takeDown(): Promise<void>;
}

/** Promises a mounted file system of that size. What is taken down at its end is the caller's to say, to `subject.atEnd`. */
export async function mountNewImage(
  options: {
    readonly sizeBytes: number;
    readonly type: 'xfs' | 'btrfs';
    readonly parameters: readonly string[];
    readonly mountOptions: string;
  },
  subject: Pick<SubjectOptions, 'folder' | 'signal' | 'atEnd'>,
): Promise<FileSystemImage> {
  const file = path.join(subject.folder, 'file-system');
  const mountPoint = path.join(subject.folder, 'mounted');
  const sizeBytes = Math.ceil(options.sizeBytes / MIB) * MIB;
  let device: LoopFile | null = null;
  let mounted = false;
  const takeDown = async (): Promise<void> => {
    if (mounted) await unmount(mountPoint);
    mounted = false;
    if (device !== null) await detachFile(device);
    device = null;
  };
  subject.atEnd(takeDown);
  await fill(file, { sizeBytes, order: 'sequential', signal: subject.signal });
  device = await attachFile(file);
  const { devicePath } = device;
  await runCommand(`mkfs.${options.type}`, [...options.parameters, devicePath], { timeoutMs: makeLimitMs });
  fs.mkdirSync(mountPoint);
  await runCommand('mount', ['-t', options.type, '-o', options.mountOptions, devicePath, mountPoint], { timeoutMs: mountLimitMs });
  mounted = true;
  const usedBytes = (): number => {
    const { blocks, bfree, bsize } = fs.statfsSync(mountPoint);
    return (blocks - bfree) * bsize;
  };
  return { mountPoint, devicePath, usedBytes, takeDown };
}

async function unmount(mountPoint: string): Promise<void> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      await runCommand('umount', [mountPoint], { timeoutMs: mountLimitMs });
      return;
    } catch (error) {
      if (attempt === unmountAttempts) throw error;
    }
  }
}
