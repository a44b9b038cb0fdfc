/**
 * A fixed list of stores, for one machine and for tests; in Kubernetes another directory discovers them. Which pool a
 * store owns is asked of it when it is first needed, and remembered: a pool never moves between the entries of a list.
 */
import { StoreError } from '../../util/errors.ts';
import { StoreClient } from './client.ts';

export interface StoreAddress {
  /** The topology value of the node that the store's pool is on. */
  readonly node: string;
  /** A gRPC target. */
  readonly target: string;
}

interface Entry {
  readonly address: StoreAddress;
  readonly client: StoreClient;
  poolId: string | null;
}

export class StaticStoreDirectory {
  readonly #entries: readonly Entry[];

  constructor(
    addresses: readonly StoreAddress[],
    makeClient: (address: StoreAddress) => StoreClient = (address) => new StoreClient({ target: address.target }),
  ) {
    const nodes = new Set(addresses.map((address) => address.node));
    if (nodes.size !== addresses.length) throw new StoreError('invalid-argument', 'two stores are listed for the same node');
    this.#entries = addresses.map((address) => ({ address, client: makeClient(address), poolId: null }));
  }

  /** Every store; `unavailable` when one of them does not answer, so that no listing is silently shorter. */
  async all(): Promise<readonly StoreClient[]> {
    await Promise.all(this.#entries.map(poolIdOf));
    return this.#entries.map((entry) => entry.client);
  }

  /** Every store of the list, whether it answers or not. */
  known(): Promise<readonly StoreClient[]> {
    return Promise.resolve(this.#entries.map((entry) => entry.client));
  }

  /**
   * The store of a pool, null when every store answered and none owns it. While a store that has never answered is away
   * the pool may be its own: then `unavailable`, because null would let a delete succeed that deleted nothing.
   */
  async ofPool(poolId: string): Promise<StoreClient | null> {
    const known = this.#entries.find((entry) => entry.poolId === poolId);
    if (known !== undefined) return known.client;
    const unknown = this.#entries.filter((entry) => entry.poolId === null);
    const answers = await Promise.allSettled(unknown.map(poolIdOf));
    const found = this.#entries.find((entry) => entry.poolId === poolId);
    if (found !== undefined) return found.client;
    for (const answer of answers) if (answer.status === 'rejected') throw answer.reason;
    return null;
  }

  /** The store on a node, null when none is listed. It may be away: its calls tell. */
  ofNode(node: string): Promise<StoreClient | null> {
    return Promise.resolve(this.#entries.find((entry) => entry.address.node === node)?.client ?? null);
  }

  close(): void {
    for (const entry of this.#entries) entry.client.close();
  }
}

async function poolIdOf(entry: Entry): Promise<string> {
  const pool = await entry.client.getPool();
  if (pool.node !== entry.address.node) {
    throw new StoreError(
      'failed-precondition',
      `the store at ${entry.address.target} is on node ${pool.node}, but is listed for ${entry.address.node}`,
    );
  }
  entry.poolId = pool.id;
  return pool.id;
}
