/** What tests do with VolumeReverts: make them, read what they say, wait until they are done. */
import type { Fields, Manifest } from './api.ts';
import * as manifests from './manifests.ts';
import type { Space } from './space.ts';
import type { ClusterBed } from './suite.ts';

const reasonLimitMs = 60_000;
const completeLimit = '90s';

export function conditionOf(object: Manifest | null, type: string): Fields | undefined {
  return object?.['status']?.conditions?.find((one: Fields) => one['type'] === type);
}

/** What tests do with the VolumeReverts of a space. */
export function revertsIn({ kube, timings }: ClusterBed, space: Space) {
  const reference = (name: string) => ({ kind: 'VolumeRevert', name, namespace: space.name });
  return {
    make: (options: Parameters<typeof manifests.revert>[0]) => space.apply(manifests.revert(options)),

    /** Waits until its status says so; answers what it says. */
    async says(name: string, phase: 'Waiting' | 'Complete' | 'Failed', pattern: RegExp): Promise<string> {
      let message = '';
      const judge = (object: Manifest | null) => {
        const { status, reason, message: words } = conditionOf(object, phase) ?? {};
        message = `${reason}: ${words}`;
        return (status === 'True' && pattern.test(message)) || `its status is ${JSON.stringify(object?.['status'])}`;
      };
      await kube.waitFor(reference(name), judge, { what: `is ${phase} with ${String(pattern)}`, timeoutMs: reasonLimitMs });
      return message;
    },

    /** As a person waits for it. */
    async complete(...names: readonly string[]): Promise<void> {
      await timings.time('revert to complete, the wait', () =>
        kube.kubectl(
          [
            'wait',
            '--for=condition=Complete',
            ...names.map((name) => `volumerevert/${name}`),
            `--namespace=${space.name}`,
            `--timeout=${completeLimit}`,
          ],
          { timeoutMs: 100_000 },
        ),
      );
    },
  };
}
