/**
 * What the API server's answers mean: one StoreError for each, with a message that names verb, object and remedy.
 * Facts: the API conventions' Status object ("Response Status Kind"), and the reasons of k8s.io/apimachinery.
 */
import { StoreError } from '../../util/errors.ts';
import { groupVersion, type KubernetesObject, type ObjectKey, type Resource } from '../api.ts';
import type { HttpResponse } from './transport.ts';

export type ApiVerb = 'get' | 'list' | 'watch' | 'create' | 'update' | 'patch' | 'delete';

export interface ApiCall {
  readonly verb: ApiVerb;
  readonly resource: Resource<KubernetesObject>;
  readonly key?: ObjectKey;
  readonly namespace?: string;
  readonly subresource?: string;
}

/** The part of the API's Status that is of use; also sent as the object of a watch event of type ERROR. */
export interface StatusBody {
  readonly kind?: string;
  readonly reason?: string;
  readonly message?: string;
  readonly code?: number;
  readonly details?: { readonly name?: string; readonly kind?: string; readonly retryAfterSeconds?: number };
}

/** What a list or watch wanted to go on from is too old; it starts anew. */
export class ExpiredError extends StoreError {
  constructor(message: string) {
    super('busy', message);
  }
}

/** The status in an answer, if it is one. Anything else (a proxy's page, a bare 404) is null. */
export function statusOf(text: string): StatusBody | null {
  try {
    const body = JSON.parse(text) as StatusBody | null;
    return body !== null && typeof body === 'object' && body.kind === 'Status' ? body : null;
  } catch {
    return null;
  }
}

/** True when a 404 speaks of the kind (or subresource) itself, not of an object or its namespace. */
export function kindIsMissing(response: HttpResponse): boolean {
  return response.status === 404 && statusOf(response.text)?.details?.name === undefined;
}

export function errorOf(call: ApiCall, response: HttpResponse): StoreError {
  const status = statusOf(response.text);
  const words = status?.message ?? firstWords(response.text);
  const what = `${call.verb} ${describeTarget(call)}`;
  switch (response.status) {
    case 401:
      return new StoreError('failed-precondition', `${what}: the Kubernetes API does not know who we are (401): ${words}`);
    case 403:
      return new StoreError('failed-precondition', `${what} is not allowed: ${words}; ${missingRule(call)}`);
    case 404:
      return kindIsMissing(response) ? missingKind(call) : new StoreError('not-found', `${what}: ${words}`);
    case 409:
      return status?.reason === 'AlreadyExists'
        ? new StoreError('already-exists', `${what}: ${words}`)
        : new StoreError('busy', `${what}: it has changed since it was read: ${words}`);
    case 410:
      return new ExpiredError(`${what}: ${words}`);
    default:
      return response.status === 429 || response.status >= 500
        ? new StoreError('unavailable', `${what}: the Kubernetes API answered ${response.status}: ${words}${doubtOf(call, response)}`)
        : new StoreError('failed-precondition', `${what} was refused (${response.status}): ${words}`);
  }
}

export function missingKind(call: ApiCall): StoreError {
  const { resource } = call;
  const remedy =
    resource.group === 'snapshot.storage.k8s.io'
      ? 'install the VolumeSnapshot CRDs and the snapshot-controller (or set snapshotController.enabled in the chart)'
      : resource.group.includes('.')
        ? `install its CRD ${resource.plural}.${resource.group}`
        : 'use a Kubernetes version that has it';
  const subresource = call.subresource === undefined ? '' : ` with the subresource ${call.subresource}`;
  return new StoreError('failed-precondition', `this cluster has no ${resource.kind} (${groupVersion(resource)})${subresource}: ${remedy}`);
}

/** "PersistentVolumeClaim team-a/data", "all Lease objects in namespace x". */
export function describeTarget(call: ApiCall): string {
  const subresource = call.subresource === undefined ? '' : ` (${call.subresource})`;
  if (call.key === undefined)
    return `${call.resource.kind} objects${call.namespace === undefined ? '' : ` in namespace ${call.namespace}`}`;
  const { name, namespace } = call.key;
  return `${call.resource.kind} ${namespace === undefined ? name : `${namespace}/${name}`}${subresource}`;
}

/** What a server that failed in the middle may have done. */
function doubtOf(call: ApiCall, response: HttpResponse): string {
  return response.status === 429 || isReading(call) ? '' : '; it may have taken effect';
}

export function isReading(call: ApiCall): boolean {
  return call.verb === 'get' || call.verb === 'list' || call.verb === 'watch';
}

function missingRule(call: ApiCall): string {
  const { group, plural } = call.resource;
  const namespace = call.key?.namespace ?? call.namespace;
  const place = namespace === undefined ? 'a ClusterRole' : `a Role in namespace ${namespace}`;
  const resource = call.subresource === undefined ? plural : `${plural}/${call.subresource}`;
  return `the service account needs ${place} with apiGroups ["${group}"], resources ["${resource}"], verbs ["${call.verb}"]`;
}

/** Proxies answer whole pages. */
function firstWords(text: string): string {
  const words = text.replace(/\s+/g, ' ').trim();
  return words === '' ? 'no reason given' : words.slice(0, 200);
}
