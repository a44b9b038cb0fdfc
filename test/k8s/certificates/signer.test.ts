import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { createRequest } from '../../../src/k8s/certificates/requests.ts';
import { generateKey, isIssuedByOneOf } from '../../../src/k8s/certificates/x509.ts';
import { certificateSigningRequests, chunkStorePools, secrets } from '../../../src/k8s/resources.ts';
import { CertificateCluster, DAY_MS, extraOf, MINUTE_MS, SECRET, TEST_POLICY } from '../../support/certificate-cluster.ts';

const POOL = 'a'.repeat(26);
const OTHER_POOL = 'b'.repeat(26);

let cluster: CertificateCluster;
beforeEach(async () => {
  cluster = new CertificateCluster();
  cluster.addPool(POOL, 'node-a');
  cluster.addPool(OTHER_POOL, 'node-b');
  await cluster.steps().run();
});
afterEach(() => cluster.end());

const conditionsOf = (name: string) => cluster.request(name).status?.conditions?.map(({ type, reason }) => `${type} ${reason}`) ?? [];

describe('what is granted', () => {
  test("a store's request for its own pool", async () => {
    cluster.signer();
    const name = cluster.addRequest(POOL);
    await cluster.pass();
    expect(conditionsOf(name)).toEqual(['Approved StoreOfPool']);
    const certificate = cluster.certificateOf(name)!;
    expect(certificate.subjectAltName).toBe(`DNS:${POOL}.pool.chunkstore.dev`);
    expect(certificate.ca).toBe(false);
    expect(isIssuedByOneOf(certificate, cluster.bundle())).toBe(true);
    expect(certificate.validToDate.getTime()).toBe(cluster.clock.nowMs() + TEST_POLICY.storeLifetimeMs);
  });

  test('one that was there before the controller led', async () => {
    const name = cluster.addRequest(POOL);
    cluster.signer();
    await cluster.pass();
    expect(cluster.certificateOf(name)).not.toBeNull();
  });

  test('a shorter life than usual, if asked for, but no longer one', async () => {
    cluster.signer();
    const short = cluster.addRequest(POOL, { spec: { expirationSeconds: 3600 } });
    const long = cluster.addRequest(POOL, { spec: { expirationSeconds: 10 * 365 * 86_400 } });
    await cluster.pass();
    expect(cluster.certificateOf(short)!.validToDate.getTime()).toBe(cluster.clock.nowMs() + 3_600_000);
    expect(cluster.certificateOf(long)!.validToDate.getTime()).toBe(cluster.clock.nowMs() + TEST_POLICY.storeLifetimeMs);
  });

  test('by the authority that issues at that time', async () => {
    await cluster.clock.advance(TEST_POLICY.rotateAfterMs);
    await cluster.steps().run();
    await cluster.clock.advance(TEST_POLICY.propagationMs);
    await cluster.steps().run();
    cluster.signer();
    const name = cluster.addRequest(POOL);
    await cluster.pass();
    const { issuer } = cluster.certificateOf(name)!;
    expect(cluster.bundle().map(({ subject }) => subject)[0]).toBe(issuer);
  });

  test("a store's request that is faster than the resource of its pool", async () => {
    cluster.signer();
    const pool = 'c'.repeat(26);
    const name = cluster.addRequest(pool);
    await cluster.pass(10_000);
    expect(conditionsOf(name)).toEqual([]);
    cluster.addPool(pool, 'node-a');
    await cluster.pass(2_000);
    expect(cluster.certificateOf(name)).not.toBeNull();
  });
});

describe('what is refused', () => {
  const requestFor = (dnsName: string) => createRequest({ dnsName, ...generateKey() });

  test.each<[string, string, () => Parameters<CertificateCluster['addRequest']>[1]]>([
    [
      'the service account of another program',
      'NotAStore',
      () => ({ spec: { username: 'system:serviceaccount:storage:demo-controller' } }),
    ],
    ['the same account of another namespace', 'NotAStore', () => ({ spec: { username: 'system:serviceaccount:elsewhere:demo-store' } })],
    ['nobody', 'NotAStore', () => ({ spec: { username: '' } })],
    ['a person', 'NotAStore', () => ({ spec: { username: 'kubernetes-admin' } })],
    ['a store on an old cluster, which does not tell the node', 'NodeUnknown', () => ({ spec: { extra: {} } })],
    ['one of two nodes', 'NodeUnknown', () => ({ spec: { extra: { 'authentication.kubernetes.io/node-name': ['node-a', 'node-b'] } } })],
    ['a store on another node', 'WrongNode', () => ({ spec: { extra: extraOf('node-b') } })],
    ['client certificates', 'WrongUsages', () => ({ spec: { usages: ['digital signature', 'client auth'] } })],
    ['more usages', 'WrongUsages', () => ({ spec: { usages: ['digital signature', 'server auth', 'client auth'] } })],
    ['one usage twice', 'WrongUsages', () => ({ spec: { usages: ['server auth', 'server auth'] } })],
    ["another node's pool", 'WrongNode', () => ({ pem: requestFor(`${OTHER_POOL}.pool.chunkstore.dev`) })],
    ['the name of the controller', 'WrongName', () => ({ pem: requestFor('controller.chunkstore.dev') })],
    ['all pools', 'WrongName', () => ({ pem: requestFor('*.pool.chunkstore.dev') })],
    ['a name that only begins like one', 'WrongName', () => ({ pem: requestFor(`${POOL}.pool.chunkstore.dev.example.com`) })],
    ['a name with a zero in it', 'WrongName', () => ({ pem: requestFor(`${POOL}.pool.chunkstore.dev\0.example.com`) })],
    ['nonsense', 'WrongRequest', () => ({ pem: 'nonsense' })],
  ])('%s (%#)', async (_, reason, make) => {
    cluster.signer();
    const name = cluster.addRequest(POOL, make()!);
    await cluster.pass(5 * MINUTE_MS);
    expect(conditionsOf(name)).toEqual([`Denied ${reason}`]);
    expect(cluster.certificateOf(name)).toBeNull();
    expect(cluster.request(name).status?.conditions?.[0]?.message).not.toBe('');
  });

  test('a pool that does not come, after a minute', async () => {
    cluster.signer();
    const name = cluster.addRequest('c'.repeat(26));
    await cluster.pass(2 * MINUTE_MS);
    expect(conditionsOf(name)).toEqual(['Denied NoSuchPool']);
  });

  test('a pool that was declared lost', async () => {
    cluster.signer();
    cluster.kubernetes.change(chunkStorePools, { name: POOL }, { spec: { lost: true } });
    const name = cluster.addRequest(POOL);
    await cluster.pass();
    expect(conditionsOf(name)).toEqual(['Denied PoolLost']);
  });

  test('what a person approved without being allowed to fails instead', async () => {
    cluster.signer();
    const approval = { type: 'Approved', status: 'True', reason: 'KubectlApprove' };
    const name = cluster.addRequest(POOL, { spec: { username: 'kubernetes-admin' }, status: { conditions: [approval] } });
    await cluster.pass();
    expect(conditionsOf(name)).toEqual(['Approved KubectlApprove', 'Failed NotAStore']);
    expect(cluster.certificateOf(name)).toBeNull();
  });
});

describe('what is not ours', () => {
  test('the requests of other signers are never touched', async () => {
    cluster.signer();
    const name = cluster.addRequest(POOL, { spec: { signerName: 'kubernetes.io/kubelet-serving' } });
    await cluster.pass(DAY_MS);
    expect(cluster.request(name).status).toBeUndefined();
  });

  test('nor what was denied or signed already', async () => {
    const denied = cluster.addRequest(POOL, { status: { conditions: [{ type: 'Denied', status: 'True' }] } });
    const signed = cluster.addRequest(POOL, { status: { certificate: 'eA==' } });
    cluster.signer();
    await cluster.pass(DAY_MS);
    expect(cluster.request(denied).status).toEqual({ conditions: [{ type: 'Denied', status: 'True' }] });
    expect(cluster.request(signed).status).toEqual({ certificate: 'eA==' });
  });
});

describe('what goes wrong', () => {
  test('a crash between approval and signature is made good by whoever leads next', async () => {
    const first = cluster.signer();
    const held = cluster.kubernetes.hold({ verb: 'patch', resource: certificateSigningRequests });
    const name = cluster.addRequest(POOL);
    await held.reached;
    cluster.kubernetes.fail({ verb: 'patch', resource: certificateSigningRequests });
    // The approval takes effect, and the process ends before the rest.
    held.release();
    await cluster.pass();
    await cluster.kill(first);
    expect(cluster.certificateOf(name)).toBeNull();
    cluster.kubernetes.clearFaults();
    cluster.signer();
    await cluster.pass();
    expect(conditionsOf(name)).toEqual(['Approved StoreOfPool']);
    expect(cluster.certificateOf(name)).not.toBeNull();
  });

  test('two that lead at once sign once', async () => {
    cluster.signer();
    cluster.signer();
    const name = cluster.addRequest(POOL);
    await cluster.pass(MINUTE_MS);
    expect(conditionsOf(name)).toEqual(['Approved StoreOfPool']);
    const signatures = cluster.kubernetes.calls.filter(({ verb, subresource }) => verb === 'patch' && subresource === 'status');
    const certificate = cluster.certificateOf(name);
    expect(certificate).not.toBeNull();
    await cluster.pass(DAY_MS);
    expect(cluster.certificateOf(name)?.serialNumber).toBe(certificate?.serialNumber);
    expect(signatures.length).toBeLessThanOrEqual(2);
  });

  test('without a Secret, or with a damaged one, requests wait', async () => {
    const secret = cluster.kubernetes.object(secrets, SECRET)!;
    cluster.kubernetes.remove(secrets, SECRET);
    cluster.signer();
    const name = cluster.addRequest(POOL);
    await cluster.pass(MINUTE_MS);
    expect(cluster.request(name).status).toBeUndefined();
    cluster.kubernetes.seed(secrets, { ...secret, data: { ...secret.data, 'current.key': 'eA==' } });
    await cluster.pass(MINUTE_MS);
    expect(cluster.request(name).status).toBeUndefined();
    cluster.kubernetes.remove(secrets, SECRET);
    await cluster.steps().run();
    await cluster.pass(MINUTE_MS);
    expect(cluster.certificateOf(name)).not.toBeNull();
  });

  test('one request that cannot be answered holds up no other', async () => {
    cluster.signer();
    cluster.kubernetes.fail({ verb: 'get', resource: chunkStorePools, name: POOL, times: Infinity });
    const stuck = cluster.addRequest(POOL);
    const other = cluster.addRequest(OTHER_POOL, { spec: { extra: extraOf('node-b') } });
    await cluster.pass(MINUTE_MS);
    expect(cluster.certificateOf(stuck)).toBeNull();
    expect(cluster.certificateOf(other)).not.toBeNull();
    cluster.kubernetes.clearFaults();
    await cluster.pass(MINUTE_MS);
    expect(cluster.certificateOf(stuck)).not.toBeNull();
  });
});
