/**
 * The Kubernetes API over a Unix socket, where a proxy speaks to the API server: objects by kind and name, as plain JSON.
 * Every call has a time limit and says what it asked for when it fails.
 */
import { request } from 'node:http';

/** Any object; tests look into what they know to be there. */
// oxlint-disable-next-line typescript/no-explicit-any -- objects of forty kinds, looked at by tests only
export type Fields = Record<string, any>;

export interface Manifest extends Fields {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly namespace?: string } & Fields;
}

export interface Reference {
  readonly kind: string;
  readonly name: string;
  readonly namespace?: string;
}

export interface Selection {
  readonly namespace?: string;
  readonly labels?: string;
  readonly fields?: string;
}

/** What the API server answered with a status other than 2xx. */
export class ApiError extends Error {
  readonly status: number;
  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

/** Where the objects of each kind are. Tests add none at run time: an unknown kind is a mistake. */
const paths: Readonly<Record<string, readonly [groupVersion: string, plural: string, scope: 'namespaced' | 'cluster']>> = {
  ConfigMap: ['api/v1', 'configmaps', 'namespaced'],
  Endpoints: ['api/v1', 'endpoints', 'namespaced'],
  Event: ['api/v1', 'events', 'namespaced'],
  Namespace: ['api/v1', 'namespaces', 'cluster'],
  Node: ['api/v1', 'nodes', 'cluster'],
  PersistentVolume: ['api/v1', 'persistentvolumes', 'cluster'],
  PersistentVolumeClaim: ['api/v1', 'persistentvolumeclaims', 'namespaced'],
  Pod: ['api/v1', 'pods', 'namespaced'],
  Secret: ['api/v1', 'secrets', 'namespaced'],
  Service: ['api/v1', 'services', 'namespaced'],
  ServiceAccount: ['api/v1', 'serviceaccounts', 'namespaced'],
  DaemonSet: ['apis/apps/v1', 'daemonsets', 'namespaced'],
  Deployment: ['apis/apps/v1', 'deployments', 'namespaced'],
  ReplicaSet: ['apis/apps/v1', 'replicasets', 'namespaced'],
  StatefulSet: ['apis/apps/v1', 'statefulsets', 'namespaced'],
  Job: ['apis/batch/v1', 'jobs', 'namespaced'],
  Lease: ['apis/coordination.k8s.io/v1', 'leases', 'namespaced'],
  EndpointSlice: ['apis/discovery.k8s.io/v1', 'endpointslices', 'namespaced'],
  PodDisruptionBudget: ['apis/policy/v1', 'poddisruptionbudgets', 'namespaced'],
  Role: ['apis/rbac.authorization.k8s.io/v1', 'roles', 'namespaced'],
  RoleBinding: ['apis/rbac.authorization.k8s.io/v1', 'rolebindings', 'namespaced'],
  ClusterRole: ['apis/rbac.authorization.k8s.io/v1', 'clusterroles', 'cluster'],
  ClusterRoleBinding: ['apis/rbac.authorization.k8s.io/v1', 'clusterrolebindings', 'cluster'],
  CertificateSigningRequest: ['apis/certificates.k8s.io/v1', 'certificatesigningrequests', 'cluster'],
  ValidatingAdmissionPolicy: ['apis/admissionregistration.k8s.io/v1', 'validatingadmissionpolicies', 'cluster'],
  ValidatingAdmissionPolicyBinding: ['apis/admissionregistration.k8s.io/v1', 'validatingadmissionpolicybindings', 'cluster'],
  CustomResourceDefinition: ['apis/apiextensions.k8s.io/v1', 'customresourcedefinitions', 'cluster'],
  CSIDriver: ['apis/storage.k8s.io/v1', 'csidrivers', 'cluster'],
  CSINode: ['apis/storage.k8s.io/v1', 'csinodes', 'cluster'],
  CSIStorageCapacity: ['apis/storage.k8s.io/v1', 'csistoragecapacities', 'namespaced'],
  StorageClass: ['apis/storage.k8s.io/v1', 'storageclasses', 'cluster'],
  VolumeAttachment: ['apis/storage.k8s.io/v1', 'volumeattachments', 'cluster'],
  VolumeSnapshot: ['apis/snapshot.storage.k8s.io/v1', 'volumesnapshots', 'namespaced'],
  VolumeSnapshotClass: ['apis/snapshot.storage.k8s.io/v1', 'volumesnapshotclasses', 'cluster'],
  VolumeSnapshotContent: ['apis/snapshot.storage.k8s.io/v1', 'volumesnapshotcontents', 'cluster'],
  ChunkStorePool: ['apis/chunkstore.dev/v1alpha1', 'chunkstorepools', 'cluster'],
  VolumeRevert: ['apis/chunkstore.dev/v1alpha1', 'volumereverts', 'namespaced'],
};

export function isNamespaced(kind: string): boolean {
  return place(kind)[2] === 'namespaced';
}

export function describeReference({ kind, name, namespace }: Reference): string {
  return namespace === undefined ? `${kind} ${name}` : `${kind} ${namespace}/${name}`;
}

export class Api {
  readonly #socket: string;
  readonly #timeoutMs: number;

  constructor(options: { readonly socket: string; readonly timeoutMs?: number }) {
    this.#socket = options.socket;
    this.#timeoutMs = options.timeoutMs ?? 30_000;
  }

  /** Null when it is not there, also when its kind is not installed. */
  async find(reference: Reference): Promise<Manifest | null> {
    try {
      return await this.call<Manifest>('GET', pathOf(reference));
    } catch (error) {
      if (error instanceof ApiError && error.status === 404) return null;
      throw error;
    }
  }

  /** Of all namespaces, if none is given. Empty when the kind is not installed. */
  async list(kind: string, selection: Selection = {}): Promise<Manifest[]> {
    const query = new URLSearchParams();
    if (selection.labels !== undefined) query.set('labelSelector', selection.labels);
    if (selection.fields !== undefined) query.set('fieldSelector', selection.fields);
    try {
      const answer = await this.call<{ items: Manifest[] }>('GET', `${folderOf(kind, selection.namespace)}?${query.toString()}`);
      return answer.items;
    } catch (error) {
      if (error instanceof ApiError && error.status === 404) return [];
      throw error;
    }
  }

  /** Makes it, or changes it to be so (server-side apply, taking over fields that others set). */
  apply(manifest: Manifest): Promise<Manifest> {
    const query = 'fieldManager=chunkstore-e2e&force=true';
    return this.call('PATCH', `${pathOf(referenceOf(manifest))}?${query}`, { body: manifest, type: 'application/apply-patch+yaml' });
  }

  /** Makes it; fails when it is there already (status 409). The server chooses the name for a `generateName`. */
  create(manifest: Manifest): Promise<Manifest> {
    return this.call('POST', folderOf(manifest.kind, manifest.metadata.namespace), { body: manifest, type: 'application/json' });
  }

  /** Changes the given fields (JSON merge patch; null takes one away). */
  change(reference: Reference, fields: Fields, options: { readonly subresource?: string } = {}): Promise<Manifest> {
    const path = options.subresource === undefined ? pathOf(reference) : `${pathOf(reference)}/${options.subresource}`;
    return this.call('PATCH', path, { body: fields, type: 'application/merge-patch+json' });
  }

  /** Asks for its deletion; false when it is not there. `graceSeconds` 0 lets a pod go without waiting for its end. */
  async remove(reference: Reference, options: { readonly graceSeconds?: number } = {}): Promise<boolean> {
    try {
      const body = options.graceSeconds === undefined ? {} : { gracePeriodSeconds: options.graceSeconds };
      await this.call('DELETE', pathOf(reference), { body: { propagationPolicy: 'Background', ...body }, type: 'application/json' });
      return true;
    } catch (error) {
      if (error instanceof ApiError && error.status === 404) return false;
      throw error;
    }
  }

  /** The log of a container, at most its last lines; empty when there is none. */
  async logs(options: {
    readonly namespace: string;
    readonly pod: string;
    readonly container?: string;
    readonly previous?: boolean;
    readonly lines?: number;
  }): Promise<string> {
    const query = new URLSearchParams({ tailLines: String(options.lines ?? 10_000) });
    if (options.container !== undefined) query.set('container', options.container);
    if (options.previous === true) query.set('previous', 'true');
    const path = `${pathOf({ kind: 'Pod', name: options.pod, namespace: options.namespace })}/log?${query.toString()}`;
    try {
      return await this.text('GET', path);
    } catch (error) {
      if (error instanceof ApiError) return '';
      throw error;
    }
  }

  async call<Answer>(method: string, path: string, content?: { readonly body: unknown; readonly type: string }): Promise<Answer> {
    return JSON.parse(await this.text(method, path, content)) as Answer;
  }

  text(method: string, path: string, content?: { readonly body: unknown; readonly type: string }): Promise<string> {
    const { promise, resolve, reject } = Promise.withResolvers<string>();
    const what = `${method} ${path}`;
    const body = content === undefined ? '' : JSON.stringify(content.body);
    // Node does not say by itself how long the body of a DELETE is.
    const headers = content === undefined ? {} : { 'content-type': content.type, 'content-length': Buffer.byteLength(body) };
    const call = request(
      {
        socketPath: this.#socket,
        path: `/${path}`,
        method,
        headers,
        timeout: this.#timeoutMs,
      },
      (answer) => {
        const pieces: Buffer[] = [];
        answer.on('data', (piece: Buffer) => pieces.push(piece));
        answer.on('error', (cause) => reject(new Error(`${what}: ${cause.message}`, { cause })));
        answer.on('end', () => {
          const text = Buffer.concat(pieces).toString('utf8');
          const status = answer.statusCode ?? 0;
          if (status >= 200 && status < 300) resolve(text);
          else reject(new ApiError(status, `${what}: ${reasonIn(text)} (status ${status})`));
        });
      },
    );
    call.on('timeout', () => call.destroy(new Error(`no answer within ${this.#timeoutMs} ms`)));
    call.on('error', (cause) => reject(new Error(`${what}: ${cause.message}`, { cause })));
    call.end(body);
    return promise;
  }
}

export function referenceOf({ kind, metadata: { name, namespace } }: Manifest): Reference {
  return namespace === undefined ? { kind, name } : { kind, name, namespace };
}

function pathOf(reference: Reference): string {
  return `${folderOf(reference.kind, reference.namespace)}/${encodeURIComponent(reference.name)}`;
}

function folderOf(kind: string, namespace?: string): string {
  const [groupVersion, plural, scope] = place(kind);
  return scope === 'cluster' || namespace === undefined ? `${groupVersion}/${plural}` : `${groupVersion}/namespaces/${namespace}/${plural}`;
}

function place(kind: string): readonly [string, string, 'namespaced' | 'cluster'] {
  const found = paths[kind];
  if (found === undefined) throw new Error(`the tests know no kind ${kind}; add it to the list in ${import.meta.filename}`);
  return found;
}

function reasonIn(text: string): string {
  try {
    return (JSON.parse(text) as { message?: string }).message ?? text;
  } catch {
    return text.slice(0, 500);
  }
}
