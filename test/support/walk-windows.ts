/**
 * Where a walk looks into a volume. Volumes may be huge and sparse, so that their trees have several levels; all that
 * happens lies in windows at the start, around the borders of tree pages, and at the end.
 */
import { granuleBytes } from './stamped-content.ts';

export interface Window {
  /** In granules. */
  readonly start: number;
  readonly end: number;
}

const fanout = 256;
const startGranules = 48;
const borderGranules = 20;
const wholeGranules = 160;

export function windowsOf(sizeBytes: number, chunkSizeBytes: number): Window[] {
  const total = sizeBytes / granuleBytes;
  if (total <= wholeGranules) return [{ start: 0, end: total }];
  const windows: Window[] = [{ start: 0, end: startGranules }];
  for (let chunks = fanout; chunks <= fanout ** 3; chunks *= fanout) {
    const border = (chunks * chunkSizeBytes) / granuleBytes;
    if (border < total) windows.push({ start: border - borderGranules, end: Math.min(total, border + borderGranules) });
  }
  const last = windows[windows.length - 1]!;
  if (last.end < total) windows.push({ start: Math.max(last.end, total - borderGranules), end: total });
  return windows;
}

/** Sizes worth having: a few chunks, one page of the tree and a bit, two levels and a bit. */
export function interestingSizes(chunkSizeBytes: number): number[] {
  const page = fanout * chunkSizeBytes;
  return [131_072, 196_608, 262_144, 524_288, page + 131_072, page * fanout + 262_144];
}
