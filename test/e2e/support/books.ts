/**
 * The stores' lists against the API's: every PersistentVolume and VolumeSnapshotContent of this driver has its volume or
 * snapshot, in one store, and nothing else is in any store.
 */
import type { Fields } from './api.ts';
import { driverName, type Driver, type StoredObject } from './driver.ts';
import type { Kube } from './kube.ts';

interface Place {
  readonly node: string;
  readonly object: StoredObject;
}

/** What does not agree, one a line; empty when all is well. Meaningful only while nothing is being made or deleted. */
export async function compareBooks(kube: Kube, driver: Driver): Promise<string[]> {
  const [nodes, volumes, contents] = await Promise.all([
    driver.nodes(),
    kube.api.list('PersistentVolume'),
    kube.api.list('VolumeSnapshotContent'),
  ]);
  const wanted = [
    ...volumes.filter(({ spec }: Fields) => spec?.['csi']?.driver === driverName).map((volume) => String(volume['spec'].csi.volumeHandle)),
    ...contents
      .filter(({ spec }: Fields) => spec?.['driver'] === driverName)
      .map(({ metadata, status }: Fields) => String(status?.['snapshotHandle'] ?? `(content ${metadata?.['name']} without a handle)`)),
  ];
  const stored = (
    await Promise.all(nodes.map(async (node) => (await driver.objects(node)).map((object): Place => ({ node, object }))))
  ).flat();
  const had = new Set(stored.map(({ object }) => object.id));
  return [
    ...duplicates(wanted).map((handle) => `two objects of the API name ${handle}`),
    ...wanted.filter((handle) => !had.has(handle)).map((handle) => `the API names ${handle}, which no store has`),
    ...stored.filter(({ object }) => !wanted.includes(object.id)).map((place) => `leaked: ${describePlace(place)}`),
    ...duplicates(stored.map(({ object }) => object.name)).map((name) => {
      const places = stored.filter(({ object }) => object.name === name).map(describePlace);
      return `made twice: ${places.join(' and ')}`;
    }),
  ];
}

function duplicates(names: readonly string[]): string[] {
  return [...new Set(names.filter((name, index) => names.indexOf(name) !== index))];
}

function describePlace({ node, object }: Place): string {
  return `${object.kind} ${object.name} (${object.id}) in the store of ${node}`;
}
