import fs from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import type { Server } from '@grpc/grpc-js';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { listenOnSocket } from '../../src/roles/process/listen.ts';
import { NEVER_DEFRAGMENTED } from '../../src/engine/control.ts';
import { Attachments } from '../../src/store/attachments.ts';
import { StoreClient } from '../../src/store/wire/client.ts';
import { StaticStoreDirectory } from '../../src/store/wire/directory.ts';
import type { NodeAction } from '../../src/store/wire/messages.ts';
import { PoolFence } from '../../src/store/pool/fence.ts';
import { NodeSessionClient } from '../../src/store/wire/node-session-client.ts';
import { NodeSessions } from '../../src/store/wire/node-sessions.ts';
import { createStoreServer } from '../../src/store/wire/server.ts';
import { Scrubber } from '../../src/store/scrub/scrubber.ts';
import { StoreService } from '../../src/store/service.ts';
import { StoreError } from '../../src/util/errors.ts';
import { silentLogger } from '../../src/util/log.ts';
import { eventually } from '../support/eventually.ts';
import { FakeDataDevices, FakeKeeper, FakeMounts } from '../support/fake-data-devices.ts';
import { FakeEngine, NEVER_SCRUBBED } from '../support/fake-engine.ts';

const MIB = 1 << 20;
const log = silentLogger();
const ROOM = { usedBytes: MIB, reservedBytes: 16 * MIB, hostFreeBytes: 1 << 30, mapBytes: 2 ** 38 };

class Store {
  readonly engine: FakeEngine;
  readonly devices = new FakeDataDevices();
  readonly keeper = new FakeKeeper();
  readonly mounts = new FakeMounts();
  readonly nodes = new NodeSessions({ log, limitMs: 300 });
  readonly attachments = new Attachments({ devices: this.devices, keeper: this.keeper, mounts: this.mounts, log });
  readonly fence: PoolFence;
  readonly scrubber: Scrubber;
  versionRaised: () => void = () => {};
  metadataProblem: string | null = null;
  readonly target: string;
  readonly client: StoreClient;
  readonly server: Server;

  constructor(folder: string, options: { node?: string; poolId?: string; sizeBytes?: number } = {}) {
    const { node = 'node-a', poolId = 'p'.repeat(26), sizeBytes = 100 * MIB } = options;
    this.engine = new FakeEngine({ poolId, sizeBytes });
    this.fence = new PoolFence({ folder, id: poolId });
    this.scrubber = new Scrubber({ engine: this.engine, raiseVersion: () => this.versionRaised(), bytesPerSecond: 32 * MIB });
    const service = new StoreService({
      fence: this.fence,
      scrubber: this.scrubber,
      raiseVersion: () => this.versionRaised(),
      engine: this.engine,
      metadata: { metadataSpace: () => Promise.resolve({ ...ROOM, problem: this.metadataProblem }) },
      attachments: this.attachments,
      nodes: this.nodes,
      poolId,
      node,
      overprovisioningRatio: 10,
      freezes: (_, attributes) => attributes['freeze'] === 'true',
      log,
    });
    this.server = createStoreServer({ service, nodes: this.nodes, log });
    this.target = `unix://${path.join(folder, `${node}.sock`)}`;
    this.client = new StoreClient({ target: this.target, timeoutMs: 2000 });
  }

  async start(): Promise<this> {
    await listenOnSocket(this.server, this.target.slice('unix://'.length));
    return this;
  }

  stop(): void {
    this.client.close();
    this.server.forceShutdown();
  }
}

let folder: string;
let store: Store;
beforeEach(async () => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), 'chunkstore-service-'));
  store = await new Store(folder).start();
});
afterEach(() => {
  store.stop();
  fs.rmSync(folder, { recursive: true, force: true });
});

const volume = (name: string, sizeBytes = MIB) => ({ name, sizeBytes, source: null, attributes: { fileSystem: 'ext4' } });

async function created(name: string, sizeBytes = MIB) {
  return (await store.client.createVolume(volume(name, sizeBytes))).volume;
}

describe('volumes and snapshots over the wire', () => {
  test('a volume keeps what it was created with, and a second create of its name says so', async () => {
    const first = await store.client.createVolume(volume('data'));
    expect(first.existed).toBe(false);
    expect(first.volume).toMatchObject({ name: 'data', sizeBytes: MIB, source: null, attributes: { fileSystem: 'ext4' }, attached: false });
    expect(first.volume.id).toMatch(/^p{26}\.[a-z2-7]{26}$/);

    const second = await store.client.createVolume(volume('data', 2 * MIB));
    expect(second).toEqual({ existed: true, volume: first.volume });
    expect(await store.client.getVolume(first.volume.id)).toEqual(first.volume);
    expect(await store.client.listVolumes()).toEqual([first.volume]);
  });

  test('a snapshot, a clone of it and a clone of the live volume name their sources', async () => {
    const source = await created('data');
    const { snapshot } = await store.client.createSnapshot({ name: 's', sourceVolumeId: source.id, attributes: {} });
    expect(snapshot).toMatchObject({ name: 's', sourceVolumeId: source.id, sizeBytes: MIB });
    const restored = await store.client.createVolume({ ...volume('r', 0), source: { kind: 'snapshot', id: snapshot.id } });
    const cloned = await store.client.createVolume({ ...volume('c', 2 * MIB), source: { kind: 'volume', id: source.id } });
    expect(restored.volume).toMatchObject({ source: { kind: 'snapshot', id: snapshot.id }, sizeBytes: MIB });
    expect(cloned.volume).toMatchObject({ source: { kind: 'volume', id: source.id }, sizeBytes: 2 * MIB, lineage: source.lineage });
    expect(await store.client.listSnapshots()).toEqual([snapshot]);

    await store.client.deleteVolume(source.id);
    expect(await store.client.getSnapshot(snapshot.id)).toEqual(snapshot);
  });

  test('nothing that erases is made before an older program would refuse the pool', async () => {
    const steps: string[] = [];
    store.engine.before = async ({ kind }) => void (['create', 'snapshot', 'clone'].includes(kind) && steps.push(kind));
    let failure: Error | null = new StoreError('no-space', 'the disk is full');
    store.versionRaised = () => {
      if (failure !== null) throw failure;
      steps.push('version');
    };
    const wish = { ...volume('secret'), attributes: { erase: 'true' } };
    await expect(store.client.createVolume(wish)).rejects.toThrow('the disk is full');
    await created('open');
    failure = null;
    const secret = (await store.client.createVolume(wish)).volume;
    await store.client.createSnapshot({ name: 's', sourceVolumeId: secret.id, attributes: { erase: 'true' } });
    expect(steps).toEqual(['create', 'version', 'create', 'version', 'snapshot']);
  });

  test('a restore smaller than its source is out-of-range', async () => {
    const source = await created('data', 2 * MIB);
    const clone = store.client.createVolume({ ...volume('c', MIB), source: { kind: 'volume', id: source.id } });
    await expect(clone).rejects.toMatchObject({ name: 'StoreError', code: 'out-of-range' });
  });

  test('what is unknown is not found, but deleting it succeeds', async () => {
    const gone = `${'p'.repeat(26)}.${'a'.repeat(26)}`;
    await expect(store.client.getVolume(gone)).rejects.toMatchObject({ code: 'not-found' });
    await expect(store.client.getSnapshot('nonsense')).rejects.toMatchObject({ code: 'not-found' });
    await expect(store.client.createSnapshot({ name: 's', sourceVolumeId: gone, attributes: {} })).rejects.toMatchObject({
      code: 'not-found',
    });
    await store.client.deleteVolume(gone);
    await store.client.deleteSnapshot('nonsense');
  });

  test('a volume is found by its name, and a name that is free is no error', async () => {
    const data = await created('data');
    expect(await store.client.findVolume('data')).toEqual(data);
    expect(await store.client.findVolume('other')).toBeNull();
    await store.client.createSnapshot({ name: 'snap', sourceVolumeId: data.id, attributes: {} });
    expect(await store.client.findVolume('snap')).toBeNull();
  });

  test('deleting a volume by the call for snapshots leaves it alone', async () => {
    const { id } = await created('data');
    await store.client.deleteSnapshot(id);
    expect(await store.client.getVolume(id)).toMatchObject({ name: 'data' });
  });

  test('names and sizes are checked', async () => {
    await expect(store.client.createVolume(volume(''))).rejects.toMatchObject({ code: 'invalid-argument' });
    await expect(store.client.createVolume(volume('x', 0))).rejects.toMatchObject({ code: 'invalid-argument' });
    await expect(store.client.createVolume(volume('x', 4097))).rejects.toMatchObject({ code: 'invalid-argument' });
  });

  test('one volume beyond the overprovisioning limit is out-of-range, the sum is no-space', async () => {
    await expect(store.client.createVolume(volume('huge', 1001 * MIB))).rejects.toMatchObject({ code: 'out-of-range' });
    const half = await created('half', 500 * MIB);
    await expect(store.client.createVolume(volume('more', 501 * MIB))).rejects.toMatchObject({ code: 'no-space' });
    await expect(store.client.resizeVolume(half.id, 1001 * MIB)).rejects.toMatchObject({ code: 'out-of-range' });
    expect(await store.client.resizeVolume(half.id, 1000 * MIB)).toMatchObject({ sizeBytes: 1000 * MIB });
    expect((await store.client.createVolume(volume('half', 500 * MIB))).existed).toBe(true);
  });

  test('nothing new is made when the metadata cannot grow, and everything else works', async () => {
    const { id } = await created('data');
    store.metadataProblem = 'no more than 16 bytes can be reserved for data.mdb';
    const words = /the metadata of the pool have no room to grow: .* data\.mdb\. Make room/;
    await expect(store.client.createVolume(volume('more'))).rejects.toMatchObject({
      code: 'no-space',
      message: expect.stringMatching(words),
    });
    await expect(store.client.createSnapshot({ name: 'cut', sourceVolumeId: id, attributes: {} })).rejects.toMatchObject({
      code: 'no-space',
    });
    expect((await store.client.createVolume(volume('data'))).existed).toBe(true);
    await store.client.deleteVolume(id);
    store.metadataProblem = null;
    await created('more');
  });

  test('nothing new is made from the last of a full pool, but what is there is still answered', async () => {
    const old = await created('old');
    const cut = { name: 's', sourceVolumeId: old.id, attributes: {} };
    await store.client.createSnapshot(cut);
    store.engine.freeBytes = MIB;
    await expect(store.client.createSnapshot({ ...cut, name: 't' })).rejects.toMatchObject({ code: 'no-space' });
    await expect(store.client.createVolume(volume('new'))).rejects.toMatchObject({ code: 'no-space' });
    expect((await store.client.createSnapshot(cut)).existed).toBe(true);
    expect((await store.client.createVolume(volume('old'))).existed).toBe(true);
    await store.client.deleteVolume(old.id);
  });

  test('creates at the same time do not overrun the limit together', async () => {
    const results = await Promise.allSettled(['a', 'b', 'c'].map((name) => created(name, 400 * MIB)));
    expect(results.filter((result) => result.status === 'fulfilled')).toHaveLength(2);
    expect((await store.client.getPool()).provisionedBytes).toBe(800 * MIB);
  });

  test('the same name while a create runs is busy', async () => {
    let release = (): void => {};
    const held = new Promise<void>((resolve) => (release = resolve));
    store.engine.before = (request) => (request.kind === 'create' ? held : Promise.resolve());
    const first = created('data');
    await eventually('the create runs', () => store.engine.calls.some((call) => call.kind === 'create'));
    await expect(created('data')).rejects.toMatchObject({ code: 'busy' });
    release();
    await first;
  });

  test('a bug in the store reaches the caller without its words', async () => {
    store.engine.before = () => Promise.reject(new TypeError('secret at /somewhere.ts:1'));
    const error = await store.client.getPool().then(
      () => null,
      (reason: Error) => reason,
    );
    expect(error?.name).toBe('Error');
    expect(error?.message).not.toContain('secret');
  });

  test('a client that is closed ends the calls under way in peace, and refuses others', async () => {
    let release = (): void => {};
    const held = new Promise<void>((resolve) => (release = resolve));
    store.engine.before = () => held;
    const client = new StoreClient({ target: store.target, timeoutMs: 2000 });
    const call = client.findVolume('data');
    await eventually('the call runs', () => store.engine.calls.length > 0);
    client.close();
    await expect(client.findVolume('data')).rejects.toMatchObject({ code: 'unavailable' });
    release();
    expect(await call).toBeNull();
  });

  test('a store that is away is unavailable', async () => {
    const away = new StoreClient({ target: `unix://${folder}/nobody.sock`, timeoutMs: 500 });
    await expect(away.getPool()).rejects.toMatchObject({ code: 'unavailable' });
    away.close();
  });
});

describe('a lost pool', () => {
  test('makes and attaches nothing, with the cause and the remedy, while reading, detaching and deleting go on', async () => {
    const { id } = await created('data');
    const { snapshot } = await store.client.createSnapshot({ name: 's', sourceVolumeId: id, attributes: {} });
    await store.client.attach(id);
    await store.fence.setLost(true);
    const { client } = store;
    const refused = expect.objectContaining({ code: 'failed-precondition', message: expect.stringMatching(/declared lost.*spec\.lost/) });
    for (const call of [
      () => client.createVolume(volume('new')),
      () => client.createVolume(volume('data')),
      () => client.createVolume({ ...volume('clone'), source: { kind: 'snapshot', id: snapshot.id } }),
      () => client.createSnapshot({ name: 't', sourceVolumeId: id, attributes: {} }),
      () => client.revertVolume({ id, snapshotId: snapshot.id, safety: null }),
      () => client.resizeVolume(id, 2 * MIB),
      () => client.attach(id),
    ]) {
      await expect(call()).rejects.toEqual(refused);
    }
    expect(await client.getPool()).toMatchObject({ lost: true, volumes: 1, snapshots: 1 });
    expect(await client.getVolume(id)).toMatchObject({ name: 'data' });
    expect(await client.findVolume('data')).toMatchObject({ id });
    expect(await client.listSnapshots()).toEqual([snapshot]);
    await client.detach(id);
    await client.deleteSnapshot(snapshot.id);
    await store.fence.setLost(false);
    expect(await client.getPool()).toMatchObject({ lost: false, volumes: 1, snapshots: 0 });
    await client.attach(id);
  });
});

describe('revert', () => {
  test('keeps the present state as a listed snapshot unless told otherwise', async () => {
    const { id } = await created('data');
    const { snapshot } = await store.client.createSnapshot({ name: 's', sourceVolumeId: id, attributes: {} });
    const answer = await store.client.revertVolume({ id, snapshotId: snapshot.id, safety: { name: '', attributes: { why: 'test' } } });
    expect(answer.safety).toMatchObject({
      sourceVolumeId: id,
      attributes: { why: 'test' },
      name: expect.stringContaining('before-revert-'),
    });
    expect(await store.client.listSnapshots()).toHaveLength(2);

    expect((await store.client.revertVolume({ id, snapshotId: snapshot.id, safety: null })).safety).toBeNull();
    expect(await store.client.listSnapshots()).toHaveLength(2);
  });

  test('of an attached volume is refused', async () => {
    const { id } = await created('data');
    const { snapshot } = await store.client.createSnapshot({ name: 's', sourceVolumeId: id, attributes: {} });
    await store.client.attach(id);
    store.devices.openObject(id.split('.')[1]!);
    await expect(store.client.revertVolume({ id, snapshotId: snapshot.id, safety: null })).rejects.toMatchObject({
      code: 'failed-precondition',
    });
    store.devices.closeAll();
    await store.client.revertVolume({ id, snapshotId: snapshot.id, safety: null });
    expect(store.keeper.entries.size).toBe(0);
  });

  test('that was done is only answered again, also when the snapshot is gone and the volume attached', async () => {
    const { id } = await created('data');
    const { snapshot } = await store.client.createSnapshot({ name: 's', sourceVolumeId: id, attributes: {} });
    const objectId = 'r'.repeat(25) + 'a';
    const request = { id, snapshotId: snapshot.id, safety: { name: 'revert-1', objectId, attributes: {} } };
    const first = await store.client.revertVolume(request);
    expect(first).toMatchObject({ existed: false, safety: { name: 'revert-1', id: `${id.split('.')[0]}.${objectId}` } });
    await store.client.deleteSnapshot(snapshot.id);
    await store.client.attach(id);
    store.devices.openObject(id.split('.')[1]!);

    const again = await store.client.revertVolume(request);
    expect(again).toMatchObject({ existed: true, safety: { id: first.safety!.id } });
    expect(again.volume.incarnation).toBe(first.volume.incarnation);
    expect(store.engine.calls.filter(({ kind }) => kind === 'revert')).toHaveLength(1);
  });

  test('that comes again after its safety snapshot is gone is refused by the incarnation', async () => {
    const volume = await created('data');
    const { snapshot } = await store.client.createSnapshot({ name: 's', sourceVolumeId: volume.id, attributes: {} });
    const request = {
      id: volume.id,
      snapshotId: snapshot.id,
      safety: { name: 'revert-1', attributes: {} },
      expectedIncarnation: volume.incarnation,
    };
    const { safety } = await store.client.revertVolume(request);
    await store.client.deleteSnapshot(safety!.id);
    await expect(store.client.revertVolume(request)).rejects.toMatchObject({ code: 'failed-precondition' });
    expect(store.engine.calls.filter(({ kind }) => kind === 'revert')).toHaveLength(1);
  });

  test('keeps devices away while it runs: an attachment is busy', async () => {
    const { id } = await created('data');
    const { snapshot } = await store.client.createSnapshot({ name: 's', sourceVolumeId: id, attributes: {} });
    const reached = Promise.withResolvers<void>();
    const gate = Promise.withResolvers<void>();
    store.engine.before = async ({ kind }) => {
      if (kind !== 'revert') return;
      reached.resolve();
      await gate.promise;
    };
    const running = store.client.revertVolume({ id, snapshotId: snapshot.id, safety: null });
    await reached.promise;
    await expect(store.client.attach(id)).rejects.toMatchObject({ code: 'busy' });
    gate.resolve();
    await running;
    await store.client.attach(id);
  });

  test('wants a well-formed id for the safety snapshot', async () => {
    const { id } = await created('data');
    const { snapshot } = await store.client.createSnapshot({ name: 's', sourceVolumeId: id, attributes: {} });
    const safety = { name: 'revert-1', objectId: '../etc', attributes: {} };
    await expect(store.client.revertVolume({ id, snapshotId: snapshot.id, safety })).rejects.toMatchObject({ code: 'invalid-argument' });
  });
});

describe('attachments', () => {
  test('attach is idempotent, keeps the descriptors with the keeper, and detach gives everything back', async () => {
    const { id } = await created('data');
    const answer = await store.client.attach(id);
    expect(answer).toMatchObject({
      keeperKey: `device/${id.split('.')[1]}`,
      sizeBytes: MIB,
      readOnly: false,
      attributes: { fileSystem: 'ext4' },
    });
    expect(await store.client.attach(id)).toEqual(answer);
    expect(store.devices.served.size).toBe(1);
    expect(store.keeper.entries.size).toBe(1);
    expect((await store.client.getVolume(id)).attached).toBe(false);

    store.devices.openObject(id.split('.')[1]!);
    expect((await store.client.getVolume(id)).attached).toBe(true);
    await expect(store.client.detach(id)).rejects.toMatchObject({ code: 'in-use' });
    await expect(store.client.deleteVolume(id)).rejects.toMatchObject({ code: 'failed-precondition' });

    store.devices.closeAll();
    await store.client.detach(id);
    await store.client.detach(id);
    expect([store.devices.served.size, store.keeper.entries.size, store.mounts.open.size]).toEqual([0, 0, 0]);
  });

  test('a snapshot attaches read-only', async () => {
    const { id } = await created('data');
    const { snapshot } = await store.client.createSnapshot({ name: 's', sourceVolumeId: id, attributes: {} });
    expect((await store.client.attach(snapshot.id)).readOnly).toBe(true);
  });

  test('a growth reaches the device of an attached volume', async () => {
    const { id } = await created('data');
    await store.client.attach(id);
    await store.client.resizeVolume(id, 2 * MIB);
    expect([...store.devices.served.values()][0]?.sizeBytes).toBe(2 * MIB);
  });

  test('of another pool nothing is attached here: after a disk was replaced, its volumes can still be given back', async () => {
    await store.client.detach(`${'q'.repeat(26)}.${'v'.repeat(26)}`);
  });

  test('a growth at the same moment reaches the device, or the attach is asked for again', async () => {
    const { id } = await created('data');
    const { promise: slow, resolve: go } = Promise.withResolvers<void>();
    const put = store.keeper.put.bind(store.keeper);
    store.keeper.put = (...entry) => slow.then(() => put(...entry));
    const attached = store.client.attach(id);
    await eventually('the attach is under way', () => store.mounts.open.size > 0);
    const grown = store.client.resizeVolume(id, 2 * MIB);
    await grown.catch(() => {});
    go();
    await attached;
    const { sizeBytes } = await store.client.getVolume(id);
    expect([...store.devices.served.values()][0]?.sizeBytes).toBe(sizeBytes);
    await expect(grown).rejects.toMatchObject({ code: 'busy' });
  });

  test('more devices than the loop can serve are refused', async () => {
    for (const name of ['a', 'b', 'c', 'd']) await store.client.attach((await created(name)).id);
    await expect(store.client.attach((await created('e')).id)).rejects.toMatchObject({ code: 'failed-precondition' });
  });

  test('a failed attach leaves nothing behind', async () => {
    const { id } = await created('data');
    store.keeper.put = () => Promise.reject(new Error('keeper is away'));
    await expect(store.client.attach(id)).rejects.toThrow();
    expect([store.devices.served.size, store.mounts.open.size]).toEqual([0, 0]);
  });

  test('a successor takes over what the keeper holds and drops what is gone', async () => {
    const kept = await created('kept');
    await store.client.attach(kept.id);
    const before = [...store.devices.served.values()];
    await store.keeper.put(`device/${'z'.repeat(26)}`, {}, [1, 2]);

    const devices = new FakeDataDevices();
    const successor = new Attachments({ devices, keeper: store.keeper, mounts: store.mounts, log });
    await successor.adopt();
    await successor.recover([...store.engine.objects.values()]);
    expect([...devices.served.values()]).toEqual(before.map((device) => expect.objectContaining(device)));
    expect([...store.keeper.entries.keys()]).toEqual([`device/${kept.id.split('.')[1]}`]);
  });
});

describe('node sessions', () => {
  const performed: [NodeAction, string][] = [];
  function session(perform: (action: NodeAction, id: string) => Promise<void>): NodeSessionClient {
    performed.length = 0;
    return new NodeSessionClient({
      node: 'node-a',
      open: () => store.client.nodeSession(),
      perform: async (action, id) => {
        performed.push([action, id]);
        await perform(action, id);
      },
      log,
      retryMs: 20,
    });
  }
  async function attachedVolume(): Promise<string> {
    const { id } = await created('data');
    await store.client.attach(id);
    store.devices.openObject(id.split('.')[1]!);
    return id;
  }

  test('a cut of an open volume is preceded by a sync, of a closed one by nothing', async () => {
    const node = session(async () => {});
    await eventually('the session opens', () => store.nodes.connected);
    const closed = await created('closed');
    await store.client.createSnapshot({ name: 'c', sourceVolumeId: closed.id, attributes: {} });
    expect(performed).toEqual([]);
    const id = await attachedVolume();
    await store.client.createSnapshot({ name: 's', sourceVolumeId: id, attributes: {} });
    await store.client.createVolume({ ...volume('clone'), source: { kind: 'volume', id } });
    expect(performed).toEqual([
      ['ACTION_SYNC', id],
      ['ACTION_SYNC', id],
    ]);
    node.close();
  });

  test('a freeze is undone after the cut', async () => {
    const node = session(async () => {});
    await eventually('the session opens', () => store.nodes.connected);
    const id = await attachedVolume();
    await store.client.createSnapshot({ name: 's', sourceVolumeId: id, attributes: { freeze: 'true' } });
    await eventually('the thaw', () => performed.length === 2);
    expect(performed).toEqual([
      ['ACTION_FREEZE', id],
      ['ACTION_THAW', id],
    ]);
    node.close();
  });

  test('while writes wait for room nothing is frozen: the freeze would wait with them', async () => {
    const node = session(async () => {});
    await eventually('the session opens', () => store.nodes.connected);
    const id = await attachedVolume();
    store.engine.parkedWrites = 1;
    await store.client.createSnapshot({ name: 's', sourceVolumeId: id, attributes: { freeze: 'true' } });
    expect(performed).toEqual([['ACTION_SYNC', id]]);
    node.close();
  });

  test('the cut goes on without a node, with a failing one and with one that hangs', async () => {
    const id = await attachedVolume();
    await store.client.createSnapshot({ name: 'nobody', sourceVolumeId: id, attributes: {} });
    const failing = session(() => Promise.reject(new Error('not today')));
    await eventually('the session opens', () => store.nodes.connected);
    await store.client.createSnapshot({ name: 'failing', sourceVolumeId: id, attributes: {} });
    failing.close();
    await eventually('the session closes', () => !store.nodes.connected);
    const hanging = session(() => new Promise(() => {}));
    await eventually('the session opens', () => store.nodes.connected);
    await store.client.createSnapshot({ name: 'hanging', sourceVolumeId: id, attributes: {} });
    hanging.close();
    expect(await store.client.listSnapshots()).toHaveLength(3);
  });
});

describe('directory', () => {
  test('finds stores by node and by pool, and does not answer while one that may own the pool is away', async () => {
    const other = new Store(folder, { node: 'node-b', poolId: 'q'.repeat(26) });
    const directory = new StaticStoreDirectory(
      [
        { node: 'node-a', target: store.target },
        { node: 'node-b', target: other.target },
      ],
      (address) => new StoreClient({ target: address.target, timeoutMs: 300 }),
    );
    expect((await directory.ofPool('p'.repeat(26)))?.target).toBe(store.target);
    await expect(directory.ofPool('q'.repeat(26))).rejects.toMatchObject({ code: 'unavailable' });
    await expect(directory.all()).rejects.toMatchObject({ code: 'unavailable' });
    await other.start();
    await eventually('the store is found', async () => (await directory.ofPool('q'.repeat(26)).catch(() => null))?.target === other.target);
    expect(await directory.ofPool('r'.repeat(26))).toBeNull();
    expect((await directory.ofNode('node-b'))?.target).toBe(other.target);
    expect(await directory.ofNode('node-c')).toBeNull();
    expect(await directory.all()).toHaveLength(2);
    directory.close();
    other.stop();
  });
});

describe('defragmenting', () => {
  test('begins, tells of itself with the ids of the wire, and is stopped', async () => {
    const { client, engine } = store;
    expect(await client.getDefragment('')).toEqual({ ...NEVER_DEFRAGMENTED, id: '' });
    const { volume } = await client.createVolume({ name: 'data', sizeBytes: 8 * MIB, source: null, attributes: {} });
    const { volume: other } = await client.createVolume({ name: 'other', sizeBytes: 8 * MIB, source: null, attributes: {} });
    expect(await client.startDefragment(volume.id)).toMatchObject({ id: volume.id, state: 'running', sizeBytes: 8 * MIB });
    expect(await client.getDefragment('')).toMatchObject({ id: volume.id, state: 'running' });
    expect(await client.stopDefragment(other.id)).toMatchObject({ id: other.id, state: 'never' });
    expect(await client.stopDefragment(volume.id)).toMatchObject({ id: volume.id, state: 'stopped' });
    for (const state of ['done', 'out-of-space', 'deleted', 'failed'] as const) {
      engine.defragment = { ...engine.defragment, state, movedBytes: 2 ** 41, foundPieces: 7, leftPieces: 1 };
      expect(await client.getDefragment(volume.id)).toEqual({ ...engine.defragment, id: volume.id });
    }
  });

  test('is refused for what is not there, and in a full pool', async () => {
    const { client, engine } = store;
    await expect(client.startDefragment('data')).rejects.toMatchObject({ code: 'not-found' });
    const { volume } = await client.createVolume({ name: 'data', sizeBytes: 8 * MIB, source: null, attributes: {} });
    engine.freeBytes = 0;
    await expect(client.startDefragment(volume.id)).rejects.toMatchObject({ code: 'no-space' });
    expect(engine.calls.some(({ kind }) => kind === 'defragment-start')).toBe(false);
  });
});

describe('scrubbing', () => {
  const objectId = 'o'.repeat(26);
  const place = { id: objectId, kind: 'snapshot', name: 'monday', offsetBytes: 65_536 } as const;

  test('a pass begins at the rate that is asked for, tells of itself, and is stopped', async () => {
    const { client, engine } = store;
    expect(await client.getScrub()).toEqual(NEVER_SCRUBBED);
    engine.scrub = { ...NEVER_SCRUBBED, startedAtMs: 1_700_000_000_000, positionBytes: 2 ** 41, damagedChunks: 3 };
    expect(await client.startScrub({ bytesPerSecond: 5 * MIB })).toEqual({ ...engine.scrub, running: 'verify' });
    expect(await client.startScrub({ bytesPerSecond: null })).toMatchObject({ running: 'verify' });
    expect(await client.stopScrub()).toMatchObject({ running: null });
    const rates = engine.calls.flatMap((call) => (call.kind === 'scrub-start' ? [call.bytesPerSecond] : []));
    expect(rates).toEqual([5 * MIB, 32 * MIB]);
    await expect(client.startScrub({ bytesPerSecond: 1 })).rejects.toMatchObject({ code: 'invalid-argument' });
  });

  test('no pass begins in a pool that older programs would still open', async () => {
    store.versionRaised = () => {
      throw new StoreError('no-space', 'the disk is full');
    };
    await expect(store.client.startScrub({ bytesPerSecond: null })).rejects.toMatchObject({ code: 'no-space' });
    expect(store.engine.calls).toEqual([]);
  });

  test('damage is told with the ids of the wire, and cut where a message would be too large', async () => {
    const { client, engine } = store;
    expect(await client.listDamage()).toEqual({ chunks: [], more: false });
    engine.damage = {
      chunks: [
        { dataOffsetBytes: 2 ** 40, damage: 'changed', places: [place] },
        { dataOffsetBytes: 65_536, damage: 'unreadable', places: [{ ...place, kind: 'volume' }] },
      ],
      more: false,
    };
    const onWire = { ...place, id: `${'p'.repeat(26)}.${objectId}` };
    expect(await client.listDamage()).toEqual({
      chunks: [
        { dataOffsetBytes: 2 ** 40, damage: 'changed', places: [onWire] },
        { dataOffsetBytes: 65_536, damage: 'unreadable', places: [{ ...onWire, kind: 'volume' }] },
      ],
      more: false,
    });
    const many = { dataOffsetBytes: 0, damage: 'changed', places: new Array<typeof place>(1_000).fill(place) } as const;
    engine.damage = { chunks: new Array<typeof many>(1_000).fill(many), more: false };
    const answer = await client.listDamage();
    expect(answer.more).toBe(true);
    expect(answer.chunks).toHaveLength(1_000);
    expect(answer.chunks.reduce((sum, { places }) => sum + places.length, 0)).toBe(50_000);
  });
});

test('a store that cannot be reached is spoken of in the same words each time, so that nobody takes them for news', async () => {
  // As a store does that does not take the caller's certificate: it shows after the handshake, by the end of the connection.
  const socket = path.join(folder, 'closes.sock');
  const server = net.createServer((connection) => connection.destroy()).listen(socket);
  const client = new StoreClient({ target: `unix://${socket}`, timeoutMs: 2000 });
  const words = new Set<string>();
  for (let attempt = 0; attempt < 5; attempt++) {
    await client.getPool().catch((error: Error) => words.add(error.message));
    await new Promise((resolve) => void setTimeout(resolve, 150));
  }
  client.close();
  server.close();
  expect(words.size).toBe(1);
  expect([...words][0]).toMatch(/cannot be reached; it is starting or has stopped/);
});
