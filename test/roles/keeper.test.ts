import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { KeeperClient } from '../../src/block/keeper-client.ts';
import { parseCommandLine, type Config } from '../../src/config.ts';
import { closeDescriptor } from '../../src/linux/files.ts';
import { startKeeper } from '../../src/roles/keeper.ts';
import { silentLogger } from '../../src/util/log.ts';
import { wait } from '../../src/util/wait.ts';

let folder: string;
let socketPath: string;
let clients: KeeperClient[];
let device: number;
beforeEach(() => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), 'keeper-role-'));
  socketPath = path.join(folder, 'keeper.sock');
  clients = [];
  device = fs.openSync('/dev/null', 'r');
});
afterEach(async () => {
  for (const client of clients) await client.close();
  closeDescriptor(device);
  fs.rmSync(folder, { recursive: true });
});

function start(...flags: readonly string[]): ReturnType<typeof startKeeper> {
  return startKeeper(parseCommandLine(['keeper', '--socket', socketPath, ...flags], {}) as Config, silentLogger());
}

async function store(): Promise<KeeperClient> {
  const client = await KeeperClient.connect({ socketPath, role: 'store', pool: 'pool' });
  clients.push(client);
  return client;
}

/** Whether it is over within the time. */
async function ends(ending: Promise<void>, limitMs: number): Promise<boolean> {
  const over = new AbortController();
  try {
    return await Promise.race([ending.then(() => true), wait(limitMs, over.signal).then(() => false)]);
  } finally {
    over.abort();
  }
}

test('ends at once when it holds no devices', async () => {
  const keeper = await start('--linger', '60');
  await keeper.ready;
  await (await store()).put('memory', {}, [device]);
  expect(await ends(keeper.stop(), 1000)).toBe(true);
});

test('ends at once without --linger', async () => {
  const keeper = await start();
  await (await store()).put('device/a', {}, [device]);
  expect(await ends(keeper.stop(), 1000)).toBe(true);
});

test('stays while the only store is leaving or gone, serves the next one, and ends when that has everything', async () => {
  const keeper = await start('--linger', '60');
  const first = await store();
  await first.put('device/a', {}, [device]);
  const ending = keeper.stop();
  expect(await first.leave({ timeoutMs: 1000 })).toBe(true);
  expect(await ends(ending, 2500)).toBe(false);
  await first.close();
  expect(await ends(ending, 300)).toBe(false);
  const next = await store();
  const held = await next.adopt('device/a');
  // It may still fail to open its pool.
  expect(await ends(ending, 1000)).toBe(false);
  await ending;
  for (const descriptor of held?.descriptors ?? []) closeDescriptor(descriptor);
}, 20_000);

test('ends when its time is over, whatever it holds', async () => {
  const keeper = await start('--linger', '0.2');
  const first = await store();
  await first.put('device/a', {}, [device]);
  await first.leave({ timeoutMs: 1000 });
  expect(keeper.stopLimitMs).toBeGreaterThan(200);
  expect(await ends(keeper.stop(), 5000)).toBe(true);
});

test('waits for a predecessor that lingers, and can be ended meanwhile', async () => {
  const before = await start('--linger', '60');
  await before.ready;
  const [next, third] = [await start('--linger', '60'), await start('--linger', '60')];
  expect(await ends(next.ready!, 200)).toBe(false);
  await third.stop();
  await before.stop();
  await next.ready;
  await store();
  await next.stop();
});

test('refuses to start beside another without --linger', async () => {
  const before = await start();
  await expect(start()).rejects.toMatchObject({ code: 'in-use' });
  await before.stop();
});
