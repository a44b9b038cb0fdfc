/** The contract of the Kubernetes API against a real cluster: the one whose kubeconfig is in KUBECONFIG. */
import { describe, test } from '@jest/globals';
import { createKubernetesClient } from '../../src/k8s/client.ts';
import type { KubernetesApi, KubernetesObject, Resource } from '../../src/k8s/api.ts';
import { eventually } from '../support/eventually.ts';
import { contractThings, describeApi, type ApiSubject } from '../k8s/api-contract.ts';

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

async function open(kubeconfig: string): Promise<ApiSubject> {
  const client = await createKubernetesClient({ kubeconfig, userAgent: 'chunkstore-test' });
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

const kubeconfig = process.env['KUBECONFIG'];
if (kubeconfig === undefined || kubeconfig === '') {
  describe('the client of the Kubernetes API, against a cluster', () => {
    test('needs KUBECONFIG', () => {
      throw new Error('name a kubeconfig in KUBECONFIG; make e2e brings up a cluster and sets it');
    });
  });
} else {
  describeApi('the client of the Kubernetes API, against a cluster', () => open(kubeconfig));
}
