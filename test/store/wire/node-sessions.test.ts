import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import type { Duplex } from 'node:stream';
import { credentials } from '@grpc/grpc-js';
import { expect, test } from '@jest/globals';
import { listenOnSocket } from '../../../src/roles/process/listen.ts';
import { loadStoreProtocol, type NodeRequestMessage } from '../../../src/store/wire/messages.ts';
import { NodeSessions, type NodeSessionStream } from '../../../src/store/wire/node-sessions.ts';
import { createStoreServer, type StoreHandlers } from '../../../src/store/wire/server.ts';
import { silentLogger } from '../../../src/util/log.ts';
import { eventually } from '../../support/eventually.ts';

/** A node that does at once what it is asked. */
function connect(sessions: NodeSessions): NodeRequestMessage[] {
  const asked: NodeRequestMessage[] = [];
  const session: NodeSessionStream = {
    send: (request) => {
      asked.push(request);
      queueMicrotask(() => sessions.replied(session, { requestId: request.requestId, error: '', node: 'n1' }));
    },
    end: () => {},
  };
  sessions.opened(session);
  return asked;
}

test('soon after a start a cut waits for the node that was connected to the predecessor', async () => {
  const sessions = new NodeSessions({ log: silentLogger(), expectedWithinMs: 60_000 });
  let isCut = false;
  const cut = sessions.beforeCut('volume', { freeze: false }, async () => void (isCut = true));
  await new Promise(setImmediate);
  expect(isCut).toBe(false);
  const asked = connect(sessions);
  await cut;
  expect(asked.map(({ action }) => action)).toEqual(['ACTION_SYNC']);
});

test('a node that does not come in time is not waited for any longer', async () => {
  const sessions = new NodeSessions({ log: silentLogger(), expectedWithinMs: 30 });
  expect(await sessions.beforeCut('volume', { freeze: false }, () => Promise.resolve('cut'))).toBe('cut');
  const asked = connect(sessions);
  await sessions.beforeCut('volume', { freeze: false }, () => Promise.resolve());
  expect(asked).toHaveLength(1);
});

test('nobody answers for another, and of too many the oldest goes', async () => {
  const sessions = new NodeSessions({ log: silentLogger() });
  const ended: number[] = [];
  const streams = Array.from({ length: 20 }, (_, index): NodeSessionStream => {
    return { send: () => {}, end: () => void ended.push(index) };
  });
  for (const stream of streams) sessions.opened(stream);
  expect(ended).toEqual([0, 1, 2, 3]);
  let isCut = false;
  const cut = sessions.beforeCut('volume', { freeze: false }, async () => void (isCut = true));
  for (const stream of streams.slice(0, -1)) sessions.replied(stream, { requestId: 1, error: '', node: 'n1' });
  await new Promise(setImmediate);
  expect(isCut).toBe(false);
  sessions.replied(streams.at(-1)!, { requestId: 1, error: '', node: 'n1' });
  await cut;
});

test('a node role that does not read what it is asked is let go', async () => {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'chunkstore-unread-'));
  const nodes = new NodeSessions({ log: silentLogger(), limitMs: 60_000 });
  const server = createStoreServer({ service: {} as StoreHandlers, nodes, log: silentLogger() });
  await listenOnSocket(server, path.join(folder, 'store.sock'));
  const { Client } = loadStoreProtocol();
  const client = new Client(`unix://${folder}/store.sock`, credentials.createInsecure());
  try {
    const open = client['nodeSession'] as unknown as () => Duplex;
    const stream = open.call(client);
    const gone = new Promise((resolve) => stream.once('error', resolve));
    stream.write({ requestId: 0, error: '', node: 'n1' });
    await eventually('the session is open', () => nodes.connected);
    // Nobody listens for data, so nothing is read beyond what fits into the connection's windows.
    let asked = 0;
    while (nodes.connected && asked < 100_000) {
      for (let count = 0; count < 100; count += 1) void nodes.beforeCut('v'.repeat(200), { freeze: false }, () => Promise.resolve());
      asked += 100;
      await new Promise(setImmediate);
    }
    expect(nodes.connected).toBe(false);
    expect(asked).toBeLessThan(10_000);
    stream.resume();
    await gone;
  } finally {
    client.close();
    server.forceShutdown();
    fs.rmSync(folder, { recursive: true, force: true });
  }
});
