/** One run of tests at a time on a cluster: they restart, kill and cut off what others would be using. */
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';

const pollMs = 1000;

/** Waits until no other run holds it. Answers what gives it back. A holder that died does not count. */
export async function takeRunLock(file: string, options: { readonly timeoutMs: number }): Promise<() => void> {
  const deadline = performance.now() + options.timeoutMs;
  for (let told = false; ; told = true) {
    try {
      writeFileSync(file, String(process.pid), { flag: 'wx' });
      return () => rmSync(file, { force: true });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    }
    const holder = Number(readFileSync(file, 'utf8'));
    if (!isRunOfTests(holder)) {
      rmSync(file, { force: true });
      continue;
    }
    if (performance.now() > deadline) throw new Error(`the run of tests with process id ${holder} does not end: it holds ${file}`);
    if (!told) process.stderr.write(`e2e: waiting for another run on this cluster (process ${holder})\n`);
    await delay(pollMs);
  }
}

function isRunOfTests(pid: number): boolean {
  try {
    return pid > 0 && readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('jest');
  } catch {
    return false;
  }
}
