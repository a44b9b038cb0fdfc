/** Waits for kinds of objects whose CRD was made a moment ago: the API server takes a while until it serves them. */
import { StoreError } from '../util/errors.ts';
import { groupVersion, type KubernetesApi, type KubernetesObject, type Resource } from './api.ts';

export interface ServedKindPorts {
  readonly api: Pick<KubernetesApi, 'list'>;
  readonly nowMs: () => number;
  readonly sleep: (delayMs: number) => Promise<unknown>;
}

const POLL_MS = 500;

/** Resolves when objects of the kind can be listed; `unavailable` with the last reason when that takes longer. */
export async function untilServed(
  ports: ServedKindPorts,
  resource: Resource<KubernetesObject>,
  options: { readonly timeoutMs: number },
): Promise<void> {
  const deadlineMs = ports.nowMs() + options.timeoutMs;
  for (;;) {
    try {
      await ports.api.list(resource);
      return;
    } catch (error) {
      if (!(error instanceof StoreError)) throw error;
      if (ports.nowMs() >= deadlineMs)
        throw new StoreError(
          'unavailable',
          `the cluster does not serve ${resource.kind} of ${groupVersion(resource)} after ${options.timeoutMs / 1000} s: ${error.message}`,
          { cause: error },
        );
    }
    await ports.sleep(POLL_MS);
  }
}
