/** Snapshots taken while a volume is written, as many as are asked for. */
import fs from 'node:fs/promises';
import { timed } from '../statistics.ts';
import type { Volume } from './subjects/subject.ts';

export interface AgingOptions {
  readonly count: number;
  readonly sizeBytes: number;
  readonly limitMs: number;
  readonly signal: AbortSignal;
  /** Snapshots are named by it and a number from 0 on. */
  readonly namePrefix?: string;
}

const blockBytes = 4096;
/** Random blocks written between two snapshots, some before the cut and some after it. */
const writesBetween = 16;
/** The most that any subject takes for such a write: ours and qcow2 take a chunk of 64 KiB for it. */
const bytesForWrite = 64 * 1024;

/** What the snapshots hold besides the volume, at most. */
export function ageBytes(count: number, sizeBytes: number): number {
  return count * Math.min(writesBetween * bytesForWrite, sizeBytes);
}

/** Answers how long each snapshot took, in milliseconds. Fails when all take longer than the limit. */
export async function age(volume: Volume, options: AgingOptions): Promise<number[]> {
  const { count, sizeBytes, limitMs, signal, namePrefix = 'aged' } = options;
  const began = performance.now();
  const times: number[] = [];
  const device = await fs.open(volume.devicePath, 'r+');
  const write = async (): Promise<void> => {
    for (let index = 0; index < writesBetween; index += 1) {
      const block = Math.floor(Math.random() * (sizeBytes / blockBytes));
      await device.write(Buffer.alloc(blockBytes, index + 1), 0, blockBytes, block * blockBytes);
    }
    // These writes go through the page cache; those of the loads do not.
    await device.datasync();
  };
  try {
    for (let index = 0; index < count; index += 1) {
      signal.throwIfAborted();
      const tookMs = performance.now() - began;
      if (tookMs > limitMs) throw new Error(`only ${index} of ${count} snapshots were taken in ${Math.round(tookMs / 1000)} s`);
      const snapshot = timed(() => volume.snapshot(`${namePrefix}-${index}`));
      times.push((await Promise.all([snapshot, write()]))[0]);
    }
    return times;
  } finally {
    await device.close();
  }
}
