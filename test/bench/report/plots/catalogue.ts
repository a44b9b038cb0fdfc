/** Which plots a run gives, as far as it has measured what they show. */
import type { Measurement } from '../../measurement.ts';
import { databasePlots } from './database-plots.ts';
import { ioPlots } from './io-plots.ts';
import { operationPlots } from './operation-plots.ts';
import type { Plot } from './plot.ts';

export function plotsOf(measurements: readonly Measurement[]): Plot[] {
  const of = (part: string): Measurement[] => measurements.filter((measurement) => measurement.part === part);
  return [...ioPlots(of('io')), ...operationPlots(of('operations')), ...databasePlots(of('databases'))];
}
