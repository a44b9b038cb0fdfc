import { beforeEach, describe, expect, test } from '@jest/globals';
import type { NodeMessages, NodePublishVolumeRequest, VolumeCapability_AccessMode_Mode } from '../../src/csi/generated/messages.ts';
import { createNode } from '../../src/csi/node/node.ts';
import type { Sendable } from '../../src/csi/proto.ts';
import { callDirectly, type Client } from '../support/csi-client.ts';
import { FakeMachine } from '../support/fake-machine.ts';
import { FakeStore, fakeId } from '../support/fake-stores.ts';

const MIB = 1 << 20;
const STAGING = '/staging/one';
const TARGET = '/pods/one';

let store: FakeStore;
let machine: FakeMachine;
let node: Client<NodeMessages>;
let id: string;
let blockId: string;

const mounted = (mode: VolumeCapability_AccessMode_Mode = 'SINGLE_NODE_WRITER', fsType = '', mountFlags: readonly string[] = []) => ({
  mount: { fsType, mountFlags },
  accessMode: { mode },
});
const block = { block: {}, accessMode: { mode: 'SINGLE_NODE_WRITER' } } as const;

beforeEach(async () => {
  store = new FakeStore();
  machine = new FakeMachine(store);
  startAnew();
  const create = async (name: string, attributes: Record<string, string>) =>
    (await store.createVolume({ name, sizeBytes: 100 * MIB, source: null, attributes })).volume.id;
  id = await create('data', { access: 'mount', fileSystem: 'ext4' });
  blockId = await create('raw', { access: 'block' });
  await node.nodeStageVolume({ volumeId: id, stagingTargetPath: STAGING, volumeCapability: mounted() });
  await node.nodeStageVolume({ volumeId: blockId, stagingTargetPath: '/staging/raw', volumeCapability: block });
});

function startAnew(): void {
  node = callDirectly(
    'Node',
    createNode({ devices: machine.nodeDevices, mounter: machine.mounter, nodeId: 'node-a', topologyNode: 'zone-a', maximumVolumes: 256 }),
  );
}

const publish = (more: Sendable<NodePublishVolumeRequest> = {}) =>
  node.nodePublishVolume({ volumeId: id, stagingTargetPath: STAGING, targetPath: TARGET, volumeCapability: mounted(), ...more });
const publishRaw = (more: Sendable<NodePublishVolumeRequest> = {}) =>
  publish({ volumeId: blockId, stagingTargetPath: '/staging/raw', volumeCapability: block, ...more });
const at = (target: string) => machine.mounts.filter((mount) => mount.target === target);
const withCode = (code: string) => expect.objectContaining({ code });

describe('NodePublishVolume', () => {
  test('binds the staged folder, once', async () => {
    await publish();
    startAnew();
    await publish();
    expect(at(TARGET)).toEqual([{ target: TARGET, source: '/dev/loop0', fileSystem: 'ext4', options: ['rw'] }]);
  });

  test('binds the device of a block volume, once', async () => {
    await publishRaw();
    await publishRaw();
    expect(at(TARGET)).toEqual([{ target: TARGET, source: '/dev/loop1', fileSystem: 'devtmpfs', options: ['rw'] }]);
  });

  test.each([
    ['the request', { readonly: true }],
    ['the access mode', { volumeCapability: mounted('SINGLE_NODE_READER_ONLY') }],
    ['a mount flag', { volumeCapability: mounted('SINGLE_NODE_WRITER', '', ['ro']) }],
  ])('is read-only if %s says so', async (_, more) => {
    await publish(more);
    expect(at(TARGET)[0]!.options).toContain('ro');
    await publish(more);
    await expect(publish()).rejects.toEqual(withCode('already-exists'));
  });

  test('a target that something else is mounted at is taken', async () => {
    await publishRaw();
    await expect(publish()).rejects.toEqual(withCode('already-exists'));
  });

  test('a target of a device that died is replaced', async () => {
    machine.mounts.push({ target: TARGET, source: '/dev/loop77', fileSystem: 'ext4', options: ['rw'] });
    await publish();
    expect(at(TARGET)).toEqual([expect.objectContaining({ source: '/dev/loop0' })]);
  });

  test('several workloads on one node, unless the mode is for one', async () => {
    await publish({ volumeCapability: mounted('SINGLE_NODE_MULTI_WRITER') });
    await publish({ targetPath: '/pods/two', volumeCapability: mounted('SINGLE_NODE_MULTI_WRITER') });
    await publish({ targetPath: '/pods/three' });
    await expect(publish({ targetPath: '/pods/four', volumeCapability: mounted('SINGLE_NODE_SINGLE_WRITER') })).rejects.toEqual(
      withCode('failed-precondition'),
    );
  });

  test('a single writer may publish again at its own path, also in a new process', async () => {
    const single = { volumeCapability: mounted('SINGLE_NODE_SINGLE_WRITER') };
    await publish(single);
    startAnew();
    await publish(single);
    await expect(publish({ ...single, targetPath: '/pods/two' })).rejects.toThrow(
      `volume ${id} is for a single workload and is published at ${TARGET} already`,
    );
    const raw = { volumeCapability: { block: {}, accessMode: { mode: 'SINGLE_NODE_SINGLE_WRITER' } } } as const;
    await publishRaw({ ...raw, targetPath: '/pods/raw' });
    await expect(publishRaw({ ...raw, targetPath: '/pods/other' })).rejects.toEqual(withCode('failed-precondition'));
  });

  test.each([
    ['invalid-argument', 'volume_id is missing', { volumeId: '' }],
    ['invalid-argument', 'target_path is missing', { targetPath: '' }],
    ['invalid-argument', 'volume_capability is missing', { volumeCapability: null }],
    ['failed-precondition', 'staging_target_path is missing', { stagingTargetPath: '' }],
    ['failed-precondition', 'is not staged at /staging/other', { stagingTargetPath: '/staging/other' }],
    ['failed-precondition', 'is staged with ext4, not xfs', { volumeCapability: mounted('SINGLE_NODE_WRITER', 'xfs') }],
    ['failed-precondition', 'is staged as a mount volume', { volumeCapability: block }],
    ['not-found', 'there is no volume "nonsense"', { volumeId: 'nonsense' }],
  ])('refuses with %s: %s', async (code, message, more) => {
    await expect(publish(more)).rejects.toThrow(message);
    await expect(publish(more)).rejects.toEqual(withCode(code));
    expect(at(TARGET)).toEqual([]);
  });

  test('refuses a mount of what is staged as a block volume', async () => {
    await expect(publishRaw({ volumeCapability: mounted() })).rejects.toEqual(withCode('failed-precondition'));
  });

  test('refuses a writable target over a read-only stage', async () => {
    await node.nodeUnstageVolume({ volumeId: id, stagingTargetPath: STAGING });
    await node.nodeStageVolume({ volumeId: id, stagingTargetPath: STAGING, volumeCapability: mounted('SINGLE_NODE_WRITER', '', ['ro']) });
    await expect(publish()).rejects.toThrow(/staged read-only/);
    await publish({ readonly: true });
  });
});

describe('NodeUnpublishVolume', () => {
  test('removes the target, also what an attempt left without a mount, and succeeds when there is nothing', async () => {
    await publish();
    for (const volumeId of [id, id, 'nonsense']) await node.nodeUnpublishVolume({ volumeId, targetPath: TARGET });
    expect(at(TARGET)).toEqual([]);
    expect(at(STAGING)).toHaveLength(1);
    await expect(node.nodeUnpublishVolume({ volumeId: id })).rejects.toThrow('target_path is missing');
    await expect(node.nodeUnpublishVolume({ targetPath: TARGET })).rejects.toThrow('volume_id is missing');
  });

  test("leaves another volume's mount alone", async () => {
    await publishRaw();
    await node.nodeUnpublishVolume({ volumeId: id, targetPath: TARGET });
    expect(at(TARGET)).toHaveLength(1);
  });

  test('removes a target of a device that died', async () => {
    await publish();
    machine.kill(id);
    await node.nodeUnpublishVolume({ volumeId: id, targetPath: TARGET });
    expect(at(TARGET)).toEqual([]);
  });
});

describe('NodeGetVolumeStats', () => {
  const stats = (volumeId: string, volumePath: string) => node.nodeGetVolumeStats({ volumeId, volumePath });

  test('counts bytes and inodes of a file system, the size of a device', async () => {
    await publish();
    await publishRaw({ targetPath: '/pods/raw' });
    const { usage } = await stats(id, TARGET);
    expect(usage).toEqual([
      { unit: 'BYTES', total: String(100 * MIB), available: String(100 * MIB - 4_096), used: '4096' },
      { unit: 'INODES', total: '100', available: '89', used: '11' },
    ]);
    expect((await stats(id, STAGING)).usage).toEqual(usage);
    expect((await stats(blockId, '/pods/raw')).usage).toEqual([{ unit: 'BYTES', total: String(100 * MIB), available: '0', used: '0' }]);
  });

  test('what is not there is not found', async () => {
    await publish();
    for (const [volumeId, path] of [
      ['nonsense', TARGET],
      [`${store.poolId}.${fakeId('unknown')}`, TARGET],
      [id, '/elsewhere'],
      [id, 'some/path'],
      [blockId, TARGET],
    ] as const) {
      await expect(stats(volumeId, path)).rejects.toEqual(withCode('not-found'));
    }
    await expect(stats('', TARGET)).rejects.toThrow('volume_id is missing');
    await expect(stats(id, '')).rejects.toThrow('volume_path is missing');
  });
});

describe('NodeExpandVolume', () => {
  test('grows the device, then its file system', async () => {
    await publish();
    await store.resizeVolume(id, 200 * MIB);
    expect(await node.nodeExpandVolume({ volumeId: id, volumePath: TARGET, capacityRange: { requiredBytes: 200 * MIB } })).toEqual({
      capacityBytes: String(200 * MIB),
    });
    expect(machine.contentOf(id)!.sizeBytes).toBe(200 * MIB);
  });

  test('through a writable mount, where the path is a read-only one', async () => {
    await publish({ readonly: true });
    await store.resizeVolume(id, 200 * MIB);
    await node.nodeExpandVolume({ volumeId: id, volumePath: TARGET });
    expect(machine.calls.at(-1)).toBe(`grow ext4 ${STAGING}`);
  });

  test('by the staging path, where the volume path is something else', async () => {
    await node.nodeExpandVolume({ volumeId: id, volumePath: '/elsewhere', stagingTargetPath: STAGING });
    expect(machine.calls.at(-1)).toBe(`grow ext4 ${STAGING}`);
  });

  test('a block volume grows wherever it is shown', async () => {
    await store.resizeVolume(blockId, 200 * MIB);
    expect(await node.nodeExpandVolume({ volumeId: blockId, volumePath: '/map/raw', volumeCapability: block })).toEqual({
      capacityBytes: String(200 * MIB),
    });
    await publishRaw();
    expect(await node.nodeExpandVolume({ volumeId: blockId, volumePath: TARGET })).toEqual({ capacityBytes: String(200 * MIB) });
    expect(machine.devices.get('/dev/loop1')!.sizeBytes).toBe(200 * MIB);
  });

  test('refuses', async () => {
    const expand = (request: object) => node.nodeExpandVolume({ volumeId: id, volumePath: STAGING, ...request });
    await expect(expand({ volumeId: '' })).rejects.toThrow('volume_id is missing');
    await expect(expand({ volumePath: '' })).rejects.toThrow('volume_path is missing');
    await expect(expand({ volumePath: 'some/path' })).rejects.toEqual(withCode('not-found'));
    await expect(expand({ volumeId: 'nonsense' })).rejects.toEqual(withCode('not-found'));
    await expect(expand({ capacityRange: { requiredBytes: 500 * MIB } })).rejects.toEqual(withCode('out-of-range'));
  });
});

describe('NodeGetInfo', () => {
  test('names the node, its topology, and how many volumes it can have', async () => {
    expect(await node.nodeGetInfo({})).toEqual({
      nodeId: 'node-a',
      maxVolumesPerNode: '256',
      accessibleTopology: { segments: { 'csi.chunkstore.dev/node': 'zone-a' } },
    });
  });
});
