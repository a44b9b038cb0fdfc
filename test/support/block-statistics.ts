/** What the kernel counts of a block device (Documentation/block/stat.rst of its sources). */
import fs from 'node:fs';
import path from 'node:path';

/** Where the completed reads, writes, discards and flushes stand. */
const completed = [0, 4, 11, 15];

/** Requests of any kind that were answered since the device is there, whoever asked. */
export function completedRequests(devicePath: string): number {
  const text = fs.readFileSync(`/sys/block/${path.basename(devicePath)}/stat`, 'utf8');
  const fields = text.trim().split(/\s+/).map(Number);
  return completed.reduce((sum, index) => sum + (fields[index] ?? 0), 0);
}
