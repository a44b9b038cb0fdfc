/**
 * From pools to addresses: pure functions over ChunkStorePools and the EndpointSlices of the stores' Service.
 */
import type { ChunkStorePool, EndpointSlice } from '../resources.ts';

export interface StoreAddress {
  readonly address: string;
  readonly port: number;
}

export interface StoreEndpoint extends StoreAddress {
  /** Name of the Kubernetes node. */
  readonly node: string;
  /** Whether calls may be answered there; a pod that is being replaced may still, one that has handed over may not. */
  readonly state: 'serving' | 'leaving' | 'silent';
}

const STATES = ['serving', 'leaving', 'silent'] as const;

export function isLost(pool: ChunkStorePool): boolean {
  return pool.spec.lost === true;
}

/** Every endpoint that names its node, once, the best first. */
export function endpointsOf(slices: readonly EndpointSlice[]): readonly StoreEndpoint[] {
  const endpoints = new Map<string, StoreEndpoint>();
  for (const slice of slices) {
    const port = slice.ports?.find((each) => each.port !== undefined)?.port;
    if (port === undefined) continue;
    for (const { addresses, conditions, nodeName } of slice.endpoints ?? []) {
      // The first address is the one that counts, says the API.
      const [address] = addresses;
      if (address === undefined || nodeName === undefined) continue;
      const endpoint: StoreEndpoint = { address, port, node: nodeName, state: stateOf(conditions ?? {}) };
      // For a moment, an endpoint may be in two slices.
      const key = addressKey(endpoint);
      const other = endpoints.get(key);
      if (other === undefined || rank(endpoint) < rank(other)) endpoints.set(key, endpoint);
    }
  }
  return [...endpoints.values()].toSorted((left, right) => rank(left) - rank(right));
}

/** Where the stores of a node may answer, the likeliest together and first. */
export function attemptsOn(node: string, endpoints: readonly StoreEndpoint[]): readonly (readonly StoreEndpoint[])[] {
  const here = endpoints.filter((endpoint) => endpoint.node === node);
  return [here.filter(({ state }) => state === 'serving'), here.filter(({ state }) => state === 'leaving')].filter(
    (group) => group.length > 0,
  );
}

export function addressKey({ address, port }: StoreAddress): string {
  return `${address} ${port}`;
}

/**
 * Kubernetes 1.34, EndpointConditions: what is not said of `ready` means true, of `serving` means what `ready` says, of
 * `terminating` means false. Of a pod that ends, `ready` is false while `serving` tells its probe.
 */
function stateOf(conditions: {
  readonly ready?: boolean;
  readonly serving?: boolean;
  readonly terminating?: boolean;
}): StoreEndpoint['state'] {
  const serving = conditions.serving ?? conditions.ready ?? true;
  if (!serving) return 'silent';
  return conditions.terminating === true ? 'leaving' : 'serving';
}

function rank({ state }: StoreEndpoint): number {
  return STATES.indexOf(state);
}
