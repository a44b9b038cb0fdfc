import { X509Certificate } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { BUNDLE_KEY } from '../../../src/k8s/certificates/installation.ts';
import { bundleOf, decodeAuthorities, encodeAuthorities } from '../../../src/k8s/certificates/authority-state.ts';
import { configMaps, secrets, type Secret } from '../../../src/k8s/resources.ts';
import { BUNDLE, CertificateCluster, DAY_MS, HOUR_MS, MINUTE_MS, SECRET, TEST_POLICY } from '../../support/certificate-cluster.ts';

let cluster: CertificateCluster;
beforeEach(() => {
  cluster = new CertificateCluster();
});
afterEach(() => cluster.end());

const published = () => cluster.kubernetes.object(configMaps, BUNDLE)?.data?.[BUNDLE_KEY];
const encoded = (text: string) => Buffer.from(text).toString('base64');

describe('the first authority', () => {
  test('is made and published', async () => {
    await cluster.steps().run();
    const { current, next, previous } = cluster.authorities();
    expect([next, previous]).toEqual([null, null]);
    expect(published()).toBe(current.certificate);
    expect(new X509Certificate(current.certificate).validToDate.getTime()).toBe(cluster.clock.nowMs() + TEST_POLICY.authorityLifetimeMs);
  });

  test('is one, when two replicas start at once', async () => {
    await Promise.allSettled([cluster.steps().run(), cluster.steps().run()]);
    await cluster.steps().run();
    expect(cluster.kubernetes.calls.filter(({ verb, kind }) => verb === 'create' && kind === 'Secret')).toHaveLength(2);
    expect(published()).toBe(cluster.authorities().current.certificate);
  });

  test('its key is in the Secret alone', async () => {
    await cluster.steps().run();
    expect(published()).not.toContain('PRIVATE KEY');
  });
});

describe('rotation', () => {
  test('takes its steps at their times, and then begins anew', async () => {
    const steps = cluster.steps();
    const startMs = cluster.clock.nowMs();
    const at = (ms: number) => ms - startMs;
    let dueMs = await steps.run();
    const first = cluster.authorities().current;
    expect(at(dueMs)).toBe(TEST_POLICY.rotateAfterMs - TEST_POLICY.backdateMs);

    await cluster.clock.advance(dueMs - cluster.clock.nowMs());
    dueMs = await steps.run();
    const announced = cluster.authorities();
    expect(announced.current).toEqual(first);
    expect(published()).toBe(bundleOf(announced));
    expect(cluster.bundle()).toHaveLength(2);
    expect(dueMs - cluster.clock.nowMs()).toBe(TEST_POLICY.propagationMs);

    await cluster.clock.advance(TEST_POLICY.propagationMs - 1);
    await steps.run();
    expect(cluster.authorities().current).toEqual(first);
    await cluster.clock.advance(1);
    dueMs = await steps.run();
    const switched = cluster.authorities();
    expect(switched.current.certificate).toBe(announced.next!.certificate);
    expect(switched.previous?.certificate).toBe(first.certificate);
    expect(cluster.bundle()).toHaveLength(2);
    expect(JSON.stringify(cluster.kubernetes.object(secrets, SECRET))).not.toContain(encoded(first.key));
    expect(dueMs - cluster.clock.nowMs()).toBe(TEST_POLICY.propagationMs + TEST_POLICY.storeLifetimeMs);

    await cluster.clock.advance(dueMs - cluster.clock.nowMs());
    dueMs = await steps.run();
    expect(cluster.authorities()).toEqual({ current: switched.current, next: null, previous: null });
    expect(published()).toBe(switched.current.certificate);
    expect(at(dueMs)).toBeGreaterThan(2 * TEST_POLICY.rotateAfterMs - HOUR_MS);
  });

  test('nothing is issued by the successor while the bundle may lack it: the time begins anew when somebody took it out', async () => {
    const steps = cluster.steps();
    await steps.run();
    await cluster.clock.advance(TEST_POLICY.rotateAfterMs);
    await steps.run();
    await cluster.clock.advance(TEST_POLICY.propagationMs - MINUTE_MS);
    const { current } = cluster.authorities();
    cluster.kubernetes.change(configMaps, BUNDLE, { data: { [BUNDLE_KEY]: current.certificate } });
    const dueMs = await steps.run();
    expect(cluster.bundle()).toHaveLength(2);
    expect(dueMs - cluster.clock.nowMs()).toBe(TEST_POLICY.propagationMs);
  });

  test('a bundle that was deleted or changed is put right', async () => {
    cluster.keeper();
    await cluster.pass();
    const right = published();
    cluster.kubernetes.remove(configMaps, BUNDLE);
    await cluster.pass();
    expect(published()).toBe(right);
    cluster.kubernetes.change(configMaps, BUNDLE, { data: { [BUNDLE_KEY]: 'nonsense', note: 'mine' } });
    await cluster.pass();
    expect(cluster.kubernetes.object(configMaps, BUNDLE)?.data).toEqual({ [BUNDLE_KEY]: right, note: 'mine' });
  });

  test('an authority that expired while nobody led is replaced at once', async () => {
    await cluster.steps().run();
    const { current } = cluster.authorities();
    await cluster.clock.advance(TEST_POLICY.authorityLifetimeMs + DAY_MS);
    await cluster.steps().run();
    expect(cluster.authorities().current).not.toEqual(current);
    expect(cluster.bundle()).toHaveLength(1);
  });

  test('one that expired while its successor waited gives way to it', async () => {
    await cluster.steps().run();
    await cluster.clock.advance(TEST_POLICY.rotateAfterMs);
    await cluster.steps().run();
    const { next } = cluster.authorities();
    await cluster.clock.advance(TEST_POLICY.rotateAfterMs);
    await cluster.steps().run();
    expect(cluster.authorities().current.certificate).toBe(next!.certificate);
  });
});

describe('a crash or a lost answer at any call', () => {
  /** Runs two generations of authorities, each run failing at the given mutating call, and compares what comes of it. */
  test.each([
    ['before it takes effect', false],
    ['after it took effect', true],
  ])('%s changes nothing about the order of steps', async (_, afterEffect) => {
    for (const [verb, resource] of [
      ['create', secrets],
      ['create', configMaps],
      ['replace', secrets],
      ['replace', configMaps],
    ] as const) {
      const tried = new CertificateCluster();
      let failures = 0;
      let before = '';
      for (let ticks = 0; ticks < 45; ticks++) {
        tried.kubernetes.fail({ verb, resource, afterEffect });
        for (let runs = 0; runs < 4; runs++) {
          try {
            await tried.steps().run();
            break;
          } catch {
            failures++;
          }
        }
        tried.kubernetes.clearFaults();
        await tried.steps().run();
        const state = tried.authorities();
        expect(tried.kubernetes.object(configMaps, BUNDLE)?.data?.[BUNDLE_KEY]).toBe(bundleOf(state));
        // Who issues now was believed before.
        if (before !== '') expect(before).toContain(state.current.certificate);
        before = bundleOf(state);
        await tried.clock.advance(12 * HOUR_MS);
      }
      expect(failures).toBeGreaterThan(0);
    }
  });

  test('two that lead at once, one of them slow, publish no older bundle', async () => {
    await cluster.steps().run();
    await cluster.clock.advance(TEST_POLICY.rotateAfterMs);
    cluster.kubernetes.change(configMaps, BUNDLE, { data: { [BUNDLE_KEY]: 'nonsense' } });
    const held = cluster.kubernetes.hold({ verb: 'replace', resource: configMaps });
    const slow = cluster.steps().run();
    await held.reached;
    await cluster.steps().run();
    const right = published();
    expect(cluster.bundle()).toHaveLength(2);
    held.release();
    await slow;
    expect(published()).toBe(right);
  });
});

describe('a Secret that was damaged', () => {
  const good = async (): Promise<Secret> => {
    await cluster.steps().run();
    return cluster.kubernetes.object(secrets, SECRET)!;
  };

  test.each<[string, Record<string, string | null>]>([
    ['is empty', { version: null, 'current.crt': null, 'current.key': null }],
    ['has no key', { 'current.key': null }],
    ['has another key', { 'current.key': encoded('-----BEGIN PRIVATE KEY-----\nxx\n-----END PRIVATE KEY-----\n') }],
    ['has no certificate', { 'current.crt': encoded('hello') }],
    ['is of another version', { version: encoded('2') }],
    ['has a successor without a key', { 'next.crt': 'CURRENT' }],
    ['has a predecessor without a time', { 'previous.crt': 'CURRENT' }],
    ['has a predecessor with no time', { 'previous.crt': 'CURRENT', 'previous.drop-after': encoded('soon') }],
    ['has successor and predecessor', { 'previous.crt': 'CURRENT', 'next.crt': 'CURRENT' }],
  ])('when it %s, is reported and left alone', async (_, changes) => {
    const { data = {} } = await good();
    const before = published();
    const entries = Object.entries(changes).map(([name, value]) => [name, value === 'CURRENT' ? data['current.crt'] : value]);
    cluster.kubernetes.change(secrets, SECRET, { data: Object.fromEntries(entries) });
    const damaged = cluster.kubernetes.object(secrets, SECRET);
    cluster.keeper();
    await cluster.pass(HOUR_MS);
    expect(cluster.problems).toEqual([expect.stringMatching(/storage\/demo-ca .* damaged: .*delete it/s)]);
    expect(cluster.kubernetes.object(secrets, SECRET)).toEqual(damaged);
    expect(published()).toBe(before);
    cluster.kubernetes.change(secrets, SECRET, {
      data: { ...Object.fromEntries(Object.keys(changes).map((name) => [name, null])), ...data },
    });
    await cluster.pass();
    expect(cluster.problems.at(-1)).toBeNull();
  });

  test('is made anew when it was deleted', async () => {
    await good();
    const old = published();
    cluster.keeper();
    await cluster.pass();
    cluster.kubernetes.remove(secrets, SECRET);
    await cluster.pass();
    expect(cluster.kubernetes.object(secrets, SECRET)).not.toBeNull();
    expect(published()).toBe(cluster.authorities().current.certificate);
    expect(published()).not.toBe(old);
  });

  test('one from the future is a matter of clocks, and said so', async () => {
    await cluster.clock.advance(30 * DAY_MS);
    await good();
    const secret = cluster.kubernetes.object(secrets, SECRET)!;
    const early = new CertificateCluster();
    early.kubernetes.seed(secrets, secret);
    await expect(early.steps().run()).rejects.toMatchObject({
      code: 'failed-precondition',
      message: expect.stringContaining('clock') as unknown,
    });
    await early.end();
  });

  test('no message holds a key', async () => {
    const secret = await good();
    const { current } = decodeAuthorities(secret);
    cluster.kubernetes.change(secrets, SECRET, { data: { 'next.crt': encoded('x'), 'next.key': encoded(current.key) } });
    cluster.keeper();
    await cluster.pass(MINUTE_MS);
    expect(cluster.problems.join('')).not.toContain('PRIVATE KEY');
  });
});

test('the form in the Secret keeps all states', async () => {
  await cluster.steps().run();
  const { current } = cluster.authorities();
  const states = [
    { current, next: null, previous: null },
    { current, next: { ...current, issueAfterMs: null }, previous: null },
    { current, next: { ...current, issueAfterMs: 1_700_000_000_000 }, previous: null },
    { current, next: null, previous: { certificate: current.certificate, dropAfterMs: 1_700_000_000_000 } },
  ];
  for (const state of states) expect(decodeAuthorities({ metadata: SECRET, data: encodeAuthorities(state) })).toEqual(state);
});

test('while the API is away nothing is said, and afterwards all goes on', async () => {
  cluster.kubernetes.goAway();
  cluster.keeper();
  await cluster.pass(HOUR_MS);
  expect(cluster.problems).toEqual([]);
  cluster.kubernetes.comeBack();
  await cluster.pass(MINUTE_MS);
  expect(published()).toBe(cluster.authorities().current.certificate);
});
