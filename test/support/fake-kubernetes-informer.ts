/**
 * The informer of the fake Kubernetes API. It never sees a change at once: a delivery is a turn of the event loop of its
 * own, and it compares what is there with its own picture, as a relist does. So what changed twice in between is told once.
 */
import type { Informer, KubernetesObject, ObjectKey } from '../../src/k8s/api.ts';

type Listener<Type extends KubernetesObject> = Parameters<Informer<Type>['onChange']>[0];

export class FakeInformer<Type extends KubernetesObject> implements Informer<Type> {
  readonly ready: Promise<void>;
  readonly #becomeReady: () => void;
  readonly #current: () => ReadonlyMap<string, Type> | null;
  readonly #onClose: (informer: FakeInformer<Type>) => void;
  readonly #listeners = new Set<Listener<Type>>();
  #picture: ReadonlyMap<string, Type> = new Map();
  #scheduled: NodeJS.Immediate | null = null;
  #closed = false;

  /** `current` answers what is there now by key, null while the API cannot be watched. */
  constructor(current: () => ReadonlyMap<string, Type> | null, onClose: (informer: FakeInformer<Type>) => void) {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.ready = promise;
    this.#becomeReady = resolve;
    this.#current = current;
    this.#onClose = onClose;
    this.wake();
  }

  get pending(): boolean {
    return this.#scheduled !== null;
  }

  /** Something may have changed. */
  wake(): void {
    if (this.#closed || this.#scheduled !== null) return;
    this.#scheduled = setImmediate(() => {
      this.#scheduled = null;
      this.#deliver();
    });
  }

  get(key: ObjectKey): Type | null {
    return this.#picture.get(keyOf(key)) ?? null;
  }

  all(): readonly Type[] {
    return [...this.#picture.values()];
  }

  onChange(listener: Listener<Type>): () => void {
    this.#listeners.add(listener);
    for (const object of this.all()) listener({ kind: 'set', object });
    return () => this.#listeners.delete(listener);
  }

  close(): void {
    this.#closed = true;
    this.#listeners.clear();
    if (this.#scheduled !== null) clearImmediate(this.#scheduled);
    this.#scheduled = null;
    this.#onClose(this);
  }

  #deliver(): void {
    const current = this.#current();
    if (current === null) return;
    const before = this.#picture;
    this.#picture = current;
    for (const [key, object] of before) {
      if (current.get(key)?.metadata.uid !== object.metadata.uid) this.#tell('removed', object);
    }
    for (const [key, object] of current) if (before.get(key) !== object) this.#tell('set', object);
    this.#becomeReady();
  }

  #tell(kind: 'set' | 'removed', object: Type): void {
    for (const listener of [...this.#listeners]) listener({ kind, object });
  }
}

export function keyOf(key: ObjectKey): string {
  return `${key.namespace ?? ''}/${key.name}`;
}
