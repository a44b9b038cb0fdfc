/**
 * Makes what a device holds ready to be mounted: formats an empty one, repairs what a crash leaves, and gives a btrfs
 * clone its own id. Each works on a device that nothing else holds, and can be repeated after a crash in its middle.
 */
import { write } from 'node:fs';
import { promisify } from 'node:util';
import { blockDeviceSize, syncData } from '../linux/files.ts';
import { StoreError } from '../util/errors.ts';
import { describeCommand, lastWords, runCommand } from '../util/exec.ts';
import { assertNotInUse, readFully, readSignature, withDevice } from './block-device.ts';
import { formatBtrfs } from './btrfs-format.ts';
import { superblockOffsetsBytes, superblockSizeBytes, withFileSystemId } from './btrfs-superblock.ts';
import { formatCommand, type FileSystem } from './file-systems.ts';

/**
 * Formats a device that holds nothing. Errors: `failed-precondition` naming what it holds, `in-use` while it is mounted,
 * `unavailable` when it cannot be read or mkfs fails, `invalid-argument` for an option that is not allowed.
 */
export async function formatDevice(devicePath: string, fileSystem: FileSystem, options: readonly string[]): Promise<void> {
  await assertNotInUse(devicePath);
  const signature = await readSignature(devicePath);
  if (signature.type !== null) {
    throw new StoreError(
      'failed-precondition',
      `${devicePath} already holds ${signature.type} and is not formatted; if its content is not needed, make a new volume`,
    );
  }
  if (fileSystem === 'btrfs') {
    await formatBtrfs(devicePath, options);
    return;
  }
  const { program, parameters } = formatCommand(devicePath, fileSystem, { options, overwrite: signature.unfinished });
  await runCommand(program, parameters, { timeoutMs: formatTimeoutMs });
}

/**
 * Repairs what can be repaired without a decision. ext4: e2fsck -p; XFS and btrfs replay their logs when they are
 * mounted, and xfs_repair is never run by itself. Errors: `data-loss` naming the command to run by hand, `in-use`.
 */
export async function repairDevice(devicePath: string, fileSystem: FileSystem): Promise<void> {
  if (fileSystem !== 'ext4') return;
  await assertNotInUse(devicePath);
  const parameters = ['-p', devicePath];
  // 1: repaired; 2: repaired, with a hint for a mounted root. 4: needs a person; 8: cannot be read as ext4 at all.
  const result = await runCommand('e2fsck', parameters, { timeoutMs: checkTimeoutMs, expectedStatuses: [0, 1, 2, 3, ...failedChecks] });
  if (result.status < 4) return;
  throw new StoreError(
    'data-loss',
    `the ext4 on ${devicePath} is damaged (${describeCommand('e2fsck', parameters)} ended with ${result.status}: ${lastWords(result)}); ` +
      `run "e2fsck -f ${devicePath}" by hand, after a snapshot of the volume`,
  );
}

/**
 * Gives a btrfs the id, unless it has it. Copies of the superblock are changed before the one that counts, so that a
 * call that was cut short is done in full again. Errors: `in-use`, `data-loss`, `failed-precondition`.
 */
export async function setBtrfsId(devicePath: string, fileSystemId: string): Promise<void> {
  await withDevice(devicePath, { readOnly: false, exclusive: true }, async (descriptor) => {
    const first = await readSuperblock(descriptor, devicePath, firstSuperblockOffsetBytes);
    const changed = withFileSystemId(first, fileSystemId);
    if (changed === null) return;
    const deviceSizeBytes = blockDeviceSize(descriptor);
    for (const offsetBytes of superblockOffsetsBytes.slice(1)) {
      if (offsetBytes + superblockSizeBytes > deviceSizeBytes) continue;
      const copy = changedCopy(await readSuperblock(descriptor, devicePath, offsetBytes), fileSystemId);
      if (copy !== null) await writeFully(descriptor, copy, offsetBytes);
    }
    await syncData(descriptor, { timeoutMs: syncTimeoutMs });
    await writeFully(descriptor, changed, firstSuperblockOffsetBytes);
    await syncData(descriptor, { timeoutMs: syncTimeoutMs });
  });
}

/** A copy that a crash left behind damaged is not worth failing for: the next commit writes it anew. */
function changedCopy(block: Uint8Array, fileSystemId: string): Uint8Array | null {
  try {
    return withFileSystemId(block, fileSystemId);
  } catch (error) {
    if (error instanceof StoreError) return null;
    throw error;
  }
}

function readSuperblock(descriptor: number, devicePath: string, offsetBytes: number): Promise<Uint8Array> {
  return readFully(descriptor, devicePath, { offsetBytes, sizeBytes: superblockSizeBytes });
}

async function writeFully(descriptor: number, block: Uint8Array, offsetBytes: number): Promise<void> {
  const { bytesWritten } = await writeAt(descriptor, block, 0, block.length, offsetBytes);
  if (bytesWritten !== block.length) throw new StoreError('unavailable', `a write of ${block.length} bytes wrote ${bytesWritten}`);
}

const writeAt = promisify(write);
const firstSuperblockOffsetBytes = superblockOffsetsBytes[0] ?? 0;
const formatTimeoutMs = 120_000;
/** A forced full check of a large volume takes minutes. */
const checkTimeoutMs = 900_000;
const syncTimeoutMs = 30_000;
/** e2fsck's status is a sum: 4 errors left, 8 operational error, 16 usage, 32 cancelled, 128 shared library. */
const failedChecks = Array.from({ length: 252 }, (_, index) => index + 4);
