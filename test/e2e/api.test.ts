/** The contract of the Kubernetes API against a real cluster. */
import { createKubernetesClient, KubernetesClient } from '../../src/k8s/client/client.ts';
import type { KubernetesApi, KubernetesObject, Resource } from '../../src/k8s/api.ts';
import { eventually } from '../support/eventually.ts';
import { contractThings, describeApi, type ApiSubject } from '../k8s/api-contract.ts';
import type { Settings } from './support/settings.ts';
import { describeOnCluster } from './support/suite.ts';

interface Anything extends KubernetesObject {
  readonly spec?: object;
}
const namespaces: Resource<Anything> = { group: '', version: 'v1', kind: 'Namespace', plural: 'namespaces', namespaced: false };
const customResourceDefinitions: Resource<Anything> = {
  group: 'apiextensions.k8s.io',
  version: 'v1',
  kind: 'CustomResourceDefinition',
  plural: 'customresourcedefinitions',
  namespaced: false,
};

/** The address in our own cluster's kubeconfig is one of its network namespace; its proxy listens on a socket. */
async function clientOf(settings: Settings): Promise<KubernetesClient> {
  if (settings.prefix.length === 0) return createKubernetesClient({ kubeconfig: settings.kubeconfig, userAgent: 'chunkstore-test' });
  const credentials = { socketPath: settings.apiSocket };
  return new KubernetesClient({ server: new URL('http://localhost'), credentials: () => Promise.resolve(credentials) });
}

async function open(settings: Settings): Promise<ApiSubject> {
  const client = await clientOf(settings);
  const api: KubernetesApi = client;
  const { group, version, kind, plural } = contractThings;
  const definition = `${plural}.${group}`;
  const namespace = `contract-${Math.random().toString(36).slice(2, 8)}`;
  const anything = { type: 'object', 'x-kubernetes-preserve-unknown-fields': true };
  await api.create(namespaces, { metadata: { name: namespace } });
  await api.delete(customResourceDefinitions, { name: definition });
  await eventually('a definition left over is gone', async () => (await api.get(customResourceDefinitions, { name: definition })) === null);
  await api.create(customResourceDefinitions, {
    metadata: { name: definition },
    spec: {
      group,
      scope: 'Namespaced',
      names: { kind, plural, singular: kind.toLowerCase() },
      versions: [
        {
          name: version,
          served: true,
          storage: true,
          subresources: { status: {} },
          schema: { openAPIV3Schema: { type: 'object', properties: { spec: anything, status: anything } } },
        },
      ],
    },
  });
  await eventually('the kind is served', () =>
    api.list(contractThings).then(
      () => true,
      () => false,
    ),
  );
  return {
    api,
    namespace,
    close: async () => {
      await api.delete(customResourceDefinitions, { name: definition });
      await api.delete(namespaces, { name: namespace });
      client.close();
    },
  };
}

describeOnCluster('a real cluster', {}, ({ settings }) => {
  describeApi('the client of the Kubernetes API', () => open(settings));
});
