/**
 * What this driver needs of the Kubernetes API: objects by kind and name, and a picture of all objects of a kind that is
 * kept up to date. Errors are StoreErrors: `already-exists`, `busy` (the object has changed since it was read),
 * `not-found`, `failed-precondition` (not allowed, or refused by validation), `unavailable` (no answer, in time).
 */

export interface OwnerReference {
  readonly apiVersion: string;
  readonly kind: string;
  readonly name: string;
  readonly uid: string;
  readonly controller?: boolean;
  readonly blockOwnerDeletion?: boolean;
}

export interface ObjectMetadata {
  readonly name: string;
  readonly namespace?: string;
  readonly uid?: string;
  readonly resourceVersion?: string;
  readonly generation?: number;
  readonly creationTimestamp?: string;
  readonly deletionTimestamp?: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly finalizers?: readonly string[];
  readonly ownerReferences?: readonly OwnerReference[];
}

export interface KubernetesObject {
  readonly apiVersion?: string;
  readonly kind?: string;
  readonly metadata: ObjectMetadata;
}

/** A kind of object; `Type` is the shape of its objects. The constants are in resources.ts. */
export interface Resource<Type extends KubernetesObject> {
  /** '' for the core group. */
  readonly group: string;
  readonly version: string;
  readonly kind: string;
  /** As in the path, for instance "persistentvolumeclaims". */
  readonly plural: string;
  readonly namespaced: boolean;
  /** Never there; it carries the type. */
  readonly type?: Type;
}

/** As `apiVersion` of its objects has it: "v1", "snapshot.storage.k8s.io/v1". */
export function groupVersion({ group, version }: Resource<KubernetesObject>): string {
  return group === '' ? version : `${group}/${version}`;
}

export interface ObjectKey {
  readonly name: string;
  /** Of a namespaced kind. */
  readonly namespace?: string;
}

export interface Selection {
  /** All namespaces, if not given. */
  readonly namespace?: string;
  readonly labelSelector?: string;
  readonly fieldSelector?: string;
}

/** As the Kubernetes API has them in `status.conditions`. */
export interface Condition {
  readonly type: string;
  readonly status: 'True' | 'False' | 'Unknown';
  /** One word in CamelCase. */
  readonly reason: string;
  readonly message: string;
  readonly lastTransitionTime: string;
  readonly observedGeneration?: number;
}

export interface KubernetesApi {
  /** Null when there is none, also when its kind is not installed. */
  get<Type extends KubernetesObject>(resource: Resource<Type>, key: ObjectKey): Promise<Type | null>;
  list<Type extends KubernetesObject>(resource: Resource<Type>, selection?: Selection): Promise<readonly Type[]>;
  /** Answers the object as the server made it; already-exists. */
  create<Type extends KubernetesObject>(resource: Resource<Type>, object: Type): Promise<Type>;
  /** Replaces the whole object; `busy` when metadata.resourceVersion is given and has passed. */
  replace<Type extends KubernetesObject>(resource: Resource<Type>, object: Type): Promise<Type>;
  /** Replaces the status only; `busy` as above. */
  replaceStatus<Type extends KubernetesObject>(resource: Resource<Type>, object: Type): Promise<Type>;
  /** JSON merge patch of the object, or of a subresource (for instance "status" or "approval"). */
  patch<Type extends KubernetesObject>(
    resource: Resource<Type>,
    key: ObjectKey,
    patch: object,
    options?: { readonly subresource?: string },
  ): Promise<Type>;
  /** Succeeds when it is gone. With `uid`, only if it is still that one. */
  delete<Type extends KubernetesObject>(resource: Resource<Type>, key: ObjectKey, options?: { readonly uid?: string }): Promise<void>;
  /** Keeps a picture of these objects, through lost connections, until it is closed. */
  watch<Type extends KubernetesObject>(resource: Resource<Type>, selection?: Selection): Informer<Type>;
}

export interface Informer<Type extends KubernetesObject> {
  /** Once the first list is complete. Never rejects: it goes on trying. */
  readonly ready: Promise<void>;
  get(key: ObjectKey): Type | null;
  all(): readonly Type[];
  /** Called with each object that was added, changed or removed from now on, and for all that are there at the call. Returns the end of it. */
  onChange(listener: (change: { readonly kind: 'set' | 'removed'; readonly object: Type }) => void): () => void;
  close(): void;
}
