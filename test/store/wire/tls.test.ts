import { once } from 'node:events';
import http from 'node:http';
import net from 'node:net';
import tls from 'node:tls';
import type { Server } from '@grpc/grpc-js';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { closeServer } from '../../../src/roles/process/listen.ts';
import { StoreClient } from '../../../src/store/wire/client.ts';
import type { StoreCalls } from '../../../src/store/wire/messages.ts';
import { createControllerServer, type StoreHandlers } from '../../../src/store/wire/server.ts';
import { listenWithTls, type TlsListener, type TlsListenerLimits } from '../../../src/store/wire/tls-listener.ts';
import { silentLogger, type Logger } from '../../../src/util/log.ts';
import { CONTROLLER_TLS_NAME, poolTlsName, type TlsMaterial } from '../../../src/util/tls-identity.ts';
import { eventually } from '../../support/eventually.ts';
import { TestAuthority, TestIdentity } from '../../support/tls.ts';

const POOL = 'a'.repeat(26);
const OTHER_POOL = 'b'.repeat(26);
const HOST = '127.0.0.1';

/** Answers getPool at once, and a volume's lookup when the test lets it. */
class Service {
  calls = 0;
  readonly #lookups: (() => void)[] = [];

  handlers(): StoreHandlers {
    const getPool = (): Promise<StoreCalls['getPool']['response']> => {
      this.calls++;
      return Promise.resolve({ id: POOL } as StoreCalls['getPool']['response']);
    };
    const getVolume = async ({ id }: { id: string }): Promise<StoreCalls['getVolume']['response']> => {
      this.calls++;
      await new Promise<void>((resolve) => {
        this.#lookups.push(resolve);
      });
      return { id, name: 'slow' } as StoreCalls['getVolume']['response'];
    };
    return { getPool, getVolume } as unknown as StoreHandlers;
  }

  get waiting(): number {
    return this.#lookups.length;
  }

  answerLookups(): void {
    for (const resolve of this.#lookups.splice(0)) resolve();
  }
}

let authority: TestAuthority;
let service: Service;
let server: Server;
let serverIdentity: TestIdentity;
let listener: TlsListener;
let logged: Record<string, unknown>[];
let ends: (() => void)[];

const storeMaterial = (poolId = POOL) => authority.issue(poolTlsName(poolId), 'serverAuth');
const controllerMaterial = () => authority.issue(CONTROLLER_TLS_NAME, 'clientAuth');

beforeEach(async () => {
  ends = [];
  logged = [];
  authority = new TestAuthority();
  service = new Service();
  serverIdentity = new TestIdentity(storeMaterial());
  await serve();
});
afterEach(() => {
  service.answerLookups();
  for (const end of ends) end();
});

async function serve(options: { readonly limits?: Partial<TlsListenerLimits>; readonly identity?: TestIdentity } = {}): Promise<void> {
  server = createControllerServer({ service: service.handlers(), log: silentLogger() });
  const thisServer = server;
  listener = await listenWithTls({
    server,
    host: HOST,
    port: 0,
    identity: options.identity ?? serverIdentity,
    peerName: CONTROLLER_TLS_NAME,
    log: listeningLog(),
    ...(options.limits && { limits: options.limits }),
  });
  const thisListener = listener;
  ends.push(() => {
    thisListener.close();
    thisServer.forceShutdown();
  });
}

function listeningLog(): Logger {
  const log = silentLogger();
  const add = (fields: unknown, message?: unknown): void => void logged.push({ ...(fields as object), message });
  return Object.assign(log, { warn: add, error: add });
}

function clientWith(material: TlsMaterial | TestIdentity, options: { readonly pool?: string; readonly port?: number } = {}): StoreClient {
  const client = new StoreClient({
    target: `${HOST}:${options.port ?? listener.port}`,
    tls: {
      identity: material instanceof TestIdentity ? material : new TestIdentity(material),
      serverName: poolTlsName(options.pool ?? POOL),
    },
    timeoutMs: 20_000,
    connectTimeoutMs: 10_000,
  });
  ends.push(() => client.close());
  return client;
}

const refused = expect.objectContaining({ code: 'unavailable' });

describe('who is served', () => {
  test('a controller is', async () => {
    await expect(clientWith(controllerMaterial()).getPool()).resolves.toMatchObject({ id: POOL });
    expect(logged).toEqual([]);
  });

  test.each<[string, () => TlsMaterial, string]>([
    [
      'of another authority',
      () => ({ ...new TestAuthority().issue(CONTROLLER_TLS_NAME, 'clientAuth'), bundle: authority.authority.certificate }),
      'SELF_SIGNED|UNABLE',
    ],
    ['that has expired', () => authority.issue(CONTROLLER_TLS_NAME, 'clientAuth', { validForMs: -1_000 }), 'CERT_HAS_EXPIRED'],
    [
      'that is not valid yet',
      () => authority.issue(CONTROLLER_TLS_NAME, 'clientAuth', { validSinceMs: -600_000, validForMs: 1_200_000 }),
      'CERT_NOT_YET_VALID',
    ],
    ['of a store', () => storeMaterial(), 'INVALID_PURPOSE'],
    ['for servers, with the name of a controller', () => authority.issue(CONTROLLER_TLS_NAME, 'serverAuth'), 'INVALID_PURPOSE'],
    ['for clients, with the name of a store', () => authority.issue(poolTlsName(POOL), 'clientAuth'), 'its certificate is for'],
    ['for clients, with a longer name', () => authority.issue(`x.${CONTROLLER_TLS_NAME}`, 'clientAuth'), 'its certificate is for'],
  ])('a client with a certificate %s is not', async (_, makeMaterial, reason) => {
    await expect(clientWith(makeMaterial()).getPool()).rejects.toEqual(refused);
    expect(service.calls).toBe(0);
    await eventually('the refusal is logged', () => logged.length > 0);
    expect(logged[0]).toMatchObject({ reason: expect.stringMatching(reason) as unknown });
  });

  test.each<[string, () => tls.ConnectionOptions]>([
    ['without a certificate', () => ({})],
    ['that speaks TLS 1.2', () => ({ maxVersion: 'TLSv1.2', ...controllerKeyPair() })],
    ['that does not speak HTTP/2', () => ({ ALPNProtocols: [], ...controllerKeyPair() })],
  ])('a client %s gets nothing but the end of the connection', async (_, makeOptions) => {
    expect(await rawConnection(makeOptions())).toBe('');
    expect(service.calls).toBe(0);
  });

  test('a session of a controller cannot be resumed, with or without its certificate', async () => {
    let session: Buffer | undefined;
    const first = tls.connect({
      host: HOST,
      port: listener.port,
      rejectUnauthorized: false,
      ALPNProtocols: ['h2'],
      ...controllerKeyPair(),
    });
    ends.push(() => first.destroy());
    first.on('session', (ticket: Buffer) => (session = ticket));
    await eventually('the server sends a ticket', () => session !== undefined);
    expect(await rawConnection({ session: session! })).toBe('');
    const again = tls.connect({
      host: HOST,
      port: listener.port,
      rejectUnauthorized: false,
      ALPNProtocols: ['h2'],
      session: session!,
      ...controllerKeyPair(),
    });
    ends.push(() => again.destroy());
    await once(again, 'secureConnect');
    expect(again.isSessionReused()).toBe(false);
  });

  test('HTTP without TLS gets no HTTP back', async () => {
    await expect(
      new Promise((resolve, reject) => {
        http.get({ host: HOST, port: listener.port, path: '/' }, resolve).on('error', reject);
      }),
    ).rejects.toThrow();
    expect(service.calls).toBe(0);
  });

  test('a controller cannot call what belongs to the node', async () => {
    const client = clientWith(controllerMaterial());
    const unknown = expect.objectContaining({ code: 'failed-precondition' });
    await expect(client.attach('x')).rejects.toEqual(unknown);
    await expect(client.detach('x')).rejects.toEqual(unknown);
    await expect(client.handOver({} as never)).rejects.toEqual(unknown);
    const session = client.nodeSession();
    const [error] = (await once(session, 'error')) as [{ code: number }];
    expect(error.code).toBe(12);
  });

  test('before there is a certificate nobody is, and then everybody who may', async () => {
    const identity = new TestIdentity(null);
    await serve({ identity });
    const client = clientWith(controllerMaterial());
    await expect(client.getPool()).rejects.toEqual(refused);
    identity.set(storeMaterial());
    await eventually('the store answers', () => answers(client));
  });
});

describe('whom a client believes', () => {
  test('not the store of another pool, and it says so', async () => {
    const call = clientWith(controllerMaterial(), { pool: OTHER_POOL }).getPool();
    const why = `its certificate is for DNS:${poolTlsName(POOL)}, not for ${poolTlsName(OTHER_POOL)}`;
    await expect(call).rejects.toMatchObject({ code: 'unavailable', message: expect.stringContaining(why) as unknown });
    expect(service.calls).toBe(0);
  });

  test('not a store of another authority', async () => {
    const material = { ...controllerMaterial(), bundle: new TestAuthority().authority.certificate };
    await expect(clientWith(material).getPool()).rejects.toEqual(refused);
    expect(service.calls).toBe(0);
  });

  test('not one that shows the certificate of a controller', async () => {
    await serve({ identity: new TestIdentity(controllerMaterial()) });
    await expect(clientWith(controllerMaterial()).getPool()).rejects.toEqual(refused);
  });

  test('not one that speaks TLS 1.2 only', async () => {
    const { certificate, key } = storeMaterial();
    const old = tls.createServer({ cert: certificate, key, maxVersion: 'TLSv1.2', ALPNProtocols: ['h2'] });
    old.on('tlsClientError', () => {});
    await new Promise<void>((resolve) => {
      old.listen(0, HOST, resolve);
    });
    ends.push(() => old.close());
    const { port } = old.address() as net.AddressInfo;
    await expect(clientWith(controllerMaterial(), { port }).getPool()).rejects.toEqual(refused);
  });

  test('nobody, before it has a certificate of its own', async () => {
    const identity = new TestIdentity(null);
    const client = clientWith(identity);
    await expect(client.getPool()).rejects.toEqual(
      expect.objectContaining({ code: 'unavailable', message: expect.stringContaining('certificate') as unknown }),
    );
    identity.set(controllerMaterial());
    await expect(client.getPool()).resolves.toMatchObject({ id: POOL });
  });
});

describe('certificates change while calls run', () => {
  test('authorities are exchanged step by step, and no call fails, short or long', async () => {
    const next = new TestAuthority();
    const both = { bundle: [authority, next] };
    const clientIdentity = new TestIdentity(controllerMaterial());
    const client = clientWith(clientIdentity);
    const long = client.getVolume('v');
    await eventually('the call is served', () => service.waiting === 1);
    let running = true;
    let calls = 0;
    const short = (async () => {
      for (; running; calls++) await client.getPool();
    })();
    const steps = [
      () => serverIdentity.set(authority.issue(poolTlsName(POOL), 'serverAuth', both)),
      () => clientIdentity.set(authority.issue(CONTROLLER_TLS_NAME, 'clientAuth', both)),
      () => clientIdentity.set(next.issue(CONTROLLER_TLS_NAME, 'clientAuth', both)),
      () => serverIdentity.set(next.issue(poolTlsName(POOL), 'serverAuth', both)),
    ];
    for (const step of steps) {
      step();
      const before = calls;
      await eventually('calls go on', () => calls > before + 5);
    }
    service.answerLookups();
    await expect(long).resolves.toMatchObject({ name: 'slow' });
    clientIdentity.set(next.issue(CONTROLLER_TLS_NAME, 'clientAuth'));
    serverIdentity.set(next.issue(poolTlsName(POOL), 'serverAuth'));
    running = false;
    await short;
    await expect(client.getPool()).resolves.toMatchObject({ id: POOL });
    // The authority that went is believed no more.
    await expect(clientWith(controllerMaterial()).getPool()).rejects.toEqual(refused);
  });

  test('a connection ends when its authority is believed no more', async () => {
    const client = clientWith(controllerMaterial());
    const long = client.getVolume('v');
    await eventually('the call is served', () => service.waiting === 1);
    const next = new TestAuthority();
    serverIdentity.set(next.issue(poolTlsName(POOL), 'serverAuth'));
    await expect(long).rejects.toEqual(refused);
  });

  test('a connection ends when its certificate expires', async () => {
    const client = clientWith(authority.issue(CONTROLLER_TLS_NAME, 'clientAuth', { validForMs: 3_000 }));
    await expect(client.getVolume('v')).rejects.toEqual(refused);
    expect(service.calls).toBe(1);
    await expect(client.getPool()).rejects.toEqual(refused);
  });

  test('a certificate that cannot be used changes nothing', async () => {
    const { bundle, ...own } = storeMaterial();
    serverIdentity.set({ certificate: 'no certificate', key: 'no key', bundle });
    // With no authority at all, Node would take those of the web.
    serverIdentity.set({ ...own, bundle: '' });
    await expect(clientWith(controllerMaterial()).getPool()).resolves.toMatchObject({ id: POOL });
    expect(JSON.stringify(logged)).not.toContain('no key');
  });
});

describe('what strangers cost', () => {
  test('who says nothing is sent away', async () => {
    await serve({ limits: { handshakeTimeoutMs: 50 } });
    const socket = silentConnection();
    await closed(socket);
  });

  test('the oldest of too many handshakes is ended, and a controller still gets through', async () => {
    await serve({ limits: { handshakes: 4 } });
    const strangers = Array.from({ length: 4 }, () => silentConnection());
    await Promise.all(strangers.map((socket) => once(socket, 'connect')));
    const firstEnd = closed(strangers[0]!);
    await expect(clientWith(controllerMaterial()).getPool()).resolves.toMatchObject({ id: POOL });
    await firstEnd;
    expect(strangers.slice(1).every((socket) => !socket.destroyed)).toBe(true);
  });

  test('connections of controllers have a limit too', async () => {
    await serve({ limits: { connections: 2 } });
    const clients = [1, 2, 3].map(() => clientWith(controllerMaterial()));
    await clients[0]!.getPool();
    await clients[1]!.getPool();
    await expect(clients[2]!.getPool()).rejects.toEqual(refused);
    clients[0]!.close();
    await eventually('there is room again', () => answers(clients[2]!));
  });

  test('a hundred refusals are one line of the log, and hold no secret', async () => {
    for (let count = 0; count < 100; count++) await rawConnection({});
    await eventually('refusals are logged', () => logged.length > 0);
    expect(logged).toHaveLength(1);
    expect(JSON.stringify(logged)).not.toContain('KEY');
  });
});

describe('a client whose store is away', () => {
  test('is told so in the time for connecting, and goes on once it is back', async () => {
    // Takes connections and never says a word, like a node that stopped in mid-air.
    const mute = net.createServer();
    await new Promise<void>((resolve) => {
      mute.listen(0, HOST, resolve);
    });
    const sockets = new Set<net.Socket>();
    mute.on('connection', (socket) => sockets.add(socket));
    const { port } = mute.address() as net.AddressInfo;
    const client = new StoreClient({
      target: `${HOST}:${port}`,
      tls: { identity: new TestIdentity(controllerMaterial()), serverName: poolTlsName(POOL) },
      connectTimeoutMs: 100,
      timeoutMs: 60_000,
    });
    ends.push(() => client.close());
    await expect(client.getPool()).rejects.toEqual(refused);
    for (const socket of sockets) socket.destroy();
    await new Promise<void>((resolve) => {
      mute.close(() => resolve());
    });
    const back = createControllerServer({ service: service.handlers(), log: silentLogger() });
    const again = await listenWithTls({
      server: back,
      host: HOST,
      port,
      identity: serverIdentity,
      peerName: CONTROLLER_TLS_NAME,
      log: silentLogger(),
    });
    ends.push(() => {
      again.close();
      back.forceShutdown();
    });
    await eventually('the store answers', () => answers(client));
  });
});

test('an end in order lets the call under way end, and takes no more', async () => {
  const client = clientWith(controllerMaterial());
  const call = client.getVolume('v');
  await eventually('the call is served', () => service.waiting === 1);
  const { port } = listener;
  listener.close();
  const ended = closeServer(server, { timeoutMs: 20_000 });
  await expect(clientWith(controllerMaterial(), { port }).getPool()).rejects.toEqual(refused);
  service.answerLookups();
  await expect(call).resolves.toMatchObject({ name: 'slow' });
  await ended;
});

test('a client that is closed lets the call under way end, and makes no more', async () => {
  const client = clientWith(controllerMaterial());
  const call = client.getVolume('v');
  await eventually('the call is served', () => service.waiting === 1);
  client.close();
  await expect(client.getPool()).rejects.toEqual(refused);
  service.answerLookups();
  await expect(call).resolves.toMatchObject({ name: 'slow' });
});

test('an address that is taken is an error', async () => {
  const second = createControllerServer({ service: service.handlers(), log: silentLogger() });
  ends.push(() => second.forceShutdown());
  await expect(
    listenWithTls({
      server: second,
      host: HOST,
      port: listener.port,
      identity: serverIdentity,
      peerName: CONTROLLER_TLS_NAME,
      log: silentLogger(),
    }),
  ).rejects.toMatchObject({ code: 'unavailable', message: expect.stringContaining(String(listener.port)) as unknown });
});

function controllerKeyPair(): { cert: string; key: string } {
  const { certificate, key } = controllerMaterial();
  return { cert: certificate, key };
}

/** What a peer that does not look at the server's certificate reads, until the connection ends. */
async function rawConnection(options: tls.ConnectionOptions): Promise<string> {
  let received = '';
  const socket = tls.connect({ host: HOST, port: listener.port, rejectUnauthorized: false, ALPNProtocols: ['h2'], ...options });
  socket.on('data', (data) => (received += data.toString('latin1')));
  socket.on('error', () => {});
  await closed(socket);
  return received;
}

function silentConnection(): net.Socket {
  const socket = net.connect({ host: HOST, port: listener.port });
  socket.on('error', () => {});
  socket.resume();
  ends.push(() => socket.destroy());
  return socket;
}

function closed(socket: net.Socket): Promise<void> {
  return new Promise((resolve) => {
    socket.once('close', () => resolve());
  });
}

async function answers(client: StoreClient): Promise<boolean> {
  try {
    return (await client.getPool()).id === POOL;
  } catch {
    return false;
  }
}
