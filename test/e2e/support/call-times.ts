/** How long the driver itself was busy with calls, by its own metrics: all pods of a role together. */
import type { Driver, Role } from './driver.ts';

/** Calls and the seconds spent in them, by the call's name. */
export type CallTimes = ReadonlyMap<string, { readonly count: number; readonly seconds: number }>;

const line = /^chunkstore_call_duration_seconds_(sum|count)\{call="(\w+)"\} (\S+)$/gm;

export async function callTimes(driver: Driver, role: Exclude<Role, 'keeper'>): Promise<CallTimes> {
  const all = new Map<string, { count: number; seconds: number }>();
  const pods = await driver.pods(role);
  for (const text of await Promise.all(pods.map(({ metadata }) => driver.metricsOf(metadata.name)))) {
    for (const [, kind, call = '', figure] of text.matchAll(line)) {
      const entry = all.get(call) ?? { count: 0, seconds: 0 };
      all.set(call, entry);
      if (kind === 'count') entry.count += Number(figure);
      else entry.seconds += Number(figure);
    }
  }
  return all;
}

/** The mean of the calls between two looks; null when there were none, or a process began anew in between. */
export function meanMs(before: CallTimes, after: CallTimes, call: string): number | null {
  const count = (after.get(call)?.count ?? 0) - (before.get(call)?.count ?? 0);
  const seconds = (after.get(call)?.seconds ?? 0) - (before.get(call)?.seconds ?? 0);
  return count <= 0 || seconds < 0 ? null : (seconds * 1000) / count;
}
