/**
 * One installation of this driver as far as its certificates go: what each part is given, and the two objects that the
 * parts share. Only controllers may read the Secret of the authorities; everybody may read the ConfigMap of the bundle.
 */
import type { Clock } from '../../util/clock.ts';
import type { Logger } from '../../util/log.ts';
import type { Informer, KubernetesApi, KubernetesObject, Resource } from '../api.ts';

export interface Installation {
  readonly api: KubernetesApi;
  /** Where the Secret and the ConfigMap are; they are named after the release. */
  readonly namespace: string;
  readonly release: string;
  readonly clock: Clock;
  readonly log: Logger;
}

export interface NamespacedName {
  readonly namespace: string;
  readonly name: string;
}

/** The key of the ConfigMap under which the bundle stands. */
export const BUNDLE_KEY = 'ca.crt';

export function authoritySecretOf({ namespace, release }: Pick<Installation, 'namespace' | 'release'>): NamespacedName {
  return { namespace, name: `${release}-ca` };
}

export function bundleConfigMapOf({ namespace, release }: Pick<Installation, 'namespace' | 'release'>): NamespacedName {
  return { namespace, name: `${release}-ca-bundle` };
}

/** A picture of one object; RBAC can allow it by name. */
export function watchOne<Type extends KubernetesObject>(api: KubernetesApi, resource: Resource<Type>, key: NamespacedName): Informer<Type> {
  return api.watch(resource, { namespace: key.namespace, fieldSelector: `metadata.name=${key.name}` });
}
