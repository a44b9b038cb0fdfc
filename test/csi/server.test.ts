import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { status } from '@grpc/grpc-js';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import { pino } from 'pino';
import { createController } from '../../src/csi/controller/controller.ts';
import { createIdentity } from '../../src/csi/identity.ts';
import { createNode } from '../../src/csi/node/node.ts';
import { CsiServer, type CsiServerOptions } from '../../src/csi/server.ts';
import { eventually } from '../support/eventually.ts';
import { connectCsi, type CsiClient } from '../support/csi-client.ts';
import { FakeMachine } from '../support/fake-machine.ts';
import { FakeDirectory, FakeStore } from '../support/fake-stores.ts';

let folder: string;
let endpoint: string;
let store: FakeStore;
let lines: Record<string, unknown>[];
let servers: CsiServer[];
let clients: CsiClient[];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'csi-server-'));
  endpoint = `unix://${folder}/csi.sock`;
  store = new FakeStore();
  lines = [];
  servers = [];
  clients = [];
});

afterEach(async () => {
  for (const client of clients) client.close();
  for (const server of servers) await server.stop({ timeoutMs: 100 });
  rmSync(folder, { recursive: true, force: true });
});

async function serve(more: Partial<CsiServerOptions> = {}): Promise<CsiServer> {
  const stream = new Writable({
    write(chunk: Buffer, _, done) {
      lines.push(JSON.parse(chunk.toString()) as Record<string, unknown>);
      done();
    },
  });
  let requests = 0;
  const server = new CsiServer({
    identity: createIdentity({ version: '1.2.3', isReady: () => Promise.resolve(true) }),
    log: pino({ level: 'trace' }, stream),
    newRequestId: () => `request-${(requests += 1)}`,
    nowMs: () => performance.now(),
    ...more,
  });
  await server.listen(endpoint);
  servers.push(server);
  return server;
}

function connect(): CsiClient {
  const client = connectCsi(endpoint);
  clients.push(client);
  return client;
}

const controller = () => createController(new FakeDirectory([store]));
const capability = { mount: {}, accessMode: { mode: 'SINGLE_NODE_WRITER' } } as const;

describe('a server on a socket', () => {
  test('tells who it is and what it can', async () => {
    await serve();
    const { identity } = connect();
    expect(await identity.getPluginInfo({})).toEqual({ name: 'csi.chunkstore.dev', vendorVersion: '1.2.3', manifest: {} });
    expect(
      (await identity.getPluginCapabilities({})).capabilities.map((entry) => entry.service?.type ?? entry.volumeExpansion?.type),
    ).toEqual(['CONTROLLER_SERVICE', 'VOLUME_ACCESSIBILITY_CONSTRAINTS', 'ONLINE']);
    expect(await identity.probe({})).toEqual({ ready: { value: true } });
  });

  test('is not ready while it cannot tell', async () => {
    await serve({ identity: createIdentity({ version: '1', isReady: () => Promise.reject(new Error('no')) }) });
    expect(await connect().identity.probe({})).toEqual({ ready: { value: false } });
  });

  test('serves volumes from creation to deletion', async () => {
    const machine = new FakeMachine(store);
    await serve({
      controller: controller(),
      node: createNode({ devices: machine.nodeDevices, mounter: machine.mounter, nodeId: 'a', topologyNode: 'a', maximumVolumes: 256 }),
    });
    const client = connect();
    const { volume } = await client.controller.createVolume({ name: 'data', volumeCapabilities: [capability] });
    const { volumeId } = volume!;
    await client.node.nodeStageVolume({ volumeId, stagingTargetPath: '/s', volumeCapability: capability });
    await client.node.nodePublishVolume({ volumeId, stagingTargetPath: '/s', targetPath: '/t', volumeCapability: capability });
    await expect(client.controller.deleteVolume({ volumeId })).rejects.toMatchObject({ code: status.FAILED_PRECONDITION });
    await client.node.nodeUnpublishVolume({ volumeId, targetPath: '/t' });
    await client.node.nodeUnstageVolume({ volumeId, stagingTargetPath: '/s' });
    await client.controller.deleteVolume({ volumeId });
    expect(machine.mounts).toEqual([]);
    expect(machine.devices.size).toBe(0);
  });

  test('advertises single writers on both sides, and nothing that is not served', async () => {
    const machine = new FakeMachine(store);
    await serve({
      controller: controller(),
      node: createNode({ devices: machine.nodeDevices, mounter: machine.mounter, nodeId: 'a', topologyNode: 'a', maximumVolumes: 256 }),
    });
    const client = connect();
    const types = (answer: { capabilities: readonly { rpc?: { type: string } }[] }) => answer.capabilities.map(({ rpc }) => rpc!.type);
    expect(types(await client.controller.controllerGetCapabilities({}))).toEqual(
      expect.arrayContaining(['SINGLE_NODE_MULTI_WRITER', 'GET_SNAPSHOT']),
    );
    expect(types(await client.controller.controllerGetCapabilities({}))).not.toContain('PUBLISH_UNPUBLISH_VOLUME');
    expect(types(await client.node.nodeGetCapabilities({}))).toContain('SINGLE_NODE_MULTI_WRITER');
    await expect(client.controller.controllerPublishVolume({})).rejects.toMatchObject({ code: status.UNIMPLEMENTED });
  });

  test('leaves services out that it is not given', async () => {
    await serve();
    await expect(connect().controller.listVolumes({})).rejects.toMatchObject({ code: status.UNIMPLEMENTED });
  });
});

describe('failures', () => {
  test('carry code and words to the caller', async () => {
    await serve({ controller: controller() });
    await expect(connect().controller.createVolume({})).rejects.toMatchObject({
      code: status.INVALID_ARGUMENT,
      details: 'name is missing',
    });
    await expect(connect().controller.listVolumes({ startingToken: 'x' })).rejects.toMatchObject({ code: status.ABORTED });
  });

  test('of our own leak nothing: the log has the stack, the caller the request', async () => {
    store.before = () => {
      throw new TypeError('secret detail');
    };
    await serve({ controller: controller() });
    const failure = await connect()
      .controller.listVolumes({})
      .then(() => null)
      .catch((error: unknown) => error as { code: number; details: string; message: string });
    expect(failure).toMatchObject({
      code: status.INTERNAL,
      details: "internal error in ListVolumes; the driver's log has it under request request-1",
    });
    expect(failure!.details).not.toMatch(/secret|\.ts|at /);
    expect(lines.at(-1)).toMatchObject({
      level: 50,
      method: 'ListVolumes',
      requestId: 'request-1',
      err: { message: 'secret detail', stack: expect.stringContaining('TypeError') },
    });
  });
});

describe('the log', () => {
  test('has one line a call, without secrets', async () => {
    await serve({ controller: controller() });
    const client = connect();
    const { volume } = await client.controller.createVolume({ name: 'data', volumeCapabilities: [capability], secrets: { key: 'hidden' } });
    await client.controller.controllerGetVolume({ volumeId: volume!.volumeId });
    expect(lines).toMatchObject([
      { method: 'CreateVolume', requestId: 'request-1', name: 'data', code: 'OK', durationMs: expect.any(Number) },
      { method: 'ControllerGetVolume', requestId: 'request-2', volume: volume!.volumeId, code: 'OK' },
    ]);
    expect(JSON.stringify(lines)).not.toContain('hidden');
  });
});

describe('the socket', () => {
  test('is taken over by a later server, and not removed by the earlier one', async () => {
    const earlier = await serve();
    await serve({ identity: createIdentity({ version: '2', isReady: () => Promise.resolve(true) }) }).catch(() => {});
    expect(await connect().identity.getPluginInfo({})).toMatchObject({ vendorVersion: '2' });
    await earlier.stop({ timeoutMs: 100 });
    expect(await connect().identity.getPluginInfo({})).toMatchObject({ vendorVersion: '2' });
    await servers.at(-1)!.stop({ timeoutMs: 100 });
    expect(existsSync(`${folder}/csi.sock`)).toBe(false);
  });

  test('a running call is finished before the end', async () => {
    let release = (): void => {};
    const gate = new Promise<void>((resolve) => (release = resolve));
    let reached = false;
    store.before = () => {
      reached = true;
      return gate;
    };
    const server = await serve({ controller: controller() });
    const answer = connect().controller.listVolumes({});
    await eventually('the call reaches the store', () => reached);
    const stopped = server.stop({ timeoutMs: 5_000 });
    release();
    expect(await answer).toMatchObject({ entries: [] });
    await stopped;
  });

  test('must have a usable path', async () => {
    endpoint = 'tcp://127.0.0.1:1';
    await expect(serve()).rejects.toThrow(/not of the form unix:/);
    endpoint = `unix:///${'a'.repeat(120)}/csi.sock`;
    await expect(serve()).rejects.toThrow(/too long/);
  });
});
