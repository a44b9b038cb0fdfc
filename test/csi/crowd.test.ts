/** Many callers at once, slow ones, and ones that vanish: an honest caller beside them is served, and nothing stays. */
import fs from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { status } from '@grpc/grpc-js';
import { createController } from '../../src/csi/controller/controller.ts';
import { createIdentity } from '../../src/csi/identity.ts';
import { lockedController } from '../../src/csi/locking.ts';
import { csiService, loadCsiPackage } from '../../src/csi/proto.ts';
import { CsiServer } from '../../src/csi/server.ts';
import { BusyLocks } from '../../src/util/busy-locks.ts';
import { silentLogger } from '../../src/util/log.ts';
import { eventually } from '../support/eventually.ts';
import { FakeDirectory, FakeStore } from '../support/fake-stores.ts';
import { RawCalls, unaryMethods } from '../support/raw-calls.ts';

const PREFACE = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
/** An empty SETTINGS frame. */
const SETTINGS = Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0]);
/** A frame of headers that says that 100 bytes follow, of which 3 do. */
const HALF_FRAME = Buffer.from([0, 0, 100, 1, 4, 0, 0, 0, 1, 0x82, 0x86, 0x84]);
const LIMIT_MS = 60_000;

let folder: string;
let store: FakeStore;
let server: CsiServer;
let calls: RawCalls;
const service = csiService(loadCsiPackage(), 'Controller');
const create = unaryMethods(service).find(({ name }) => name === 'CreateVolume')!;

beforeEach(async () => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), 'chunkstore-crowd-'));
  store = new FakeStore({ sizeBytes: 2 ** 44 });
  server = new CsiServer({
    identity: createIdentity({ version: '1', isReady: () => Promise.resolve(true) }),
    controller: lockedController(createController(new FakeDirectory([store])), new BusyLocks()),
    log: silentLogger(),
    newRequestId: () => 'request',
    nowMs: () => performance.now(),
  });
  await server.listen(`unix://${folder}/csi.sock`);
  calls = new RawCalls(`unix:${folder}/csi.sock`);
});
afterEach(async () => {
  calls.close();
  await server.stop({ timeoutMs: 100 });
  fs.rmSync(folder, { recursive: true, force: true });
});

function creation(name: string): Buffer {
  const capability = { mount: {}, accessMode: { mode: 'SINGLE_NODE_WRITER' } };
  return service['CreateVolume']!.requestSerialize({ name, volumeCapabilities: [capability] });
}

async function connected(bytes: readonly Buffer[]): Promise<net.Socket> {
  const socket = net.connect(`${folder}/csi.sock`);
  // The server may end it at any time, and may refuse what it is sent.
  socket.on('error', () => {});
  await new Promise((resolve) => socket.once('connect', resolve));
  for (const piece of bytes) socket.write(piece);
  return socket;
}

test(
  'a thousand calls at once are all answered, and each name is made once',
  async () => {
    const outcomes = await Promise.all(Array.from({ length: 1_000 }, (_, index) => calls.call(create.path, creation(`v${index % 400}`))));
    const codes = new Set(outcomes.map(({ code }) => code));
    for (const code of codes) expect([status.OK, status.ABORTED]).toContain(code);
    expect(store.volumes.size).toBe(400);
    expect((await calls.call(create.path, creation('one more'))).code).toBe(status.OK);
  },
  LIMIT_MS,
);

test(
  'more calls than may run are told to come again, and those that run go on',
  async () => {
    let release = (): void => {};
    const gate = new Promise<void>((resolve) => (release = resolve));
    store.before = () => gate;
    // A connection carries as many calls as may run at all: the others come by another one.
    const others = new RawCalls(`unix:${folder}/csi.sock`);
    try {
      const waiting = Array.from({ length: 2_048 }, (_, index) => calls.call(create.path, creation(`v${index}`)));
      let refused = false;
      await eventually(
        'a call is refused',
        async () => {
          const early = await Promise.race([
            others.call(create.path, creation('late')),
            new Promise<null>((resolve) => setTimeout(resolve, 200, null)),
          ]);
          refused = early?.code === status.UNAVAILABLE;
          return refused;
        },
        20_000,
      );
      release();
      for (const { code } of await Promise.all(waiting)) expect([status.OK, status.UNAVAILABLE]).toContain(code);
      store.before = () => {};
      expect((await others.call(create.path, creation('last'))).code).toBe(status.OK);
    } finally {
      release();
      others.close();
    }
  },
  LIMIT_MS,
);

test(
  'connections that say nothing, or half of something, are in nobody’s way, and go without a trace',
  async () => {
    const before = fs.readdirSync('/proc/self/fd').length;
    const beginnings = [
      [],
      [PREFACE.subarray(0, 10)],
      [PREFACE],
      [PREFACE, SETTINGS, HALF_FRAME],
      [Buffer.alloc(70_000, 0xff)],
      [Buffer.from('GET / HTTP/1.1\r\n\r\n')],
    ];
    const sockets: net.Socket[] = [];
    for (let round = 0; round < 30; round++) for (const bytes of beginnings) sockets.push(await connected(bytes));
    expect((await calls.call(create.path, creation('beside them'))).code).toBe(status.OK);
    for (const socket of sockets) socket.destroy();
    await eventually('their descriptors are closed', () => fs.readdirSync('/proc/self/fd').length <= before + 4, 20_000);
    expect((await calls.call(create.path, creation('after them'))).code).toBe(status.OK);
  },
  LIMIT_MS,
);

test(
  'calls that are cancelled at once leave no lock behind',
  async () => {
    await Promise.all(Array.from({ length: 300 }, (_, index) => calls.cancelled(create.path, creation(`v${index % 3}`))));
    await eventually('the names are free', async () => {
      const outcomes = await Promise.all([0, 1, 2].map((index) => calls.call(create.path, creation(`v${index}`))));
      return outcomes.every(({ code }) => code === status.OK);
    });
  },
  LIMIT_MS,
);

test('a request that names thirty thousand nodes holds up nobody for long', async () => {
  const nodes = Array.from({ length: 30_000 }, (_, index) => ({ segments: { 'csi.chunkstore.dev/node': `n${index}` } }));
  const request = service['CreateVolume']!.requestSerialize({
    name: 'far',
    volumeCapabilities: [{ mount: {}, accessMode: { mode: 'SINGLE_NODE_WRITER' } }],
    accessibilityRequirements: { requisite: nodes, preferred: nodes.toReversed() },
  });
  expect(request.length).toBeLessThan(4 << 20);
  expect((await calls.call(create.path, request)).code).toBe(status.RESOURCE_EXHAUSTED);
}, 20_000);
