import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from '@jest/globals';
import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { StoreError } from '../../../src/util/errors.ts';
import { KeeperClient } from '../../../src/block/keeper-client.ts';
import { Keeper } from '../../../src/block/keeper.ts';
import { LoopDevices } from '../../../src/block/node-devices.ts';
import { closeDescriptor, openDevice, readAt } from '../../../src/linux/files.ts';
import { LoopDeviceList } from '../../../src/linux/loop-device-list.ts';
import { LoopNumbers } from '../../../src/linux/loop-numbers.ts';
import type { LoopDevice } from '../../../src/linux/loop-device.ts';
import { Poller } from '../../../src/linux/poller.ts';
import { Structure } from '../../../src/linux/structure.ts';
import { eventually } from '../../support/eventually.ts';
import { describeWithDevices } from '../../support/privileges.ts';
import { RamVolumes } from '../../support/ram-volumes.ts';

const run = promisify(execFile);
const sizeBytes = 32 << 20;
const limit = { timeoutMs: 2000 };

describeWithDevices('loop devices over FUSE files', () => {
  let folder: string;
  let poller: Poller;
  let keeper: Keeper;
  let storeClient: KeeperClient;
  let nodeClient: KeeperClient;
  let volumes: RamVolumes;
  let devices: LoopDevices;
  let pool: string;
  let id: string;

  beforeAll(() => {
    poller = new Poller();
    folder = fs.mkdtempSync(path.join(os.tmpdir(), 'node-devices-'));
  });
  beforeEach(async () => {
    pool = base32Id();
    id = `${pool}.${base32Id()}`;
    const socketPath = path.join(folder, `${pool}.sock`);
    keeper = new Keeper({ socketPath, poller });
    storeClient = await KeeperClient.connect({ socketPath, role: 'store', pool, poller });
    nodeClient = await KeeperClient.connect({ socketPath, role: 'node', pool, poller });
    volumes = new RamVolumes({ keeper: storeClient, sizeBytes });
    devices = new LoopDevices({ store: volumes, keeperOf: () => Promise.resolve(nodeClient), timeoutMs: 1500 });
  });
  afterEach(async () => {
    await volumes.end();
    await devices.clearLeftovers(pool, () => Promise.resolve(new Set()));
    const left = (await loopDevices()).filter((device) => device.fileName.startsWith(pool));
    await storeClient.close();
    await nodeClient.close();
    keeper.close();
    expect(left).toEqual([]);
  });
  afterAll(async () => {
    await poller.close();
    fs.rmSync(folder, { recursive: true });
  });

  test('a store that hears of the end of a device somewhat later is told again', async () => {
    await devices.attach(id);
    let refusals = 3;
    const late = {
      attach: (volume: string) => volumes.attach(volume),
      detach: async (volume: string) => {
        if (refusals-- > 0) throw new StoreError('in-use', 'a loop device is set up over it: detach that first');
        await volumes.detach(volume);
      },
    };
    await new LoopDevices({ store: late, keeperOf: () => Promise.resolve(nodeClient), timeoutMs: 1500 }).detach(id);
    expect(refusals).toBe(-1);
    expect(volumes.calls.at(-1)).toBe(`detach ${id}`);
  });

  test('hold what is written, zero what is discarded, and leave nothing behind', async () => {
    const attached = await devices.attach(id);
    expect(attached).toEqual({ devicePath: expect.stringMatching(/^\/dev\/loop\d+$/), sizeBytes, attributes: { volume: id } });
    const { devicePath } = attached;
    expect(await devices.find(id)).toBe(devicePath);
    expect(queueSetting(devicePath, 'queue/logical_block_size')).toBe('4096');
    expect(queueSetting(devicePath, 'queue/discard_granularity')).toBe('4096');
    expect(queueSetting(devicePath, 'loop/dio')).toBe('1');

    const pattern = randomBytes(3 << 20);
    const source = path.join(folder, 'pattern');
    fs.writeFileSync(source, pattern);
    await run('dd', [`if=${source}`, `of=${devicePath}`, 'bs=1M', 'seek=2', 'oflag=direct', 'conv=fsync']);
    expect((await read(devicePath, 2 << 20, pattern.length)).equals(pattern)).toBe(true);

    await run('blkdiscard', ['--force', '-o', String((2 << 20) + 4096), '-l', '4096', devicePath]);
    await run('blkdiscard', ['--force', '-z', '-o', String((2 << 20) + 16384), '-l', '8192', devicePath]);
    pattern.fill(0, 4096, 8192).fill(0, 16384, 24576);
    expect((await read(devicePath, 2 << 20, pattern.length)).equals(pattern)).toBe(true);
    const allocations = volumes.requests(id).filter((line) => line.startsWith('FALLOCATE'));
    expect(allocations).toEqual(['FALLOCATE 2101248 4096 mode 3', 'FALLOCATE 2113536 8192 mode 17']);

    await devices.detach(id);
    expect(await devices.find(id)).toBeNull();
    expect(volumes.calls).toEqual([`attach ${id}`, `detach ${id}`]);
  });

  test('carry a file system', async () => {
    const { devicePath } = await devices.attach(id);
    const target = path.join(folder, 'mounted');
    fs.mkdirSync(target);
    await run('mkfs.ext4', ['-q', devicePath]);
    await run('mount', [devicePath, target]);
    try {
      fs.writeFileSync(path.join(target, 'file'), 'content');
      await expect(devices.detach(id)).rejects.toMatchObject({ code: 'in-use' });
      expect(fs.readFileSync(path.join(target, 'file'), 'utf8')).toBe('content');
    } finally {
      await run('umount', [target]);
      fs.rmdirSync(target);
    }
    await run('e2fsck', ['-f', '-n', devicePath]);
    await devices.detach(id);
  });

  test('under a device of the kubelet go away with it, and tell meanwhile what is in the way', async () => {
    const { devicePath } = await devices.attach(id);
    const { stdout } = await run('losetup', ['--find', '--show', devicePath]);
    const above = stdout.trim();
    try {
      await expect(devices.detach(id)).rejects.toMatchObject({ code: 'in-use', message: expect.stringContaining(`${above} stands on it`) });
      // It is on its way out: nobody is given it any more, and it works to its end.
      expect(await devices.find(id)).toBeNull();
      await read(above, 0, 4096);
    } finally {
      await run('losetup', ['--detach', above]);
    }
    await devices.detach(id);
    expect((await loopDevices()).filter((device) => device.fileName === id)).toEqual([]);
    await devices.attach(id);
  });

  test('are the same device when asked for again, also at once and by another process', async () => {
    const another = new LoopDevices({ store: volumes, keeperOf: () => Promise.resolve(nodeClient) });
    const first = await devices.attach(id);
    const all = await Promise.all([devices.attach(id), devices.attach(id), another.attach(id)]);
    expect(all).toEqual([first, first, first]);
    await Promise.all([devices.detach(id), devices.detach(id)]);
    await devices.detach(id);
    expect(await devices.find(id)).toBeNull();
  });

  test('of different volumes come and go at once', async () => {
    const ids = Array.from({ length: 6 }, () => `${pool}.${base32Id()}`);
    // Their servers start at once, and may take a while.
    const patient = new LoopDevices({ store: volumes, keeperOf: () => Promise.resolve(nodeClient), timeoutMs: 20_000 });
    const attached = await Promise.all(ids.map((each) => patient.attach(each)));
    expect(new Set(attached.map((each) => each.devicePath)).size).toBe(ids.length);
    await Promise.all(ids.map((each) => patient.detach(each)));
    expect(await Promise.all(ids.map((each) => patient.find(each)))).toEqual(ids.map(() => null));
  });

  test('grow', async () => {
    const { devicePath } = await devices.attach(id);
    await run('dd', ['if=/dev/zero', `of=${devicePath}`, 'bs=4k', 'count=1', 'oflag=direct']);
    await volumes.grow(id, 2 * sizeBytes);
    expect(await devices.grow(id)).toBe(2 * sizeBytes);
    expect(await devices.attach(id)).toMatchObject({ devicePath, sizeBytes: 2 * sizeBytes });
    await expect(devices.grow(`${pool}.${base32Id()}`)).rejects.toMatchObject({ code: 'not-found' });
  });

  test('of a snapshot are read-only', async () => {
    volumes.readOnly = true;
    const { devicePath } = await devices.attach(id);
    expect(queueSetting(devicePath, 'ro')).toBe('1');
    await expect(run('dd', ['if=/dev/zero', `of=${devicePath}`, 'bs=4k', 'count=1'])).rejects.toThrow();
    await devices.detach(id);
  });

  test('of a connection that ended are replaced', async () => {
    const { devicePath } = await devices.attach(id);
    await volumes.endConnection(id);
    expect((await loopDevices()).find((device) => device.path === devicePath)?.fileName).toBe(id);
    const attached = await devices.attach(id);
    await read(attached.devicePath, 0, 4096);
    expect((await loopDevices()).filter((device) => device.fileName === id)).toHaveLength(1);
  });

  test("of a connection that ended are in nobody else's way, even if they do not tell their name", async () => {
    volumes.attributeSeconds = 0;
    const nameless = `${pool}.${base32Id()}`;
    await devices.attach(nameless);
    await devices.find(nameless);
    await volumes.endConnection(nameless);
    const stranger = new LoopDevices({ store: volumes, keeperOf: () => Promise.resolve(nodeClient) });
    expect(await stranger.find(nameless)).toBeNull();
    await stranger.attach(id);
    await stranger.detach(id);
    expect((await devices.clearLeftovers(pool, () => Promise.resolve(new Set()))).cleared).toHaveLength(1);
  });

  test('are taken down by pool, and no others', async () => {
    const stranger = `${base32Id()}.${base32Id()}`;
    const { devicePath } = await devices.attach(id);
    const other = await devices.attach(stranger);
    await volumes.endConnection(id);
    expect(await devices.clearLeftovers(pool, () => Promise.resolve(new Set()))).toEqual({ cleared: [devicePath], inUse: [] });
    expect(await devices.find(stranger)).toBe(other.devicePath);
    await devices.detach(stranger);
  });

  test('are told from living ones by the store, also from one that is made while it is asked', async () => {
    const [dead, living, late] = [`${pool}.${base32Id()}`, id, `${pool}.${base32Id()}`];
    const { devicePath } = await devices.attach(dead);
    await devices.attach(living);
    await volumes.endConnection(dead);
    const answer = await devices.clearLeftovers(pool, async () => {
      await devices.attach(late);
      return new Set([living]);
    });
    expect(answer).toEqual({ cleared: [devicePath], inUse: [] });
    for (const kept of [living, late]) {
      expect(await devices.find(kept)).not.toBeNull();
      await devices.detach(kept);
    }
  });

  test('are not waited for beyond the limit when their server does not answer, and none appears later', async () => {
    await volumes.attach(id);
    await volumes.stopAnswering(id);
    await expect(devices.attach(id)).rejects.toMatchObject({ code: 'unavailable' });
    await volumes.endConnection(id);
    await eventually('the open ends', async () => (await loopDevices()).every((device) => device.fileName !== id));
    await devices.attach(id);
    await devices.detach(id);
  });

  test('get numbers of their own when many are set up at once', async () => {
    const numbers = new LoopNumbers();
    const taken = await Promise.all(Array.from({ length: 40 }, () => numbers.take(limit)));
    expect(new Set(taken).size).toBe(40);
    for (const number of taken) numbers.give(number);
    const again = await numbers.take(limit);
    expect(again).toBeLessThanOrEqual(Math.max(...taken));
  });

  test('that were seen once are found while their server does not answer, even if it must be asked for attributes', async () => {
    volumes.attributeSeconds = 0;
    const { devicePath } = await devices.attach(id);
    await devices.find(id);
    await volumes.stopAnswering(id);
    expect(await devices.find(id)).toBe(devicePath);
    const stranger = new LoopDevices({ store: volumes, keeperOf: () => Promise.resolve(nodeClient), timeoutMs: 300 });
    await expect(stranger.find(id)).rejects.toMatchObject({ code: 'unavailable' });
  });

  test('can be listed while their server does not answer, when attributes last', async () => {
    const { devicePath } = await devices.attach(id);
    await volumes.stopAnswering(id);
    const started = performance.now();
    expect(await devices.find(id)).toBe(devicePath);
    expect(performance.now() - started).toBeLessThan(1000);
  });

  test('wait for a keeper that is filled a little later', async () => {
    const { key } = await volumes.attach(id);
    const held = await storeClient.get(key);
    await storeClient.drop(key);
    const attaching = devices.attach(id);
    await new Promise((resolve) => setTimeout(resolve, 200));
    await storeClient.put(key, {}, held?.descriptors ?? []);
    await attaching;
    await devices.detach(id);
    for (const descriptor of held?.descriptors ?? []) closeDescriptor(descriptor);
  });

  test('of an id that is none are refused', async () => {
    await expect(devices.attach('nonsense')).rejects.toMatchObject({ code: 'invalid-argument' });
  });
});

async function read(devicePath: string, offsetBytes: number, lengthBytes: number): Promise<Buffer> {
  const descriptor = await openDevice(devicePath, { ...limit, readOnly: true, direct: true });
  try {
    const target = new Structure(lengthBytes, { alignmentBytes: 4096 });
    expect(await readAt(descriptor, target, { ...limit, offsetBytes })).toBe(lengthBytes);
    return Buffer.from(target.bytes);
  } finally {
    closeDescriptor(descriptor);
  }
}

async function loopDevices(): Promise<readonly LoopDevice[]> {
  return (await new LoopDeviceList().read(limit)).devices;
}

function queueSetting(devicePath: string, name: string): string {
  return fs.readFileSync(`/sys/block/${path.basename(devicePath)}/${name}`, 'utf8').trim();
}

function base32Id(): string {
  return Array.from(randomBytes(26), (byte) => 'abcdefghijklmnopqrstuvwxyz234567'[byte % 32]).join('');
}
