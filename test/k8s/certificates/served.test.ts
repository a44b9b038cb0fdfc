/** All of it over real sockets: what the identities hold is what TLS takes. */
import type { Server } from '@grpc/grpc-js';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { secrets } from '../../../src/k8s/resources.ts';
import { StoreClient } from '../../../src/store/wire/client.ts';
import { createControllerServer, type StoreHandlers } from '../../../src/store/wire/server.ts';
import { listenWithTls, type TlsListener } from '../../../src/store/wire/tls-listener.ts';
import { silentLogger } from '../../../src/util/log.ts';
import { CONTROLLER_TLS_NAME, poolTlsName, type TlsIdentity } from '../../../src/util/tls-identity.ts';
import { CertificateCluster, MINUTE_MS, SECRET } from '../../support/certificate-cluster.ts';
import { eventually } from '../../support/eventually.ts';

const POOLS = ['a', 'b'].map((letter) => letter.repeat(26));
const HOST = '127.0.0.1';

let cluster: CertificateCluster;
let controller: TlsIdentity;
let servers: { server: Server; listener: TlsListener }[];
let clients: StoreClient[];

beforeEach(async () => {
  cluster = new CertificateCluster({ startMs: Date.now() });
  controller = cluster.controller();
  servers = await Promise.all(POOLS.map((pool) => serve(pool)));
  clients = POOLS.map((pool, index) => clientOf(pool, servers[index]!.listener.port));
});
afterEach(async () => {
  for (const client of clients) client.close();
  for (const { server, listener } of servers) {
    listener.close();
    server.forceShutdown();
  }
  await cluster.end();
});

async function serve(pool: string): Promise<{ server: Server; listener: TlsListener }> {
  const service = { getPool: async () => ({ id: pool }) } as unknown as StoreHandlers;
  const server = createControllerServer({ service, log: silentLogger() });
  const identity = cluster.store(pool, `node-${pool[0]}`);
  const listener = await listenWithTls({ server, host: HOST, port: 0, identity, peerName: CONTROLLER_TLS_NAME, log: silentLogger() });
  return { server, listener };
}

function clientOf(pool: string, port: number): StoreClient {
  return new StoreClient({ target: `${HOST}:${port}`, tls: { identity: controller, serverName: poolTlsName(pool) } });
}

async function reached(): Promise<readonly string[]> {
  const answers = await Promise.allSettled(clients.map((client) => client.getPool()));
  return answers.map((answer) => (answer.status === 'fulfilled' ? answer.value.id : 'unavailable'));
}

test('stores are reached once the controller leads, and again after the Secret was deleted', async () => {
  await cluster.pass();
  expect(await reached()).toEqual(['unavailable', 'unavailable']);
  cluster.keeper();
  cluster.signer();
  await cluster.pass(MINUTE_MS);
  expect(await reached()).toEqual(POOLS);
  cluster.kubernetes.remove(secrets, SECRET);
  await cluster.pass(MINUTE_MS);
  await eventually('all stores are reached', async () => (await reached()).every((id, index) => id === POOLS[index]));
  const crossed = clientOf(POOLS[0]!, servers[1]!.listener.port);
  await expect(crossed.getPool()).rejects.toMatchObject({ code: 'unavailable' });
  crossed.close();
});
