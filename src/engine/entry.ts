/**
 * An entry: what a volume maps one chunk to. A list of layers {slot, mask}; a granule is read from the layer whose mask
 * has its bit, and is zero when none has.
 *
 * Invariants: masks are not empty and disjoint; slots are different and not 0.
 *
 * An Entry is a scratch object that callers reuse: pages store entries in packed form.
 */
import { assert } from '../util/assert.ts';
import { granulesIn, HEADER_SLOT, MAXIMUM_LAYERS } from './geometry.ts';

export class Entry {
  count = 0;
  readonly slots = new Uint32Array(MAXIMUM_LAYERS);
  readonly masks = new Uint16Array(MAXIMUM_LAYERS);

  clear(): void {
    this.count = 0;
  }

  /** Whether a layer that was read somewhere can be one of this entry: see the invariants. */
  accepts(slot: number, mask: number): boolean {
    return slot !== HEADER_SLOT && mask !== 0 && this.count < MAXIMUM_LAYERS && (this.covered() & mask) === 0 && this.find(slot) < 0;
  }

  push(slot: number, mask: number): void {
    assert(slot !== HEADER_SLOT && mask !== 0, 'a layer has a slot and a mask');
    assert(this.count < MAXIMUM_LAYERS, 'an entry has at most one layer a granule');
    this.slots[this.count] = slot;
    this.masks[this.count] = mask;
    this.count++;
  }

  copyFrom(other: Entry): void {
    this.count = other.count;
    for (let layer = 0; layer < other.count; layer++) {
      this.slots[layer] = other.slots[layer]!;
      this.masks[layer] = other.masks[layer]!;
    }
  }

  equals(other: Entry): boolean {
    if (this.count !== other.count) return false;
    for (let layer = 0; layer < this.count; layer++) {
      if (this.slots[layer] !== other.slots[layer] || this.masks[layer] !== other.masks[layer]) return false;
    }
    return true;
  }

  /** The position of the layer with this slot, or -1. */
  find(slot: number): number {
    for (let layer = 0; layer < this.count; layer++) if (this.slots[layer] === slot) return layer;
    return -1;
  }

  /** All granules that some layer holds. */
  covered(): number {
    let mask = 0;
    for (let layer = 0; layer < this.count; layer++) mask |= this.masks[layer]!;
    return mask;
  }

  /** Clears the granules in every layer: they read as zeros. Layers that become empty go. */
  without(mask: number): void {
    let kept = 0;
    for (let layer = 0; layer < this.count; layer++) {
      const rest = this.masks[layer]! & ~mask;
      if (rest === 0) continue;
      this.slots[kept] = this.slots[layer]!;
      this.masks[kept] = rest;
      kept++;
    }
    this.count = kept;
  }

  /** The granules now come from `slot`. A slot that was there keeps its place, so that rewriting changes nothing. */
  withLayer(slot: number, mask: number): void {
    const at = this.find(slot);
    if (at >= 0 && (this.masks[at]! & mask) === mask) return;
    if (at >= 0) {
      const joined = this.masks[at]! | mask;
      this.masks[at] = joined;
      let kept = 0;
      for (let layer = 0; layer < this.count; layer++) {
        const rest = this.slots[layer] === slot ? joined : this.masks[layer]! & ~mask;
        if (rest === 0) continue;
        this.slots[kept] = this.slots[layer]!;
        this.masks[kept] = rest;
        kept++;
      }
      this.count = kept;
      return;
    }
    this.without(mask);
    this.push(slot, mask);
  }
}

/** What the background should do with an entry: move these granules to the target. `target` 0 asks for a new slot. */
export interface MergePlan {
  target: number;
  mask: number;
}

/** Layers that an entry may keep for good. */
const LAYERS_AT_REST = 2;

/**
 * Decides a merge: layers that this volume alone owns become one (that frees slots); more than two layers become two, so
 * that a read of a chunk stays one or two disk reads. The largest layers stay where they are.
 *
 * @param owned bit n: layer n is this volume's alone
 * @param writable bit n: layer n may be written in place; a part of `owned`
 */
export function planMerge(entry: Entry, owned: number, writable: number, plan: MergePlan): boolean {
  const target = largest(entry, writable);
  // Without a layer of its own the volume needs a new slot, which counts as one of the two.
  let left = target < 0 ? entry.count + 1 : entry.count;
  let moved = 0;
  plan.mask = 0;
  for (let layer = 0; layer < entry.count; layer++) {
    if (layer === target || !((owned >> layer) & 1)) continue;
    moved |= 1 << layer;
    left--;
  }
  if (target < 0 && entry.count <= LAYERS_AT_REST) return false;
  while (left > LAYERS_AT_REST) {
    moved |= 1 << smallest(entry, moved | (target < 0 ? 0 : 1 << target));
    left--;
  }
  for (let layer = 0; layer < entry.count; layer++) if ((moved >> layer) & 1) plan.mask |= entry.masks[layer]!;
  plan.target = target < 0 ? HEADER_SLOT : entry.slots[target]!;
  return plan.mask !== 0;
}

/** The layer with the most granules of those in the set, or -1. */
function largest(entry: Entry, set: number): number {
  let chosen = -1;
  for (let layer = 0; layer < entry.count; layer++) {
    if (!((set >> layer) & 1)) continue;
    if (chosen < 0 || granulesIn(entry.masks[layer]!) > granulesIn(entry.masks[chosen]!)) chosen = layer;
  }
  return chosen;
}

/** The layer with the fewest granules of those not in the set. */
function smallest(entry: Entry, excluded: number): number {
  let chosen = -1;
  for (let layer = 0; layer < entry.count; layer++) {
    if ((excluded >> layer) & 1) continue;
    if (chosen < 0 || granulesIn(entry.masks[layer]!) < granulesIn(entry.masks[chosen]!)) chosen = layer;
  }
  assert(chosen >= 0, 'a merge leaves layers');
  return chosen;
}
