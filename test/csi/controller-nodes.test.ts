/** A cluster of several stores: the same volume is not made on two nodes, lost pools, and what a claim's owner is told. */
import { beforeEach, describe, expect, test } from '@jest/globals';
import { createController } from '../../src/csi/controller/controller.ts';
import type { ControllerMessages, CreateVolumeRequest } from '../../src/csi/generated/messages.ts';
import { TOPOLOGY_KEY } from '../../src/csi/names.ts';
import type { Claim, ClaimNotices } from '../../src/csi/ports.ts';
import type { Sendable } from '../../src/csi/proto.ts';
import { StoreError } from '../../src/util/errors.ts';
import { callDirectly, type Client } from '../support/csi-client.ts';
import { FakeDirectory, FakeStore, fakeId } from '../support/fake-stores.ts';
import { SeededRandom } from '../support/seeded-random.ts';

const MIB = 1 << 20;
const GIB = 1024 * MIB;
const NODES = ['node-a', 'node-b', 'node-c'] as const;

let stores: readonly [FakeStore, FakeStore, FakeStore];
let directory: FakeDirectory;
let controller: Client<ControllerMessages>;
let told: { readonly claim: Claim; readonly reason: string; readonly message: string }[];

beforeEach(() => {
  const store = (node: string) => new FakeStore({ node, poolId: fakeId(node), sizeBytes: 2 * GIB });
  stores = [store(NODES[0]), store(NODES[1]), store(NODES[2])];
  directory = new FakeDirectory(stores);
  told = [];
  const notices: ClaimNotices = { tell: (claim, notice) => void told.push({ claim, ...notice }) };
  controller = callDirectly('Controller', createController(directory, { notices, lookupTimeoutMs: 100 }));
});

const topologies = (nodes: readonly string[]) => nodes.map((node) => ({ segments: { [TOPOLOGY_KEY]: node } }));
const claimParameters = { 'csi.storage.k8s.io/pvc/name': 'data', 'csi.storage.k8s.io/pvc/namespace': 'shop' };

/** As external-provisioner asks when the scheduler has chosen the first of `nodes`. */
function asked(nodes: readonly string[], more: Sendable<CreateVolumeRequest> = {}): Sendable<CreateVolumeRequest> {
  return {
    name: 'pvc-1',
    volumeCapabilities: [{ mount: {}, accessMode: { mode: 'SINGLE_NODE_WRITER' } }],
    capacityRange: { requiredBytes: 100 * MIB },
    parameters: claimParameters,
    accessibilityRequirements: { requisite: topologies(nodes.toSorted()), preferred: topologies(nodes) },
    ...more,
  };
}

async function create(nodes: readonly string[], more: Sendable<CreateVolumeRequest> = {}) {
  const { volume } = await controller.createVolume(asked(nodes, more));
  return { id: volume!.volumeId, node: volume!.accessibleTopology[0]!.segments[TOPOLOGY_KEY]! };
}

const volumesByNode = () => stores.map(({ volumes }) => volumes.size);
const withCode = (code: string) => expect.objectContaining({ code });

describe('a volume asked for again with another node', () => {
  test('is the one that was made first, and the claim is told why it is there', async () => {
    const first = await create(['node-b', 'node-a', 'node-c']);
    expect(told).toEqual([]);
    expect(await create(['node-a', 'node-b', 'node-c'])).toEqual(first);
    expect(volumesByNode()).toEqual([0, 1, 0]);
    expect(told).toEqual([
      {
        claim: { namespace: 'shop', name: 'data' },
        reason: 'PlacedElsewhere',
        message:
          'the volume is on node node-b, where an earlier attempt has made it, and not on node node-a; pods that use it run on node node-b',
      },
    ]);
  });

  test('is that one also while the store that is chosen now is away', async () => {
    const first = await create(['node-b', 'node-a']);
    directory.away.add(stores[0]);
    expect(await create(['node-a', 'node-b'])).toEqual(first);
  });

  test('must be the same in all else', async () => {
    await create(['node-b', 'node-a']);
    await expect(create(['node-a', 'node-b'], { capacityRange: { requiredBytes: 200 * MIB } })).rejects.toEqual(withCode('already-exists'));
    expect(volumesByNode()).toEqual([0, 1, 0]);
  });

  test('is made anew where it may be, if the first one may not be used', async () => {
    await create(['node-b']);
    expect((await create(['node-a', 'node-c'])).node).toBe('node-a');
  });

  test('is made anew while the store that has it is away, because one dead node must not stop all claims', async () => {
    await create(['node-b', 'node-a']);
    directory.away.add(stores[1]);
    expect((await create(['node-a', 'node-b'])).node).toBe('node-a');
  });

  test('a store that is asked and never answers is not waited for', async () => {
    stores[1].before = (call) => (call === 'findVolume' ? new Promise(() => {}) : undefined);
    expect((await create(['node-a', 'node-b'])).node).toBe('node-a');
  });

  test('found on two nodes, it is always the first of the caller', async () => {
    for (const store of [stores[1], stores[2]]) {
      await store.createVolume({
        name: 'pvc-1',
        sizeBytes: 100 * MIB,
        source: null,
        attributes: { access: 'mount', fileSystem: 'ext4' },
      });
    }
    expect((await create(['node-a', 'node-c', 'node-b'])).node).toBe('node-c');
    expect((await create(['node-c', 'node-b', 'node-a'])).node).toBe('node-c');
  });

  test('what was found is asked for again, because only that answer is durable', async () => {
    await create(['node-b', 'node-a']);
    const calls: string[] = [];
    stores[1].before = (call) => void calls.push(call);
    await create(['node-a', 'node-b']);
    expect(calls).toContain('createVolume');
  });

  /** Answers get lost, stores go away and come back, the chosen node changes: whatever was answered last is there, and a
   * second one exists only if its store was away when the name was looked for. */
  test.each([1, 2, 3, 4, 5, 6, 7, 8])('walk %i: a claim never has two volumes while all stores answer', async (seed) => {
    const random = new SeededRandom(seed);
    let blind = false;
    for (let step = 0; step < 60; step++) {
      for (const store of stores) {
        if (random.chance(0.2)) directory.away.add(store);
        else directory.away.delete(store);
      }
      const lost = random.chance(0.3);
      for (const store of stores)
        store.before = (call) => {
          if (call === 'getPool' && lost && random.chance(0.3)) throw new StoreError('unavailable', 'the answer was lost');
        };
      const nodes = [random.pick(NODES), ...NODES].filter((node, index, all) => all.indexOf(node) === index);
      const holders = stores.filter(({ volumes }) => volumes.size > 0);
      const answer = await create(nodes).catch((error: unknown) => error);
      if (answer instanceof Error) expect(answer).toEqual(withCode('unavailable'));
      blind ||= holders.some((store) => directory.away.has(store));
      const count = volumesByNode().reduce((sum, volumes) => sum + volumes, 0);
      if (!blind) expect(count).toBeLessThanOrEqual(1);
      if (blind && count > 1) {
        // The collector's work: the claim is bound to one of them.
        for (const store of stores.slice(1)) store.volumes.clear();
        blind = false;
      }
    }
  });
});

describe('a class that takes any node', () => {
  test('passes over one that is away, and says where the volume is', async () => {
    directory.away.add(stores[0]);
    expect((await create(['node-a', 'node-b'], { parameters: { ...claimParameters, placement: 'any' } })).node).toBe('node-b');
    expect(told).toEqual([
      expect.objectContaining({ message: expect.stringContaining('on node node-b, which has room, and not on node node-a;') }),
    ]);
  });

  test('but not all of them', async () => {
    for (const store of stores) directory.away.add(store);
    await expect(create(NODES, { parameters: { placement: 'any' } })).rejects.toEqual(withCode('unavailable'));
  });
});

describe('a volume with a source elsewhere', () => {
  test('is made beside it, and the claim is told', async () => {
    const source = await create(['node-c'], { name: 'source' });
    const clone = await create(['node-a', 'node-c'], { volumeContentSource: { volume: { volumeId: source.id } } });
    expect(clone.node).toBe('node-c');
    expect(told.map(({ message }) => message)).toEqual([
      'the volume is on node node-c, where its source is, and not on node node-a; pods that use it run on node node-c',
    ]);
  });

  test('tells nobody when nobody said whose it is', async () => {
    const source = await create(['node-c'], { name: 'source' });
    await create(['node-a', 'node-c'], { parameters: {}, volumeContentSource: { volume: { volumeId: source.id } } });
    expect(told).toEqual([]);
  });
});

describe('no room, in words', () => {
  test('names the node and what is missing', async () => {
    await create(['node-a'], { name: 'large', capacityRange: { requiredBytes: 19 * GIB } });
    await expect(create(['node-a', 'node-b'], { capacityRange: { requiredBytes: 2 * GIB } })).rejects.toThrow(
      'no room on node node-a: the provisioning budget is used up',
    );
    await expect(create(['node-x'])).rejects.toThrow('node node-x has no chunk store, so that no volume can be made there');
  });

  test('says what to do about a source elsewhere, and names only some of many nodes', async () => {
    const source = await create(['node-c'], { name: 'source' });
    const others = ['n1', 'n2', 'n3', 'n4', 'n5', 'n6', 'n7'];
    await expect(create(others, { volumeContentSource: { volume: { volumeId: source.id } } })).rejects.toThrow(
      'asked for was n1, n2, n3, n4, n5 and 2 more. Let the pod run on node node-c',
    );
  });

  test('a pool that is down to its reserve has none for the scheduler', async () => {
    stores[0].freeBytes = stores[0].sizeBytes / 64 - 1;
    const onNode = { accessibleTopology: { segments: { [TOPOLOGY_KEY]: 'node-a' } } };
    expect(await controller.getCapacity(onNode)).toMatchObject({ availableCapacity: '0' });
  });
});

describe('a pool that was declared lost', () => {
  test('lets its volumes and snapshots be deleted, also while its store is away', async () => {
    const { id: volumeId } = await create(['node-a']);
    const { snapshot } = await controller.createSnapshot({ name: 's', sourceVolumeId: volumeId });
    directory.away.add(stores[0]);
    await expect(controller.deleteVolume({ volumeId })).rejects.toEqual(withCode('unavailable'));
    directory.lost.add(stores[0]);
    await controller.deleteSnapshot({ snapshotId: snapshot!.snapshotId });
    await controller.deleteVolume({ volumeId });
    expect([stores[0].volumes.size, stores[0].snapshots.size]).toEqual([1, 1]);
  });

  test('has nothing for anyone else, and the words say so', async () => {
    const { id: volumeId } = await create(['node-a']);
    const snapshotId = (await controller.createSnapshot({ name: 's', sourceVolumeId: volumeId })).snapshot!.snapshotId;
    directory.lost.add(stores[0]);
    const words = `its pool ${fakeId('node-a')} does not exist or was declared lost`;
    const { volumeCapabilities } = asked([]);
    for (const call of [
      () => controller.createSnapshot({ name: 's', sourceVolumeId: volumeId }),
      () => controller.createVolume(asked(['node-b'], { volumeContentSource: { volume: { volumeId } } })),
      () => controller.createVolume(asked(['node-b'], { volumeContentSource: { snapshot: { snapshotId } } })),
      () => controller.controllerExpandVolume({ volumeId, capacityRange: { requiredBytes: GIB } }),
      () => controller.controllerGetVolume({ volumeId }),
      () => controller.getSnapshot({ snapshotId }),
      () => controller.validateVolumeCapabilities({ volumeId, volumeCapabilities: volumeCapabilities! }),
    ]) {
      await expect(call()).rejects.toEqual(withCode('not-found'));
      await expect(call()).rejects.toThrow(words);
    }
  });

  test('is no part of lists and of capacity', async () => {
    await create(['node-a'], { name: 'one' });
    const { id } = await create(['node-b'], { name: 'two' });
    const { id: lostId } = await create(['node-a'], { name: 'three' });
    await controller.createSnapshot({ name: 's', sourceVolumeId: lostId });
    directory.lost.add(stores[0]);
    directory.away.add(stores[0]);
    expect((await controller.listVolumes({})).entries.map(({ volume }) => volume!.volumeId)).toEqual([id]);
    expect((await controller.listSnapshots({})).entries).toEqual([]);
    expect((await controller.listSnapshots({ sourceVolumeId: lostId })).entries).toEqual([]);
    expect(await controller.getCapacity({ accessibleTopology: { segments: { [TOPOLOGY_KEY]: 'node-a' } } })).toMatchObject({
      availableCapacity: '0',
    });
    expect(await controller.getCapacity({})).toMatchObject({ availableCapacity: String(40 * GIB - 100 * MIB) });
    await expect(create(['node-a', 'node-b'])).rejects.toEqual(withCode('no-space'));
  });
});
