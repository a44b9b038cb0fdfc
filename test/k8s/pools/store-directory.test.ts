import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { chunkStorePools, endpointSlices, type EndpointSlice } from '../../../src/k8s/resources.ts';
import { KubernetesStoreDirectory } from '../../../src/k8s/pools/store-directory.ts';
import { silentLogger } from '../../../src/util/log.ts';
import { topologyValue } from '../../../src/util/topology.ts';
import { FakeKubernetes } from '../../support/fake-kubernetes.ts';
import { FakeStoreNetwork, type FakeStoreClient } from '../../support/fake-store-network.ts';
import { SeededRandom } from '../../support/seeded-random.ts';

const id = (letter: string): string => letter.repeat(26);
const [A, B, C] = [id('a'), id('b'), id('c')] as const;
const namespace = 'chunkstore';
const service = 'stores';

type Endpoint = NonNullable<EndpointSlice['endpoints']>[number];
type State = 'ready' | 'not ready' | 'ending';

let kubernetes: FakeKubernetes;
let network: FakeStoreNetwork;
let directory: KubernetesStoreDirectory<FakeStoreClient>;

beforeEach(() => {
  kubernetes = new FakeKubernetes();
  network = new FakeStoreNetwork();
  directory = new KubernetesStoreDirectory({
    api: kubernetes,
    namespace,
    service,
    connect: network.connect,
    log: silentLogger(),
    answerTimeoutMs: 30,
    readyTimeoutMs: 100,
  });
});
afterEach(() => {
  directory.close();
  expect(network.open.size).toBe(0);
});

function pool(name: string, node: string, more: { lost?: boolean; ready?: boolean; made?: string } = {}): void {
  const { lost, ready, made } = more;
  kubernetes.seed(chunkStorePools, {
    metadata: { name, ...(made === undefined ? {} : { creationTimestamp: made }) },
    spec: { node, ...(lost === undefined ? {} : { lost }) },
    ...(ready === undefined
      ? {}
      : {
          status: { conditions: [{ type: 'Ready', status: ready ? 'True' : 'False', reason: 'X', message: '', lastTransitionTime: '' }] },
        }),
  });
}
const declare = (name: string, lost: boolean) => kubernetes.change(chunkStorePools, { name }, { spec: { lost } });

/** [address, node, state] of every endpoint of the Service. */
function endpoints(...list: readonly (readonly [string, string, State?])[]): void {
  const made = list.map(([address, nodeName, state = 'ready']): Endpoint => {
    const conditions = { ready: state === 'ready', serving: state !== 'not ready', terminating: state === 'ending' };
    return { addresses: [address], nodeName, conditions };
  });
  const slice: EndpointSlice = {
    metadata: { name: `${service}-1`, namespace, labels: { 'kubernetes.io/service-name': service } },
    addressType: 'IPv4',
    endpoints: made,
    ports: [{ name: 'grpc', port: 7443 }],
  };
  if (kubernetes.object(endpointSlices, slice.metadata) === null) kubernetes.seed(endpointSlices, slice);
  else kubernetes.change(endpointSlices, slice.metadata as { name: string; namespace: string }, { endpoints: made });
}

/** Two nodes with a pool each, served. */
async function two(): Promise<void> {
  pool(A, 'node-a');
  pool(B, 'node-b');
  network.servers.set('10.0.0.1', A).set('10.0.0.2', B);
  endpoints(['10.0.0.1', 'node-a'], ['10.0.0.2', 'node-b']);
  await kubernetes.settle();
}

const addresses = (stores: readonly (FakeStoreClient | null)[]) => stores.map((store) => store?.route.address);
const unavailable = (words: RegExp) => expect.objectContaining({ code: 'unavailable', message: expect.stringMatching(words) });

describe('finding stores', () => {
  test('by pool, by node, and all of them, over one connection each', async () => {
    await two();
    expect(addresses([await directory.ofPool(A), await directory.ofNode('node-b')])).toEqual(['10.0.0.1', '10.0.0.2']);
    expect(addresses(await directory.all())).toEqual(['10.0.0.1', '10.0.0.2']);
    expect(addresses(await directory.known())).toEqual(['10.0.0.1', '10.0.0.2']);
    expect((await directory.ofPool(A))!.route).toEqual({ address: '10.0.0.1', port: 7443, node: 'node-a', poolId: A });
    expect(network.connected).toBe(2);
    expect(await directory.ofNode('node-x')).toBeNull();
  });

  test('a node with a long name has a short topology value', async () => {
    const name = `${'rack.'.repeat(20)}x`;
    pool(A, name);
    network.servers.set('10.0.0.1', A);
    endpoints(['10.0.0.1', name]);
    await kubernetes.settle();
    expect(await directory.ofNode(name)).toBeNull();
    expect(addresses([await directory.ofNode(topologyValue(name))])).toEqual(['10.0.0.1']);
  });

  test('waits for the first picture, but not for long', async () => {
    kubernetes.goAway();
    await expect(directory.ofPool(A)).rejects.toEqual(unavailable(/Kubernetes API.*did not answer/));
    const found = directory.ofPool(A);
    await two();
    kubernetes.comeBack();
    expect(addresses([await found])).toEqual(['10.0.0.1']);
  });

  test('goes on with what is known while the API is away', async () => {
    await two();
    await directory.ofPool(A);
    kubernetes.goAway();
    expect(addresses([await directory.ofPool(A)])).toEqual(['10.0.0.1']);
    await expect(directory.ofPool(C)).rejects.toEqual(unavailable(/Kubernetes API/));
  });

  test('calls at the same time share what they find', async () => {
    await two();
    const found = await Promise.all([directory.ofPool(A), directory.ofPool(A), directory.ofNode('node-a'), directory.all()]);
    expect(new Set(addresses(found.flat()))).toEqual(new Set(['10.0.0.1', '10.0.0.2']));
    expect(network.connected).toBe(2);
  });
});

describe('a store that is away', () => {
  test('is unavailable, and the words name pool, node and cause', async () => {
    await two();
    network.servers.delete('10.0.0.2');
    const words = new RegExp(`pool ${B} on node node-b cannot be reached: the store at 10\\.0\\.0\\.2 cannot be reached.*spec\\.lost`);
    await expect(directory.ofPool(B)).rejects.toEqual(unavailable(words));
    await expect(directory.ofNode('node-b')).rejects.toEqual(unavailable(words));
    await expect(directory.all()).rejects.toEqual(unavailable(words));
    expect(addresses([await directory.ofPool(A)])).toEqual(['10.0.0.1']);
    expect(addresses(await directory.known())).toEqual(['10.0.0.1', '10.0.0.2']);
  });

  test('is not waited for when its machine is silent, and is connected to anew once it is back', async () => {
    await two();
    await directory.ofPool(B);
    network.hang('10.0.0.2');
    await expect(directory.ofPool(B)).rejects.toEqual(unavailable(/did not answer within 30 ms/));
    network.servers.set('10.0.0.2', B);
    expect(addresses([await directory.ofPool(B)])).toEqual(['10.0.0.2']);
    expect(network.open.size).toBe(1);
  });

  test('without an endpoint is unavailable, not gone', async () => {
    await two();
    endpoints(['10.0.0.1', 'node-a'], ['10.0.0.2', 'node-b', 'not ready']);
    await kubernetes.settle();
    await expect(directory.ofPool(B)).rejects.toEqual(unavailable(/no store is ready there/));
    await expect(directory.all()).rejects.toEqual(unavailable(/node-b/));
    expect(addresses(await directory.known())).toEqual(['10.0.0.1']);
  });
});

describe('a store that moves', () => {
  test('to another address is found there, and the old connection is closed', async () => {
    await two();
    const before = (await directory.ofPool(A))!;
    network.servers.delete('10.0.0.1');
    network.servers.set('10.0.0.9', A);
    endpoints(['10.0.0.9', 'node-a'], ['10.0.0.2', 'node-b']);
    await kubernetes.settle();
    expect(network.open.has(before)).toBe(false);
    expect(addresses([await directory.ofPool(A)])).toEqual(['10.0.0.9']);
  });

  test('with its disk to another node is found there', async () => {
    await two();
    await directory.ofPool(A);
    kubernetes.change(chunkStorePools, { name: A }, { spec: { node: 'node-c' } });
    network.servers.set('10.0.0.3', A).delete('10.0.0.1');
    endpoints(['10.0.0.3', 'node-c'], ['10.0.0.2', 'node-b']);
    await kubernetes.settle();
    expect(addresses([await directory.ofPool(A), await directory.ofNode('node-c')])).toEqual(['10.0.0.3', '10.0.0.3']);
    expect(await directory.ofNode('node-a')).toBeNull();
  });
});

describe('two stores of one node, while one is replaced', () => {
  test('the one that is ready is asked, before the one that ends', async () => {
    await two();
    await directory.ofPool(A);
    endpoints(['10.0.0.1', 'node-a', 'ending'], ['10.0.0.5', 'node-a', 'not ready'], ['10.0.0.2', 'node-b']);
    await kubernetes.settle();
    expect(addresses([await directory.ofPool(A)])).toEqual(['10.0.0.1']);
    network.servers.set('10.0.0.5', A).delete('10.0.0.1');
    endpoints(['10.0.0.1', 'node-a', 'ending'], ['10.0.0.5', 'node-a'], ['10.0.0.2', 'node-b']);
    await kubernetes.settle();
    expect(addresses([await directory.ofPool(A)])).toEqual(['10.0.0.5']);
    expect(network.open.size).toBe(1);
  });

  test('if both seem ready, the one that answers for the pool', async () => {
    await two();
    await directory.ofPool(A);
    network.servers.set('10.0.0.5', A).delete('10.0.0.1');
    endpoints(['10.0.0.1', 'node-a'], ['10.0.0.5', 'node-a'], ['10.0.0.2', 'node-b']);
    await kubernetes.settle();
    expect(addresses([await directory.ofPool(A)])).toEqual(['10.0.0.5']);
    network.hang('10.0.0.1');
    expect(addresses([await directory.ofPool(A)])).toEqual(['10.0.0.5']);
    expect(network.open.size).toBe(1);
  });
});

describe('a pool that was declared lost', () => {
  test('has no store, and is no part of lists, and comes back', async () => {
    await two();
    await directory.all();
    declare(B, true);
    await kubernetes.settle();
    expect(network.open.size).toBe(1);
    expect(await directory.ofPool(B)).toBeNull();
    expect(await directory.ofNode('node-b')).toBeNull();
    expect(addresses(await directory.all())).toEqual(['10.0.0.1']);
    expect(addresses(await directory.known())).toEqual(['10.0.0.1']);
    declare(B, false);
    await kubernetes.settle();
    expect(addresses(await directory.all())).toEqual(['10.0.0.1', '10.0.0.2']);
  });

  test('and taken back is not given up by a picture that is late', async () => {
    await two();
    declare(B, true);
    await kubernetes.settle();
    kubernetes.pauseWatches();
    declare(B, false);
    expect(addresses([await directory.ofPool(B)])).toEqual(['10.0.0.2']);
    kubernetes.goAway();
    await expect(directory.ofPool(B)).rejects.toEqual(unavailable(/Kubernetes API/));
  });

  test('leaves its node to a new one', async () => {
    pool(A, 'node-a', { lost: true });
    pool(C, 'node-a');
    network.servers.set('10.0.0.1', C);
    endpoints(['10.0.0.1', 'node-a']);
    await kubernetes.settle();
    expect((await directory.ofNode('node-a'))!.route.poolId).toBe(C);
    expect(await directory.ofPool(A)).toBeNull();
    expect(await directory.all()).toHaveLength(1);
  });

  test('but not yet declared: the one that answers has the node, and lists wait for the declaration', async () => {
    pool(A, 'node-a', { ready: true, made: '2024-01-01T00:00:00Z' });
    pool(C, 'node-a', { ready: true, made: '2025-01-01T00:00:00Z' });
    network.servers.set('10.0.0.1', C);
    endpoints(['10.0.0.1', 'node-a']);
    await kubernetes.settle();
    expect((await directory.ofNode('node-a'))!.route.poolId).toBe(C);
    await expect(directory.ofPool(A)).rejects.toEqual(unavailable(/certificate is for c{26}.*spec\.lost/));
    await expect(directory.all()).rejects.toEqual(unavailable(/pool a{26} on node node-a/));
  });
});

describe('a pool that the API does not know', () => {
  test('is gone, if every store has a pool', async () => {
    await two();
    expect(await directory.ofPool(C)).toBeNull();
  });

  test('is perhaps just late in our picture', async () => {
    await two();
    kubernetes.pauseWatches();
    pool(C, 'node-b');
    network.servers.set('10.0.0.2', C);
    expect(addresses([await directory.ofPool(C)])).toEqual(['10.0.0.2']);
  });

  test.each(['ready', 'not ready', 'ending'] as const)('is not gone while a store that is %s has not said whose it is', async (state) => {
    await two();
    kubernetes.remove(chunkStorePools, { name: B });
    endpoints(['10.0.0.1', 'node-a'], ['10.0.0.2', 'node-b', state]);
    await kubernetes.settle();
    await expect(directory.ofPool(B)).rejects.toEqual(unavailable(/store on node node-b has not said yet which pool it has/));
    if (state === 'ready') await expect(directory.all()).rejects.toEqual(unavailable(/store on node node-b has no ChunkStorePool/));
    else expect(addresses(await directory.all())).toEqual(['10.0.0.1']);
  });

  test('is not gone while no store is there that could have it, until it is made and declared lost', async () => {
    // As after the kind was deleted with all its objects, and installed again: the stores have yet to start.
    await kubernetes.settle();
    await expect(directory.ofPool(C)).rejects.toEqual(unavailable(/no ChunkStorePool c{26}, and no store.*spec\.lost/));
    pool(C, 'node-c', { lost: true });
    expect(await directory.ofPool(C)).toBeNull();
  });

  test('is not gone while the kind itself is', async () => {
    await two();
    kubernetes.uninstallKind(chunkStorePools);
    kubernetes.remove(chunkStorePools, { name: A });
    kubernetes.remove(chunkStorePools, { name: B });
    endpoints();
    await kubernetes.settle();
    await expect(directory.ofPool(C)).rejects.toMatchObject({ code: 'failed-precondition' });
  });
});

test('after its end it answers nothing', async () => {
  await two();
  const search = directory.ofPool(A);
  directory.close();
  await expect(search).rejects.toEqual(unavailable(/./));
  await expect(directory.all()).rejects.toEqual(unavailable(/stopping/));
});

/** Stores come, go, are replaced and fall silent, pools are declared lost and taken back, pictures are late: what is
 * answered is always true, and what is connected is never more than one connection a pool. */
test.each(Array.from({ length: 10 }, (_, seed) => seed))('walk %i', async (seed) => {
  const random = new SeededRandom(seed);
  const nodes = ['node-a', 'node-b', 'node-c'];
  const pools = [A, B, C];
  /** What is really where, as [address, node, state]. */
  let stores: [string, string, State][] = [];
  let lastAddress = 0;
  const lost = (name: string) => kubernetes.object(chunkStorePools, { name })?.spec.lost === true;
  const serving = (name: string) => [...network.servers].some(([, served]) => served === name);
  const take = (name: string, node: string): void => {
    for (const [address, served] of network.servers) if (served === name) network.servers.delete(address);
    const address = `10.0.${seed}.${++lastAddress}`;
    network.servers.set(address, name);
    stores = stores.map(([other, where, state]) => [
      other,
      where,
      where === node && state === 'ready' ? random.pick(['ending', 'not ready']) : state,
    ]);
    stores.push([address, node, 'ready']);
  };
  for (const [index, name] of pools.entries()) {
    pool(name, nodes[index]!);
    take(name, nodes[index]!);
  }
  const happen = {
    replace: () => {
      const index = random.below(pools.length);
      take(pools[index]!, nodes[index]!);
    },
    vanish: () => void (stores = stores.filter(() => random.chance(0.7))),
    die: () => void network.servers.delete(random.pick([...network.servers.keys(), ''])),
    hang: () => {
      const [address] = random.pick([...stores, ['', '', 'ready'] as const]);
      if (network.servers.has(address)) network.hang(address);
    },
    declare: () => void declare(random.pick(pools), random.chance(0.5)),
    late: () => kubernetes.pauseWatches(),
    current: () => kubernetes.resumeWatches(),
    confuse: () => void (stores = stores.map(([address, node, state]) => [address, node, random.chance(0.3) ? 'ready' : state])),
  };
  let answers = 0;
  /** The directory's picture may be older than the cluster. */
  let late = false;
  for (let step = 0; step < 60; step++) {
    const event = random.weighted({ replace: 6, vanish: 1, die: 1, hang: 1, declare: 2, late: 1, current: 2, confuse: 2 });
    happen[event]();
    if (event === 'late' || event === 'current') late = event === 'late';
    endpoints(...stores);
    const settled = random.chance(0.7);
    if (settled) await kubernetes.settle();
    const name = random.pick(pools);
    const ofPool = await directory.ofPool(name).catch((error: unknown) => expect(error).toEqual(unavailable(/./)));
    if (ofPool === null) expect(lost(name)).toBe(true);
    if (ofPool) {
      answers++;
      expect(network.servers.get(ofPool.route.address)).toBe(name);
      expect(network.open.has(ofPool)).toBe(true);
    }
    const all = await directory.all().catch((error: unknown) => expect(error).toEqual(unavailable(/./)));
    if (all) for (const store of all) expect(network.servers.get(store.route.address)).toBe(store.route.poolId);
    if (all && settled && !late) expect(all.map(({ route }) => route.poolId)).toEqual(pools.filter((one) => !lost(one)));
    expect(network.open.size).toBeLessThanOrEqual(pools.length);
  }
  expect(answers).toBeGreaterThan(5);
  kubernetes.resumeWatches();
  for (const [index, name] of pools.entries()) {
    declare(name, false);
    if (!serving(name)) take(name, nodes[index]!);
  }
  stores = [...network.servers].flatMap(([address, name]) => (name === 'hangs' ? [] : [[address, nodes[pools.indexOf(name)]!, 'ready']]));
  endpoints(...stores);
  await kubernetes.settle();
  expect((await directory.all()).map(({ route }) => route.poolId)).toEqual(pools);
});
