/**
 * The fake Kubernetes API over HTTP on the loopback device, in the real one's words: paths, Status answers, pages, watches
 * with bookmarks. A test may answer single requests itself.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { buffer } from 'node:stream/consumers';
import type { AddressInfo } from 'node:net';
import type { KubernetesObject, ObjectKey, Resource, Selection } from '../../src/k8s/api.ts';
import { StoreError } from '../../src/util/errors.ts';
import type { FakeKubernetes } from './fake-kubernetes.ts';

export interface SeenRequest {
  readonly method: string;
  readonly path: string;
  readonly query: URLSearchParams;
  readonly headers: IncomingMessage['headers'];
}

/** An answer of the test's own: 'drop' cuts the connection, 'hang' never answers. */
export type OwnAnswer = 'drop' | 'hang' | { readonly status: number; readonly headers?: Record<string, string>; readonly body?: string };

interface HistoryEntry {
  readonly version: number;
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED';
  readonly object: KubernetesObject;
}

interface Target {
  readonly resource: Resource<KubernetesObject>;
  readonly namespace: string | undefined;
  readonly name: string | undefined;
  readonly subresource: string | undefined;
}

const REASONS: Readonly<Record<string, readonly [status: number, reason: string]>> = {
  'not-found': [404, 'NotFound'],
  'already-exists': [409, 'AlreadyExists'],
  busy: [409, 'Conflict'],
  'failed-precondition': [422, 'Invalid'],
  unavailable: [503, 'ServiceUnavailable'],
};

export class KubernetesHttp {
  /** All requests that came, the oldest first. */
  readonly seen: SeenRequest[] = [];
  /** Asked before each request is served. */
  intercept: (request: SeenRequest) => OwnAnswer | undefined = () => undefined;
  readonly #kubernetes: FakeKubernetes;
  readonly #resources: readonly Resource<KubernetesObject>[];
  readonly #missing: ReadonlySet<string>;
  readonly #server: Server;
  readonly #history = new Map<string, HistoryEntry[]>();
  readonly #watches = new Map<string, Set<(entry: HistoryEntry) => void>>();
  readonly #open = new Set<ServerResponse>();
  readonly #informers: { close(): void }[] = [];
  #forgottenBefore = 0;

  constructor(
    kubernetes: FakeKubernetes,
    options: { readonly resources: readonly Resource<KubernetesObject>[]; readonly missing?: readonly Resource<KubernetesObject>[] },
  ) {
    this.#kubernetes = kubernetes;
    this.#resources = options.resources;
    this.#missing = new Set(options.missing?.map((resource) => resource.plural));
    this.#server = createServer((request, response) => void this.#serve(request, response));
    for (const resource of options.resources) this.#record(resource);
  }

  /** On this port, or on any. */
  async listen(port = 0): Promise<URL> {
    await new Promise<void>((resolve) => {
      this.#server.listen(port, '127.0.0.1', resolve);
    });
    return new URL(`http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`);
  }

  /** As when the API server ends: every connection breaks, new ones are refused. */
  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise<void>((resolve) => {
      this.#server.close(() => resolve());
    });
  }

  async close(): Promise<void> {
    for (const informer of this.#informers) informer.close();
    await this.stop();
  }

  /** Sends this line to every open watch. */
  sendToWatches(line: string): void {
    for (const response of this.#open) response.write(`${line}\n`);
  }

  /** Ends open watches, in order or by cutting them. */
  endWatches(options: { readonly cut: boolean }): void {
    for (const response of this.#open) {
      if (options.cut) response.destroy();
      else response.end();
    }
  }

  get openWatches(): number {
    return this.#open.size;
  }

  /** Compaction: no watch can start from before now. */
  forgetHistory(): void {
    this.#forgottenBefore = this.#kubernetes.version;
  }

  #record(resource: Resource<KubernetesObject>): void {
    const history: HistoryEntry[] = [];
    const known = new Set<string>();
    this.#history.set(resource.plural, history);
    const informer = this.#kubernetes.watch(resource);
    informer.onChange(({ kind, object }) => {
      const uid = object.metadata.uid ?? '';
      const type = kind === 'removed' ? 'DELETED' : known.has(uid) ? 'MODIFIED' : 'ADDED';
      known.add(uid);
      // What goes gets the version at which it went, as the real API has it.
      const version = kind === 'removed' ? this.#kubernetes.version : Number(object.metadata.resourceVersion);
      const entry = { version, type, object: { ...object, metadata: { ...object.metadata, resourceVersion: String(version) } } } as const;
      history.push(entry);
      for (const watch of this.#watches.get(resource.plural) ?? []) watch(entry);
    });
    this.#informers.push(informer);
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? '/', 'http://localhost');
    const seen = { method: request.method ?? '', path: url.pathname, query: url.searchParams, headers: request.headers };
    this.seen.push(seen);
    const own = this.intercept(seen);
    if (own === 'hang') return;
    if (own === 'drop') return void response.destroy();
    if (own !== undefined) return void response.writeHead(own.status, own.headers).end(own.body);
    const target = this.#target(url.pathname);
    if (target === null) return void response.writeHead(404, { 'content-type': 'text/plain' }).end('404 page not found\n');
    try {
      const sent = (await buffer(request)).toString();
      if (url.searchParams.get('watch') === '1') return await this.#watch(target, url.searchParams, response);
      const answer = await this.#answer(seen, target, sent === '' ? null : JSON.parse(sent));
      response.writeHead(request.method === 'POST' ? 201 : 200, { 'content-type': 'application/json' }).end(JSON.stringify(answer));
    } catch (error) {
      if (!(error instanceof StoreError)) throw error;
      const [code, reason] = REASONS[error.code] ?? [500, 'InternalError'];
      const body = { kind: 'Status', reason, code, message: error.message, details: { name: target.name, kind: target.resource.plural } };
      response.writeHead(code, { 'content-type': 'application/json' }).end(JSON.stringify(body));
    }
  }

  #target(path: string): Target | null {
    const match = /^\/(?:api\/v1|apis\/([^/]+)\/[^/]+)(?:\/namespaces\/([^/]+))?\/([^/]+)(?:\/([^/]+))?(?:\/([^/]+))?$/.exec(path);
    if (match === null) return null;
    const [, group = '', namespace, plural, name, subresource] = match;
    const resource = this.#resources.find((candidate) => candidate.plural === plural && candidate.group === group);
    if (resource === undefined || this.#missing.has(resource.plural)) return null;
    return { resource, namespace, name: name === undefined ? undefined : decodeURIComponent(name), subresource };
  }

  async #answer(seen: SeenRequest, { resource, namespace, name, subresource }: Target, body: unknown): Promise<unknown> {
    const api = this.#kubernetes;
    if (name === undefined) {
      if (seen.method === 'GET') return this.#list(resource, selectionOf(namespace, seen.query), seen.query);
      return managed(await api.create(resource, body as KubernetesObject));
    }
    const key: ObjectKey = namespace === undefined ? { name } : { name, namespace };
    switch (seen.method) {
      case 'GET': {
        const object = await api.get(resource, key);
        if (object === null) throw new StoreError('not-found', `${resource.plural} "${name}" not found`);
        return managed(object);
      }
      case 'PUT':
        if (subresource === 'status') return managed(await api.replaceStatus(resource, body as KubernetesObject));
        return managed(await api.replace(resource, body as KubernetesObject));
      case 'PATCH':
        return managed(await api.patch(resource, key, body as object, subresource === undefined ? {} : { subresource }));
      default:
        return this.#delete(resource, key, body as { preconditions?: { uid?: string } } | null);
    }
  }

  async #delete(
    resource: Resource<KubernetesObject>,
    key: ObjectKey,
    options: { preconditions?: { uid?: string } } | null,
  ): Promise<unknown> {
    const object = this.#kubernetes.object(resource, key);
    if (object === null) throw new StoreError('not-found', `${resource.plural} "${key.name}" not found`);
    const uid = options?.preconditions?.uid;
    if (uid !== undefined && uid !== object.metadata.uid)
      throw new StoreError('busy', `the UID in the precondition (${uid}) does not match`);
    await this.#kubernetes.delete(resource, key);
    return { kind: 'Status', status: 'Success' };
  }

  async #list(resource: Resource<KubernetesObject>, selection: Selection, query: URLSearchParams): Promise<unknown> {
    const objects = await this.#kubernetes.list(resource, selection);
    const resourceVersion = String(this.#kubernetes.version);
    const start = Number(query.get('continue') ?? 0);
    const end = start + Number(query.get('limit') ?? objects.length);
    const items = objects.slice(start, end).map(managed);
    const metadata = { resourceVersion, ...(end < objects.length && { continue: String(end) }) };
    // Items of the core's lists do not say what they are.
    return { kind: `${resource.kind}List`, metadata, items: items.map((item) => ({ ...item, apiVersion: undefined, kind: undefined })) };
  }

  async #watch({ resource, namespace }: Target, query: URLSearchParams, response: ServerResponse): Promise<void> {
    await this.#kubernetes.settle();
    const from = Number(query.get('resourceVersion'));
    response.writeHead(200, { 'content-type': 'application/json' });
    if (from < this.#forgottenBefore) {
      const object = { kind: 'Status', code: 410, reason: 'Expired', message: `too old resource version: ${from}` };
      return void response.end(`${JSON.stringify({ type: 'ERROR', object })}\n`);
    }
    response.flushHeaders();
    const selection = selectionOf(namespace, query);
    const shown = new Set(this.#kubernetes.objects(resource, selection).map((object) => object.metadata.uid));
    const send = (entry: HistoryEntry): void => {
      const selected = this.#kubernetes.objects(resource, selection).some((object) => object.metadata.uid === entry.object.metadata.uid);
      const { uid } = entry.object.metadata;
      if (!selected && !shown.has(uid)) return;
      const type = selected ? entry.type : 'DELETED';
      if (selected) shown.add(uid);
      else shown.delete(uid);
      response.write(`${JSON.stringify({ type, object: managed(entry.object) })}\n`);
    };
    for (const entry of this.#history.get(resource.plural) ?? []) if (entry.version > from) send(entry);
    const object = { kind: resource.kind, metadata: { resourceVersion: String(this.#kubernetes.version) } };
    response.write(`${JSON.stringify({ type: 'BOOKMARK', object })}\n`);
    const watches = this.#watches.get(resource.plural) ?? new Set();
    this.#watches.set(resource.plural, watches.add(send));
    this.#open.add(response);
    response.on('close', () => {
      watches.delete(send);
      this.#open.delete(response);
    });
  }
}

function selectionOf(namespace: string | undefined, query: URLSearchParams): Selection {
  const [labelSelector, fieldSelector] = [query.get('labelSelector'), query.get('fieldSelector')];
  return {
    ...(namespace !== undefined && { namespace }),
    ...(labelSelector !== null && { labelSelector }),
    ...(fieldSelector !== null && { fieldSelector }),
  };
}

/** With the server's book-keeping, of which nobody wants to know. */
function managed<Type extends KubernetesObject>(object: Type): Type {
  return { ...object, metadata: { ...object.metadata, managedFields: [{ manager: 'test', fieldsV1: {} }] } };
}
