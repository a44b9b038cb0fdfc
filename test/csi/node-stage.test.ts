import { beforeEach, describe, expect, test } from '@jest/globals';
import type { NodeMessages, VolumeCapability_AccessMode_Mode } from '../../src/csi/generated/messages.ts';
import { createNode } from '../../src/csi/node/node.ts';
import { fileSystemIdOf } from '../../src/csi/node/stage.ts';
import { StoreError } from '../../src/util/errors.ts';
import { callDirectly, type Client } from '../support/csi-client.ts';
import { FakeMachine } from '../support/fake-machine.ts';
import { FakeStore, fakeId } from '../support/fake-stores.ts';

const MIB = 1 << 20;
const STAGING = '/staging/one';

let store: FakeStore;
let machine: FakeMachine;
let node: Client<NodeMessages>;

beforeEach(() => {
  store = new FakeStore();
  machine = new FakeMachine(store);
  startAnew();
});

/** A new process on the same machine. */
function startAnew(): void {
  node = callDirectly(
    'Node',
    createNode({ devices: machine.nodeDevices, mounter: machine.mounter, nodeId: 'node-a', topologyNode: 'node-a', maximumVolumes: 256 }),
  );
}

const mounted = (fsType = '', mountFlags: readonly string[] = [], mode: VolumeCapability_AccessMode_Mode = 'SINGLE_NODE_WRITER') => ({
  mount: { fsType, mountFlags },
  accessMode: { mode },
});
const block = { block: {}, accessMode: { mode: 'SINGLE_NODE_WRITER' } } as const;

async function volume(attributes: Record<string, string> = { access: 'mount', fileSystem: 'ext4' }, name = 'data'): Promise<string> {
  return (await store.createVolume({ name, sizeBytes: 300 * MIB, source: null, attributes })).volume.id;
}

async function clone(volumeId: string, sizeBytes = 300 * MIB): Promise<string> {
  const { attributes } = await store.getVolume(volumeId);
  return (await store.createVolume({ name: 'clone', sizeBytes, source: { kind: 'volume', id: volumeId }, attributes })).volume.id;
}

const stage = (volumeId: string, volumeCapability: object = mounted(), stagingTargetPath = STAGING) =>
  node.nodeStageVolume({ volumeId, stagingTargetPath, volumeCapability });
const unstage = (volumeId: string, stagingTargetPath = STAGING) => node.nodeUnstageVolume({ volumeId, stagingTargetPath });
const formats = () => machine.calls.filter((call) => call.startsWith('format'));
const withCode = (code: string) => expect.objectContaining({ code });

describe('NodeStageVolume', () => {
  test('formats an empty device and mounts it', async () => {
    const id = await volume({ access: 'mount', fileSystem: 'xfs', mkfsOptions: '-m crc=1' });
    await stage(id, mounted('', ['noatime']));
    expect(formats()).toEqual(['format /dev/loop0 xfs -m crc=1']);
    expect(machine.mounts).toEqual([{ target: STAGING, source: '/dev/loop0', fileSystem: 'xfs', options: ['rw', 'noatime'] }]);
  });

  test('again is nothing new, also for a process that knows nothing of it', async () => {
    const id = await volume();
    await stage(id);
    startAnew();
    await stage(id);
    expect(formats()).toHaveLength(1);
    expect(machine.mounts).toHaveLength(1);
  });

  test.each(['attach', 'probe', 'format', 'mount', 'grow'])('is finished by the next call when the process dies after %s', async (step) => {
    const id = await volume();
    let dead = false;
    machine.after = (call) => {
      if (dead || !call.startsWith(step)) return;
      dead = true;
      // Nothing of the dying process is done any more, not even its clearing up.
      machine.before = () => {
        throw new Error('dead');
      };
      throw new Error('dead');
    };
    await expect(stage(id)).rejects.toThrow('dead');
    machine.before = () => {};
    startAnew();
    await stage(id);
    expect(formats()).toHaveLength(1);
    expect(machine.mounts).toHaveLength(1);
  });

  test('never formats a device that holds anything', async () => {
    const id = await volume();
    machine.contents.set(id, { kind: 'LVM2_member', fileSystemId: '', sizeBytes: MIB });
    await expect(stage(id)).rejects.toThrow(
      `volume ${id} holds LVM2_member, not ext4; it is not formatted anew, which would destroy what is there`,
    );
    await expect(stage(id)).rejects.toEqual(withCode('failed-precondition'));
    expect(formats()).toEqual([]);
    expect(machine.contentOf(id)!.kind).toBe('LVM2_member');
  });

  test('a probe that fails is not taken for an empty device', async () => {
    const id = await volume();
    machine.before = (call) => {
      if (call.startsWith('probe')) throw new StoreError('unavailable', 'cannot read');
    };
    await expect(stage(id)).rejects.toEqual(withCode('unavailable'));
    expect(formats()).toEqual([]);
  });

  test('a final failure leaves nothing attached, or the volume could not be deleted', async () => {
    const id = await volume();
    machine.contents.set(id, { kind: 'swap', fileSystemId: '', sizeBytes: MIB });
    await expect(stage(id)).rejects.toEqual(withCode('failed-precondition'));
    expect(machine.devices.size).toBe(0);
    await store.deleteVolume(id);
  });

  test('nor does one after a call that was cut off, since nobody unstages after it', async () => {
    const id = await volume();
    await machine.nodeDevices.attach(id);
    machine.contents.set(id, { kind: 'swap', fileSystemId: '', sizeBytes: MIB });
    await expect(stage(id)).rejects.toEqual(withCode('failed-precondition'));
    expect(machine.devices.size).toBe(0);
  });

  test('a failure whose device cannot be given back is to be repeated', async () => {
    const id = await volume();
    machine.contents.set(id, { kind: 'swap', fileSystemId: '', sizeBytes: MIB });
    machine.before = (call) => {
      if (call.startsWith('detach')) throw new StoreError('in-use', 'held by mkfs');
    };
    await expect(stage(id)).rejects.toMatchObject({ code: 'unavailable', message: expect.stringContaining('held by mkfs') });
  });

  test('a failure to be repeated leaves the device for the next call', async () => {
    const id = await volume();
    machine.before = (call) => {
      if (call.startsWith('mount')) throw new StoreError('unavailable', 'took too long');
    };
    await expect(stage(id)).rejects.toEqual(withCode('unavailable'));
    expect(machine.devices.size).toBe(1);
  });

  test.each([
    ['another file system', mounted('xfs')],
    ['a block volume', block],
  ])('refuses to stage a mount volume as %s', async (_, capability) => {
    await expect(stage(await volume(), capability)).rejects.toEqual(withCode('failed-precondition'));
    expect(machine.devices.size).toBe(0);
  });

  test('a volume made by hand is what the capability says', async () => {
    await stage(await volume({}), mounted('btrfs'));
    expect(machine.mounts[0]!.fileSystem).toBe('btrfs');
  });

  test('staged already in another way is taken', async () => {
    const id = await volume();
    await stage(id);
    await expect(stage(id, mounted('', ['ro']))).rejects.toEqual(withCode('already-exists'));
    expect(machine.mounts).toHaveLength(1);
  });

  test('a path that something else is mounted at is taken', async () => {
    const other = await volume(undefined, 'other');
    await stage(other);
    const id = await volume();
    await expect(stage(id)).rejects.toEqual(withCode('already-exists'));
    machine.mounts.push({ target: '/staging/memory', source: 'tmpfs', fileSystem: 'tmpfs', options: ['rw'] });
    await expect(stage(id, mounted(), '/staging/memory')).rejects.toEqual(withCode('already-exists'));
    await expect(stage(id, { ...block }, STAGING)).rejects.toEqual(withCode('failed-precondition'));
    expect(machine.mounts).toHaveLength(2);
  });

  test('the mount of a device that died is replaced', async () => {
    const id = await volume();
    await stage(id);
    machine.kill(id);
    startAnew();
    await stage(id);
    expect(machine.mounts).toEqual([expect.objectContaining({ target: STAGING, source: '/dev/loop1' })]);
    expect(formats()).toHaveLength(1);
  });

  test('a mount whose loop device is not set up any more is replaced, a working one of the user is not', async () => {
    const id = await volume();
    machine.mounts.push({ target: STAGING, source: '/dev/loop77', fileSystem: 'ext4', options: ['rw'] });
    await stage(id);
    expect(machine.mounts).toEqual([expect.objectContaining({ source: '/dev/loop0' })]);
    machine.mounts[0] = { target: STAGING, source: '/dev/sda1', fileSystem: 'ext4', options: ['rw'] };
    await expect(stage(id)).rejects.toEqual(withCode('already-exists'));
  });

  test('a larger restore grows its file system', async () => {
    const id = await volume();
    await stage(id);
    const larger = await clone(id, 500 * MIB);
    await stage(larger, mounted(), '/staging/two');
    expect(formats()).toHaveLength(1);
    expect(machine.contentOf(larger)!.sizeBytes).toBe(500 * MIB);
    expect(machine.contentOf(id)!.sizeBytes).toBe(300 * MIB);
  });

  test('one that is staged and cannot grow while it is mounted stays staged', async () => {
    const id = await volume();
    await stage(id);
    await store.resizeVolume(id, 500 * MIB);
    machine.before = (call) => {
      if (call.startsWith('grow ext4')) throw new StoreError('failed-precondition', 'cannot grow while it is mounted');
    };
    await stage(id);
    expect(machine.mounts).toHaveLength(1);
  });

  test('a mounted file system is not checked', async () => {
    const id = await volume();
    await stage(id);
    machine.mounts.push({ ...machine.mounts[0]!, target: '/pods/one' });
    machine.mounts.shift();
    await stage(id);
    expect(machine.calls.filter((call) => call.startsWith('prepare'))).toEqual([]);
  });

  test.each([
    ['volume_id is missing', { volumeId: '' }],
    ['staging_target_path is missing', { stagingTargetPath: '' }],
    ['staging_target_path is not an absolute path: "a/b"', { stagingTargetPath: 'a/b' }],
    ['volume_capability is missing', { volumeCapability: null }],
    ['volume_capability.access_mode is MULTI_NODE_MULTI_WRITER', { volumeCapability: mounted('', [], 'MULTI_NODE_MULTI_WRITER') }],
  ])('refuses: %s', async (message, more) => {
    const request = { volumeId: await volume(), stagingTargetPath: STAGING, volumeCapability: mounted(), ...more };
    await expect(node.nodeStageVolume(request)).rejects.toThrow(message);
    expect(machine.calls).toEqual([]);
  });

  test('a volume that is not there is not found', async () => {
    await expect(stage('nonsense')).rejects.toEqual(withCode('not-found'));
    await expect(stage(`${store.poolId}.${fakeId('unknown')}`)).rejects.toEqual(withCode('not-found'));
  });
});

describe('clones of btrfs', () => {
  const attributes = { access: 'mount', fileSystem: 'btrfs' };
  const retagged = () => machine.calls.filter((call) => call.startsWith('new file system id'));

  test('get an id of their own before the first mount, once', async () => {
    const id = await volume(attributes);
    await stage(id);
    const copy = await clone(id);
    await stage(copy, mounted(), '/staging/two');
    expect(machine.contentOf(id)!.fileSystemId).toBe(fileSystemIdOf(id));
    expect(machine.contentOf(copy)!.fileSystemId).toBe(fileSystemIdOf(copy));
    await unstage(copy, '/staging/two');
    await stage(copy, mounted(), '/staging/two');
    expect(retagged()).toHaveLength(1);
  });

  test('also when the process dies right after that', async () => {
    const id = await volume(attributes);
    await stage(id);
    const copy = await clone(id);
    machine.after = (call) => {
      if (call.startsWith('prepare')) throw new StoreError('unavailable', 'dead');
    };
    await expect(stage(copy, mounted(), '/staging/two')).rejects.toThrow('dead');
    machine.after = () => {};
    startAnew();
    await stage(copy, mounted(), '/staging/two');
    expect(retagged()).toHaveLength(1);
  });

  test('ids are UUIDs of version 8 and differ', () => {
    expect(fileSystemIdOf('a')).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
    expect(fileSystemIdOf('a')).not.toBe(fileSystemIdOf('b'));
  });
});

describe('block volumes', () => {
  test('are staged by their device alone', async () => {
    const id = await volume({ access: 'block' });
    await stage(id, block);
    await stage(id, block);
    expect(machine.mounts).toEqual([]);
    expect(machine.devices.size).toBe(1);
    expect(formats()).toEqual([]);
    await unstage(id);
    expect(machine.devices.size).toBe(0);
  });

  test('are not staged as mount volumes, nor taken down by the attempt', async () => {
    const id = await volume({ access: 'block' });
    await stage(id, block);
    await expect(stage(id)).rejects.toEqual(withCode('failed-precondition'));
    expect(machine.devices.size).toBe(1);
  });
});

describe('NodeUnstageVolume', () => {
  test('unmounts and detaches, and succeeds when there is nothing', async () => {
    const id = await volume();
    await stage(id);
    await unstage(id);
    await unstage(id);
    await unstage('nonsense');
    expect(machine.mounts).toEqual([]);
    expect(machine.devices.size).toBe(0);
    await expect(unstage('')).rejects.toThrow('volume_id is missing');
    await expect(unstage(id, '')).rejects.toThrow('staging_target_path is missing');
  });

  test('detaches what a dead process left attached without a mount', async () => {
    const id = await volume();
    await machine.nodeDevices.attach(id);
    await unstage(id);
    expect(machine.devices.size).toBe(0);
  });

  test('refuses while the volume is published, naming where', async () => {
    const id = await volume();
    await stage(id);
    machine.mounts.push({ ...machine.mounts[0]!, target: '/pods/one' });
    await expect(unstage(id)).rejects.toThrow('still mounted at /pods/one');
    await expect(unstage(id)).rejects.toEqual(withCode('in-use'));
    expect(machine.mounts).toHaveLength(2);
  });

  test("leaves another volume's mount alone", async () => {
    const other = await volume(undefined, 'other');
    await stage(other);
    const id = await volume();
    await unstage(id);
    expect(machine.mounts).toHaveLength(1);
  });
});
