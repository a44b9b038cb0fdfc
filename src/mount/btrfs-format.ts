/**
 * Makes a btrfs on a device without letting mkfs.btrfs see that device: it makes one of the same size in memory, and what
 * it wrote is copied.
 *
 * mkfs.btrfs refuses a loop device whose backing file is that of a mounted one, and finds the backing files out from
 * sysfs, which shows "/" for all of ours: it would make no btrfs beside any volume that is mounted (tried with 6.2).
 * The superblock that counts is written last, so a device is either empty or holds a whole btrfs.
 */
import { write } from 'node:fs';
import { promisify } from 'node:util';
import { blockDeviceSize, closeDescriptor, nextExtent, readAt, syncData } from '../linux/files.ts';
import { openMemoryFile } from '../linux/memory.ts';
import { Structure } from '../linux/structure.ts';
import { StoreError } from '../util/errors.ts';
import { runCommand } from '../util/exec.ts';
import { withDevice } from './block-device.ts';
import { superblockOffsetsBytes, superblockSizeBytes } from './btrfs-superblock.ts';
import { formatCommand } from './file-systems.ts';

/** The device holds nothing that is needed. Errors: `unavailable`, `in-use`, `invalid-argument`. */
export async function formatBtrfs(devicePath: string, options: readonly string[]): Promise<void> {
  await withDevice(devicePath, { readOnly: false, exclusive: true }, async (device) => {
    const image = openMemoryFile({ name: 'btrfs', sizeBytes: blockDeviceSize(device) });
    try {
      const wish = { options, overwrite: false };
      const { program, parameters } = formatCommand(`/proc/${process.pid}/fd/${image}`, 'btrfs', wish);
      await runCommand(program, parameters, { timeoutMs: formatTimeoutMs });
      await copyImage(image, device);
    } finally {
      closeDescriptor(image);
    }
  });
}

async function copyImage(image: number, device: number): Promise<void> {
  const piece = new Structure(pieceSizeBytes);
  for (let extent = nextExtent(image, 0); extent !== null; extent = nextExtent(image, extent.offsetBytes + extent.sizeBytes)) {
    const end = extent.offsetBytes + extent.sizeBytes;
    for (let offsetBytes = extent.offsetBytes; offsetBytes < end; offsetBytes += pieceSizeBytes) {
      const bytes = await readPiece(image, piece, { offsetBytes, sizeBytes: Math.min(pieceSizeBytes, end - offsetBytes) });
      // What an attempt before this one left there must not show.
      const at = firstSuperblockOffsetBytes - offsetBytes;
      if (at >= 0 && at < bytes.length) bytes.fill(0, at, at + superblockSizeBytes);
      await writeFully(device, bytes, offsetBytes);
    }
  }
  await syncData(device, { timeoutMs: syncTimeoutMs });
  const superblock = await readPiece(image, piece, { offsetBytes: firstSuperblockOffsetBytes, sizeBytes: superblockSizeBytes });
  await writeFully(device, superblock, firstSuperblockOffsetBytes);
  await syncData(device, { timeoutMs: syncTimeoutMs });
}

async function readPiece(
  image: number,
  piece: Structure,
  range: { readonly offsetBytes: number; readonly sizeBytes: number },
): Promise<Uint8Array> {
  const count = await readAt(image, piece, { offsetBytes: range.offsetBytes, timeoutMs: memoryTimeoutMs });
  if (count < range.sizeBytes) throw new StoreError('unavailable', `a btrfs in memory ended ${range.sizeBytes - count} bytes early`);
  return piece.bytes.subarray(0, range.sizeBytes);
}

async function writeFully(device: number, bytes: Uint8Array, offsetBytes: number): Promise<void> {
  const { bytesWritten } = await writeAt(device, bytes, 0, bytes.length, offsetBytes);
  if (bytesWritten !== bytes.length) throw new StoreError('unavailable', `a write of ${bytes.length} bytes wrote ${bytesWritten}`);
}

const writeAt = promisify(write);
const firstSuperblockOffsetBytes = superblockOffsetsBytes[0] ?? 0;
/** Pieces and extents begin at multiples of a page, so the superblock lies in one piece. */
const pieceSizeBytes = 256 * 1024;
const formatTimeoutMs = 120_000;
const syncTimeoutMs = 30_000;
const memoryTimeoutMs = 10_000;
