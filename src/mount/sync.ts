/**
 * Writes out a mounted file system before a cut. In a process of its own, because a sync of a volume that waits for room
 * may take for ever, and nothing of ours may wait with it.
 */
import { runCommand } from '../util/exec.ts';

/**
 * syncfs(2) on the file system at `path`: what was written to it before is on its device afterwards. Errors:
 * `unavailable` when that takes longer than the limit, or the device answers with an error.
 */
export async function syncFileSystem(path: string, options: { readonly timeoutMs?: number } = {}): Promise<void> {
  await runCommand('sync', ['--file-system', '--', path], { timeoutMs: options.timeoutMs ?? syncTimeoutMs });
}

const syncTimeoutMs = 10_000;
