/** The ends of child processes. */
import { once } from 'node:events';
import type { ChildProcess } from 'node:child_process';

/** Also of one that never began. */
export function hasEnded(child: ChildProcess): boolean {
  return child.exitCode !== null || child.signalCode !== null || child.pid === undefined;
}

/** Waits no longer than that, and answers whether it has ended. */
export async function endsWithin(child: ChildProcess, limitMs: number): Promise<boolean> {
  if (hasEnded(child)) return true;
  const limit = new AbortController();
  const ended = once(child, 'exit', { signal: limit.signal }).then(
    () => true,
    () => false,
  );
  const timer = setTimeout(() => limit.abort(), limitMs);
  try {
    return await ended;
  } finally {
    clearTimeout(timer);
  }
}

/** "SIGKILL", "status 1". */
export function describeEnd(child: ChildProcess): string {
  return child.signalCode ?? `status ${child.exitCode}`;
}
