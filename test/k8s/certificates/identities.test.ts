import { X509Certificate } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { BUNDLE_KEY } from '../../../src/k8s/certificates/installation.ts';
import { certificateSigningRequests, chunkStorePools, configMaps, secrets } from '../../../src/k8s/resources.ts';
import { CONTROLLER_TLS_NAME } from '../../../src/util/tls-identity.ts';
import {
  believes,
  BUNDLE,
  CertificateCluster,
  DAY_MS,
  HOUR_MS,
  MINUTE_MS,
  SECRET,
  TEST_POLICY,
} from '../../support/certificate-cluster.ts';

const POOL = 'a'.repeat(26);

let cluster: CertificateCluster;
beforeEach(() => {
  cluster = new CertificateCluster();
});
afterEach(() => cluster.end());

const serialOf = (identity: { current(): { certificate: string } | null }) =>
  new X509Certificate(identity.current()!.certificate).serialNumber;

describe('a controller', () => {
  test('issues its own certificate, and the next at two thirds of its life', async () => {
    cluster.keeper();
    const controller = cluster.controller();
    await cluster.pass();
    const certificate = new X509Certificate(controller.current()!.certificate);
    expect(certificate.subjectAltName).toBe(`DNS:${CONTROLLER_TLS_NAME}`);
    expect(controller.current()!.bundle).toBe(cluster.authorities().current.certificate);
    let changes = 0;
    controller.onChange(() => changes++);
    await cluster.pass((TEST_POLICY.controllerLifetimeMs * 2) / 3 - 30 * MINUTE_MS);
    expect(serialOf(controller)).toBe(certificate.serialNumber);
    await cluster.pass(HOUR_MS);
    expect(serialOf(controller)).not.toBe(certificate.serialNumber);
    expect(changes).toBe(1);
  });

  test('keeps what it has while the Secret is away or damaged, and says why', async () => {
    const keeper = cluster.keeper();
    const controller = cluster.controller();
    expect(controller.problem()).toContain('no certificate yet');
    await cluster.pass();
    expect(controller.problem()).toBeNull();
    await cluster.kill(keeper);
    const before = controller.current();
    cluster.kubernetes.change(secrets, SECRET, { data: { 'current.key': 'eA==' } });
    await cluster.pass(MINUTE_MS);
    expect(controller.problem()).toContain('damaged');
    cluster.kubernetes.remove(secrets, SECRET);
    await cluster.pass(MINUTE_MS);
    expect(controller.problem()).toContain('there is no Secret storage/demo-ca');
    expect(controller.current()).toBe(before);
    await cluster.steps().run();
    await cluster.pass();
    expect(controller.problem()).toBeNull();
    expect(controller.current()).not.toBe(before);
  });
});

describe('a store', () => {
  test('gets a certificate for its pool, and the next at two thirds of its life', async () => {
    cluster.keeper();
    cluster.signer();
    const store = cluster.store(POOL, 'node-a');
    await cluster.pass(MINUTE_MS);
    const certificate = new X509Certificate(store.current()!.certificate);
    expect(certificate.subjectAltName).toBe(`DNS:${POOL}.pool.chunkstore.dev`);
    expect(cluster.requests()).toHaveLength(1);
    const [request] = cluster.requests();
    expect(request!.spec.usages).toEqual(['digital signature', 'server auth']);
    expect(Buffer.from(request!.spec.request, 'base64').toString()).not.toContain('PRIVATE');
    await cluster.pass((TEST_POLICY.storeLifetimeMs * 2) / 3 - HOUR_MS);
    expect(serialOf(store)).toBe(certificate.serialNumber);
    await cluster.pass(2 * HOUR_MS);
    expect(serialOf(store)).not.toBe(certificate.serialNumber);
    expect(cluster.requests()).toHaveLength(2);
    expect(store.problem()).toBeNull();
  });

  test('that starts before the controller waits, and says for what', async () => {
    const store = cluster.store(POOL, 'node-a');
    await cluster.pass(10 * MINUTE_MS);
    expect(store.current()).toBeNull();
    expect(store.problem()).toContain('not answered yet');
    expect(cluster.requests()).toHaveLength(1);
    cluster.keeper();
    cluster.signer();
    await cluster.pass(MINUTE_MS);
    expect(store.current()).not.toBeNull();
    expect(store.problem()).toBeNull();
  });

  test('asks again in a while when it is refused, and says why', async () => {
    cluster.keeper();
    cluster.signer();
    const store = cluster.store(POOL, 'node-b');
    cluster.kubernetes.change(chunkStorePools, { name: POOL }, { spec: { node: 'node-a' } });
    await cluster.pass(10 * MINUTE_MS);
    expect(store.problem()).toMatch(/refused \(WrongNode\).*node-b.*node-a/);
    expect(cluster.requests().length).toBeGreaterThan(2);
    expect(cluster.requests().length).toBeLessThanOrEqual(20);
    cluster.kubernetes.change(chunkStorePools, { name: POOL }, { spec: { node: 'node-b' } });
    await cluster.pass(2 * MINUTE_MS);
    expect(store.current()).not.toBeNull();
  });

  test('makes one request when the answer to its creation is lost', async () => {
    cluster.keeper();
    cluster.signer();
    cluster.kubernetes.fail({ verb: 'create', resource: certificateSigningRequests, afterEffect: true });
    const store = cluster.store(POOL, 'node-a');
    await cluster.pass(MINUTE_MS);
    expect(store.current()).not.toBeNull();
    expect(cluster.requests()).toHaveLength(1);
  });

  test('makes another when the cluster collected its request', async () => {
    const store = cluster.store(POOL, 'node-a');
    await cluster.pass(MINUTE_MS);
    const { metadata } = cluster.requests()[0]!;
    cluster.kubernetes.remove(certificateSigningRequests, metadata);
    await cluster.pass(2 * MINUTE_MS);
    expect(cluster.requests()).toHaveLength(1);
    expect(cluster.requests()[0]!.metadata.name).not.toBe(metadata.name);
    cluster.keeper();
    cluster.signer();
    await cluster.pass(MINUTE_MS);
    expect(store.current()).not.toBeNull();
  });

  test('takes no certificate that is not for its key', async () => {
    cluster.keeper();
    const store = cluster.store(POOL, 'node-a');
    await cluster.pass(MINUTE_MS);
    const foreign = cluster.controller();
    await cluster.pass();
    const certificate = Buffer.from(foreign.current()!.certificate).toString('base64');
    const { metadata } = cluster.requests()[0]!;
    cluster.kubernetes.change(certificateSigningRequests, metadata, { status: { certificate } });
    await cluster.pass(MINUTE_MS / 2);
    expect(store.current()).toBeNull();
    expect(store.problem()).toContain('not what this store asked for');
  });

  test('keeps its bundle when the ConfigMap goes or is damaged', async () => {
    const keeper = cluster.keeper();
    cluster.signer();
    const store = cluster.store(POOL, 'node-a');
    await cluster.pass(MINUTE_MS);
    await cluster.kill(keeper);
    const before = store.current();
    const broken = '-----BEGIN CERTIFICATE-----\neA==\n-----END CERTIFICATE-----\n';
    for (const text of ['', 'nonsense', broken]) {
      cluster.kubernetes.change(configMaps, BUNDLE, { data: { [BUNDLE_KEY]: text } });
      await cluster.pass(MINUTE_MS);
      expect(store.current()).toBe(before);
    }
    cluster.kubernetes.remove(configMaps, BUNDLE);
    await cluster.pass(HOUR_MS);
    expect(store.current()).toBe(before);
  });

  test('is not kept from stopping by an API that is away', async () => {
    cluster.kubernetes.goAway();
    const store = cluster.store(POOL, 'node-a');
    const controller = cluster.controller();
    const keeper = cluster.keeper();
    const signer = cluster.signer();
    await cluster.pass(MINUTE_MS);
    for (const part of [store, controller, keeper, signer]) await cluster.kill(part);
    expect(cluster.clock.waiting).toBe(0);
  });
});

test('a deleted Secret cuts nobody off for longer than it takes to make new certificates', async () => {
  cluster.keeper();
  cluster.signer();
  const controllers = [cluster.controller(), cluster.controller()];
  const stores = [cluster.store(POOL, 'node-a'), cluster.store('b'.repeat(26), 'node-b')];
  await cluster.pass(DAY_MS);
  cluster.kubernetes.remove(secrets, SECRET);
  await cluster.pass(MINUTE_MS);
  expect(cluster.bundle()).toHaveLength(1);
  for (const controller of controllers) {
    for (const store of stores) {
      expect(believes(controller.current()!, store.current()!, cluster.clock.nowMs())).toBe(true);
      expect(believes(store.current()!, controller.current()!, cluster.clock.nowMs())).toBe(true);
    }
  }
  expect(stores.map((store) => store.problem())).toEqual([null, null]);
});
