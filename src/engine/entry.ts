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

/** What the background should do with an entry, or nothing. `target` 0 asks for a new slot. */
export interface MergePlan {
  source: number;
  target: number;
  mask: number;
}

/**
 * Decides a merge: two layers that this volume alone owns become one (that frees a slot); more than two layers become
 * fewer, so that a read of a chunk stays one or two disk reads. Always copies the smaller side.
 *
 * @param owned bit n: layer n may be written in place
 */
export function planMerge(entry: Entry, owned: number, plan: MergePlan): boolean {
  let target = -1;
  for (let layer = 0; layer < entry.count; layer++) {
    if ((owned >> layer) & 1 && (target < 0 || granulesIn(entry.masks[layer]!) > granulesIn(entry.masks[target]!))) target = layer;
  }
  let source = -1;
  for (let layer = 0; layer < entry.count; layer++) {
    if (layer === target) continue;
    const frees = ((owned >> layer) & 1) === 1;
    if (!frees && entry.count <= 2) continue;
    const sourceFrees = source >= 0 && ((owned >> source) & 1) === 1;
    const smaller = source < 0 || granulesIn(entry.masks[layer]!) < granulesIn(entry.masks[source]!);
    if (source < 0 || (frees && !sourceFrees) || (frees === sourceFrees && smaller)) source = layer;
  }
  if (source < 0) return false;
  plan.source = entry.slots[source]!;
  plan.target = target < 0 ? HEADER_SLOT : entry.slots[target]!;
  plan.mask = entry.masks[source]!;
  return true;
}
