import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from '@jest/globals';
import { requireSnapshotParameters, requireVolumeParameters } from '../../src/csi/request/parameters.ts';
import { describeIf, hasHelm } from '../support/capabilities.ts';
import { parseManifests, renderSet, repository, valueSets, type Manifest } from './chart.ts';

const examples = join(repository, 'deploy/examples');

describeIf(hasHelm())("the chart's classes", () => {
  let manifests: readonly Manifest[] = [];
  beforeAll(async () => {
    manifests = (await Promise.all(valueSets().map(renderSet))).flat();
  });
  const parametersOf = (kind: string): readonly Record<string, string>[] =>
    manifests.filter((manifest) => manifest.kind === kind).map((manifest) => (manifest['parameters'] ?? {}) as Record<string, string>);

  test('have parameters that the driver accepts', () => {
    expect(parametersOf('StorageClass').length).toBeGreaterThan(2);
    for (const parameters of parametersOf('StorageClass')) expect(() => requireVolumeParameters(parameters)).not.toThrow();
    for (const parameters of parametersOf('VolumeSnapshotClass')) expect(() => requireSnapshotParameters(parameters)).not.toThrow();
  });

  test('are the ones that the examples name', async () => {
    const rendered = await renderSet('minimal');
    const names = (kind: string): ReadonlySet<string> =>
      new Set(rendered.filter((each) => each.kind === kind).map(({ metadata }) => metadata.name));
    for (const file of exampleFiles()) {
      const text = readFileSync(join(examples, file), 'utf8');
      const used = (field: string): readonly string[] =>
        [...text.matchAll(new RegExp(`${field}: (\\S+)`, 'g'))].map(([, name]) => name ?? '');
      for (const name of used('storageClassName')) expect(names('StorageClass')).toContain(name);
      for (const name of used('volumeSnapshotClassName')) expect(names('VolumeSnapshotClass')).toContain(name);
    }
  });
});

describe('the examples', () => {
  test('are all told of in their README', () => {
    const readme = readFileSync(join(examples, 'README.md'), 'utf8');
    expect(exampleFiles().filter((file) => !readme.includes(file))).toEqual([]);
  });

  test('mount claims that they make, and make volumes from sources that there are', () => {
    const manifests = exampleFiles().flatMap((file) => parseManifests(readFileSync(join(examples, file), 'utf8')));
    const made = new Set(manifests.map(({ kind, metadata }) => `${kind} ${metadata.name}`));
    const wanted = manifests.flatMap(({ spec }) => referencesOf(spec ?? {}));
    expect(wanted.length).toBeGreaterThan(6);
    expect(wanted.filter((reference) => !made.has(reference))).toEqual([]);
  });
});

function exampleFiles(): readonly string[] {
  return readdirSync(examples).filter((file) => file.endsWith('.yaml'));
}

function referencesOf(spec: Readonly<Record<string, unknown>>): readonly string[] {
  const {
    volumes = [],
    dataSource,
    source,
    claimName,
    snapshotName,
  } = spec as {
    readonly volumes?: readonly { readonly persistentVolumeClaim?: { readonly claimName: string } }[];
    readonly dataSource?: { readonly kind: string; readonly name: string };
    readonly source?: { readonly persistentVolumeClaimName: string };
    readonly claimName?: string;
    readonly snapshotName?: string;
  };
  return [
    ...volumes.flatMap(({ persistentVolumeClaim: claim }) => (claim === undefined ? [] : [`PersistentVolumeClaim ${claim.claimName}`])),
    ...(dataSource === undefined ? [] : [`${dataSource.kind} ${dataSource.name}`]),
    ...(source === undefined ? [] : [`PersistentVolumeClaim ${source.persistentVolumeClaimName}`]),
    ...(claimName === undefined ? [] : [`PersistentVolumeClaim ${claimName}`]),
    ...(snapshotName === undefined ? [] : [`VolumeSnapshot ${snapshotName}`]),
  ];
}
