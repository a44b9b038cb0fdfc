/**
 * A conversation between store and keeper in version 1 of their protocol, packet by packet (test/golden/keeper-1.json): a
 * keeper outlives many stores, so each must go on with the other's past. When one of these fails, the protocol has changed:
 * keepers of users speak the old one. See docs/format.md, "Keeper protocol".
 */
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { KeeperClient } from '../../src/block/keeper-client.ts';
import { Keeper } from '../../src/block/keeper.ts';
import { accept, connect, listen, receive, send, type Message } from '../../src/linux/descriptors.ts';
import { closeDescriptor } from '../../src/linux/files.ts';
import { Poller } from '../../src/linux/poller.ts';
import { eventually } from '../support/eventually.ts';
import { KeeperVersion1 } from '../support/keeper-version-1.ts';

interface Packet {
  readonly from: 'client' | 'keeper';
  readonly text: string;
  readonly descriptors: number;
}

const INSTANCE = '00000000-0000-4000-8000-000000000001';
const POOL = 'abcdefghijklmnopqrstuvwxyz';
const GOLDEN = path.join(import.meta.dirname, '../golden/keeper-1.json');
const golden = (): Packet[] => JSON.parse(fs.readFileSync(GOLDEN, 'utf8')) as Packet[];

let folder: string;
let socketPath: string;
beforeEach(() => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), 'golden-keeper-'));
  socketPath = path.join(folder, 'keeper.sock');
});
afterEach(() => fs.rmSync(folder, { recursive: true }));

/** All that a store does with its keeper, in the order of the recording. */
async function beStore(): Promise<void> {
  const client = await KeeperClient.connect({ socketPath, role: 'store', pool: POOL, timeoutMs: 3_000 });
  const files = [0, 1].map((number) => fs.openSync(path.join(folder, String(number)), 'w+'));
  const received: number[] = [];
  try {
    expect(await client.get('memory')).toBeNull();
    await client.put('memory', {}, files.slice(0, 1));
    await client.put(`device/${'o'.repeat(26)}`, { connection: 1, incarnation: 77, readOnly: false }, files);
    expect((await client.list()).map(({ key, descriptors }) => [key, descriptors])).toEqual([
      [`device/${'o'.repeat(26)}`, 2],
      ['memory', 1],
    ]);
    const part = await client.get(`device/${'o'.repeat(26)}`, { places: [1] });
    const adopted = await client.adopt(`device/${'o'.repeat(26)}`);
    received.push(...part!.descriptors, ...adopted!.descriptors);
    expect(adopted!.metadata).toEqual({ connection: 1, incarnation: 77, readOnly: false });
    expect([part!.descriptors.length, adopted!.descriptors.length]).toEqual([1, 2]);
    await client.drop(`device/${'o'.repeat(26)}`);
    expect(await client.leave({ timeoutMs: 1_000 })).toBe(true);
  } finally {
    await client.close();
    for (const descriptor of [...files, ...received]) closeDescriptor(descriptor);
  }
}

/** Asks a keeper what the store of the recording asked, and what no store of version 1 asks. */
async function answersTo(packets: readonly Packet[]): Promise<Packet[]> {
  const socket = connect(socketPath);
  const file = fs.openSync(path.join(folder, 'file'), 'w+');
  const answers: Packet[] = [];
  try {
    for (const { text, descriptors } of packets) {
      send(socket, { bytes: Buffer.from(text), descriptors: Array.from({ length: descriptors }, () => file) });
      const answer = await next(socket);
      answers.push({ from: 'keeper', text: Buffer.from(answer.bytes).toString('utf8'), descriptors: answer.descriptors.length });
      for (const descriptor of answer.descriptors) closeDescriptor(descriptor);
    }
  } finally {
    closeDescriptor(socket);
    closeDescriptor(file);
  }
  // Two keepers are never the same.
  return answers.map((answer) => ({ ...answer, text: answer.text.replace(/"instance":"[0-9a-f-]{36}"/, `"instance":"${INSTANCE}"`) }));
}

async function next(socket: number): Promise<Message> {
  let found: Message | null = null;
  await eventually('a packet', () => {
    const message = receive(socket);
    if (message === 'closed') throw new Error('closed');
    if (message === 'nothing') return false;
    found = message;
    return true;
  });
  return found!;
}

const of = (from: Packet['from'], packets: readonly Packet[]): Packet[] => packets.filter((packet) => packet.from === from);

describe('version 1 between store and keeper', () => {
  test('the store of today says what was recorded, and goes on with the answers of then', async () => {
    const keeper = new KeeperVersion1(socketPath, { instance: INSTANCE });
    try {
      await beStore();
      expect(keeper.packets).toEqual(golden());
    } finally {
      await keeper.close();
    }
  });

  test('the keeper of today answers a store of then byte for byte', async () => {
    const poller = new Poller();
    const keeper = new Keeper({ socketPath, poller });
    try {
      expect(await answersTo(of('client', golden()))).toEqual(of('keeper', golden()));
    } finally {
      keeper.close();
      await poller.close();
    }
  });

  test('what neither knows is refused by both in the same words, and unknown fields are ignored by both', async () => {
    const hello = { type: 'hello', id: 1, version: 1, role: 'store', pool: POOL, future: [1] };
    const asked: Packet[] = [
      { type: 'hello', id: 1, version: 2, role: 'store', pool: POOL },
      { type: 'list', id: 2, after: '' },
      hello,
      { type: 'inherit', id: 3, key: 'memory' },
      { type: 'put', id: 4, key: 'k', metadata: { a: 1 }, weight: 3 },
      { type: 'get', id: 5, key: 'k', colour: 'red' },
    ].map((fields) => ({ from: 'client', text: JSON.stringify(fields), descriptors: fields.type === 'put' ? 2 : 0 }));
    const old = new KeeperVersion1(socketPath);
    const ofThen = await answersTo(asked);
    await old.close();
    const poller = new Poller();
    const keeper = new Keeper({ socketPath, poller });
    const ofToday = await answersTo(asked);
    keeper.close();
    await poller.close();
    expect(ofToday).toEqual(ofThen);
    expect(ofThen.map(({ text }) => (JSON.parse(text) as { type: string }).type)).toEqual([
      'error',
      'error',
      'welcome',
      'error',
      'done',
      'held',
    ]);
  });

  test('a keeper that welcomes in another version is refused in words', async () => {
    const poller = new Poller();
    const listener = listen(socketPath, { backlog: 1 });
    const sockets: number[] = [];
    poller.watch(listener, () => {
      const socket = accept(listener);
      if (socket === null) return;
      sockets.push(socket);
      send(socket, { bytes: Buffer.from('{"type":"welcome","id":1,"version":2,"instance":"x"}'), descriptors: [] });
    });
    try {
      await expect(KeeperClient.connect({ socketPath, role: 'store', pool: POOL, timeoutMs: 2_000 })).rejects.toMatchObject({
        code: 'failed-precondition',
        message: 'the keeper speaks version 2 of its protocol, this program version 1: update the older of the two',
      });
    } finally {
      await poller.close();
      for (const descriptor of [listener, ...sockets]) closeDescriptor(descriptor);
    }
  });
});
