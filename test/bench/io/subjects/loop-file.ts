/** Loop devices over files that lie in a file system: direct I/O and sectors of 4 KiB, as ours have. */
import { detachLoopDevice, presentSequence, waitUntilDetached } from '../../../../src/linux/loop-device.ts';
import { runCommand } from '../../../../src/util/exec.ts';

export interface LoopFile {
  readonly devicePath: string;
  readonly sequence: number;
}

const limitMs = 20_000;

export async function attachFile(file: string): Promise<LoopFile> {
  const parameters = ['--find', '--show', '--direct-io=on', '--sector-size', '4096', file];
  const { output } = await runCommand('losetup', parameters, { timeoutMs: limitMs });
  const devicePath = output.trim();
  const sequence = presentSequence(devicePath);
  if (sequence === null) throw new Error(`${devicePath} went away as soon as it was set up`);
  return { devicePath, sequence };
}

/** Promises that the file is free afterwards. */
export async function detachFile(device: LoopFile): Promise<void> {
  const { devicePath: path, sequence } = device;
  const deadline = performance.now() + limitMs;
  // udev, or a program that has just ended, may have it open still.
  await detachLoopDevice({ path, sequence }, { timeoutMs: limitMs, evenInUse: true });
  if (!(await waitUntilDetached({ path, sequence }, { withinMs: deadline - performance.now() })))
    throw new Error(`${path} does not go away`);
}
