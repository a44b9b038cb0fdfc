import { beforeEach, describe, expect, test } from '@jest/globals';
import { createController } from '../../src/csi/controller/controller.ts';
import type { ControllerMessages } from '../../src/csi/generated/messages.ts';
import { TOPOLOGY_KEY } from '../../src/csi/names.ts';
import { callDirectly, type Client } from '../support/csi-client.ts';
import { FakeDirectory, FakeStore, fakeId } from '../support/fake-stores.ts';

const MIB = 1 << 20;
const GIB = 1024 * MIB;

let stores: readonly [FakeStore, FakeStore, FakeStore];
let directory: FakeDirectory;
let controller: Client<ControllerMessages>;

beforeEach(() => {
  const store = (letter: string, sizeBytes: number) => new FakeStore({ node: `node-${letter}`, poolId: fakeId(letter), sizeBytes });
  stores = [store('a', GIB), store('b', 2 * GIB), store('c', 3 * GIB)];
  directory = new FakeDirectory(stores);
  controller = callDirectly('Controller', createController(directory));
});

const topologies = (nodes: readonly string[]) => nodes.map((node) => ({ segments: { [TOPOLOGY_KEY]: node } }));
const capability = { mount: {}, accessMode: { mode: 'SINGLE_NODE_WRITER' } } as const;

interface Wish {
  readonly name?: string;
  readonly requisite?: readonly string[];
  readonly preferred?: readonly string[];
  readonly placement?: string;
  readonly sourceVolumeId?: string;
}

async function nodeOf({ name = 'data', requisite = [], preferred = [], placement, sourceVolumeId }: Wish): Promise<string> {
  const { volume } = await controller.createVolume({
    name,
    volumeCapabilities: [capability],
    capacityRange: { requiredBytes: 100 * MIB },
    parameters: placement === undefined ? {} : { placement },
    accessibilityRequirements: { requisite: topologies(requisite), preferred: topologies(preferred) },
    volumeContentSource: sourceVolumeId === undefined ? null : { volume: { volumeId: sourceVolumeId } },
  });
  return volume!.accessibleTopology[0]!.segments[TOPOLOGY_KEY]!;
}

const noSpace = expect.objectContaining({ code: 'no-space' });

describe('an empty volume', () => {
  test('goes to the first preferred node', async () => {
    expect(await nodeOf({ requisite: ['node-a', 'node-b', 'node-c'], preferred: ['node-b', 'node-a', 'node-c'] })).toBe('node-b');
  });

  test('and nowhere else, so that the scheduler chooses again', async () => {
    stores[1].full = true;
    await expect(nodeOf({ requisite: ['node-a', 'node-b'], preferred: ['node-b', 'node-a'] })).rejects.toEqual(noSpace);
    await expect(nodeOf({ preferred: ['node-x', 'node-a'] })).rejects.toEqual(noSpace);
  });

  test('unless its class lets a full node be passed over', async () => {
    stores[1].full = true;
    expect(await nodeOf({ preferred: ['node-b', 'node-x', 'node-a'], placement: 'any' })).toBe('node-a');
    stores[0].full = true;
    await expect(nodeOf({ name: 'more', preferred: ['node-b', 'node-a'], placement: 'any' })).rejects.toEqual(noSpace);
  });

  test('of several required nodes goes to the one with the most room', async () => {
    expect(await nodeOf({ requisite: ['node-a', 'node-b'] })).toBe('node-b');
    await expect(nodeOf({ name: 'more', requisite: ['node-x', 'node-y'] })).rejects.toEqual(noSpace);
  });

  test('goes anywhere when nothing is required', async () => {
    expect(await nodeOf({})).toBe('node-c');
  });

  test('is found again although another store has more room by now', async () => {
    expect(await nodeOf({})).toBe('node-c');
    stores[2].freeBytes = 0;
    expect(await nodeOf({})).toBe('node-c');
    expect(stores.map(({ volumes }) => volumes.size)).toEqual([0, 0, 1]);
  });

  test('is not placed while a store that could have it already does not answer', async () => {
    directory.away.add(stores[0]);
    await expect(nodeOf({})).rejects.toEqual(expect.objectContaining({ code: 'unavailable' }));
    expect(await nodeOf({ preferred: ['node-b'] })).toBe('node-b');
  });

  test('refuses a preferred node that is not among the required', async () => {
    await expect(nodeOf({ requisite: ['node-a'], preferred: ['node-b'] })).rejects.toThrow(
      'accessibility_requirements.preferred has "node-b", which requisite has not',
    );
  });
});

describe('a volume with a source', () => {
  test('goes beside its source, whatever is preferred', async () => {
    const { volume } = await controller.createVolume({
      name: 'source',
      volumeCapabilities: [capability],
      accessibilityRequirements: { requisite: topologies(['node-a']) },
    });
    const sourceVolumeId = volume!.volumeId;
    expect(
      await nodeOf({ name: '1', sourceVolumeId, requisite: ['node-b', 'node-a'], preferred: ['node-b', 'node-a'] }).catch(String),
    ).toMatch(/below the size/);
    const { volume: clone } = await controller.createVolume({
      name: '2',
      volumeCapabilities: [capability],
      volumeContentSource: { volume: { volumeId: sourceVolumeId } },
      accessibilityRequirements: { requisite: topologies(['node-b', 'node-a']), preferred: topologies(['node-b', 'node-a']) },
    });
    expect(clone!.accessibleTopology).toEqual(topologies(['node-a']));
  });

  test('or nowhere, with words', async () => {
    const { volume } = await controller.createVolume({
      name: 'source',
      volumeCapabilities: [capability],
      accessibilityRequirements: { requisite: topologies(['node-a']) },
      capacityRange: { requiredBytes: 100 * MIB },
    });
    const clone = nodeOf({ sourceVolumeId: volume!.volumeId, requisite: ['node-b'] });
    await expect(clone).rejects.toThrow('the source is on node node-a, and a volume made from it can only be there; asked for was node-b');
    await expect(nodeOf({ sourceVolumeId: volume!.volumeId, requisite: ['node-b'] })).rejects.toEqual(noSpace);
  });
});

describe('GetCapacity', () => {
  const onNode = (node: string) => ({ accessibleTopology: { segments: { [TOPOLOGY_KEY]: node } } });

  test('is the provisioning budget that is left', async () => {
    await nodeOf({ requisite: ['node-a'] });
    const left = String(10 * GIB - 100 * MIB);
    expect(await controller.getCapacity(onNode('node-a'))).toEqual({
      availableCapacity: left,
      maximumVolumeSize: { value: left },
      minimumVolumeSize: { value: String(16 * MIB) },
    });
  });

  test('over all nodes is the sum, while one volume must fit one pool', async () => {
    expect(await controller.getCapacity({})).toMatchObject({
      availableCapacity: String(60 * GIB),
      maximumVolumeSize: { value: String(30 * GIB) },
    });
  });

  test('is nothing on a node without a store, and in a pool without a free slot', async () => {
    expect(await controller.getCapacity(onNode('node-x'))).toMatchObject({ availableCapacity: '0', maximumVolumeSize: { value: '0' } });
    stores[0].freeBytes = 0;
    expect(await controller.getCapacity(onNode('node-a'))).toMatchObject({ availableCapacity: '0' });
  });

  test('is nothing where less is left than the file system needs', async () => {
    stores[0].sizeBytes = 20 * MIB;
    const xfs = { mount: { fsType: 'xfs' }, accessMode: { mode: 'SINGLE_NODE_WRITER' as const } };
    expect(await controller.getCapacity({ ...onNode('node-a'), volumeCapabilities: [xfs] })).toMatchObject({
      availableCapacity: '0',
      minimumVolumeSize: { value: String(300 * MIB) },
    });
    expect(await controller.getCapacity({ ...onNode('node-a'), parameters: { 'csi.storage.k8s.io/fstype': 'ext4' } })).toMatchObject({
      availableCapacity: String(200 * MIB),
    });
  });

  test('refuses what CreateVolume would refuse', async () => {
    await expect(controller.getCapacity({ parameters: { x: 'y' } })).rejects.toThrow(/not known/);
    await expect(controller.getCapacity({ accessibleTopology: { segments: { zone: 'z' } } })).rejects.toThrow(
      'accessible_topology has no segment',
    );
  });
});
