import { beforeEach, describe, expect, test } from '@jest/globals';
import { createController } from '../../src/csi/controller/controller.ts';
import type { ControllerMessages } from '../../src/csi/generated/messages.ts';
import { callDirectly, type Client } from '../support/csi-client.ts';
import { FakeDirectory, FakeStore, fakeId } from '../support/fake-stores.ts';

const MIB = 1 << 20;

let store: FakeStore;
let controller: Client<ControllerMessages>;
let volumeId: string;

beforeEach(async () => {
  store = new FakeStore();
  controller = callDirectly('Controller', createController(new FakeDirectory([store])));
  volumeId = await createVolume('data');
});

async function createVolume(name: string): Promise<string> {
  const capability = { mount: { fsType: 'btrfs' }, accessMode: { mode: 'SINGLE_NODE_WRITER' } } as const;
  const { volume } = await controller.createVolume({
    name,
    volumeCapabilities: [capability],
    capacityRange: { requiredBytes: 300 * MIB },
    parameters: { freeze: 'false' },
  });
  return volume!.volumeId;
}

async function cut(name: string, sourceVolumeId = volumeId, parameters: Record<string, string> = {}) {
  const { snapshot } = await controller.createSnapshot({ name, sourceVolumeId, parameters });
  return snapshot!;
}

const withCode = (code: string) => expect.objectContaining({ code });

describe('CreateSnapshot', () => {
  test('is ready at once, and always tells its size and time', async () => {
    expect(await cut('s')).toMatchObject({
      sizeBytes: String(300 * MIB),
      sourceVolumeId: volumeId,
      readyToUse: true,
      creationTime: { seconds: '1700000000', nanos: 123_000_000 },
    });
  });

  test('remembers what is in it, since its volume may be deleted first', async () => {
    const plain = await cut('plain');
    const frozen = await cut('frozen', volumeId, { freeze: 'auto', 'csi.storage.k8s.io/volumesnapshot/name': 'x' });
    expect(store.snapshots.get(plain.snapshotId)!.attributes).toEqual({ access: 'mount', fileSystem: 'btrfs', freeze: 'false' });
    expect(store.snapshots.get(frozen.snapshotId)!.attributes).toEqual({ access: 'mount', fileSystem: 'btrfs', freeze: 'auto' });
  });

  test('the same again is the same, also when the volume is gone by now', async () => {
    const first = await cut('s');
    expect(await cut('s')).toEqual(first);
    await controller.deleteVolume({ volumeId });
    expect(await cut('s')).toEqual(first);
    await expect(cut('t')).rejects.toEqual(withCode('not-found'));
  });

  test('the same name of another volume is taken', async () => {
    const other = await createVolume('other');
    await cut('s');
    await expect(cut('s', other)).rejects.toEqual(withCode('already-exists'));
  });

  test('refuses', async () => {
    await expect(cut('')).rejects.toThrow('name is missing');
    await expect(cut('s', '')).rejects.toThrow('source_volume_id is missing');
    await expect(cut('s', 'nonsense')).rejects.toEqual(withCode('not-found'));
    await expect(cut('s', volumeId, { placement: 'any' })).rejects.toThrow(/not known/);
    store.full = true;
    await expect(cut('s')).rejects.toEqual(withCode('no-space'));
  });
});

describe('DeleteSnapshot and GetSnapshot', () => {
  test('what is gone is gone', async () => {
    const snapshot = await cut('s');
    const { snapshotId } = snapshot;
    expect((await controller.getSnapshot({ snapshotId })).snapshot).toEqual(snapshot);
    await controller.deleteSnapshot({ snapshotId });
    await controller.deleteSnapshot({ snapshotId });
    await controller.deleteSnapshot({ snapshotId: 'nonsense' });
    await expect(controller.getSnapshot({ snapshotId })).rejects.toEqual(withCode('not-found'));
    await expect(controller.getSnapshot({ snapshotId: 'nonsense' })).rejects.toEqual(withCode('not-found'));
    await expect(controller.getSnapshot({})).rejects.toThrow('snapshot_id is missing');
    await expect(controller.deleteSnapshot({})).rejects.toThrow('snapshot_id is missing');
  });
});

describe('ListSnapshots', () => {
  const list = async (request: object) =>
    (await controller.listSnapshots(request)).entries.map((entry) => entry.snapshot!.snapshotId).toSorted();

  test('by id, by source, by both, and all in pages', async () => {
    const other = await createVolume('other');
    const mine = [(await cut('1')).snapshotId, (await cut('2')).snapshotId].toSorted();
    const theirs = (await cut('3', other)).snapshotId;
    expect(await list({})).toEqual([...mine, theirs].toSorted());
    expect(await list({ sourceVolumeId: volumeId })).toEqual(mine);
    expect(await list({ snapshotId: theirs })).toEqual([theirs]);
    expect(await list({ snapshotId: theirs, sourceVolumeId: volumeId })).toEqual([]);
    const first = await controller.listSnapshots({ maxEntries: 2 });
    expect(first.entries).toHaveLength(2);
    expect(await list({ startingToken: first.nextToken })).toHaveLength(1);
    await expect(list({ startingToken: 'nonsense' })).rejects.toEqual(withCode('busy'));
  });

  test('what matches nothing is an empty list', async () => {
    const unknown = `${fakeId('pool')}.${fakeId('unknown')}`;
    for (const id of ['nonsense', unknown]) {
      expect(await list({ snapshotId: id })).toEqual([]);
      expect(await list({ sourceVolumeId: id })).toEqual([]);
    }
  });
});
