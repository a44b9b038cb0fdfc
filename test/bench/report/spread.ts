/** What several rounds say together: the middle of their figures, and how far apart they are. */
import { median } from '../statistics.ts';

export interface Spread {
  readonly median: number;
  readonly lowest: number;
  readonly highest: number;
  /** How many figures that is. */
  readonly samples: number;
}

export interface Ratio extends Spread {
  /** False when the two were not measured in the same rounds: then it is the ratio of their medians, and has no spread. */
  readonly byRound: boolean;
}

/** Null where nothing was measured. */
export function spreadOf(samples: readonly number[]): Spread | null {
  if (samples.length === 0) return null;
  return { median: median(samples), lowest: Math.min(...samples), highest: Math.max(...samples), samples: samples.length };
}

/**
 * One figure over another: taken in each round by itself, so that what the machine did in that round hits both; then the
 * median of those. Null where either was not measured, or the lower one is 0.
 */
export function ratioOf(upper: readonly number[], lower: readonly number[]): Ratio | null {
  const above = spreadOf(upper);
  const below = spreadOf(lower);
  if (above === null || below === null || below.lowest <= 0) return null;
  if (upper.length === lower.length) {
    const spread = spreadOf(upper.map((sample, round) => sample / lower[round]!));
    return spread === null ? null : { ...spread, byRound: true };
  }
  const ratio = above.median / below.median;
  return { median: ratio, lowest: ratio, highest: ratio, samples: 1, byRound: false };
}
