/** Stores at addresses, as the directory of a cluster connects to them: which pool is where, and who answers. */
import type { RoutedStore, StoreRoute } from '../../src/k8s/pools/store-directory.ts';
import { StoreError } from '../../src/util/errors.ts';

export class FakeStoreClient implements RoutedStore {
  readonly route: StoreRoute;
  readonly #network: FakeStoreNetwork;

  constructor(route: StoreRoute, network: FakeStoreNetwork) {
    this.route = route;
    this.#network = network;
  }

  /** As TLS does it: a store that does not own the pool is not talked to. */
  async getPool(): Promise<{ readonly id: string }> {
    const { address, poolId } = this.route;
    this.#network.questions.push(`${address} ${poolId}`);
    await Promise.resolve();
    if (!this.#network.open.has(this)) throw new StoreError('unavailable', 'this client of a store was closed');
    const server = this.#network.servers.get(address);
    if (server === 'hangs') return new Promise(() => {});
    if (server === undefined) throw new StoreError('unavailable', `the store at ${address} cannot be reached`);
    if (server !== poolId) throw new StoreError('unavailable', `its certificate is for ${server}, not for ${poolId}`);
    return { id: server };
  }

  close(): void {
    this.#network.open.delete(this);
  }
}

export class FakeStoreNetwork {
  /** Address to the pool that is served there, or to a machine that swallows everything. */
  readonly servers = new Map<string, string>();
  readonly open = new Set<FakeStoreClient>();
  /** "address pool" of each getPool. */
  readonly questions: string[] = [];
  connected = 0;

  readonly connect = (route: StoreRoute): FakeStoreClient => {
    const client = new FakeStoreClient(route, this);
    this.open.add(client);
    this.connected++;
    return client;
  };

  /** The machine of this address went without a word. */
  hang(address: string): void {
    this.servers.set(address, 'hangs');
  }
}
