/**
 * The command that `helm install` and `helm upgrade` run before they make the VolumeSnapshotClasses of a release that
 * brought their CRD itself: helm does not wait until the API server serves a new kind.
 */
import { setTimeout as delay } from 'node:timers/promises';
import type { Config } from '../config.ts';
import { createKubernetesClient } from '../k8s/client/client.ts';
import { volumeSnapshotClasses } from '../k8s/resources.ts';
import { untilServed } from '../k8s/served-kinds.ts';

const LIMIT_MS = 120_000;

export async function awaitSnapshotKinds(config: Config): Promise<void> {
  const kubeconfig = config.flags.optionalText('kubeconfig');
  const api = await createKubernetesClient(kubeconfig === null ? {} : { kubeconfig });
  await untilServed({ api, nowMs: () => performance.now(), sleep: delay }, volumeSnapshotClasses, { timeoutMs: LIMIT_MS });
}
