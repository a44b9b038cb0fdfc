/**
 * Looking at a block device: its size, whether it refuses writes, whether anything holds it, and what stands on it.
 * The one rule: what could not be read is never taken for empty.
 */
import { readFile, realpath } from 'node:fs/promises';
import { basename } from 'node:path';
import { blockDeviceSize, closeSlowly, openDevice, readAt } from '../linux/files.ts';
import { Structure } from '../linux/structure.ts';
import { isSystemError } from '../linux/system-error.ts';
import { StoreError } from '../util/errors.ts';
import { runCommand } from '../util/exec.ts';

export interface Signature {
  /** A file system's name, another signature's name as blkid has it ("LVM2_member", "dos"), or null for an empty device. */
  readonly type: string | null;
  /** The device holds an XFS whose mkfs never came to its end, so that it was never mounted: as good as empty. */
  readonly unfinished: boolean;
}

/** Errors: `unavailable` when the device, or either end of it, cannot be read. */
export async function readSignature(devicePath: string): Promise<Signature> {
  const found = await askBlkid(devicePath);
  if (found !== null) {
    const unfinished = found === 'xfs' && isUnfinishedXfs(await readDevice(devicePath, { offsetBytes: 0, sizeBytes: pageSizeBytes }));
    return { type: unfinished ? null : found, unfinished };
  }
  // blkid says nothing, with the same status, when it finds nothing and when it cannot read. So we read ourselves, both
  // ends, where signatures stand; and where there is data, ask again, since an error may have come and gone.
  const zeros = await areEndsZero(devicePath);
  return { type: zeros ? null : await askBlkid(devicePath), unfinished: false };
}

/** Size in bytes. Errors: `not-found`, `failed-precondition` when it is no block device. */
export async function readDeviceSize(devicePath: string): Promise<number> {
  return withDevice(devicePath, { readOnly: true }, (descriptor) => Promise.resolve(blockDeviceSize(descriptor)));
}

/** Fails with `in-use` while the device is mounted or claimed by something else in the kernel. */
export async function assertNotInUse(devicePath: string): Promise<void> {
  await withDevice(devicePath, { readOnly: true, exclusive: true }, () => Promise.resolve());
}

/** Whether the device refuses writes, as that of a snapshot does. */
export async function isReadOnlyDevice(devicePath: string): Promise<boolean> {
  const name = basename(await realpath(devicePath).catch(() => devicePath));
  try {
    return (await readFile(`/sys/class/block/${name}/ro`, 'utf8')).trim() === '1';
  } catch (cause) {
    throw new StoreError('not-found', `there is no block device ${devicePath}`, { cause });
  }
}

export async function readDevice(
  devicePath: string,
  range: { readonly offsetBytes: number; readonly sizeBytes: number },
): Promise<Uint8Array> {
  return withDevice(devicePath, { readOnly: true }, (descriptor) => readFully(descriptor, devicePath, range));
}

/** Opens the device for the time of `use`, with a limit on opening and closing it. */
export async function withDevice<Result>(
  devicePath: string,
  options: { readonly readOnly: boolean; readonly exclusive?: boolean },
  use: (descriptor: number) => Promise<Result>,
): Promise<Result> {
  const descriptor = await openDevice(devicePath, { ...options, timeoutMs: deviceTimeoutMs }).catch((cause: unknown) => {
    throw openError(devicePath, cause);
  });
  try {
    return await use(descriptor);
  } catch (cause) {
    if (cause instanceof StoreError) throw cause;
    throw isSystemError(cause, 'ENOTTY')
      ? new StoreError('failed-precondition', `${devicePath} is not a block device`, { cause })
      : new StoreError('unavailable', `${devicePath} answered with an error: ${messageOf(cause)}`, { cause });
  } finally {
    await closeSlowly(descriptor, { timeoutMs: deviceTimeoutMs });
  }
}

export async function readFully(
  descriptor: number,
  devicePath: string,
  range: { readonly offsetBytes: number; readonly sizeBytes: number },
): Promise<Uint8Array> {
  const target = new Structure(range.sizeBytes, { alignmentBytes: pageSizeBytes });
  const count = await readAt(descriptor, target, { offsetBytes: range.offsetBytes, timeoutMs: deviceTimeoutMs }).catch((cause: unknown) => {
    throw new StoreError('unavailable', `${devicePath} cannot be read at byte ${range.offsetBytes}: ${messageOf(cause)}`, { cause });
  });
  if (count !== range.sizeBytes) {
    throw new StoreError('unavailable', `${devicePath} gave ${count} of ${range.sizeBytes} bytes at byte ${range.offsetBytes}`);
  }
  return target.bytes;
}

async function askBlkid(devicePath: string): Promise<string | null> {
  // 0: found; 2: nothing found, or not readable; 8: several that contradict each other.
  const result = await runCommand('blkid', ['-p', '-o', 'export', devicePath], { timeoutMs: probeTimeoutMs, expectedStatuses: [0, 2, 8] });
  if (result.status === 8) return 'several signatures';
  if (result.status === 2) return null;
  return typeFromBlkid(result.output) ?? 'an unknown signature';
}

/** The signature in the output of `blkid -o export`: the content before the partition table, if both are there. */
export function typeFromBlkid(output: string): string | null {
  const values = new Map(output.split('\n').map((line) => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)]));
  return values.get('TYPE') ?? values.get('PTTYPE') ?? null;
}

/** The superblock of XFS begins with XFSB; the byte sb_inprogress, at 126, is 1 from mkfs's first write to its last. */
export function isUnfinishedXfs(head: Uint8Array): boolean {
  return Buffer.from(head.subarray(0, 4)).toString('latin1') === 'XFSB' && head[126] === 1;
}

async function areEndsZero(devicePath: string): Promise<boolean> {
  return withDevice(devicePath, { readOnly: true }, async (descriptor) => {
    const deviceSizeBytes = blockDeviceSize(descriptor);
    if (deviceSizeBytes === 0) throw new StoreError('unavailable', `${devicePath} has no size; it is not set up`);
    const sizeBytes = Math.min(deviceSizeBytes, endSizeBytes);
    for (const offsetBytes of [0, deviceSizeBytes - sizeBytes]) {
      const bytes = await readFully(descriptor, devicePath, { offsetBytes, sizeBytes });
      if (bytes.some((byte) => byte !== 0)) return false;
    }
    return true;
  });
}

function openError(devicePath: string, cause: unknown): StoreError {
  if (cause instanceof StoreError) return cause;
  if (isSystemError(cause, 'ENOENT', 'ENXIO', 'ENODEV', 'ENOTDIR'))
    return new StoreError('not-found', `there is no device ${devicePath}`, { cause });
  if (isSystemError(cause, 'EBUSY')) {
    return new StoreError('in-use', `${devicePath} is mounted, or something else on this node holds it exclusively`, { cause });
  }
  if (isSystemError(cause, 'EISDIR')) return new StoreError('failed-precondition', `${devicePath} is not a block device`, { cause });
  return new StoreError('unavailable', `${devicePath} cannot be opened: ${messageOf(cause)}`, { cause });
}

function messageOf(cause: unknown): string {
  return cause instanceof Error ? cause.message : String(cause);
}

const pageSizeBytes = 4096;
const endSizeBytes = 1024 * 1024;
const deviceTimeoutMs = 30_000;
const probeTimeoutMs = 60_000;
