/** How figures become places on an axis. */

export interface Scale {
  /** From the lowest place to the highest. */
  readonly ticks: readonly number[];
  /** 0 at the axis' beginning, 1 at its end. */
  readonly place: (value: number) => number;
}

/** From 0 to a round number at or over the highest value, with some five ticks at round numbers. */
export function linearScale(highest: number): Scale {
  const step = roundStep(highest > 0 ? highest / 5 : 0.2);
  const count = Math.max(1, Math.ceil(highest / step - 1e-9));
  const end = count * step;
  return { ticks: Array.from({ length: count + 1 }, (_, index) => index * step), place: (value) => value / end };
}

/** From the power of ten at or under the lowest value to that at or over the highest; both are more than 0. */
export function logarithmicScale(lowest: number, highest: number): Scale {
  const first = Math.floor(Math.log10(lowest) + 1e-9);
  const last = Math.max(first + 1, Math.ceil(Math.log10(highest) - 1e-9));
  return {
    ticks: Array.from({ length: last - first + 1 }, (_, index) => 10 ** (first + index)),
    place: (value) => (Math.log10(value) - first) / (last - first),
  };
}

/** 1, 2 or 5 times a power of ten. */
function roundStep(atLeast: number): number {
  const power = 10 ** Math.floor(Math.log10(atLeast) + 1e-9);
  return ([1, 2, 5].find((factor) => factor * power >= atLeast * (1 - 1e-9)) ?? 10) * power;
}
