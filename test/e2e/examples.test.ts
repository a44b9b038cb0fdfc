/** The files of deploy/examples as they are, and the commands of their README, in its order: what is documented works. */
import { copyFileSync, mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from '@jest/globals';
import type { Fields } from './support/api.ts';
import { run } from './support/command.ts';
import type { Space } from './support/space.ts';
import { describeOnCluster } from './support/suite.ts';

const folder = join(import.meta.dirname, '../../deploy/examples');
const readme = readFileSync(join(folder, 'README.md'), 'utf8');
const commandLimitMs = 180_000;
const limitMs = 120_000;
/** The examples' image. On our own cluster, which pulls nothing, the image of the tests stands in for it. */
const exampleImage = 'docker.io/library/busybox:1.37';

describeOnCluster('the examples', {}, (bed) => {
  const { inSpace, kube, settings } = bed;

  test('are all named in their README', () => {
    const files = readdirSync(folder).filter((name) => name.endsWith('.yaml'));
    const named = [...readme.matchAll(/^\| ([a-z-]+\.yaml) /gm)].map(([, name]) => name);
    expect(new Set(files)).toEqual(new Set(named));
  });

  test(
    'work as they are, and so do the commands beside them',
    inSpace(async (space) => {
      if (settings.ownCluster !== null) await bed.cluster.tagImage(`docker.io/${settings.toolsImage}`, exampleImage);
      const apply = (name: string) => kube.kubectl(['apply', `--namespace=${space.name}`, `--filename=${join(folder, name)}`]);
      const lines = async (pod: string) => (await space.exec(pod, ['cat', '/data/log'])).trim().split('\n');

      await Promise.all(['block-volume.yaml', 'stateful-set.yaml', 'ephemeral-volume.yaml'].map(apply));
      await apply('volume.yaml');
      await space.podReady('writer');
      await kube.until('the writer has written', async () => (await lines('writer')).length >= 2 || 'not yet', { timeoutMs: limitMs });
      const first = (await lines('writer'))[0];
      await apply('snapshot.yaml');
      await space.snapshotReady('before');
      await Promise.all(['restore.yaml', 'clone.yaml'].map(apply));
      await Promise.all(['restored-reader', 'copy-reader'].map((pod) => space.podReady(pod)));
      for (const pod of ['restored-reader', 'copy-reader']) expect((await lines(pod))[0]).toBe(first);
      const inSnapshot = (await lines('restored-reader')).length;

      await Promise.all(['disk-user', 'counter-0', 'counter-1', 'counter-2', 'scratch'].map((pod) => space.podReady(pod)));
      expect(await sizeOf('disk-user', ['blockdev', '--getsize64', '/dev/disk'])).toBe(2 ** 30);
      expect(await sizeOf('scratch', ['sh', '-c', 'df --output=size --block-size=1 /scratch | tail -n 1'])).toBeGreaterThan(0.9 * 2 ** 30);
      for (const pod of ['counter-0', 'counter-1', 'counter-2']) expect(await sizeOf(pod, ['cat', '/data/count'])).toBeGreaterThan(0);

      await kube.until('the writer has gone on', async () => (await lines('writer')).length > inSnapshot + 2 || 'not yet', {
        timeoutMs: limitMs,
      });
      const atRevert = (await lines('writer')).length;
      const [back, forward, ...rest] = [...readme.matchAll(/^```sh\n(.*?)^```/gms)].map(([, commands]) => commands ?? '');
      expect(rest).toEqual([]);
      await runInShell(space, back ?? '');
      await space.podReady('writer');
      // It goes on at once, where the snapshot ended.
      expect((await lines('writer')).length).toBeLessThan(atRevert);
      expect((await lines('writer'))[0]).toBe(first);

      await runInShell(space, forward ?? '');
      await apply('volume.yaml');
      await space.podReady('writer');
      expect((await lines('writer')).length).toBeGreaterThanOrEqual(atRevert);

      await apply('expansion.yaml');
      const volume = { kind: 'PersistentVolume', name: String((await space.get('PersistentVolumeClaim', 'data'))['spec'].volumeName) };
      const hasGrown = (found: Fields | null) => found?.['spec'].capacity.storage === '2Gi' || `it has ${found?.['spec'].capacity.storage}`;
      await kube.waitFor(volume, hasGrown, { what: 'has grown', timeoutMs: limitMs });

      async function sizeOf(pod: string, command: readonly string[]): Promise<number> {
        return Number((await space.exec(pod, command)).trim());
      }
    }),
  );

  /** The README's commands, in the examples' folder and the test's namespace, as a person would type them. */
  async function runInShell(space: Space, commands: string): Promise<void> {
    const temporary = mkdtempSync(join(tmpdir(), 'e2e-examples-'));
    try {
      const kubeconfig = join(temporary, 'kubeconfig');
      copyFileSync(settings.kubeconfig, kubeconfig);
      const [program = '', ...parameters]: readonly string[] = [...settings.prefix, 'bash', '-euo', 'pipefail', '-c'];
      const script = `cd ${folder}\nkubectl config set-context --current --namespace=${space.name} >/dev/null\n${commands}`;
      await run(program, [...parameters, script], { timeoutMs: commandLimitMs, environment: { KUBECONFIG: kubeconfig } });
    } finally {
      rmSync(temporary, { recursive: true, force: true });
    }
  }
});
