import { afterEach, beforeEach, expect, test } from '@jest/globals';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { accept, connect, listen, maximumMessageBytes, receive, send } from '../../src/linux/descriptors.ts';
import { closeDescriptor } from '../../src/linux/files.ts';
import { Poller } from '../../src/linux/poller.ts';
import { eventually } from '../support/eventually.ts';

let folder: string;
let poller: Poller;
let opened: number[];

beforeEach(() => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), 'descriptors-'));
  poller = new Poller();
  opened = [];
});
afterEach(async () => {
  await poller.close();
  for (const descriptor of opened) closeDescriptor(descriptor);
  fs.rmSync(folder, { recursive: true });
});

function pair(socketPath = path.join(folder, 'socket')): { client: number; server: number } {
  const listener = listen(socketPath, { backlog: 4 });
  const client = connect(socketPath);
  const server = accept(listener);
  expect(accept(listener)).toBeNull();
  opened.push(listener, client, server ?? -1);
  return { client, server: server ?? -1 };
}

const bytes = (text: string): Uint8Array => Buffer.from(text);

test('messages arrive whole, in order, with their descriptors, which are not inherited', () => {
  const { client, server } = pair();
  const file = fs.openSync(path.join(folder, 'file'), 'w+');
  opened.push(file);
  expect(receive(server)).toBe('nothing');
  send(client, { bytes: bytes('first'), descriptors: [file, file] });
  send(client, { bytes: bytes('second'), descriptors: [] });
  const first = receive(server);
  if (typeof first === 'string') throw new Error(first);
  opened.push(...first.descriptors);
  expect(Buffer.from(first.bytes).toString()).toBe('first');
  expect(first.descriptors).toHaveLength(2);
  for (const descriptor of first.descriptors) {
    expect(fs.fstatSync(descriptor).ino).toBe(fs.fstatSync(file).ino);
    expect(fs.readFileSync(`/proc/self/fdinfo/${descriptor}`, 'utf8')).toMatch(/flags:\s+02\d{6}\n/);
  }
  expect(receive(server)).toMatchObject({ descriptors: [] });
});

test('the end of the other side is told, and a full queue too', () => {
  const { client, server } = pair();
  const large = new Uint8Array(maximumMessageBytes);
  let sent = 0;
  while (send(server, { bytes: large, descriptors: [] })) sent++;
  expect(sent).toBeGreaterThan(0);
  closeDescriptor(client);
  opened.splice(opened.indexOf(client), 1);
  // What was on its way is lost with the receiver.
  expect(receive(server)).toBe('closed');
  expect(() => send(server, { bytes: bytes('x'), descriptors: [] })).toThrow(expect.objectContaining({ code: 'EPIPE' }));
});

test('a socket may lie deep in the tree, and only its user may connect', () => {
  const deep = path.join(folder, 'a'.repeat(120), 'b'.repeat(120));
  fs.mkdirSync(deep, { recursive: true });
  pair(path.join(deep, 'socket'));
  expect(fs.statSync(path.join(deep, 'socket')).mode & 0o777).toBe(0o600);
  expect(fs.readdirSync(deep)).toEqual(['socket']);
});

test('connecting to nobody is unavailable', () => {
  expect(() => connect(path.join(folder, 'nobody'))).toThrow(expect.objectContaining({ code: 'unavailable' }));
});

test("a poller tells of what can be read, of the other end's end, and of nothing once stopped", async () => {
  const { client, server } = pair();
  const heard: string[] = [];
  const watch = poller.watch(server, () => {
    const message = receive(server);
    if (message === 'nothing') return;
    heard.push(message === 'closed' ? 'closed' : Buffer.from(message.bytes).toString());
    if (heard.at(-1) === 'stop') watch.stop();
  });
  send(client, { bytes: bytes('one'), descriptors: [] });
  await eventually('one is heard', () => heard.length === 1);
  send(client, { bytes: bytes('stop'), descriptors: [] });
  await eventually('stop is heard', () => heard.length === 2);
  send(client, { bytes: bytes('unheard'), descriptors: [] });
  const ended: string[] = [];
  const second = poller.watch(client, () => {
    const received = receive(client);
    ended.push(typeof received === 'string' ? received : 'a message');
    second.stop();
  });
  closeDescriptor(server);
  opened.splice(opened.indexOf(server), 1);
  await eventually('the end is told', () => ended.length === 1);
  expect(heard).toEqual(['one', 'stop']);
  expect(ended).toEqual(['closed']);
});
