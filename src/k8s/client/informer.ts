/**
 * A picture of all objects that a list gives, kept up to date by a watch from where the list ended.
 *
 * - Whatever happens to the connection, the picture is right again after the next list: objects that are missing there
 *   are told as removed, also one that was made anew under the same name meanwhile.
 * - The version to go on from is kept through lost connections; when the server has forgotten it, or when going on from it
 *   failed a few times, everything is listed again.
 * - Failures wait longer and longer, by chance a little more or less, and at most a bounded time.
 */
import { systemClock, type Clock } from '../../util/clock.ts';
import { StoreError } from '../../util/errors.ts';
import type { Logger } from '../../util/log.ts';
import { pause } from '../../util/pause.ts';
import type { Informer, KubernetesObject, ObjectKey } from '../api.ts';
import { ExpiredError } from './errors.ts';

export interface ListedObjects<Type> {
  readonly objects: readonly Type[];
  /** The moment of the list. */
  readonly resourceVersion: string;
}

export type WatchEvent<Type> =
  | { readonly kind: 'set' | 'removed'; readonly object: Type }
  /** Nothing of ours changed up to here. */
  | { readonly kind: 'bookmark'; readonly resourceVersion: string };

/** Where objects come from. Errors: `ExpiredError` when the version is too old, otherwise any. */
export interface ListWatch<Type> {
  list(): Promise<ListedObjects<Type>>;
  /** Ends when the server ends it, which is no error, or when `signal` is aborted. */
  watch(resourceVersion: string, signal: AbortSignal): AsyncIterable<WatchEvent<Type>>;
}

export interface InformerOptions<Type> {
  /** What is watched, for the log. */
  readonly what: string;
  readonly source: ListWatch<Type>;
  readonly logger: Logger;
  readonly clock?: Clock;
  /** From 0 to below 1. */
  readonly random?: () => number;
  readonly onClose?: () => void;
}

type Listener<Type extends KubernetesObject> = Parameters<Informer<Type>['onChange']>[0];

const FIRST_WAIT_MS = 250;
const LONGEST_WAIT_MS = 10_000;
/** A kind that is not installed, or that we may not see, does not come soon. */
const LONGEST_WAIT_FOR_INSTALLATION_MS = 60_000;
/** A watch that lived for so long was in order, even if nothing came. */
const HEALTHY_WATCH_MS = 5_000;
/** After so many failures in a row, what we go on from is suspected itself. */
const FAILURES_BEFORE_RELIST = 3;

export class ResourceInformer<Type extends KubernetesObject> implements Informer<Type> {
  readonly ready: Promise<void>;
  readonly #becomeReady: () => void;
  readonly #options: InformerOptions<Type>;
  readonly #clock: Clock;
  readonly #closing = new AbortController();
  readonly #listeners = new Set<Listener<Type>>();
  readonly #objects = new Map<string, Type>();
  #resourceVersion: string | null = null;
  #failures = 0;

  constructor(options: InformerOptions<Type>) {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.ready = promise;
    this.#becomeReady = resolve;
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    void this.#run();
  }

  get(key: ObjectKey): Type | null {
    return this.#objects.get(mapKey(key)) ?? null;
  }

  all(): readonly Type[] {
    return [...this.#objects.values()];
  }

  onChange(listener: Listener<Type>): () => void {
    // A function given twice is two listeners.
    const own: Listener<Type> = (change) => listener(change);
    this.#listeners.add(own);
    for (const object of this.all()) own({ kind: 'set', object });
    return () => this.#listeners.delete(own);
  }

  close(): void {
    if (this.#closing.signal.aborted) return;
    this.#closing.abort();
    this.#listeners.clear();
    this.#options.onClose?.();
  }

  async #run(): Promise<void> {
    while (!this.#closing.signal.aborted) {
      const startedAtMs = this.#clock.nowMs();
      try {
        this.#resourceVersion ??= await this.#list();
        const anything = await this.#watch(this.#resourceVersion);
        if (anything || this.#clock.nowMs() - startedAtMs >= HEALTHY_WATCH_MS) this.#failures = 0;
        else await this.#pause(null);
      } catch (error) {
        if (this.#closing.signal.aborted) return;
        if (this.#clock.nowMs() - startedAtMs >= HEALTHY_WATCH_MS) this.#failures = 0;
        await this.#recover(error);
      }
    }
  }

  async #list(): Promise<string> {
    const { objects, resourceVersion } = await this.#options.source.list();
    if (this.#closing.signal.aborted) return resourceVersion;
    const listed = new Map(objects.map((object) => [mapKey(object.metadata), object]));
    for (const [key, object] of [...this.#objects]) {
      if (listed.get(key)?.metadata.uid !== object.metadata.uid) this.#remove(object);
    }
    for (const object of objects) this.#set(object);
    this.#becomeReady();
    return resourceVersion;
  }

  /** Until the server ends it; true if anything came. */
  async #watch(from: string): Promise<boolean> {
    let anything = false;
    for await (const event of this.#options.source.watch(from, this.#closing.signal)) {
      if (this.#closing.signal.aborted) break;
      if (event.kind === 'set') this.#set(event.object);
      else if (event.kind === 'removed') this.#remove(event.object);
      this.#resourceVersion = event.kind === 'bookmark' ? event.resourceVersion : (event.object.metadata.resourceVersion ?? from);
      anything = true;
      this.#failures = 0;
    }
    return anything;
  }

  async #recover(error: unknown): Promise<void> {
    const expired = error instanceof ExpiredError;
    if (expired || this.#failures + 1 >= FAILURES_BEFORE_RELIST) this.#resourceVersion = null;
    const words = `${this.#options.what} cannot be watched; it is tried again`;
    // Once is worth a line; what follows is the same again.
    if (this.#failures === 0 && !expired) this.#options.logger.warn({ err: error }, words);
    else this.#options.logger.debug({ err: error, failures: this.#failures }, words);
    // What is too old is simply listed anew, unless that happens again and again.
    if (expired && this.#failures++ === 0) return;
    await this.#pause(error);
  }

  async #pause(error: unknown): Promise<void> {
    const { random = Math.random } = this.#options;
    const waitsForInstallation = error instanceof StoreError && error.code === 'failed-precondition';
    const mostMs = waitsForInstallation ? LONGEST_WAIT_FOR_INSTALLATION_MS : LONGEST_WAIT_MS;
    const wholeMs = Math.min(FIRST_WAIT_MS * 2 ** Math.min(this.#failures++, 20), mostMs);
    await pause(this.#clock, wholeMs * (0.5 + random() / 2), [this.#closing.signal]);
  }

  #set(object: Type): void {
    const key = mapKey(object.metadata);
    const { resourceVersion, uid } = this.#objects.get(key)?.metadata ?? {};
    // A list repeats what is known.
    if (resourceVersion !== undefined && resourceVersion === object.metadata.resourceVersion && uid === object.metadata.uid) return;
    this.#objects.set(key, object);
    this.#tell('set', object);
  }

  /** Tells the last that was known of it, or as it was when it went. */
  #remove(object: Type): void {
    if (this.#objects.delete(mapKey(object.metadata))) this.#tell('removed', object);
  }

  #tell(kind: 'set' | 'removed', object: Type): void {
    for (const listener of [...this.#listeners]) {
      try {
        // It may have ended with what another one was told.
        if (this.#listeners.has(listener)) listener({ kind, object });
      } catch (error) {
        // A bug of its own, which ends the process as bugs do, but not by stopping this picture in the middle.
        queueMicrotask(() => {
          throw error;
        });
      }
    }
  }
}

function mapKey(key: ObjectKey): string {
  return `${key.namespace ?? ''}/${key.name}`;
}
