/** The API as one party sees it, whose informers can be held up: they keep an old picture while all others have the new one. */
import type { Informer, KubernetesApi, KubernetesObject, ObjectKey, Resource, Selection } from '../../src/k8s/api.ts';

export class StaleView {
  readonly #informers = new Set<StaleInformer<never>>();
  #held = false;

  get held(): boolean {
    return this.#held;
  }

  /** The same API, with this view's informers. */
  of(api: KubernetesApi): KubernetesApi {
    return {
      get: (resource, key) => api.get(resource, key),
      list: (resource, selection) => api.list(resource, selection),
      create: (resource, object) => api.create(resource, object),
      replace: (resource, object) => api.replace(resource, object),
      replaceStatus: (resource, object) => api.replaceStatus(resource, object),
      patch: (resource, key, patch, options) => api.patch(resource, key, patch, options),
      delete: (resource, key, options) => api.delete(resource, key, options),
      watch: <Type extends KubernetesObject>(resource: Resource<Type>, selection?: Selection) => {
        const informer = new StaleInformer<Type>(api.watch(resource, selection));
        if (this.#held) informer.hold();
        this.#informers.add(informer as unknown as StaleInformer<never>);
        return informer;
      },
    };
  }

  hold(): void {
    this.#held = true;
    for (const informer of this.#informers) informer.hold();
  }

  release(): void {
    this.#held = false;
    for (const informer of this.#informers) informer.release();
  }
}

type Change<Type> = { readonly kind: 'set' | 'removed'; readonly object: Type };

class StaleInformer<Type extends KubernetesObject> implements Informer<Type> {
  readonly #inner: Informer<Type>;
  readonly #listeners = new Set<(change: Change<Type>) => void>();
  /** What there was when it was held up, and the news since. */
  #picture: { readonly objects: readonly Type[]; readonly news: Change<Type>[] } | null = null;

  constructor(inner: Informer<Type>) {
    this.#inner = inner;
    inner.onChange((change) => {
      if (this.#picture === null) this.#tell(change);
      else this.#picture.news.push(change);
    });
  }

  get ready(): Promise<void> {
    return this.#inner.ready;
  }

  get({ name, namespace }: ObjectKey): Type | null {
    const fits = ({ metadata }: Type) => metadata.name === name && metadata.namespace === namespace;
    return this.#picture === null
      ? this.#inner.get({ name, ...(namespace !== undefined && { namespace }) })
      : (this.#picture.objects.find(fits) ?? null);
  }

  all(): readonly Type[] {
    return this.#picture?.objects ?? this.#inner.all();
  }

  onChange(listener: (change: Change<Type>) => void): () => void {
    this.#listeners.add(listener);
    for (const object of this.all()) listener({ kind: 'set', object });
    return () => void this.#listeners.delete(listener);
  }

  close(): void {
    this.#inner.close();
  }

  hold(): void {
    this.#picture ??= { objects: this.#inner.all(), news: [] };
  }

  release(): void {
    const news = this.#picture?.news ?? [];
    this.#picture = null;
    for (const change of news) this.#tell(change);
  }

  #tell(change: Change<Type>): void {
    for (const listener of this.#listeners) listener(change);
  }
}
