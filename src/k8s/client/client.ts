/**
 * The Kubernetes API over HTTP. Every call has a time limit. What surely was not acted upon (a refused connection, 429,
 * an error that comes with Retry-After) is tried again a few times, reading calls also after any failure of the server;
 * where a changing call may have taken effect, it ends `unavailable` and its caller looks again.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { StoreError } from '../../util/errors.ts';
import { silentLogger, type Logger } from '../../util/log.ts';
import {
  groupVersion,
  type Informer,
  type KubernetesApi,
  type KubernetesObject,
  type ObjectKey,
  type Resource,
  type Selection,
} from '../api.ts';
import { inClusterConnection, kubeconfigConnection, type Connection } from './connection.ts';
import { describeTarget, errorOf, isReading, statusOf, type ApiCall } from './errors.ts';
import { ResourceInformer, type ListedObjects, type WatchEvent } from './informer.ts';
import { Transport, TransportError, type HttpRequest, type HttpResponse } from './transport.ts';

export interface ClientLimits {
  /** Of one attempt. */
  readonly requestTimeoutMs: number;
  /** Of one page of a list. */
  readonly listTimeoutMs: number;
  readonly attempts: number;
  /** Before the second attempt; doubled for each further one, halved to whole by chance. */
  readonly firstRetryMs: number;
  /** A server that wants to be left alone for longer gets its way: the call ends `unavailable`. */
  readonly longestRetryAfterMs: number;
  readonly listPageObjects: number;
  /** Asked of the server for each watch; the informer then goes on where it was. */
  readonly watchSeconds: number;
  /** The server sends a bookmark about every minute. */
  readonly watchIdleMs: number;
}

const DEFAULT_LIMITS: ClientLimits = {
  requestTimeoutMs: 10_000,
  listTimeoutMs: 30_000,
  attempts: 4,
  firstRetryMs: 200,
  longestRetryAfterMs: 5_000,
  listPageObjects: 250,
  watchSeconds: 300,
  watchIdleMs: 150_000,
};

export interface KubernetesClientOptions {
  /** For the API server's own log: "chunkstore-controller/0.1.0". */
  readonly userAgent?: string;
  readonly logger?: Logger;
  readonly limits?: Partial<ClientLimits>;
}

/** Over a kubeconfig if one is named, else as the pod's service account. `failed-precondition` when that cannot be read;
 * whether the API answers shows only with the first call. */
export async function createKubernetesClient(
  options: KubernetesClientOptions & { readonly kubeconfig?: string } = {},
): Promise<KubernetesClient> {
  const connection = options.kubeconfig === undefined ? await inClusterConnection() : await kubeconfigConnection(options.kubeconfig);
  return new KubernetesClient(connection, options);
}

interface ListBody<Type> {
  readonly metadata?: { readonly resourceVersion?: string; readonly continue?: string };
  readonly items?: readonly Type[] | null;
}

export class KubernetesClient implements KubernetesApi {
  readonly #transport: Transport;
  readonly #limits: ClientLimits;
  readonly #logger: Logger;
  readonly #informers = new Set<{ close(): void }>();
  readonly #closing = new AbortController();

  constructor(connection: Connection, options: KubernetesClientOptions = {}) {
    this.#transport = new Transport(connection, { userAgent: options.userAgent ?? 'chunkstore' });
    this.#limits = { ...DEFAULT_LIMITS, ...options.limits };
    this.#logger = options.logger ?? silentLogger();
  }

  async get<Type extends KubernetesObject>(resource: Resource<Type>, key: ObjectKey): Promise<Type | null> {
    const call: ApiCall = { verb: 'get', resource, key };
    const response = await this.#send(call, { method: 'GET', path: objectPath(resource, key) });
    if (response.status === 404) return null;
    return this.#object(call, response);
  }

  async list<Type extends KubernetesObject>(resource: Resource<Type>, selection: Selection = {}): Promise<readonly Type[]> {
    return (await this.#listWhole(resource, selection)).objects;
  }

  async create<Type extends KubernetesObject>(resource: Resource<Type>, object: Type): Promise<Type> {
    const key = keyOf(object);
    const path = `${collectionPath(resource, key.namespace)}?${MANAGER}`;
    return this.#change({ verb: 'create', resource, key }, { method: 'POST', path, body: bodyOf(resource, object) });
  }

  async replace<Type extends KubernetesObject>(resource: Resource<Type>, object: Type): Promise<Type> {
    const key = keyOf(object);
    const path = `${objectPath(resource, key)}?${MANAGER}`;
    return this.#change({ verb: 'update', resource, key }, { method: 'PUT', path, body: bodyOf(resource, object) });
  }

  async replaceStatus<Type extends KubernetesObject>(resource: Resource<Type>, object: Type): Promise<Type> {
    const key = keyOf(object);
    const path = `${objectPath(resource, key)}/status?${MANAGER}`;
    return this.#change({ verb: 'update', resource, key, subresource: 'status' }, { method: 'PUT', path, body: bodyOf(resource, object) });
  }

  async patch<Type extends KubernetesObject>(
    resource: Resource<Type>,
    key: ObjectKey,
    patch: object,
    options: { readonly subresource?: string } = {},
  ): Promise<Type> {
    const { subresource } = options;
    const path = `${objectPath(resource, key)}${subresource === undefined ? '' : `/${encodeURIComponent(subresource)}`}?${MANAGER}`;
    const contentType = 'application/merge-patch+json';
    const call: ApiCall = { verb: 'patch', resource, key, ...(subresource !== undefined && { subresource }) };
    return this.#change(call, { method: 'PATCH', path, body: JSON.stringify(patch), contentType });
  }

  async delete<Type extends KubernetesObject>(
    resource: Resource<Type>,
    key: ObjectKey,
    options: { readonly uid?: string } = {},
  ): Promise<void> {
    const call: ApiCall = { verb: 'delete', resource, key };
    const body = JSON.stringify({
      apiVersion: 'v1',
      kind: 'DeleteOptions',
      propagationPolicy: 'Background',
      ...(options.uid !== undefined && { preconditions: { uid: options.uid } }),
    });
    const response = await this.#send(call, { method: 'DELETE', path: objectPath(resource, key), body });
    if (response.status < 300 || response.status === 404) return;
    if (response.status === 409 && options.uid !== undefined) {
      const there = await this.get(resource, key);
      if (there?.metadata.uid !== options.uid) return;
    }
    throw errorOf(call, response);
  }

  watch<Type extends KubernetesObject>(resource: Resource<Type>, selection: Selection = {}): Informer<Type> {
    const informer = new ResourceInformer<Type>({
      what: describeTarget({ verb: 'watch', resource, ...(selection.namespace !== undefined && { namespace: selection.namespace }) }),
      source: {
        list: () => this.#listWhole(resource, selection),
        watch: (resourceVersion, signal) => this.#watchOnce(resource, selection, resourceVersion, signal),
      },
      logger: this.#logger,
      onClose: () => this.#informers.delete(informer),
    });
    this.#informers.add(informer);
    return informer;
  }

  /** Ends informers, waits and connections; calls under way fail. */
  close(): void {
    this.#closing.abort();
    for (const informer of [...this.#informers]) informer.close();
    this.#transport.close();
  }

  /** All pages of a list of one moment. */
  async #listWhole<Type extends KubernetesObject>(resource: Resource<Type>, selection: Selection): Promise<ListedObjects<Type>> {
    const call: ApiCall = { verb: 'list', resource, ...(selection.namespace !== undefined && { namespace: selection.namespace }) };
    const base = selectionQuery(selection);
    const objects: Type[] = [];
    let next: string | undefined;
    let paged = true;
    do {
      const query = new URLSearchParams(base);
      if (paged) query.set('limit', String(this.#limits.listPageObjects));
      if (next !== undefined) query.set('continue', next);
      const path = `${collectionPath(resource, selection.namespace)}?${query.toString()}`;
      const response = await this.#send(call, { method: 'GET', path }, this.#limits.listTimeoutMs);
      if (response.status === 410 && paged) {
        // The moment of the first page is forgotten: once more, all at once.
        paged = false;
        next = undefined;
        objects.length = 0;
        continue;
      }
      const body: ListBody<Type> = this.#parse(call, response);
      for (const item of body.items ?? []) objects.push(asObject(resource, item));
      next = body.metadata?.continue === '' ? undefined : body.metadata?.continue;
      if (next === undefined) return { objects, resourceVersion: body.metadata?.resourceVersion ?? '' };
    } while (!this.#closing.signal.aborted);
    throw new StoreError('unavailable', `${call.verb} ${describeTarget(call)}: the client is closed`);
  }

  async *#watchOnce<Type extends KubernetesObject>(
    resource: Resource<Type>,
    selection: Selection,
    resourceVersion: string,
    signal: AbortSignal,
  ): AsyncGenerator<WatchEvent<Type>> {
    const call: ApiCall = { verb: 'watch', resource, ...(selection.namespace !== undefined && { namespace: selection.namespace }) };
    // Spread, so that the watches that broke together do not come back together for ever.
    const seconds = Math.ceil(this.#limits.watchSeconds * (1 + Math.random()));
    const query = selectionQuery(selection);
    for (const [name, value] of Object.entries({
      watch: '1',
      allowWatchBookmarks: 'true',
      resourceVersion,
      timeoutSeconds: String(seconds),
    })) {
      query.set(name, value);
    }
    const limits = {
      timeoutMs: (seconds + 15) * 1000,
      headTimeoutMs: this.#limits.listTimeoutMs,
      idleTimeoutMs: this.#limits.watchIdleMs,
    };
    try {
      const stream = await this.#transport.stream(`${collectionPath(resource, selection.namespace)}?${query.toString()}`, limits, signal);
      if (stream.status !== 200) {
        let text = '';
        for await (const line of stream.lines) if (text.length < 100_000) text += line;
        throw errorOf(call, { status: stream.status, headers: stream.headers, text });
      }
      for await (const line of stream.lines) yield watchEventOf(call, resource, line);
    } catch (cause) {
      throw cause instanceof TransportError ? unavailable(call, cause) : cause;
    }
  }

  async #change<Type extends KubernetesObject>(call: ApiCall, request: Omit<HttpRequest, 'timeoutMs'>): Promise<Type> {
    return this.#object(call, await this.#send(call, request));
  }

  #object<Type extends KubernetesObject>(call: ApiCall, response: HttpResponse): Type {
    return asObject(call.resource as Resource<Type>, this.#parse<Type>(call, response));
  }

  #parse<Body extends object>(call: ApiCall, response: HttpResponse): Body {
    if (response.status >= 300) throw errorOf(call, response);
    try {
      return JSON.parse(response.text) as Body;
    } catch (cause) {
      throw new StoreError('unavailable', `${call.verb} ${describeTarget(call)}: the answer is not JSON`, { cause });
    }
  }

  /** The server's last answer, when it was asked as often as may be and as it makes sense. */
  async #send(call: ApiCall, request: Omit<HttpRequest, 'timeoutMs'>, timeoutMs = this.#limits.requestTimeoutMs): Promise<HttpResponse> {
    const reading = request.method === 'GET';
    for (let attempt = 1; ; attempt++) {
      const last = attempt >= this.#limits.attempts || this.#closing.signal.aborted;
      let waitMs = this.#limits.firstRetryMs * 2 ** (attempt - 1) * (0.5 + Math.random() / 2);
      try {
        const response = await this.#transport.request({ ...request, timeoutMs });
        const retryAfterMs = retryAfterOf(response);
        const passing = response.status === 429 || (response.status >= 500 && (reading || retryAfterMs !== null));
        if (!passing || last || (retryAfterMs ?? 0) > this.#limits.longestRetryAfterMs) return response;
        waitMs = Math.max(waitMs, retryAfterMs ?? 0);
      } catch (error) {
        if (!(error instanceof TransportError)) throw error;
        if (last || (error.maybeSent && !reading)) throw unavailable(call, error);
      }
      await delay(waitMs, undefined, { ref: false, signal: this.#closing.signal }).catch(() => {});
    }
  }
}

/** The server remembers by it which fields we set. */
const MANAGER = 'fieldManager=chunkstore';

function unavailable(call: ApiCall, cause: TransportError): StoreError {
  const doubt = cause.maybeSent && !isReading(call) ? '; it may have taken effect' : '';
  return new StoreError(
    'unavailable',
    `${call.verb} ${describeTarget(call)}: the Kubernetes API does not answer: ${cause.message}${doubt}`,
    { cause },
  );
}

function retryAfterOf(response: HttpResponse): number | null {
  const seconds = Number(response.headers['retry-after'] ?? statusOf(response.text)?.details?.retryAfterSeconds ?? Number.NaN);
  return Number.isFinite(seconds) && seconds >= 0 ? seconds * 1000 : null;
}

function watchEventOf<Type extends KubernetesObject>(call: ApiCall, resource: Resource<Type>, line: string): WatchEvent<Type> {
  let event: { readonly type?: string; readonly object?: Type };
  try {
    event = JSON.parse(line) as typeof event;
  } catch (cause) {
    throw new StoreError('unavailable', `${call.verb} ${describeTarget(call)}: a line that is not JSON: ${line.slice(0, 100)}`, { cause });
  }
  if (event.type === 'ERROR') throw errorOf(call, { status: codeOf(event.object), headers: {}, text: JSON.stringify(event.object) });
  const object = event.object;
  if (typeof object?.metadata?.resourceVersion === 'string') {
    if (event.type === 'BOOKMARK') return { kind: 'bookmark', resourceVersion: object.metadata.resourceVersion };
    if (event.type === 'ADDED' || event.type === 'MODIFIED') return { kind: 'set', object: asObject(resource, object) };
    if (event.type === 'DELETED') return { kind: 'removed', object: asObject(resource, object) };
  }
  throw new StoreError('unavailable', `${call.verb} ${describeTarget(call)}: an event that is not known: ${line.slice(0, 100)}`);
}

function codeOf(status: unknown): number {
  const code = (status as { code?: unknown } | undefined)?.code;
  return typeof code === 'number' ? code : 500;
}

/** With what lists leave out (the kind), without the server's book-keeping, which is often larger than the object. */
function asObject<Type extends KubernetesObject>(resource: Resource<Type>, received: Type): Type {
  const { managedFields: _, ...metadata } = received.metadata as Type['metadata'] & { managedFields?: unknown };
  return { ...received, apiVersion: groupVersion(resource), kind: resource.kind, metadata };
}

function bodyOf<Type extends KubernetesObject>(resource: Resource<Type>, object: Type): string {
  return JSON.stringify({ ...object, apiVersion: groupVersion(resource), kind: resource.kind });
}

function keyOf(object: KubernetesObject): ObjectKey {
  const { name, namespace } = object.metadata;
  return namespace === undefined ? { name } : { name, namespace };
}

function selectionQuery(selection: Selection): URLSearchParams {
  const query = new URLSearchParams();
  if (selection.labelSelector !== undefined) query.set('labelSelector', selection.labelSelector);
  if (selection.fieldSelector !== undefined) query.set('fieldSelector', selection.fieldSelector);
  return query;
}

function collectionPath(resource: Resource<KubernetesObject>, namespace: string | undefined): string {
  const root = resource.group === '' ? `/api/${resource.version}` : `/apis/${resource.group}/${resource.version}`;
  return `${root}${namespace === undefined ? '' : `/namespaces/${segment(namespace)}`}/${resource.plural}`;
}

function objectPath(resource: Resource<KubernetesObject>, key: ObjectKey): string {
  if (resource.namespaced !== (key.namespace !== undefined)) {
    throw new StoreError('invalid-argument', `${resource.kind} ${key.name} ${resource.namespaced ? 'needs a' : 'has no'} namespace`);
  }
  return `${collectionPath(resource, key.namespace)}/${segment(key.name)}`;
}

/** Names come from users too. One that is no part of a path would name another object, or with '' a whole collection. */
function segment(name: string): string {
  if (name === '' || name === '.' || name === '..' || /[/%]/.test(name)) {
    throw new StoreError('invalid-argument', `${JSON.stringify(name)} cannot be the name of a Kubernetes object`);
  }
  return encodeURIComponent(name);
}
