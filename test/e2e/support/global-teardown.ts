/** After the tests of this layer: shows the times, and takes down what the set-up brought up, unless E2E_KEEP=1. */
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { runAny } from './command.ts';
import { isKept } from './global-setup.ts';
import { Kube } from './kube.ts';
import { Timings } from './timings.ts';

const downLimitMs = 5 * 60_000;

// oxlint-disable-next-line import/no-default-export -- jest wants it so
export default async function tearDown(): Promise<void> {
  const started = globalThis.chunkstoreE2e;
  if (started === undefined) return;
  const { settings, proxy, ownsCluster, ownsRelease, folder, endRun } = started;
  const table = new Timings(settings.artifacts).table();
  if (table.length > 0) process.stderr.write(`\ntimes (also in ${join(settings.artifacts, 'times.jsonl')}):\n${table.join('\n')}\n`);

  try {
    if (isKept()) return;
    if (settings.ownCluster !== null) {
      if (ownsCluster) await runAny(settings.ownCluster.program, ['down'], { timeoutMs: downLimitMs, shown: true });
    } else if (ownsRelease) {
      const words = ['uninstall', settings.release, `--namespace=${settings.namespace}`, '--wait', '--timeout=4m'];
      const { status, errorOutput } = await new Kube(settings).helm(words, { timeoutMs: downLimitMs });
      if (status !== 0) process.stderr.write(`e2e: the driver could not be uninstalled: ${errorOutput}\n`);
    }
  } finally {
    proxy?.kill();
    endRun();
    rmSync(folder, { recursive: true, force: true });
  }
}
