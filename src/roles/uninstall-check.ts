/** The command that `helm uninstall` runs before it removes anything (the chart's pre-delete hook). */
import type { Config } from '../config.ts';
import { createKubernetesClient } from '../k8s/client/client.ts';
import { findingsOf, readInstalled, wordsOfFarewell, wordsOfRefusal } from '../k8s/uninstall-check.ts';
import { StoreError } from '../util/errors.ts';

/** Prints what stays; `failed-precondition` with what stands against it. */
export async function runUninstallCheck(config: Config): Promise<void> {
  const { flags } = config;
  const kubeconfig = flags.optionalText('kubeconfig');
  const api = await createKubernetesClient(kubeconfig === null ? {} : { kubeconfig });
  const findings = findingsOf(await readInstalled(api, (words) => process.stderr.write(`${words}\n`)));
  if (findings.obstacles.length > 0) {
    throw new StoreError('failed-precondition', wordsOfRefusal(findings, { resume: flags.optionalText('resume') }));
  }
  process.stdout.write(`${wordsOfFarewell(findings, { poolRoot: flags.text('pool-root') })}\n`);
}
