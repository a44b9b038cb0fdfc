import { beforeAll, expect, test } from '@jest/globals';
import { describeIf, hasHelm } from '../support/capabilities.ts';
import { renderSet, type Manifest } from './chart.ts';

interface Rule {
  readonly apiGroups: readonly string[];
  readonly resources: readonly string[];
  readonly verbs: readonly string[];
  readonly resourceNames?: readonly string[];
}

describeIf(hasHelm())("the chart's rights", () => {
  let manifests: readonly Manifest[] = [];
  beforeAll(async () => {
    manifests = await renderSet('minimal');
  });
  const roles = (kinds: readonly string[] = ['Role', 'ClusterRole']): readonly Manifest[] =>
    manifests.filter(({ kind }) => kinds.includes(kind));
  const rulesOf = (manifest: Manifest): readonly Rule[] => manifest['rules'] as readonly Rule[];
  const role = (kind: string, name: string): readonly Rule[] => {
    const found = manifests.find((manifest) => manifest.kind === kind && manifest.metadata.name === name);
    if (found === undefined) throw new Error(`there is no ${kind} ${name}`);
    return rulesOf(found);
  };

  test('no rule has a wildcard', () => {
    for (const rule of roles().flatMap(rulesOf)) {
      expect([...rule.apiGroups, ...rule.resources, ...rule.verbs].filter((word) => word.includes('*'))).toEqual([]);
    }
  });

  test('nobody may read a Secret but the controller its own', () => {
    const rules = roles().flatMap((manifest) =>
      rulesOf(manifest)
        .filter(({ resources }) => resources.includes('secrets'))
        .map(({ resourceNames, verbs }) => ({ kind: manifest.kind, role: manifest.metadata.name, resourceNames, verbs })),
    );
    expect(rules).toEqual([
      { kind: 'Role', role: 'chunkstore-controller', resourceNames: ['chunkstore-ca'], verbs: ['get', 'list', 'watch', 'update'] },
      { kind: 'Role', role: 'chunkstore-controller', resourceNames: undefined, verbs: ['create'] },
    ]);
  });

  test('Leases and ConfigMaps are named; only to create cannot be limited so', () => {
    const unnamed = roles()
      .flatMap(rulesOf)
      .filter(
        ({ resources, resourceNames }) => resourceNames === undefined && resources.some((each) => ['leases', 'configmaps'].includes(each)),
      );
    expect(unnamed.flatMap(({ verbs }) => verbs).filter((verb) => verb !== 'create')).toEqual([]);
  });

  test('nobody may touch pods, nodes, roles or webhooks, nor act as another', () => {
    const changing = ['create', 'update', 'patch', 'delete', 'deletecollection', 'impersonate', 'bind', 'escalate'];
    const dangerous = [
      'pods',
      'pods/exec',
      'nodes',
      'roles',
      'clusterroles',
      'rolebindings',
      'clusterrolebindings',
      'serviceaccounts',
      'users',
    ];
    const found = roles()
      .flatMap(rulesOf)
      .filter(
        ({ resources, verbs }) => resources.some((each) => dangerous.includes(each)) && verbs.some((verb) => changing.includes(verb)),
      );
    expect(found).toEqual([]);
  });

  test('the controller signs for stores only', () => {
    const signers = role('ClusterRole', 'chunkstore-controller').filter(({ resources }) => resources.includes('signers'));
    expect(signers).toEqual([
      { apiGroups: ['certificates.k8s.io'], resources: ['signers'], resourceNames: ['chunkstore.dev/store'], verbs: ['approve', 'sign'] },
    ]);
  });

  test('a store makes pools, tells of them, also by events, and asks for certificates, and no more', () => {
    const changes = role('ClusterRole', 'chunkstore-store').map(({ resources, verbs }) => [
      resources.join(),
      verbs.filter((verb) => !['get', 'list', 'watch'].includes(verb)).join(),
    ]);
    expect(changes).toEqual([
      ['chunkstorepools', 'create'],
      ['chunkstorepools/status', 'update'],
      ['certificatesigningrequests', 'create'],
      ['events', 'create,patch'],
    ]);
  });

  test('node and keeper have no rights', () => {
    const subjects = manifests
      .filter(({ kind }) => ['RoleBinding', 'ClusterRoleBinding'].includes(kind))
      .flatMap((binding) => (binding['subjects'] as readonly { readonly name: string }[]).map(({ name }) => name));
    expect(new Set(subjects)).toEqual(new Set(['chunkstore-controller', 'chunkstore-store', 'chunkstore-uninstall-check']));
  });

  test('view sees pools and reverts; no built-in role may revert unless a value says so', async () => {
    const aggregated = (all: readonly Manifest[]): readonly string[] =>
      all.flatMap(({ kind, metadata }) =>
        kind === 'ClusterRole'
          ? Object.keys(metadata.labels ?? {})
              .filter((label) => label.includes('aggregate-to'))
              .map((label) => `${metadata.name} ${label.split('/').at(-1)}`)
          : [],
      );
    expect(aggregated(manifests)).toEqual(['chunkstore-view aggregate-to-view']);
    expect(aggregated(await renderSet('everything'))).toEqual([
      'chunkstore-reverter aggregate-to-admin',
      'chunkstore-view aggregate-to-view',
    ]);
  });
});
