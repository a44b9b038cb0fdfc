import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import {
  Client,
  credentials,
  Metadata,
  Server,
  status,
  type sendUnaryData,
  type ServerUnaryCall,
  type ServiceDefinition,
  type ServiceError,
} from '@grpc/grpc-js';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { Proxy, type Backend } from '../../src/local/proxy.ts';
import { listenOnSocket } from '../../src/roles/process/listen.ts';
import { StoreError } from '../../src/util/errors.ts';

const same = (bytes: Buffer): Buffer => bytes;
const SERVICE: ServiceDefinition = {
  echo: {
    path: '/test.v1.Echo/Echo',
    requestStream: false,
    responseStream: false,
    requestSerialize: same,
    requestDeserialize: same,
    responseSerialize: same,
    responseDeserialize: same,
  },
};

class FakeBackend implements Backend {
  readonly name = 'store';
  readonly target: string;
  life = 0;
  #server: Server | null = null;
  readonly #socket: string;
  received: { metadata: Record<string, unknown>; deadline: number } | null = null;
  cancelled = false;

  constructor(socket: string) {
    this.#socket = socket;
    this.target = `unix://${socket}`;
  }

  async start(): Promise<void> {
    const server = new Server();
    server.addService(SERVICE, {
      echo: (call: ServerUnaryCall<Buffer, Buffer>, done: sendUnaryData<Buffer>) => {
        const text = String(call.request);
        this.received = { metadata: call.metadata.getMap(), deadline: Number(call.getDeadline()) };
        call.on('cancelled', () => (this.cancelled = true));
        if (text === 'hang') return;
        if (text === 'fail') {
          const metadata = new Metadata();
          metadata.set('chunkstore-code', 'no-space');
          done({ code: status.RESOURCE_EXHAUSTED, details: 'the pool is full', metadata });
          return;
        }
        done(null, Buffer.from(`echo ${text}`));
      },
    });
    await listenOnSocket(server, this.#socket);
    this.#server = server;
    this.life += 1;
  }

  die(): void {
    this.#server?.forceShutdown();
    this.#server = null;
  }

  async whenReady({ timeoutMs }: { timeoutMs: number }): Promise<void> {
    const deadline = performance.now() + timeoutMs;
    while (this.#server === null) {
      if (performance.now() > deadline) throw new StoreError('unavailable', 'the store is not running at the moment; ask again');
      await delay(5);
    }
  }
}

let folder: string;
let backend: FakeBackend;
let proxy: Proxy;
let client: Client;
beforeEach(async () => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), 'chunkstore-proxy-'));
  backend = new FakeBackend(path.join(folder, 'backend.sock'));
  proxy = new Proxy([{ service: SERVICE, backend }], { waitMs: 300 });
  await listenOnSocket(proxy.server, path.join(folder, 'front.sock'));
  client = new Client(`unix://${folder}/front.sock`, credentials.createInsecure());
});
afterEach(() => {
  client.close();
  proxy.close();
  proxy.server.forceShutdown();
  backend.die();
  fs.rmSync(folder, { recursive: true, force: true });
});

function call(text: string, options: { deadline?: number; metadata?: Metadata } = {}): Promise<string> {
  return new Promise((resolve, reject) => {
    const { metadata = new Metadata(), deadline = Date.now() + 5000 } = options;
    client.makeUnaryRequest(
      '/test.v1.Echo/Echo',
      same,
      same,
      Buffer.from(text),
      metadata,
      { deadline },
      (error: ServiceError | null, answer?: Buffer) => (error === null ? resolve(String(answer)) : reject(error)),
    );
  });
}

describe('proxy', () => {
  test('passes bytes, metadata and deadline on', async () => {
    await backend.start();
    const metadata = new Metadata();
    metadata.set('x-request', '42');
    const deadline = Date.now() + 3000;
    expect(await call('hello', { metadata, deadline })).toBe('echo hello');
    expect(backend.received?.metadata['x-request']).toBe('42');
    expect(Math.abs((backend.received?.deadline ?? 0) - deadline)).toBeLessThan(200);
  });

  test('passes a failure on with its code, words and metadata', async () => {
    await backend.start();
    const error = await call('fail').catch((reason: ServiceError) => reason);
    expect(error).toMatchObject({ code: status.RESOURCE_EXHAUSTED, details: 'the pool is full' });
    expect((error as ServiceError).metadata.get('chunkstore-code')).toEqual(['no-space']);
  });

  test('a call waits for a role that is coming', async () => {
    const answer = call('patience');
    await delay(100);
    await backend.start();
    expect(await answer).toBe('echo patience');
  });

  test('a call is UNAVAILABLE when the role does not come in time', async () => {
    await expect(call('nobody')).rejects.toMatchObject({ code: status.UNAVAILABLE, details: expect.stringContaining('not running') });
  });

  test('a call under way is UNAVAILABLE when its role dies, and the next one reaches the new process', async () => {
    await backend.start();
    const hanging = call('hang');
    hanging.catch(() => {});
    await delay(50);
    backend.die();
    await expect(hanging).rejects.toMatchObject({ code: status.UNAVAILABLE });
    await backend.start();
    expect(await call('again')).toBe('echo again');
  });

  test('a cancelled call is cancelled behind it', async () => {
    await backend.start();
    await expect(call('hang', { deadline: Date.now() + 100 })).rejects.toMatchObject({ code: status.DEADLINE_EXCEEDED });
    await delay(100);
    expect(backend.cancelled).toBe(true);
  });

  test('passes no more calls on at once than it may, those that wait for their role among them', async () => {
    const narrow = new Proxy([{ service: SERVICE, backend }], { waitMs: 5_000, mostCalls: 2 });
    await listenOnSocket(narrow.server, path.join(folder, 'narrow.sock'));
    client.close();
    client = new Client(`unix://${folder}/narrow.sock`, credentials.createInsecure());
    try {
      const waiting = [call('first'), call('second')];
      // Which of the three are told is for the server to say: they come over one connection, but begin at once.
      const third = await Promise.allSettled([...waiting, call('third')].map((one) => Promise.race([one, delay(500).then(() => 'waits')])));
      expect(third.filter(({ status: outcome }) => outcome === 'rejected')).toEqual([
        expect.objectContaining({
          reason: expect.objectContaining({ code: status.UNAVAILABLE, details: expect.stringContaining('2 calls run') }),
        }),
      ]);
      await backend.start();
      expect((await Promise.allSettled(waiting)).filter(({ status: outcome }) => outcome === 'fulfilled').length).toBeGreaterThan(0);
      expect(await call('later')).toBe('echo later');
    } finally {
      narrow.close();
      narrow.server.forceShutdown();
    }
  });

  test('takes no request that its services would not take', async () => {
    await backend.start();
    await expect(call('x'.repeat(5 * 1024 * 1024))).rejects.toMatchObject({ code: status.RESOURCE_EXHAUSTED });
    expect(await call('small')).toBe('echo small');
  });

  test('refuses calls when told to', async () => {
    await backend.start();
    proxy.refuse('the driver is stopping');
    await expect(call('late')).rejects.toMatchObject({ code: status.UNAVAILABLE, details: 'the driver is stopping' });
    proxy.refuse(null);
    expect(await call('back')).toBe('echo back');
  });
});
