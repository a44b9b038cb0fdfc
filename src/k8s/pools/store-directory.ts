/**
 * The stores of a cluster: a pool's node by its ChunkStorePool, its address by the EndpointSlices of the stores' Service.
 *
 * What is answered here decides whether volumes are forgotten, so:
 * - "no such pool" is said only of one that was declared lost, or that the API, asked afresh, does not have while there are
 *   stores and every one belongs to another pool.
 * - No listing is shorter than the cluster: every pool that is not lost must answer, and every store that serves must have
 *   a pool.
 * - A store is handed out only after it has just answered as the owner of that pool. That it is the owner is proven by
 *   whoever connects (TLS); it is asked all the same.
 *
 * There is one connection a pool. It lives as long as its store answers when it is looked for and its address is one of the
 * pool's node; then it is closed, which whoever still has it sees as `unavailable`. One that went silent is never waited for
 * a second time: after a network was cut, a new one is up long before the old one.
 */
import { StoreError } from '../../util/errors.ts';
import type { Logger } from '../../util/log.ts';
import { withinTime } from '../../util/time-limit.ts';
import { topologyValue } from '../../util/topology.ts';
import type { Informer, KubernetesApi } from '../api.ts';
import { conditionOf } from '../conditions.ts';
import { chunkStorePools, endpointSlices, type ChunkStorePool, type EndpointSlice } from '../resources.ts';
import { addressKey, attemptsOn, endpointsOf, isLost, type StoreAddress, type StoreEndpoint } from './routing.ts';

/** What is asked of a store here. Calls after `close` fail with `unavailable`; calls under way are not cut off by it. */
export interface RoutedStore {
  getPool(): Promise<{ readonly id: string }>;
  close(): void;
}

export interface StoreRoute extends StoreAddress {
  /** The store there must prove that it owns this pool. */
  readonly poolId: string;
  /** Name of the Kubernetes node. */
  readonly node: string;
}

export interface KubernetesStoreDirectoryOptions<Store extends RoutedStore> {
  readonly api: KubernetesApi;
  readonly namespace: string;
  /** Name of the headless Service in front of the stores. */
  readonly service: string;
  /** Makes a client; it connects when it is first called. */
  readonly connect: (route: StoreRoute) => Store;
  readonly log: Logger;
  /** How long a store may take to say that it is there. */
  readonly answerTimeoutMs?: number;
  /** How long a call may wait for the first picture of the cluster. */
  readonly readyTimeoutMs?: number;
}

interface Connection<Store> {
  readonly key: string;
  readonly store: Store;
}

const ANSWER_TIMEOUT_MS = 3_000;
const READY_TIMEOUT_MS = 5_000;

export class KubernetesStoreDirectory<Store extends RoutedStore> {
  readonly #options: KubernetesStoreDirectoryOptions<Store>;
  readonly #answerTimeoutMs: number;
  readonly #pools: Informer<ChunkStorePool>;
  readonly #slices: Informer<EndpointSlice>;
  readonly #ready: Promise<unknown>;
  readonly #connections = new Map<string, Connection<Store>>();
  /** Searches under way, so that calls at the same time do not connect twice. */
  readonly #searches = new Map<string, Promise<Store>>();
  #endpoints: readonly StoreEndpoint[] = [];
  #closed = false;

  constructor(options: KubernetesStoreDirectoryOptions<Store>) {
    this.#options = options;
    this.#answerTimeoutMs = options.answerTimeoutMs ?? ANSWER_TIMEOUT_MS;
    const { api, namespace, service } = options;
    this.#pools = api.watch(chunkStorePools);
    this.#slices = api.watch(endpointSlices, { namespace, labelSelector: `kubernetes.io/service-name=${service}` });
    this.#ready = Promise.all([this.#pools.ready, this.#slices.ready]);
    this.#pools.onChange(() => this.#tidy());
    this.#slices.onChange(() => {
      this.#endpoints = endpointsOf(this.#slices.all());
      this.#tidy();
    });
  }

  /** Every store of a pool that is not lost; `unavailable`, naming node and pool, when one does not answer. */
  async all(): Promise<readonly Store[]> {
    await this.ready();
    const homeless = this.#storesWithoutPool({ states: ['serving'] })[0];
    if (homeless !== undefined) throw unavailable(`the store on node ${homeless} has no ChunkStorePool yet`);
    const pools = this.#pools.all().filter((pool) => !isLost(pool));
    return found(await Promise.allSettled(pools.map((pool) => this.#reach(pool))));
  }

  /** Every store that may be there, whether it answers or not. */
  async known(): Promise<readonly Store[]> {
    await this.ready();
    return this.#pools.all().flatMap((pool) => {
      const endpoint = isLost(pool) ? undefined : attemptsOn(pool.spec.node, this.#endpoints)[0]?.[0];
      if (endpoint === undefined) return [];
      return [this.#connections.get(pool.metadata.name)?.store ?? this.#keep(pool, this.#connect(pool, endpoint)).store];
    });
  }

  /** The store of a pool. Null when the pool was declared lost, or surely does not exist. */
  async ofPool(poolId: string): Promise<Store | null> {
    await this.ready();
    const pool = this.#pools.get({ name: poolId });
    if (pool !== null && !isLost(pool)) return this.#reach(pool);
    const fresh = await this.#options.api.get(chunkStorePools, { name: poolId });
    if (fresh === null) await this.#demandGone(poolId);
    return fresh === null || isLost(fresh) ? null : this.#reach(fresh);
  }

  /** The store on a node (topology value); null when no pool is there but lost ones. */
  async ofNode(node: string): Promise<Store | null> {
    await this.ready();
    const pools = this.#pools.all().filter((pool) => topologyValue(pool.spec.node) === node && !isLost(pool));
    // Several: a disk was replaced, and the pool that was on the old one is not declared lost yet.
    const searches = pools.toSorted(likeliestFirst).map((pool) => this.#reach(pool));
    const answers = await Promise.allSettled(searches);
    const [first] = answers.filter((answer) => answer.status === 'fulfilled');
    return first?.value ?? found(answers)[0] ?? null;
  }

  close(): void {
    this.#closed = true;
    this.#pools.close();
    this.#slices.close();
    for (const poolId of [...this.#connections.keys()]) this.#drop(poolId);
  }

  /** Resolves once it is known which pools and stores there are; `unavailable` when that takes too long. */
  async ready(): Promise<void> {
    if (this.#closed) throw unavailable('this controller is stopping');
    const { readyTimeoutMs = READY_TIMEOUT_MS } = this.#options;
    await withinTime(this.#ready, { timeoutMs: readyTimeoutMs, what: 'the Kubernetes API, asked for ChunkStorePools and EndpointSlices,' });
  }

  /** The API has no pool of this id. Then no store may be there that could have it and has not said so yet. */
  async #demandGone(poolId: string): Promise<void> {
    // The kind itself could be gone. Then this fails.
    const pools = await this.#options.api.list(chunkStorePools);
    assertAbsent(pools, poolId);
    const remedy = 'Should it be gone for good, create a ChunkStorePool of that name with spec.lost true';
    // The objects may have gone with their kind, and the stores not be back to make them again.
    if (this.#endpoints.length === 0) throw unavailable(`there is no ChunkStorePool ${poolId}, and no store that could have it. ${remedy}`);
    const homeless = this.#storesWithoutPool({ states: ['serving', 'leaving', 'silent'] }, pools)[0];
    if (homeless === undefined) return;
    throw unavailable(
      `there is no ChunkStorePool ${poolId}, but the store on node ${homeless} has not said yet which pool it has. ${remedy}`,
    );
  }

  /** Nodes with a store that no ChunkStorePool names. */
  #storesWithoutPool(options: { readonly states: readonly StoreEndpoint['state'][] }, pools = this.#pools.all()): readonly string[] {
    const nodes = new Set(pools.map((pool) => pool.spec.node));
    return this.#endpoints.filter(({ node, state }) => options.states.includes(state) && !nodes.has(node)).map(({ node }) => node);
  }

  /** The pool's store, which has just answered. */
  #reach(pool: ChunkStorePool): Promise<Store> {
    const poolId = pool.metadata.name;
    const running = this.#searches.get(poolId);
    if (running !== undefined) return running;
    const search = this.#search(pool).finally(() => this.#searches.delete(poolId));
    this.#searches.set(poolId, search);
    return search;
  }

  async #search(pool: ChunkStorePool): Promise<Store> {
    const attempts = attemptsOn(pool.spec.node, this.#endpoints);
    if (attempts.length === 0) throw noStoreFor(pool, 'no store is ready there');
    let failure: unknown;
    for (const endpoints of attempts) {
      try {
        return await this.#first(pool, endpoints);
      } catch (error) {
        failure = error;
      }
    }
    throw noStoreFor(pool, failure instanceof Error ? failure.message : String(failure), failure);
  }

  /** The first of these endpoints that answers; connections to the others are closed. */
  async #first(pool: ChunkStorePool, endpoints: readonly StoreEndpoint[]): Promise<Store> {
    const poolId = pool.metadata.name;
    const connections = endpoints.map((endpoint) => this.#connect(pool, endpoint));
    try {
      const answered = await Promise.any(connections.map((connection) => this.#ask(poolId, connection)));
      if (this.#closed || !this.#isRouted(pool, answered)) throw unavailable('it moved while it was asked');
      return this.#keep(pool, answered).store;
    } catch (error) {
      throw error instanceof AggregateError ? error.errors[0] : error;
    } finally {
      for (const connection of connections) if (!this.#isKept(poolId, connection)) connection.store.close();
    }
  }

  async #ask(poolId: string, connection: Connection<Store>): Promise<Connection<Store>> {
    try {
      const { id } = await withinTime(connection.store.getPool(), { timeoutMs: this.#answerTimeoutMs, what: 'the store' });
      if (id !== poolId) throw unavailable(`the store there has pool ${id}`);
      return connection;
    } catch (error) {
      if (this.#isKept(poolId, connection)) this.#drop(poolId);
      throw error;
    }
  }

  /** The connection to there that is kept, or a new one that is not. */
  #connect(pool: ChunkStorePool, { address, port, node }: StoreEndpoint): Connection<Store> {
    const poolId = pool.metadata.name;
    const key = addressKey({ address, port });
    const kept = this.#connections.get(poolId);
    if (kept?.key === key) return kept;
    return { key, store: this.#options.connect({ address, port, node, poolId }) };
  }

  #keep(pool: ChunkStorePool, connection: Connection<Store>): Connection<Store> {
    const poolId = pool.metadata.name;
    const kept = this.#connections.get(poolId);
    // Another call may have connected to the same place meanwhile, and somebody have it in hand.
    if (kept?.key === connection.key) return kept;
    this.#drop(poolId);
    this.#connections.set(poolId, connection);
    return connection;
  }

  #isKept(poolId: string, connection: Connection<Store>): boolean {
    return this.#connections.get(poolId) === connection;
  }

  #drop(poolId: string): void {
    const connection = this.#connections.get(poolId);
    this.#connections.delete(poolId);
    connection?.store.close();
  }

  /** Whether the connection leads to an address of the pool's node. */
  #isRouted(pool: ChunkStorePool, connection: Connection<Store>): boolean {
    return (
      !isLost(pool) && attemptsOn(pool.spec.node, this.#endpoints).some((group) => group.some((one) => addressKey(one) === connection.key))
    );
  }

  /** Closes what leads nowhere any more. */
  #tidy(): void {
    for (const [poolId, connection] of this.#connections) {
      const pool = this.#pools.get({ name: poolId });
      if (pool !== null && this.#isRouted(pool, connection)) continue;
      this.#options.log.info({ pool: poolId, address: connection.key }, 'the store of the pool moved or went');
      this.#drop(poolId);
    }
  }
}

/** What all of them found, or the first failure. */
function found<Store>(answers: readonly PromiseSettledResult<Store>[]): readonly Store[] {
  return answers.map((answer) => {
    if (answer.status === 'rejected') throw answer.reason;
    return answer.value;
  });
}

function assertAbsent(pools: readonly ChunkStorePool[], poolId: string): void {
  if (pools.some(({ metadata }) => metadata.name === poolId)) throw unavailable(`ChunkStorePool ${poolId} has just been made`);
}

function likeliestFirst(left: ChunkStorePool, right: ChunkStorePool): number {
  const ready = (pool: ChunkStorePool): number => (conditionOf(pool.status, 'Ready')?.status === 'True' ? 0 : 1);
  const made = (pool: ChunkStorePool): string => pool.metadata.creationTimestamp ?? '';
  return ready(left) - ready(right) || (made(left) > made(right) ? -1 : 1);
}

function noStoreFor(pool: ChunkStorePool, reason: string, cause?: unknown): StoreError {
  const { metadata, spec } = pool;
  const message = `pool ${metadata.name} on node ${spec.node} cannot be reached: ${reason}. Should the node or its disk be gone for good, set spec.lost of the ChunkStorePool to true`;
  return new StoreError('unavailable', message, { cause });
}

function unavailable(message: string): StoreError {
  return new StoreError('unavailable', message);
}
