/**
 * Grows file systems to their devices: mounted, as a rule; ext4 before it is mounted where this process may not do it
 * later. The kernel lets only CAP_SYS_RESOURCE resize a mounted ext4 (ext4_resize_begin), which some containers lack.
 */
import { readFile } from 'node:fs/promises';
import { StoreError } from '../util/errors.ts';
import { runCommand } from '../util/exec.ts';
import { readDevice, readDeviceSize } from './block-device.ts';
import { growCommand, minimumSizesBytes, type FileSystem } from './file-systems.ts';

/** Grows a mounted file system; nothing to do is success. `sizeBytes` is how large statfs says that it is. */
export async function growMounted(
  devicePath: string,
  mountPath: string,
  options: { readonly fileSystem: FileSystem; readonly sizeBytes: number },
): Promise<void> {
  const { fileSystem } = options;
  const { program, parameters } = growCommand(devicePath, mountPath, fileSystem);
  if (fileSystem === 'btrfs') {
    const deviceSizeBytes = await readDeviceSize(devicePath);
    // Below its minimum btrfs refuses even a resize to the size that it has.
    if (options.sizeBytes >= deviceSizeBytes) return;
    if (deviceSizeBytes < minimumSizesBytes.btrfs) {
      throw new StoreError(
        'failed-precondition',
        `the btrfs on ${devicePath} can grow only to 256 MiB or more; make the volume that large`,
      );
    }
  }
  if (fileSystem !== 'ext4' || (await mayResizeMountedExt4())) {
    await runCommand(program, parameters, { timeoutMs: growTimeoutMs });
    return;
  }
  const result = await runCommand(program, parameters, { timeoutMs: growTimeoutMs, expectedStatuses: [0, 1] });
  if (result.status === 0) return;
  throw new StoreError(
    'failed-precondition',
    `the mounted ext4 on ${devicePath} cannot grow, because this process lacks CAP_SYS_RESOURCE; it grows when the volume is staged again`,
  );
}

/** Grows an unmounted, repaired ext4 where it could not be done later. The full check is what resize2fs demands for it. */
export async function growUnmountedExt4(devicePath: string): Promise<void> {
  if (await mayResizeMountedExt4()) return;
  const head = await readDevice(devicePath, { offsetBytes: 0, sizeBytes: headSizeBytes });
  const blocks = ext4Size(head);
  if (blocks.sizeBytes + blocks.blockSizeBytes > (await readDeviceSize(devicePath))) return;
  // 1: repaired. What needs a decision was found by the check before this one.
  await runCommand('e2fsck', ['-f', '-p', devicePath], { timeoutMs: checkTimeoutMs, expectedStatuses: [0, 1], failureCode: 'data-loss' });
  await runCommand('resize2fs', [devicePath], { timeoutMs: growTimeoutMs });
}

/** The size that an ext4 takes for itself; fields of struct ext4_super_block, 1,024 bytes into the device. */
export function ext4Size(head: Uint8Array): { readonly sizeBytes: number; readonly blockSizeBytes: number } {
  const view = new DataView(head.buffer, head.byteOffset + 1024, 1024);
  if (view.getUint16(0x38, true) !== 0xef53) throw new StoreError('data-loss', 'there is no ext4 superblock where one must be');
  const blockSizeBytes = 1024 * 2 ** view.getUint32(0x18, true);
  const has64Bits = (view.getUint32(0x60, true) & 0x80) !== 0;
  const blocks = view.getUint32(0x4, true) + (has64Bits ? view.getUint32(0x150, true) * 2 ** 32 : 0);
  return { sizeBytes: blocks * blockSizeBytes, blockSizeBytes };
}

/** Whether CAP_SYS_RESOURCE (bit 24) is in effect. */
export async function mayResizeMountedExt4(): Promise<boolean> {
  const effective = /^CapEff:\s*([0-9a-f]+)$/m.exec(await readFile('/proc/self/status', 'utf8'))?.[1] ?? '0';
  return ((BigInt(`0x${effective}`) >> 24n) & 1n) === 1n;
}

const headSizeBytes = 4096;
const growTimeoutMs = 300_000;
const checkTimeoutMs = 900_000;
