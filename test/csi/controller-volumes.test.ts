import { beforeEach, describe, expect, test } from '@jest/globals';
import { createController } from '../../src/csi/controller/controller.ts';
import type { ControllerMessages, CreateVolumeRequest } from '../../src/csi/generated/messages.ts';
import type { Sendable } from '../../src/csi/proto.ts';
import { StoreError } from '../../src/util/errors.ts';
import { callDirectly, type Client } from '../support/csi-client.ts';
import { FakeDirectory, FakeStore, fakeId } from '../support/fake-stores.ts';

const MIB = 1 << 20;
const unknownId = `${fakeId('pool')}.${fakeId('unknown')}`;

let store: FakeStore;
let controller: Client<ControllerMessages>;

beforeEach(() => {
  store = new FakeStore();
  controller = callDirectly('Controller', createController(new FakeDirectory([store])));
});

const mounted = (fsType = '') => ({ mount: { fsType }, accessMode: { mode: 'SINGLE_NODE_WRITER' } }) as const;
const block = { block: {}, accessMode: { mode: 'SINGLE_NODE_WRITER' } } as const;

function request(more: Sendable<CreateVolumeRequest> = {}): Sendable<CreateVolumeRequest> {
  return { name: 'data', volumeCapabilities: [mounted()], capacityRange: { requiredBytes: 100 * MIB }, ...more };
}

async function create(more: Sendable<CreateVolumeRequest> = {}) {
  const { volume } = await controller.createVolume(request(more));
  return volume!;
}

async function snapshotOf(volumeId: string, name = 'snap') {
  const { snapshot } = await controller.createSnapshot({ sourceVolumeId: volumeId, name });
  return snapshot!;
}

const withCode = (code: string) => expect.objectContaining({ code });

describe('CreateVolume', () => {
  test('makes a volume on the pool and says where it is', async () => {
    const volume = await create();
    expect(volume).toMatchObject({
      capacityBytes: String(100 * MIB),
      contentSource: null,
      accessibleTopology: [{ segments: { 'csi.chunkstore.dev/node': 'node-a' } }],
    });
    expect(store.volumes.get(volume.volumeId)!.attributes).toEqual({ access: 'mount', fileSystem: 'ext4' });
  });

  test.each([
    ['name is missing', { name: '' }],
    ['volume_capabilities is missing', { volumeCapabilities: [] }],
    ['volume_content_source.type is missing', { volumeContentSource: {} }],
    ['volume_content_source.snapshot.snapshot_id is missing', { volumeContentSource: { snapshot: {} } }],
    ['volume_content_source.volume.volume_id is missing', { volumeContentSource: { volume: {} } }],
    ['mutable_parameters has "iops"', { mutableParameters: { iops: '1' } }],
    [
      'accessibility_requirements.requisite[0] has no segment csi.chunkstore.dev/node',
      { accessibilityRequirements: { requisite: [{ segments: { zone: 'a' } }] } },
    ],
  ])('refuses: %s', async (message, more) => {
    await expect(create(more)).rejects.toThrow(message);
    await expect(create(more)).rejects.toEqual(withCode('invalid-argument'));
    expect(store.volumes.size).toBe(0);
  });

  test('the file system: of the capability, of the older parameter, or ext4', async () => {
    const fileSystems: unknown[] = [];
    const parameters = { 'csi.storage.k8s.io/fstype': 'btrfs' };
    for (const [name, more] of Object.entries({
      a: {},
      b: { parameters },
      c: { parameters, volumeCapabilities: [mounted('xfs')] },
      d: { parameters, volumeCapabilities: [block] },
    })) {
      const { volumeId } = await create({ name, capacityRange: null, ...more });
      fileSystems.push(store.volumes.get(volumeId)!.attributes['fileSystem']);
    }
    expect(fileSystems).toEqual(['ext4', 'btrfs', 'xfs', undefined]);
  });

  test('the same request again is the same volume, also with other labels of the orchestrator', async () => {
    const first = await create({ parameters: { freeze: 'true', 'csi.storage.k8s.io/pv/name': 'one' } });
    const second = await create({ parameters: { freeze: 'true', 'csi.storage.k8s.io/pv/name': 'two' } });
    expect(second).toEqual(first);
  });

  test.each([
    ['size', { capacityRange: { requiredBytes: 200 * MIB } }],
    ['limit', { capacityRange: { requiredBytes: MIB, limitBytes: 50 * MIB } }],
    ['kind', { volumeCapabilities: [block] }],
    ['file system', { volumeCapabilities: [mounted('xfs')], capacityRange: null }],
    ['parameter', { parameters: { freeze: 'true' } }],
  ])('the same name with another %s is taken', async (_, more) => {
    await create();
    await expect(create(more)).rejects.toEqual(withCode('already-exists'));
  });

  test('the same name with another source is taken', async () => {
    const source = await create({ name: 'source' });
    const snapshot = await snapshotOf(source.volumeId);
    await create({ volumeContentSource: { snapshot: { snapshotId: snapshot.snapshotId } } });
    await expect(create()).rejects.toEqual(withCode('already-exists'));
    await expect(create({ volumeContentSource: { volume: { volumeId: source.volumeId } } })).rejects.toEqual(withCode('already-exists'));
  });

  test('one volume beyond the budget is out of range, the sum is no space', async () => {
    store.sizeBytes = 100 * MIB;
    await expect(create({ capacityRange: { requiredBytes: 1001 * MIB } })).rejects.toEqual(withCode('out-of-range'));
    await create({ capacityRange: { requiredBytes: 900 * MIB } });
    await expect(create({ name: 'more', capacityRange: { requiredBytes: 200 * MIB } })).rejects.toEqual(withCode('no-space'));
  });
});

describe('CreateVolume from a source', () => {
  test('a restore echoes its source and takes its size and file system', async () => {
    const source = await create({ volumeCapabilities: [mounted('xfs')], capacityRange: { requiredBytes: 400 * MIB } });
    const { snapshotId } = await snapshotOf(source.volumeId);
    const restored = await create({ name: 'restored', capacityRange: null, volumeContentSource: { snapshot: { snapshotId } } });
    expect(restored).toMatchObject({ capacityBytes: String(400 * MIB), contentSource: { snapshot: { snapshotId } } });
    expect(store.volumes.get(restored.volumeId)!.attributes).toEqual({ access: 'mount', fileSystem: 'xfs' });
  });

  test('larger is fine, smaller is out of range', async () => {
    const { volumeId } = await create();
    const volumeContentSource = { volume: { volumeId } };
    expect(await create({ name: 'larger', volumeContentSource, capacityRange: { requiredBytes: 150 * MIB } })).toMatchObject({
      capacityBytes: String(150 * MIB),
    });
    await expect(create({ name: 'smaller', volumeContentSource, capacityRange: { requiredBytes: 50 * MIB } })).rejects.toEqual(
      withCode('out-of-range'),
    );
  });

  test('a source that is not there, or has an id of another form, is not found', async () => {
    for (const id of [unknownId, 'nonsense', `${fakeId('elsewhere')}.${fakeId('x')}`]) {
      await expect(create({ volumeContentSource: { volume: { volumeId: id } } })).rejects.toEqual(withCode('not-found'));
      await expect(create({ volumeContentSource: { snapshot: { snapshotId: id } } })).rejects.toEqual(withCode('not-found'));
    }
  });

  test('a clone keeps the kind and the file system of its volume', async () => {
    const { volumeId } = await create();
    const volumeContentSource = { volume: { volumeId } };
    await expect(create({ name: 'b', volumeContentSource, volumeCapabilities: [block] })).rejects.toEqual(withCode('invalid-argument'));
    await expect(create({ name: 'c', volumeContentSource, volumeCapabilities: [mounted('btrfs')], capacityRange: null })).rejects.toEqual(
      withCode('invalid-argument'),
    );
  });

  test('a snapshot of a mount volume may be restored as a block volume, but not with another file system', async () => {
    const { volumeId } = await create();
    const { snapshotId } = await snapshotOf(volumeId);
    const volumeContentSource = { snapshot: { snapshotId } };
    await create({ name: 'b', volumeContentSource, volumeCapabilities: [block] });
    await expect(create({ name: 'c', volumeContentSource, volumeCapabilities: [mounted('xfs')], capacityRange: null })).rejects.toEqual(
      withCode('invalid-argument'),
    );
  });

  test('a repeated call is answered although the source has been deleted since', async () => {
    const { volumeId } = await create({ name: 'source' });
    const { snapshotId } = await snapshotOf(volumeId);
    const volumeContentSource = { snapshot: { snapshotId } };
    const first = await create({ volumeContentSource });
    await controller.deleteSnapshot({ snapshotId });
    expect(await create({ volumeContentSource })).toEqual(first);
    await expect(create({ name: 'another', volumeContentSource })).rejects.toEqual(withCode('not-found'));
  });

  test('deleting a source leaves its snapshots listed and restorable', async () => {
    const { volumeId } = await create({ name: 'source' });
    const { snapshotId } = await snapshotOf(volumeId);
    await controller.deleteVolume({ volumeId });
    expect((await controller.listSnapshots({ sourceVolumeId: volumeId })).entries).toHaveLength(1);
    expect(await create({ volumeContentSource: { snapshot: { snapshotId } } })).toMatchObject({
      contentSource: { snapshot: { snapshotId } },
    });
  });
});

describe('DeleteVolume', () => {
  test('deletes, and succeeds when there is nothing', async () => {
    const { volumeId } = await create();
    await controller.deleteVolume({ volumeId });
    await controller.deleteVolume({ volumeId });
    await controller.deleteVolume({ volumeId: 'nonsense' });
    expect(store.volumes.size).toBe(0);
    await expect(controller.deleteVolume({})).rejects.toThrow('volume_id is missing');
  });

  test('an attached volume is in use', async () => {
    const { volumeId } = await create();
    store.setAttached(volumeId, true);
    await expect(controller.deleteVolume({ volumeId })).rejects.toEqual(withCode('in-use'));
  });

  test('a store that cannot be reached is not taken for a pool that is gone', async () => {
    const directory = new FakeDirectory([store]);
    const { volumeId } = await create();
    directory.away.add(store);
    const cut = callDirectly<ControllerMessages>('Controller', createController(directory));
    await expect(cut.deleteVolume({ volumeId })).rejects.toEqual(withCode('unavailable'));
  });
});

describe('ValidateVolumeCapabilities', () => {
  test('confirms what the volume can do, and echoes it', async () => {
    const { volumeId } = await create();
    const asked = { volumeId, volumeCapabilities: [mounted('ext4')], parameters: { freeze: 'auto' } };
    const { confirmed, message } = await controller.validateVolumeCapabilities(asked);
    expect(confirmed).toMatchObject({ volumeCapabilities: [{ mount: { fsType: 'ext4' } }], parameters: { freeze: 'auto' } });
    expect(message).toBe('');
  });

  test.each([
    ['another kind', { volumeCapabilities: [block] }, /mount volume, not a block volume/],
    ['another file system', { volumeCapabilities: [mounted('xfs')] }, /ext4, not xfs/],
    ['several nodes', { volumeCapabilities: [{ mount: {}, accessMode: { mode: 'MULTI_NODE_MULTI_WRITER' as const } }] }, /MULTI_NODE/],
    ['an unknown parameter', { volumeCapabilities: [mounted()], parameters: { x: 'y' } }, /not known/],
  ])('does not confirm %s, and says why', async (_, asked, message) => {
    const { volumeId } = await create();
    const answer = await controller.validateVolumeCapabilities({ volumeId, ...asked });
    expect(answer.confirmed).toBeNull();
    expect(answer.message).toMatch(message);
  });

  test('needs a volume and capabilities', async () => {
    await expect(controller.validateVolumeCapabilities({ volumeId: unknownId })).rejects.toThrow('volume_capabilities is missing');
    await expect(controller.validateVolumeCapabilities({ volumeId: unknownId, volumeCapabilities: [block] })).rejects.toEqual(
      withCode('not-found'),
    );
  });
});

describe('ControllerGetVolume and ListVolumes', () => {
  test('tell the same of a volume', async () => {
    const volume = await create();
    expect((await controller.controllerGetVolume({ volumeId: volume.volumeId })).volume).toEqual(volume);
    expect((await controller.listVolumes({})).entries.map((entry) => entry.volume)).toEqual([volume]);
    await expect(controller.controllerGetVolume({ volumeId: 'nonsense' })).rejects.toEqual(withCode('not-found'));
  });

  test('a list goes over every store and is never shorter', async () => {
    const stores = [store, new FakeStore({ node: 'node-b', poolId: fakeId('other') })];
    const directory = new FakeDirectory(stores);
    const both = callDirectly<ControllerMessages>('Controller', createController(directory));
    for (const node of ['node-a', 'node-b']) {
      await both.createVolume(
        request({ name: `on ${node}`, accessibilityRequirements: { requisite: [{ segments: { 'csi.chunkstore.dev/node': node } }] } }),
      );
    }
    const first = await both.listVolumes({ maxEntries: 1 });
    const second = await both.listVolumes({ maxEntries: 1, startingToken: first.nextToken });
    const nodes = [...first.entries, ...second.entries].map(
      (entry) => entry.volume!.accessibleTopology[0]!.segments['csi.chunkstore.dev/node'],
    );
    expect(new Set(nodes)).toEqual(new Set(['node-a', 'node-b']));
    expect(second.nextToken).toBe('');
    directory.away.add(stores[1]!);
    await expect(both.listVolumes({})).rejects.toEqual(withCode('unavailable'));
  });
});

describe('ControllerExpandVolume', () => {
  const expand = (volumeId: string, requiredBytes: number, more: object = {}) =>
    controller.controllerExpandVolume({ volumeId, capacityRange: { requiredBytes }, ...more });

  test('grows, and the node has to follow', async () => {
    const { volumeId } = await create();
    expect(await expand(volumeId, 150 * MIB + 1)).toEqual({ capacityBytes: String(151 * MIB), nodeExpansionRequired: true });
    expect(store.volumes.get(volumeId)!.sizeBytes).toBe(151 * MIB);
  });

  test('a volume that is large enough stays as it is', async () => {
    const { volumeId } = await create();
    expect(await expand(volumeId, 50 * MIB)).toEqual({ capacityBytes: String(100 * MIB), nodeExpansionRequired: true });
  });

  test('refuses', async () => {
    const { volumeId } = await create();
    await expect(controller.controllerExpandVolume({ volumeId })).rejects.toThrow('capacity_range is missing');
    await expect(controller.controllerExpandVolume({ volumeId, capacityRange: { limitBytes: 50 * MIB } })).rejects.toEqual(
      withCode('out-of-range'),
    );
    await expect(expand(volumeId, 150 * MIB, { volumeCapability: block })).rejects.toEqual(withCode('invalid-argument'));
    await expect(expand('nonsense', 150 * MIB)).rejects.toEqual(withCode('not-found'));
    await expect(expand(volumeId, 2_000 * 1024 * MIB)).rejects.toEqual(withCode('out-of-range'));
  });
});

describe('failures of the store', () => {
  test('pass through unchanged', async () => {
    const failure = new StoreError('unavailable', 'the store is starting');
    store.before = (call) => {
      if (call === 'createVolume') throw failure;
    };
    await expect(create()).rejects.toBe(failure);
  });
});
