/** What is kept of a failed test: logs of all programs, objects and events, in a folder named after the test. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Api, Fields } from './api.ts';
import { describePod, newestEvents } from './explain.ts';

const kindsKept = ['Event', 'Pod', 'PersistentVolumeClaim', 'VolumeSnapshot', 'VolumeRevert'];
const clusterKindsKept = ['PersistentVolume', 'VolumeSnapshotContent', 'ChunkStorePool', 'Node', 'StorageClass'];

/** Answers the folder. Never fails: it tells of a failure already. */
export async function keepArtifacts(options: {
  readonly api: Api;
  readonly folder: string;
  readonly test: string;
  readonly namespaces: readonly string[];
}): Promise<string> {
  const { api, namespaces } = options;
  const folder = join(options.folder, options.test.replaceAll(/[^\w.-]+/g, '-').slice(-120));
  mkdirSync(folder, { recursive: true });
  const keep = (name: string, text: string) => writeFileSync(join(folder, name), text);
  const attempt = async (name: string, action: () => Promise<string>) => {
    try {
      keep(name, await action());
    } catch (error) {
      keep(name, `could not be had: ${String(error)}\n`);
    }
  };

  for (const kind of clusterKindsKept) await attempt(`${kind}.json`, async () => JSON.stringify(await api.list(kind), null, 2));
  for (const namespace of namespaces) {
    for (const kind of kindsKept) {
      await attempt(`${namespace}-${kind}.json`, async () => JSON.stringify(await api.list(kind, { namespace }), null, 2));
    }
    await attempt(`${namespace}-summary.txt`, async () => {
      const [pods, events] = await Promise.all([api.list('Pod', { namespace }), api.list('Event', { namespace })]);
      return [...pods.map(describePod), ...newestEvents(events)].join('\n');
    });
    for (const { metadata, spec } of await api.list('Pod', { namespace }).catch(() => [])) {
      for (const { name: container } of (spec?.containers ?? []) as Fields[]) {
        for (const previous of [false, true]) {
          const text = await api.logs({ namespace, pod: metadata.name, container, previous }).catch(String);
          if (text !== '') keep(`${namespace}-${metadata.name}-${container}${previous ? '-previous' : ''}.log`, text);
        }
      }
    }
  }
  return folder;
}
