/**
 * Memory for the leaves of the map, taken from the system in slabs and used again and again. A walk over a large map brings
 * in tens of thousands of leaves and lets them go; with arrays of its own for each, what waited for the collector of garbage
 * was as large as the cache of leaves itself.
 */
import { assert } from '../util/assert.ts';
import { FANOUT } from './geometry.ts';

/** Layers of an entry at rest. */
export const LEAST_ROOM = 2;

const FRAMES_A_SLAB = 256;
/** Of those with more room, which are few and for a time; the others go to the system. */
const LARGE_FRAMES_KEPT = 256;

/** What a leaf needs: by entry the number of its layers, and places for slot and mask of `room` layers. */
export interface LeafFrame {
  /** A power of two. */
  readonly room: number;
  readonly counts: Uint8Array;
  readonly slots: Uint32Array;
  readonly masks: Uint16Array;
}

/** That of a leaf that has given its own back: empty, so that whoever still uses the leaf is found out. */
export const NO_FRAME: LeafFrame = frameIn(new ArrayBuffer(0), { at: 0, room: 0, entries: 0 });

/** A frame by itself, all zeros. */
export function newFrame(room: number): LeafFrame {
  return frameIn(new ArrayBuffer(frameBytes(room)), { at: 0, room, entries: FANOUT });
}

export class LeafFrames {
  /** By room. */
  readonly #free = new Map<number, LeafFrame[]>([[LEAST_ROOM, []]]);
  /** The rooms of all frames that were taken and not given back, together. */
  roomTaken = 0;

  /** No entry of it has a layer; what stands behind that is somebody's of before. */
  take(room: number): LeafFrame {
    this.roomTaken += room;
    const free = this.#freeOf(room);
    if (free.length === 0 && room > LEAST_ROOM) return newFrame(room);
    if (free.length === 0) addSlab(free);
    const frame = free.pop()!;
    frame.counts.fill(0);
    return frame;
  }

  give(frame: LeafFrame): void {
    assert(frame !== NO_FRAME, 'a frame is given back once');
    this.roomTaken -= frame.room;
    const free = this.#freeOf(frame.room);
    if (frame.room === LEAST_ROOM || free.length < LARGE_FRAMES_KEPT) free.push(frame);
  }

  #freeOf(room: number): LeafFrame[] {
    let free = this.#free.get(room);
    if (free === undefined) this.#free.set(room, (free = []));
    return free;
  }
}

function addSlab(free: LeafFrame[]): void {
  const bytes = frameBytes(LEAST_ROOM);
  const slab = new ArrayBuffer(FRAMES_A_SLAB * bytes);
  for (let index = FRAMES_A_SLAB - 1; index >= 0; index--)
    free.push(frameIn(slab, { at: index * bytes, room: LEAST_ROOM, entries: FANOUT }));
}

function frameBytes(room: number): number {
  return FANOUT * (room * (Uint32Array.BYTES_PER_ELEMENT + Uint16Array.BYTES_PER_ELEMENT) + 1);
}

/** Slots, masks, counts: in this order each is aligned. */
function frameIn(memory: ArrayBuffer, place: { readonly at: number; readonly room: number; readonly entries: number }): LeafFrame {
  const { at, room, entries } = place;
  const layers = entries * room;
  return {
    room,
    slots: new Uint32Array(memory, at, layers),
    masks: new Uint16Array(memory, at + layers * 4, layers),
    counts: new Uint8Array(memory, at + layers * 6, entries),
  };
}
