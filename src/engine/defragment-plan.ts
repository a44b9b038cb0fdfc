/**
 * How a volume's chunks lie on the disk, and which of them should move: pure functions over one leaf of its map.
 *
 * A segment is what a reader in order gets from one place: chunks that follow each other in the volume, one layer each, in
 * slots that follow each other. A chunk of several layers is a segment by itself, of several pieces. What is long enough
 * stays where it is, since a reader gains nothing from more; short segments in a row are a stretch, and become one piece
 * elsewhere. So what was moved once is long afterwards, or alone between long ones, and does not move again.
 */
import { Entry } from './entry.ts';
import { FANOUT, HEADER_SLOT } from './geometry.ts';

export interface Segment {
  readonly chunks: number[];
  /** Where on the disk a reader has to go for it: 0 when it goes on where the leaf before ends. */
  readonly pieces: number;
  /** Chunks in a row that it is part of: its own, and those at the end of the leaf before. */
  length: number;
  /** The slot of its last chunk; 0 when that has several. */
  lastSlot: number;
  /** A scrub found it damaged: a copy would pass for sound. */
  readonly isDamaged: boolean;
}

/** Short segments next to each other. */
export interface Stretch {
  readonly segments: readonly Segment[];
  /** The slot of the chunk before it, 0 when there is none or it has several. */
  readonly afterSlot: number;
}

/** Where what was looked at before a leaf ends. */
export interface LeafEnd {
  readonly slot: number;
  readonly length: number;
}

export const NO_LEAF_END: LeafEnd = { slot: HEADER_SLOT, length: 0 };

interface Leaf {
  layersAt(index: number): number;
  read(index: number, entry: Entry): void;
}

/** The segments of a leaf, in the order of the volume; empty chunks are in none, and part nothing. */
export function segmentsOf(
  leaf: Leaf,
  options: { readonly firstChunk: number; readonly before: LeafEnd; readonly damaged: ReadonlyMap<number, unknown> },
): Segment[] {
  const { firstChunk, before, damaged } = options;
  const entry = new Entry();
  const segments: Segment[] = [];
  for (let index = 0; index < FANOUT; index++) {
    if (leaf.layersAt(index) === 0) continue;
    leaf.read(index, entry);
    const chunk = firstChunk + index;
    const slot = entry.count === 1 ? entry.slots[0]! : HEADER_SLOT;
    const isDamaged = damaged.size > 0 && entry.slots.subarray(0, entry.count).some((layer) => damaged.has(layer));
    const last = segments.at(-1);
    const follows = slot !== HEADER_SLOT && slot === (last ?? { lastSlot: before.slot }).lastSlot + 1;
    if (last !== undefined && follows && !isDamaged && !last.isDamaged && last.lastSlot !== HEADER_SLOT) {
      last.chunks.push(chunk);
      last.length++;
      last.lastSlot = slot;
      continue;
    }
    const goesOn = last === undefined && follows && before.slot !== HEADER_SLOT;
    const pieces = goesOn ? 0 : piecesOf(entry);
    segments.push({ chunks: [chunk], pieces, length: goesOn ? before.length + 1 : 1, lastSlot: slot, isDamaged });
  }
  return segments;
}

/** Where the leaf ends. */
export function endOf(segments: readonly Segment[], before: LeafEnd): LeafEnd {
  const last = segments.at(-1);
  return last === undefined ? before : { slot: last.lastSlot, length: last.length };
}

export function piecesIn(segments: readonly Segment[]): number {
  return segments.reduce((sum, { pieces }) => sum + pieces, 0);
}

/** What of a leaf is worth moving. `longChunks`: a segment of so many chunks stays. */
export function planStretches(segments: readonly Segment[], options: { readonly before: LeafEnd; readonly longChunks: number }): Stretch[] {
  const stretches: Stretch[] = [];
  let short: Segment[] = [];
  let afterSlot = options.before.slot;
  const end = (): void => {
    if (piecesIn(short) > 1) stretches.push({ segments: short, afterSlot });
    short = [];
  };
  for (const segment of segments) {
    if (!segment.isDamaged && segment.length < options.longChunks) {
      short.push(segment);
      continue;
    }
    end();
    afterSlot = segment.lastSlot;
  }
  end();
  return stretches;
}

export function chunksIn(segments: readonly Segment[]): number {
  return segments.reduce((sum, { chunks }) => sum + chunks.length, 0);
}

/**
 * Cuts from a stretch what fits into a run of so many slots and is better off there. Segments stay whole, or a cut would make
 * a piece more; those that do not fit stay where they are. `moved` is empty when nothing is gained.
 */
export function cutStretch({ segments }: Stretch, slots: number): { readonly moved: readonly Segment[]; readonly rest: Stretch | null } {
  for (let from = 0; from < segments.length; from++) {
    let to = from;
    let left = slots;
    while (to < segments.length && segments[to]!.chunks.length <= left) left -= segments[to++]!.chunks.length;
    const moved = segments.slice(from, to);
    if (piecesIn(moved) <= 1) continue;
    const rest = segments.slice(to);
    // It goes on after what was moved: where that is, the caller knows.
    return { moved, rest: piecesIn(rest) === 0 ? null : { segments: rest, afterSlot: HEADER_SLOT } };
  }
  return { moved: [], rest: null };
}

/** With fewer slots in a row `cutStretch` gains nothing; Infinity when nothing is to be gained at all. */
export function slotsToGain({ segments }: Stretch): number {
  let least = Infinity;
  for (let from = 0; from < segments.length; from++) {
    let pieces = 0;
    let slots = 0;
    for (let to = from; to < segments.length && pieces <= 1; to++) {
      pieces += segments[to]!.pieces;
      slots += segments[to]!.chunks.length;
    }
    if (pieces > 1) least = Math.min(least, slots);
  }
  return least;
}

/** How often a reader of the chunk has to go to another place. */
function piecesOf(entry: Entry): number {
  if (entry.count === 1) return 1;
  let pieces = 0;
  let previous = -1;
  for (let bit = 0; bit < 16; bit++) {
    for (let layer = 0; layer < entry.count; layer++) {
      if (!((entry.masks[layer]! >> bit) & 1)) continue;
      if (layer !== previous) pieces++;
      previous = layer;
    }
  }
  return pieces;
}
