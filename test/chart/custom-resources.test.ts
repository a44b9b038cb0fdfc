import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, expect, test } from '@jest/globals';
import { describeIf, hasHelm, hasPublishedSnapshotCrds } from '../support/capabilities.ts';
import { publishedSnapshotCrds } from '../support/machine.ts';
import { parseManifests, renderSet, repository, type Manifest } from './chart.ts';

interface Schema {
  readonly type?: string;
  readonly description?: string;
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly 'x-kubernetes-validations'?: readonly object[];
  readonly [key: string]: unknown;
}
interface Version {
  readonly name: string;
  readonly served: boolean;
  readonly subresources?: object;
  readonly additionalPrinterColumns: readonly { readonly name: string; readonly priority?: number; readonly description?: string }[];
  readonly schema: { readonly openAPIV3Schema: Schema };
}
interface Definition {
  readonly group: string;
  readonly scope: string;
  readonly names: Readonly<Record<string, unknown>>;
  readonly versions: readonly Version[];
}

function definitionsOf(manifests: readonly Manifest[]): ReadonlyMap<string, Definition> {
  const crds = manifests.filter(({ kind }) => kind === 'CustomResourceDefinition');
  return new Map(crds.map(({ metadata, spec }) => [metadata.name, spec as unknown as Definition]));
}

describeIf(hasHelm())("the chart's custom resources", () => {
  let manifests: readonly Manifest[] = [];
  let definitions: ReadonlyMap<string, Definition> = new Map();
  beforeAll(async () => {
    manifests = await renderSet('everything');
    definitions = definitionsOf(manifests);
  });
  const versionOf = (name: string): Version => {
    const version = definitions.get(name)?.versions[0];
    if (version === undefined) throw new Error(`there is no CRD ${name}`);
    return version;
  };

  test('all of them are kept when the release goes', () => {
    const crds = manifests.filter(({ kind }) => kind === 'CustomResourceDefinition');
    expect(crds.map(({ metadata }) => metadata.name)).toEqual([
      'chunkstorepools.chunkstore.dev',
      'volumereverts.chunkstore.dev',
      'volumesnapshotclasses.snapshot.storage.k8s.io',
      'volumesnapshotcontents.snapshot.storage.k8s.io',
      'volumesnapshots.snapshot.storage.k8s.io',
    ]);
    expect(crds.filter(({ metadata }) => metadata.annotations?.['helm.sh/resource-policy'] !== 'keep')).toEqual([]);
  });

  test('kubectl get chunkstorepools answers what an operator asks first', () => {
    const columns = versionOf('chunkstorepools.chunkstore.dev').additionalPrinterColumns.filter(({ priority }) => priority === undefined);
    expect(columns.map(({ name }) => name.toUpperCase())).toEqual([
      'NODE',
      'SIZE',
      'USED',
      'USED%',
      'PROVISIONED',
      'VOLUMES',
      'SNAPSHOTS',
      'READY',
      'AGE',
    ]);
  });

  // The API server silently drops what a schema does not have.
  for (const [kind, name] of [
    ['ChunkStorePool', 'chunkstorepools.chunkstore.dev'],
    ['VolumeRevert', 'volumereverts.chunkstore.dev'],
  ] as const) {
    test(`the schema of ${kind} has the fields that the code has, and no others`, () => {
      const { properties = {} } = versionOf(name).schema.openAPIV3Schema;
      const fields = (part: string): readonly string[] => Object.keys(properties[part]?.properties ?? {}).toSorted();
      expect({ spec: fields('spec'), status: fields('status') }).toEqual(fieldsInCode(kind));
    });
  }

  test('a VolumeRevert cannot be changed', () => {
    const spec = versionOf('volumereverts.chunkstore.dev').schema.openAPIV3Schema.properties?.['spec'];
    expect(spec?.['x-kubernetes-validations']).toEqual([
      { rule: 'self == oldSelf', message: 'a VolumeRevert cannot be changed; create another one' },
    ]);
  });

  describeIf(hasPublishedSnapshotCrds())('of the snapshot API', () => {
    test('have the fields, columns and names that their project publishes, and as many rules', () => {
      const files = readdirSync(publishedSnapshotCrds);
      const published = definitionsOf(files.flatMap((file) => parseManifests(readFileSync(join(publishedSnapshotCrds, file), 'utf8'))));
      expect(published.size).toBe(3);
      for (const [name, theirs] of published) {
        const ours = definitions.get(name);
        expect({ name, ...essenceOf(ours) }).toEqual({ name, ...essenceOf(theirs) });
      }
    });
  });
});

/** What programs depend on: everything but descriptions, the words of rules, and versions that are not served. */
function essenceOf(definition: Definition | undefined): object {
  const versions = (definition?.versions ?? []).filter(({ served }) => served);
  return {
    group: definition?.group,
    scope: definition?.scope,
    names: definition?.names,
    versions: versions.map(({ name, subresources, additionalPrinterColumns, schema }) => ({
      name,
      subresources,
      columns: additionalPrinterColumns.map(({ description: _words, ...column }) => column),
      schema: bare(schema.openAPIV3Schema),
    })),
  };
}

function bare(schema: Schema): object {
  const { description: _words, properties, 'x-kubernetes-validations': rules, required, ...rest } = schema;
  return {
    ...rest,
    ...(Array.isArray(required) && { required: new Set(required) }),
    ...(rules !== undefined && { rules: rules.length }),
    ...(properties !== undefined && {
      properties: Object.fromEntries(Object.entries(properties).map(([key, value]) => [key, bare(value)])),
    }),
  };
}

/** The names of the fields in src/k8s/resources.ts: types leave nothing that could be asked at run time. */
function fieldsInCode(kind: string): { readonly spec: readonly string[]; readonly status: readonly string[] } {
  const text = readFileSync(join(repository, 'src/k8s/resources.ts'), 'utf8');
  const body = new RegExp(`interface ${kind} extends [\\s\\S]*?\\n}`).exec(text)?.[0] ?? '';
  const fieldsOf = (part: string): readonly string[] => {
    const block = new RegExp(`readonly ${part}\\??: \\{([\\s\\S]*?)\\n {2}\\};`).exec(body)?.[1] ?? '';
    return [...block.matchAll(/^ {4}readonly (\w+)\??:/gm)].map(([, field]) => field ?? '').toSorted();
  };
  return { spec: fieldsOf('spec'), status: fieldsOf('status') };
}
