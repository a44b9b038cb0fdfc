/** Figures in words: short enough for a cell of a table, with three digits that mean something. */
import { formatBytes } from '../../../src/operator/output.ts';
import type { Unit } from '../measurement.ts';
import type { Spread } from './spread.ts';

/** A half width that still says something. */
const WIDEST_PERCENT = 50;

/** "48.2k op/s", "1.27 ms", "64 MiB". */
export function formatQuantity(value: number, unit: Unit): string {
  if (!Number.isFinite(value)) return '?';
  switch (unit) {
    case 'bytes':
      return formatBytes(Math.round(value));
    case 'us':
      return Math.abs(value) >= 10_000 ? formatQuantity(value / 1000, 'ms') : `${digits(value)} us`;
    case 'ms':
      return Math.abs(value) >= 10_000 ? `${digits(value / 1000)} s` : `${digits(value)} ms`;
    case 'ratio':
      return formatRatio(value);
    case 'op/s':
    case 'tps':
    case 'MiB/s':
      return `${thousands(value)} ${unit}`;
  }
}

/** "0.87", "12.4". */
export function formatRatio(value: number): string {
  return Math.abs(value) >= 10 ? digits(value) : value.toFixed(2);
}

/**
 * "48.2k op/s ±6%": half of what lies between the lowest and the highest round, in parts of the median. Where the rounds are
 * far apart, the two themselves: "2.08 ms (1.20 ms–12.3 ms)".
 */
export function formatSpread(spread: Spread, unit: Unit): string {
  const { median, lowest, highest, samples } = spread;
  const text = formatQuantity(median, unit);
  if (samples === 1 || highest === lowest) return text;
  const halfWidthPercent = Math.round(((highest - lowest) / 2 / Math.abs(median)) * 100);
  return halfWidthPercent <= WIDEST_PERCENT
    ? `${text} ±${halfWidthPercent}%`
    : `${text} (${formatQuantity(lowest, unit)}–${formatQuantity(highest, unit)})`;
}

/** "0.87 (0.84–0.91)". */
export function formatRatioSpread(spread: Spread): string {
  const text = formatRatio(spread.median);
  return spread.samples === 1 ? text : `${text} (${formatRatio(spread.lowest)}–${formatRatio(spread.highest)})`;
}

function thousands(value: number): string {
  if (Math.abs(value) >= 999_500) return `${digits(value / 1e6)}M`;
  return Math.abs(value) >= 9_995 ? `${digits(value / 1000)}k` : digits(value);
}

/** Three digits, or all of those before the point. */
function digits(value: number): string {
  const size = Math.abs(value);
  if (size >= 99.95 || value === 0) return value.toFixed(0);
  return value.toFixed(size >= 9.995 ? 1 : 2);
}
