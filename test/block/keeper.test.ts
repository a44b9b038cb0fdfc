import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { KeeperClient, type KeeperClientOptions } from '../../src/block/keeper-client.ts';
import { encodeMessage, type KeeperRequest } from '../../src/block/keeper-protocol.ts';
import { Keeper } from '../../src/block/keeper.ts';
import { accept, connect, listen, receive, send } from '../../src/linux/descriptors.ts';
import { closeDescriptor, isOpen } from '../../src/linux/files.ts';
import { Poller } from '../../src/linux/poller.ts';
import { startChild, type Child } from '../support/child.ts';
import { eventually } from '../support/eventually.ts';

let folder: string;
let socketPath: string;
let clients: KeeperClient[];
let children: Child[];
let descriptors: number[];

beforeEach(() => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), 'keeper-'));
  socketPath = path.join(folder, 'keeper.sock');
  clients = [];
  children = [];
  descriptors = [];
});

afterEach(async () => {
  // First of all, because a process that is left behind keeps the whole run from ending.
  for (const child of children) await child.kill();
  for (const client of clients) await client.close();
  for (const descriptor of descriptors) closeDescriptor(descriptor);
  fs.rmSync(folder, { recursive: true });
});

async function startKeeper(): Promise<Child> {
  const child = await startChild('keeper-process.ts', { parameters: [socketPath], readyLine: 'ready' });
  children.push(child);
  return child;
}

async function connectClient(options: Partial<KeeperClientOptions> = {}): Promise<KeeperClient> {
  const client = await KeeperClient.connect({ socketPath, role: 'store', pool: 'pool', timeoutMs: 3000, ...options });
  clients.push(client);
  return client;
}

/** A file whose name is gone: it lives only as long as somebody has it open. */
function unlinkedFile(content: string): number {
  const name = path.join(folder, 'file');
  const descriptor = fs.openSync(name, 'w+');
  fs.writeSync(descriptor, content);
  fs.rmSync(name);
  descriptors.push(descriptor);
  return descriptor;
}

function contentOf(descriptor: number): string {
  descriptors.push(descriptor);
  const buffer = Buffer.alloc(100);
  return buffer.toString('utf8', 0, fs.readSync(descriptor, buffer, 0, buffer.length, 0));
}

describe('what the keeper holds', () => {
  test('outlives the process that put it', async () => {
    await startKeeper();
    const holder = await startChild('holder-process.ts', { parameters: [socketPath, folder], readyLine: 'put' });
    children.push(holder);
    await holder.kill();

    const successor = await connectClient();
    expect(await successor.list()).toEqual([{ key: 'device/one', metadata: { sizeBytes: 4096, readOnly: false }, descriptors: 2 }]);
    const held = await successor.get('device/one');
    expect(held?.metadata).toEqual({ sizeBytes: 4096, readOnly: false });
    const [file = -1, pipe = -1] = held?.descriptors ?? [];
    expect(contentOf(file)).toBe('written by the one that died');
    descriptors.push(pipe);
    expect(fs.fstatSync(pipe).isFIFO() || fs.fstatSync(pipe).isSocket()).toBe(true);
  });

  test('is put into the next keeper when one is killed', async () => {
    const first = await startKeeper();
    let lost = 0;
    let refilled = 0;
    const client = await connectClient({ onLost: () => lost++, onRefilled: () => refilled++ });
    const other = await connectClient({ role: 'node' });
    for (const name of ['a', 'b', 'c']) await client.put(name, { name }, [unlinkedFile(`content of ${name}`)]);
    await client.drop('b');
    expect(client.ready).toBe(true);

    await first.kill();
    await eventually('the client notices', () => lost === 1);
    expect(client.ready).toBe(false);
    await startKeeper();
    await eventually('the next keeper is filled', () => refilled === 1);
    expect(client.ready).toBe(true);

    const entries = await other.list();
    expect(entries.map((entry) => entry.key)).toEqual(['a', 'c']);
    const held = await other.get('c');
    expect(contentOf(held?.descriptors[0] ?? -1)).toBe('content of c');
  });

  test('is put into the next keeper by a successor that adopted it', async () => {
    const first = await startKeeper();
    const dying = await connectClient();
    await dying.put('memory', {}, [unlinkedFile('shared')]);
    await dying.close();
    let refilled = false;
    const successor = await connectClient({ onRefilled: () => (refilled = true) });
    const held = await successor.adopt('memory');
    descriptors.push(...(held?.descriptors ?? []));
    await first.kill();
    await startKeeper();
    await eventually('the next keeper is filled', () => refilled);
    expect((await successor.list()).map((entry) => entry.key)).toEqual(['memory']);
  });

  test('comes in full, or in part as asked', async () => {
    await startKeeper();
    const client = await connectClient();
    const files = Array.from({ length: 64 }, (_, index) => unlinkedFile(`number ${index}`));
    await client.put('many', {}, files);
    const all = await client.get('many');
    expect(all?.descriptors.map(contentOf)).toEqual(files.map((_, index) => `number ${index}`));
    const some = await client.get('many', { places: [63, 1] });
    expect(some?.descriptors.map(contentOf)).toEqual(['number 63', 'number 1']);
    await expect(client.get('many', { places: [64] })).rejects.toMatchObject({ code: 'invalid-argument' });
    expect(await client.get('nothing')).toBeNull();
  });

  test('is listed in pages, in the order of the keys, for each pool alone', async () => {
    await startKeeper();
    const client = await connectClient();
    const stranger = await connectClient({ pool: 'another' });
    const keys = Array.from({ length: 40 }, (_, index) => `device/${String(index).padStart(2, '0')}`);
    for (const key of keys.toReversed()) await client.put(key, { text: '"'.repeat(2000) }, []);
    await stranger.put('device/00', {}, []);
    expect((await client.list()).map((entry) => entry.key)).toEqual(keys);
    expect((await stranger.list()).map((entry) => entry.key)).toEqual(['device/00']);
  });
});

describe('a keeper in this process', () => {
  let poller: Poller;
  let keeper: Keeper;
  beforeEach(() => {
    poller = new Poller();
    keeper = new Keeper({ socketPath, poller });
  });
  afterEach(async () => {
    for (const client of clients) await client.close();
    keeper.close();
    await poller.close();
  });

  test('closes what is replaced, dropped and refused', async () => {
    const before = openDescriptors();
    const client = await connectClient({ poller });
    const looker = await connectClient({ poller, role: 'node' });
    const file = unlinkedFile('x');
    await client.put('key', {}, [file, file]);
    await client.put('key', {}, [file]);
    await expect(looker.put('key', {}, [file])).rejects.toMatchObject({ code: 'failed-precondition' });
    await expect(looker.drop('key')).rejects.toMatchObject({ code: 'failed-precondition' });
    expect(keeper.size).toBe(1);
    await client.drop('key');
    await client.drop('key');
    expect(keeper.size).toBe(0);
    expect(openDescriptors()).toBe(before + 5); // two clients, each with two ends, and the file
    expect(isOpen(file)).toBe(true);
  });

  test('refuses another version in clear words', async () => {
    const socket = connect(socketPath);
    descriptors.push(socket);
    const hello: KeeperRequest = { type: 'hello', id: 1, version: 99, role: 'store', pool: 'pool' };
    send(socket, { bytes: encodeMessage(hello), descriptors: [] });
    const answer = await answerOn(socket);
    expect(answer).toMatchObject({ type: 'error', id: 1, code: 'failed-precondition' });
    expect(answer['message']).toBe('the keeper speaks version 1 of its protocol, the store version 99: update the older of the two');
  });

  test('refuses what is no request, and requests before hello, and keeps no descriptor of them', async () => {
    const before = openDescriptors();
    const socket = connect(socketPath);
    descriptors.push(socket);
    for (const text of [
      'no json',
      '[]',
      '{"type":"put","id":1}',
      '{"type":"put","id":1,"key":"k","metadata":{}}',
      '{"type":"hello","id":2}',
    ]) {
      send(socket, { bytes: Buffer.from(text), descriptors: [1, 2] });
      expect(await answerOn(socket)).toMatchObject({ type: 'error' });
    }
    expect(keeper.size).toBe(0);
    expect(openDescriptors()).toBe(before + 2);
  });

  test('is alone on its socket', () => {
    expect(() => new Keeper({ socketPath, poller })).toThrow(expect.objectContaining({ code: 'in-use' }));
  });

  test('replaces the socket of a dead one', async () => {
    keeper.close();
    expect(fs.existsSync(socketPath)).toBe(true);
    keeper = new Keeper({ socketPath, poller });
    await connectClient({ poller });
  });
});

describe('a keeper that is to end', () => {
  let poller: Poller;
  let keeper: Keeper;
  beforeEach(() => {
    poller = new Poller();
    keeper = new Keeper({ socketPath, poller });
  });
  afterEach(async () => {
    for (const client of clients) await client.close();
    keeper.close();
    await poller.close();
  });

  const adoptAll = async (client: KeeperClient): Promise<void> => {
    for (const { key } of await client.list()) descriptors.push(...((await client.adopt(key))?.descriptors ?? []));
  };

  test('is spare when it holds no devices', async () => {
    expect([keeper.isSpare, keeper.holdsDevices]).toEqual([true, false]);
    const client = await connectClient({ poller });
    await client.put('memory', {}, [unlinkedFile('shared')]);
    await client.close();
    expect(keeper.isSpare).toBe(true);
    expect(keeper.holdsDevices).toBe(false);
  });

  test('is spare while a store that stays has all of it, and not a moment longer', async () => {
    const [first, second, node] = [await connectClient(), await connectClient(), await connectClient({ role: 'node' })];
    await first.put('memory', {}, [unlinkedFile('shared')]);
    await first.put('device/a', {}, [unlinkedFile('connection')]);
    expect([keeper.isSpare, keeper.holdsDevices]).toEqual([true, true]);
    expect(await first.leave({ timeoutMs: 1000 })).toBe(true);
    expect(keeper.isSpare).toBe(false);
    // Neither one that only looks, nor one that has a part, is such a store.
    descriptors.push(...((await node.get('memory'))?.descriptors ?? []), ...((await node.get('device/a'))?.descriptors ?? []));
    descriptors.push(...((await second.adopt('memory'))?.descriptors ?? []));
    expect(keeper.isSpare).toBe(false);
    await adoptAll(second);
    expect(keeper.isSpare).toBe(true);
    await second.close();
    await eventually('it is the only one again', () => !keeper.isSpare);
  });

  test('takes what one store put anew for something that others do not have', async () => {
    const [first, second] = [await connectClient(), await connectClient()];
    await first.put('device/a', {}, [unlinkedFile('connection')]);
    await adoptAll(second);
    await first.put('device/a', {}, [unlinkedFile('another connection')]);
    await first.close();
    await eventually('nobody else has it', () => !keeper.isSpare);
  });

  test('knows each pool by itself', async () => {
    const [first, other] = [await connectClient(), await connectClient({ pool: 'other' })];
    await first.put('device/a', {}, [unlinkedFile('connection')]);
    await other.put('device/a', {}, [unlinkedFile('connection')]);
    expect(keeper.isSpare).toBe(true);
    await other.close();
    await eventually('the other pool has nobody', () => !keeper.isSpare);
  });

  test('is told by a store that leaves for the next one too, when it is killed after it was told', async () => {
    const client = await connectClient();
    await client.put('device/a', {}, [unlinkedFile('connection')]);
    expect(await client.leave({ timeoutMs: 1000 })).toBe(true);
    keeper.close();
    await eventually('it is noticed', () => !client.ready);
    expect(await client.leave({ timeoutMs: 30 })).toBe(false);
    const leaving = client.leave({ timeoutMs: 5000 });
    keeper = new Keeper({ socketPath, poller });
    expect(await leaving).toBe(true);
    expect([keeper.size, keeper.isSpare]).toEqual([1, false]);
  });
});

describe('a client without a keeper', () => {
  test('is not misled by one that answers and goes in the same moment', async () => {
    const poller = new Poller();
    const listener = listen(socketPath, { backlog: 1 });
    const visitors = new Set<number>();
    let goodbyes = 0;
    const watch = poller.watch(listener, () => {
      const socket = accept(listener);
      if (socket === null) return;
      visitors.add(socket);
      const greeted = poller.watch(socket, () => {
        receive(socket);
        send(socket, { bytes: encodeMessage({ type: 'welcome', id: 1, version: 1, instance: 'gone' }), descriptors: [] });
        greeted.stop();
        visitors.delete(socket);
        closeDescriptor(socket);
        goodbyes += 1;
      });
    });
    const connecting = connectClient();
    await eventually('it tries again', () => goodbyes > 1);
    watch.stop();
    closeDescriptor(listener);
    await poller.close();
    // Whoever came last may not have been greeted yet: left open, its client would wait for an answer until its limit.
    for (const socket of visitors) closeDescriptor(socket);
    await startKeeper();
    const client = await connecting;
    await client.put('device/a', {}, [unlinkedFile('connection')]);
    expect(client.ready).toBe(true);
  });

  test('gives up after its time', async () => {
    await expect(connectClient({ timeoutMs: 100 })).rejects.toMatchObject({ code: 'unavailable' });
  });

  test('waits for one that comes', async () => {
    const connecting = connectClient();
    await startKeeper();
    expect((await connecting).ready).toBe(true);
  });

  test('does not leave behind what it gave up on', async () => {
    const first = await startKeeper();
    const client = await connectClient({ timeoutMs: 300 });
    await client.put('kept', {}, []);
    await first.kill();
    await expect(client.put('given up', {}, [])).rejects.toMatchObject({ code: 'unavailable' });
    await startKeeper();
    await eventually('the next keeper is filled', () => client.ready);
    await client.put('later', {}, []);
    expect((await client.list()).map((entry) => entry.key)).toEqual(['kept', 'later']);
  });
});

function openDescriptors(): number {
  return fs.readdirSync('/proc/self/fd').length;
}

async function answerOn(socket: number): Promise<Record<string, unknown>> {
  let text = '';
  await eventually('an answer', () => {
    const message = receive(socket);
    if (message === 'closed') throw new Error('closed');
    if (message === 'nothing') return false;
    text = Buffer.from(message.bytes).toString('utf8');
    return true;
  });
  return JSON.parse(text) as Record<string, unknown>;
}
