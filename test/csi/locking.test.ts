import { beforeEach, describe, expect, test } from '@jest/globals';
import { createController } from '../../src/csi/controller/controller.ts';
import type { ControllerMessages, NodeMessages } from '../../src/csi/generated/messages.ts';
import { lockedController, lockedNode } from '../../src/csi/locking.ts';
import { BusyLocks } from '../../src/util/busy-locks.ts';
import { createNode } from '../../src/csi/node/node.ts';
import { callDirectly, type Client } from '../support/csi-client.ts';
import { FakeMachine } from '../support/fake-machine.ts';
import { FakeDirectory, FakeStore } from '../support/fake-stores.ts';

const capability = { mount: {}, accessMode: { mode: 'SINGLE_NODE_WRITER' } } as const;
const busy = expect.objectContaining({ code: 'busy' });

let store: FakeStore;
let controller: Client<ControllerMessages>;

beforeEach(() => {
  store = new FakeStore();
  controller = callDirectly('Controller', lockedController(createController(new FakeDirectory([store])), new BusyLocks()));
});

/** Holds every call of this kind until `release`. */
function hold(target: { before: (call: string) => void | Promise<void> }, kind: string): { release: () => void; reached: Promise<void> } {
  let release = (): void => {};
  const released = new Promise<void>((resolve) => (release = resolve));
  let reach = (): void => {};
  const reached = new Promise<void>((resolve) => (reach = resolve));
  target.before = (call) => {
    if (!call.startsWith(kind)) return;
    reach();
    return released;
  };
  return { release, reached };
}

const create = (name: string, more: object = {}) => controller.createVolume({ name, volumeCapabilities: [capability], ...more });

describe('the controller', () => {
  test('a second call on the same name while one runs is refused; others go on; afterwards it works', async () => {
    const { release, reached } = hold(store, 'createVolume');
    const first = create('data');
    await reached;
    await expect(create('data')).rejects.toEqual(busy);
    store.before = () => {};
    await create('other');
    release();
    const { volume } = await first;
    expect((await create('data')).volume).toEqual(volume);
  });

  test('a volume is not deleted or grown while it is copied, but copied as often as wanted', async () => {
    const { volume } = await create('data');
    const { volumeId } = volume!;
    const { release, reached } = hold(store, 'createSnapshot');
    const cut = controller.createSnapshot({ name: 's', sourceVolumeId: volumeId });
    await reached;
    await expect(controller.createSnapshot({ name: 's', sourceVolumeId: volumeId })).rejects.toEqual(busy);
    await expect(controller.deleteVolume({ volumeId })).rejects.toEqual(busy);
    await expect(controller.controllerExpandVolume({ volumeId, capacityRange: { requiredBytes: 1 } })).rejects.toEqual(busy);
    store.before = () => {};
    await create('clone', { volumeContentSource: { volume: { volumeId } } });
    await controller.createSnapshot({ name: 't', sourceVolumeId: volumeId });
    release();
    await cut;
    await controller.deleteVolume({ volumeId });
  });

  test('a failed call leaves no lock behind, nor does one without an id', async () => {
    for (let attempt = 0; attempt < 2; attempt += 1) {
      await expect(create('data', { volumeContentSource: { volume: { volumeId: 'nonsense' } } })).rejects.toEqual(
        expect.objectContaining({ code: 'not-found' }),
      );
    }
    const invalid = await Promise.allSettled([controller.deleteVolume({}), controller.deleteVolume({})]);
    expect(invalid.map((result) => (result.status === 'rejected' ? result.reason.code : 'done'))).toEqual([
      'invalid-argument',
      'invalid-argument',
    ]);
  });
});

describe('the node', () => {
  test('one call at a time on a volume, while its statistics can be asked for', async () => {
    const machine = new FakeMachine(store);
    const node = callDirectly<NodeMessages>(
      'Node',
      lockedNode(
        createNode({ devices: machine.nodeDevices, mounter: machine.mounter, nodeId: 'a', topologyNode: 'a', maximumVolumes: 256 }),
        new BusyLocks(),
      ),
    );
    const { volume } = await store.createVolume({ name: 'data', sizeBytes: 1 << 24, source: null, attributes: {} });
    const stage = () => node.nodeStageVolume({ volumeId: volume.id, stagingTargetPath: '/s', volumeCapability: capability });
    const { release, reached } = hold(machine, 'format');
    const first = stage();
    await reached;
    await expect(stage()).rejects.toEqual(busy);
    await expect(node.nodeUnstageVolume({ volumeId: volume.id, stagingTargetPath: '/s' })).rejects.toEqual(busy);
    await expect(node.nodeGetVolumeStats({ volumeId: volume.id, volumePath: '/s' })).rejects.toEqual(
      expect.objectContaining({ code: 'not-found' }),
    );
    release();
    await first;
    await stage();
  });
});
