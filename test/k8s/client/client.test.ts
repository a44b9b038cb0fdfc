import { afterEach, describe, expect, test } from '@jest/globals';
import { KubernetesClient, type ClientLimits } from '../../../src/k8s/client/client.ts';
import type { Connection } from '../../../src/k8s/client/connection.ts';
import {
  certificateSigningRequests,
  chunkStorePools,
  configMaps,
  leases,
  persistentVolumes,
  volumeSnapshots,
} from '../../../src/k8s/resources.ts';
import { eventually } from '../../support/eventually.ts';
import { FakeKubernetes } from '../../support/fake-kubernetes.ts';
import { KubernetesHttp, type OwnAnswer, type SeenRequest } from '../../support/kubernetes-http.ts';
import { contractThings, describeApi } from '../api-contract.ts';

const RESOURCES = [certificateSigningRequests, configMaps, leases, persistentVolumes, chunkStorePools, volumeSnapshots, contractThings];
const QUICK: Partial<ClientLimits> = { firstRetryMs: 1, requestTimeoutMs: 2000, listPageObjects: 2 };

interface Bed {
  readonly kubernetes: FakeKubernetes;
  readonly server: KubernetesHttp;
  readonly client: KubernetesClient;
  readonly url: URL;
}

const beds: Bed[] = [];

async function open(limits: Partial<ClientLimits> = {}, connection?: (url: URL) => Connection): Promise<Bed> {
  const kubernetes = new FakeKubernetes({ kindsWithStatus: ['ContractThing'] });
  const server = new KubernetesHttp(kubernetes, { resources: RESOURCES, missing: [volumeSnapshots] });
  const url = await server.listen();
  const made = connection?.(url) ?? { server: url, credentials: () => Promise.resolve({}) };
  const client = new KubernetesClient(made, { limits: { ...QUICK, ...limits }, userAgent: 'test/1' });
  const bed = { kubernetes, server, client, url };
  beds.push(bed);
  return bed;
}

async function closeAll(): Promise<void> {
  for (const { client, server } of beds.splice(0)) {
    client.close();
    await server.close();
  }
}

describeApi('the client of the Kubernetes API', async () => {
  const { client } = await open();
  return { api: client, namespace: 'contract', close: closeAll };
});

const metadata = { name: 'x', namespace: 'y' };
const code = (expected: string, message?: RegExp): object =>
  expect.objectContaining({ code: expected, ...(message !== undefined && { message: expect.stringMatching(message) }) });
const status = (status: number, body: object = {}, headers: Record<string, string> = {}): OwnAnswer => ({
  status,
  headers,
  body: JSON.stringify({ kind: 'Status', code: status, ...body }),
});
/** Answers the first requests so, and serves the rest. */
const first = (...answers: OwnAnswer[]): (() => OwnAnswer | undefined) => {
  return () => answers.shift();
};

describe('the client of the Kubernetes API, when', () => {
  afterEach(closeAll);

  test('it is asked too much: waits as told, a bounded number of times', async () => {
    const { client, server } = await open({ attempts: 3 });
    server.intercept = first(status(429, {}, { 'retry-after': '0' }), status(429, { details: { retryAfterSeconds: 0 } }));
    await client.create(configMaps, { metadata });
    expect(server.seen).toHaveLength(3);
    server.intercept = () => status(429, { message: 'too many' }, { 'retry-after': '0' });
    await expect(client.delete(configMaps, metadata)).rejects.toEqual(code('unavailable', /^delete ConfigMap y\/x.*429: too many$/));
    expect(server.seen).toHaveLength(6);
  });

  test('it is to wait for longer than a call may take: says so at once', async () => {
    const { client, server } = await open();
    server.intercept = first(status(503, {}, { 'retry-after': '3600' }));
    await expect(client.get(configMaps, metadata)).rejects.toEqual(code('unavailable'));
    expect(server.seen).toHaveLength(1);
  });

  test('the server fails: reading is repeated, a change only when it surely did not happen', async () => {
    const { client, server } = await open();
    server.intercept = first(status(500), status(503), status(504));
    await expect(client.get(configMaps, metadata)).resolves.toBeNull();
    server.intercept = first(status(500, { message: 'etcd is slow' }));
    await expect(client.create(configMaps, { metadata })).rejects.toEqual(
      code('unavailable', /500: etcd is slow; it may have taken effect/),
    );
    server.intercept = first(status(503, {}, { 'retry-after': '0' }));
    await client.create(configMaps, { metadata });
  });

  test('the connection breaks in the middle: reading is repeated, a change is unavailable', async () => {
    const { client, server } = await open();
    server.intercept = first('drop', 'drop');
    await expect(client.list(configMaps)).resolves.toEqual([]);
    server.intercept = first('drop');
    await expect(client.create(configMaps, { metadata })).rejects.toEqual(code('unavailable', /may have taken effect/));
  });

  test('nobody listens: unavailable, without doubt', async () => {
    const { client, server, url } = await open();
    await server.stop();
    const creating = client.create(configMaps, { metadata });
    await expect(creating).rejects.toEqual(
      code('unavailable', /^create ConfigMap y\/x: the Kubernetes API does not answer: .*ECONNREFUSED[^;]*$/),
    );
    await server.listen(Number(url.port));
    await client.create(configMaps, { metadata });
  });

  test('the server is slow: every call has a limit', async () => {
    const { client, server } = await open({ requestTimeoutMs: 30, listTimeoutMs: 30, attempts: 2 });
    server.intercept = () => 'hang';
    await expect(client.get(configMaps, metadata)).rejects.toEqual(code('unavailable', /no answer within 30 ms/));
    await expect(client.list(configMaps)).rejects.toEqual(code('unavailable'));
    await expect(client.create(configMaps, { metadata })).rejects.toEqual(code('unavailable'));
    expect(server.seen.map(({ method }) => method)).toEqual(['GET', 'GET', 'GET', 'GET', 'POST']);
  });

  test('it may not: names the missing rule', async () => {
    const { client, server } = await open();
    server.intercept = () => status(403, { message: 'User "x" cannot patch' });
    await expect(client.patch(chunkStorePools, { name: 'p' }, {}, { subresource: 'status' })).rejects.toEqual(
      code(
        'failed-precondition',
        /^patch ChunkStorePool p \(status\) is not allowed: .*ClusterRole with apiGroups \["chunkstore.dev"\], resources \["chunkstorepools\/status"\], verbs \["patch"\]/,
      ),
    );
    await expect(client.list(configMaps, { namespace: 'y' })).rejects.toEqual(
      code('failed-precondition', /a Role in namespace y .*"configmaps".*"list"/),
    );
  });

  test('kinds are missing: says what to install', async () => {
    const { client } = await open();
    expect(await client.get(volumeSnapshots, metadata)).toBeNull();
    await expect(client.list(volumeSnapshots)).rejects.toEqual(
      code('failed-precondition', /no VolumeSnapshot .*VolumeSnapshot CRDs and the snapshot-controller/),
    );
    await expect(client.create(volumeSnapshots, { metadata, spec: { source: {} } })).rejects.toEqual(code('failed-precondition'));
  });

  test('names come from users: none leads to another object or a whole collection', async () => {
    const { client, server } = await open();
    for (const name of ['', '.', '..', 'a/b', '%2e%2e', '../secrets']) {
      await expect(client.get(configMaps, { name, namespace: 'y' })).rejects.toEqual(code('invalid-argument'));
      await expect(client.delete(configMaps, { name: 'x', namespace: name })).rejects.toEqual(code('invalid-argument'));
    }
    await expect(client.get(configMaps, { name: 'x' })).rejects.toEqual(code('invalid-argument'));
    await client.get(configMaps, { name: 'a b?watch=1#', namespace: 'y' });
    expect(server.seen.map(({ path }) => path)).toEqual(['/api/v1/namespaces/y/configmaps/a%20b%3Fwatch=1%23'.replace('=', '%3D')]);
  });

  test('answers are no JSON, or are cut off', async () => {
    const { client, server } = await open({ attempts: 1, requestTimeoutMs: 100 });
    server.intercept = first(
      { status: 200, body: '<html>' },
      { status: 502, body: '<html><body>Bad   gateway</body></html>' },
      { status: 200, headers: { 'content-length': '100' }, body: '{"metadata":' },
    );
    await expect(client.get(configMaps, metadata)).rejects.toEqual(code('unavailable', /not JSON/));
    await expect(client.get(configMaps, metadata)).rejects.toEqual(code('unavailable', /502: <html><body>Bad gateway/));
    await expect(client.get(configMaps, metadata)).rejects.toEqual(code('unavailable'));
  });

  test('the moment of a long list is forgotten: lists once more, without pages', async () => {
    const { client, server, kubernetes } = await open();
    for (const name of ['a', 'b', 'c', 'd', 'e']) kubernetes.seed(configMaps, { metadata: { name, namespace: 'y' } });
    expect(await client.list(configMaps)).toHaveLength(5);
    expect(server.seen).toHaveLength(3);
    server.intercept = ({ query }) => (query.has('continue') ? status(410, { reason: 'Expired' }) : undefined);
    expect((await client.list(configMaps)).map((object) => object.metadata.name)).toEqual(['a', 'b', 'c', 'd', 'e']);
    expect(server.seen.at(-1)?.query.has('limit')).toBe(false);
  });

  test('a token is refused: asks with a new one, once', async () => {
    let token = 'old';
    const { client, server } = await open({}, (url) => ({
      server: url,
      credentials: ({ renewed }) => {
        if (renewed) token = 'new';
        return Promise.resolve({ headers: { authorization: `Bearer ${token}` } });
      },
    }));
    const refuse = ({ headers }: SeenRequest): OwnAnswer | undefined => (headers.authorization === 'Bearer new' ? undefined : status(401));
    server.intercept = refuse;
    await client.create(configMaps, { metadata });
    expect(server.seen[0]?.headers['user-agent']).toBe('test/1');
    token = 'old';
    const informer = client.watch(configMaps);
    await informer.ready;
    await eventually('the watch is open', () => server.openWatches === 1);
    server.intercept = () => status(401, { message: 'Unauthorized' });
    await expect(client.get(configMaps, metadata)).rejects.toEqual(code('failed-precondition', /does not know who we are/));
  });

  test('answers carry the server’s book-keeping: it is left out', async () => {
    const { client } = await open();
    await client.create(configMaps, { metadata });
    expect((await client.get(configMaps, metadata))?.metadata).not.toHaveProperty('managedFields');
    expect((await client.list(configMaps))[0]?.metadata).not.toHaveProperty('managedFields');
  });
});

describe('a watch of the client', () => {
  afterEach(closeAll);

  const seedOne = (kubernetes: FakeKubernetes, name: string): void => {
    kubernetes.seed(configMaps, { metadata: { name, namespace: 'y' } });
  };
  const sees = (informer: { get(key: object): unknown }, name: string) => (): boolean => informer.get({ name, namespace: 'y' }) !== null;

  test('goes on through cut connections, the server’s own ends, garbage and history that is forgotten', async () => {
    const { client, server, kubernetes } = await open();
    const informer = client.watch(configMaps);
    await informer.ready;
    const breaks: Record<string, () => void> = {
      cut: () => server.endWatches({ cut: true }),
      ended: () => server.endWatches({ cut: false }),
      garbage: () => server.sendToWatches('{"type": nonsense'),
      unknown: () => server.sendToWatches('{"type":"STRANGE","object":{}}'),
      error: () => server.sendToWatches('{"type":"ERROR","object":{"kind":"Status","code":500,"message":"no"}}'),
      expired: () => server.sendToWatches('{"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired"}}'),
    };
    for (const [name, breakIt] of Object.entries(breaks)) {
      await eventually('the watch is open', () => server.openWatches === 1);
      breakIt();
      seedOne(kubernetes, name);
      await eventually(`it goes on after: ${name}`, sees(informer, name));
    }
    await eventually('the watch is open', () => server.openWatches === 1);
    kubernetes.remove(configMaps, { name: 'cut', namespace: 'y' });
    server.forgetHistory();
    await eventually('what went is gone', () => !sees(informer, 'cut')());
    expect(server.seen.some(({ query }) => query.get('allowWatchBookmarks') === 'true' && query.has('timeoutSeconds'))).toBe(true);
  });

  test('goes on after the server was away, and hears of what went meanwhile', async () => {
    const { client, server, kubernetes, url } = await open({ attempts: 1 });
    seedOne(kubernetes, 'before');
    const informer = client.watch(configMaps);
    const told: string[] = [];
    informer.onChange(({ kind, object }) => told.push(`${kind} ${object.metadata.name}`));
    await informer.ready;
    await server.stop();
    kubernetes.remove(configMaps, { name: 'before', namespace: 'y' });
    seedOne(kubernetes, 'after');
    await kubernetes.settle();
    server.forgetHistory();
    await server.listen(Number(url.port));
    await eventually('it is there again', sees(informer, 'after'));
    expect(told).toEqual(['set before', 'removed before', 'set after']);
  });

  test('where nothing comes any more, not even a bookmark, it connects anew', async () => {
    const { client, server, kubernetes } = await open({ watchIdleMs: 50 });
    const informer = client.watch(configMaps);
    await informer.ready;
    await eventually('it watched again', () => server.seen.filter(({ query }) => query.has('watch')).length >= 3);
    seedOne(kubernetes, 'late');
    await eventually('it still sees', sees(informer, 'late'));
  });

  test('of a kind that comes later is ready then', async () => {
    const { client, server, kubernetes } = await open();
    kubernetes.seed(chunkStorePools, { metadata: { name: 'p' }, spec: { node: 'n' } });
    server.intercept = first({ status: 404, body: '404 page not found\n' }, { status: 404, body: '404 page not found\n' });
    const informer = client.watch(chunkStorePools);
    expect(informer.all()).toEqual([]);
    await informer.ready;
    expect(informer.get({ name: 'p' })?.spec.node).toBe('n');
  });

  test('ends with the client, and leaves the server no open connection', async () => {
    const { client, server } = await open();
    const informer = client.watch(configMaps);
    await informer.ready;
    await eventually('the watch is open', () => server.openWatches === 1);
    client.close();
    await eventually('the watch is closed', () => server.openWatches === 0);
  });
});
