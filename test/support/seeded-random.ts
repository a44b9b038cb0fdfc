/**
 * A small random generator with a seed, so that every simulated run can be repeated. Not for secrets.
 */
import type { Random } from '../../src/engine/ports.ts';

export class SeededRandom implements Random {
  #state = 1;

  constructor(seed: number) {
    this.reseed(seed);
  }

  /** Starts again from `seed`; close seeds give unrelated sequences, because the seed is scrambled first. */
  reseed(seed: number): void {
    let mixed = Math.imul((seed | 0) ^ 0x5bd1e995, 0x2c1b3c6d);
    mixed = Math.imul(mixed ^ (mixed >>> 15), 0x297a2d39);
    this.#state = (mixed ^ (mixed >>> 16)) | 0 || 0x1234567;
  }

  /** 32 random bits as an unsigned number: a xorshift whose output is multiplied, because its low bits are weak. */
  bits(): number {
    let state = this.#state;
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    this.#state = state;
    const product = Math.imul(state, 0x2545f491);
    return (product ^ (product >>> 15)) >>> 0;
  }

  /** A whole number from 0 to below `limit`. */
  below(limit: number): number {
    return Math.floor((this.bits() / 4_294_967_296) * limit);
  }

  /** A whole number from `low` to `high`, both included. */
  between(low: number, high: number): number {
    return low + this.below(high - low + 1);
  }

  chance(probability: number): boolean {
    return this.bits() / 4_294_967_296 < probability;
  }

  pick<T>(list: readonly T[]): T {
    if (list.length === 0) throw new Error('nothing to pick from');
    return list[this.below(list.length)] as T;
  }

  /** Picks one of the keys, each as often as its weight says. */
  weighted<K extends string>(weights: Readonly<Record<K, number>>): K {
    const entries = Object.entries(weights) as [K, number][];
    let rest = (this.bits() / 4_294_967_296) * entries.reduce((sum, [, weight]) => sum + weight, 0);
    for (const [key, weight] of entries) {
      rest -= weight;
      if (rest < 0) return key;
    }
    return entries[entries.length - 1]![0];
  }

  fill(target: Uint8Array): void {
    for (let index = 0; index < target.length; index += 1) target[index] = this.bits();
  }
}
