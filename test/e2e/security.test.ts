/** Who reaches a store, who may read and write what, what logs hold, and what a new certificate authority costs. */
import { X509Certificate } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from '@jest/globals';
import type { Fields, Manifest } from './support/api.ts';
import { describeOnCluster } from './support/suite.ts';

const storePort = 7460;
const rotationLimitMs = 120_000;
const waitLimitMs = 60_000;

describeOnCluster('security', {}, ({ driver, inSpace, kube, settings, timings }) => {
  const { namespace } = driver;
  const authority = { kind: 'Secret', name: `${settings.release}-ca`, namespace };
  const storeAccount = `system:serviceaccount:${namespace}:${settings.release}-store`;

  test(
    "a store's port gives nothing to who has no certificate of the controller, or one of their own making",
    inSpace(async (space) => {
      await space.pod({ name: 'stranger' });
      const store = await driver.pod('store');
      const { name: pool } = (await driver.poolOf(store['spec'].nodeName)).metadata;
      const connect = async (...words: readonly string[]) => {
        const openssl = ['openssl', 's_client', '-connect', `${store['status'].podIP}:${storePort}`, '-alpn', 'h2'];
        // The beginning of HTTP/2, and an empty SETTINGS frame: what gRPC would answer at once.
        const script = 'printf "PRI * HTTP/2.0\\r\\n\\r\\nSM\\r\\n\\r\\n\\0\\0\\0\\4\\0\\0\\0\\0\\0"; sleep 2';
        const command = ['bash', '-c', `(${script}) | timeout 10 "$@" 2>/tmp/words | xxd; cat /tmp/words`, 'sh'];
        const { output } = await kube.execAny({ namespace: space.name, pod: 'stranger' }, [...command, ...openssl, '-quiet', ...words]);
        return output;
      };
      const own = '-subj /CN=controller -addext subjectAltName=DNS:controller.chunkstore.dev -keyout /tmp/key -out /tmp/certificate';
      const make = ['sh', '-c', `openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 ${own}`];
      await space.exec('stranger', make);
      const answers = {
        nothing: await connect(),
        name: await connect('-servername', `${pool}.pool.chunkstore.dev`),
        ownCertificate: await connect('-cert', '/tmp/certificate', '-key', '/tmp/key'),
        former: await connect('-tls1_2'),
      };
      // xxd shows every byte that came out of the encrypted connection; there must be none.
      for (const [with_, answer] of Object.entries(answers))
        expect({ with_, bytes: answer.match(/^[0-9a-f]{8}: .*$/gm) }).toEqual({ with_, bytes: null });
      expect(answers.nothing).toContain('certificate required');
      expect(answers.ownCertificate).toMatch(/alert|errno=104|unexpected eof/);
      expect(answers.former).toMatch(/alert|errno=104|unexpected eof|wrong version|protocol version/);
    }),
  );

  test("a store's account reads no authority, and writes no pool of another node", async () => {
    const [one = '', other = ''] = await driver.nodes();
    const pod = await driver.pod('store', one);
    const account = await tokenOf(pod);
    try {
      const refused = async (...words: readonly string[]) => {
        const { status, errorOutput } = await kube.kubectlAny([account.kubeconfig, ...words]);
        expect({ words, status }).toEqual({ words, status: 1 });
        return errorOutput;
      };
      expect(await refused('get', 'secret', authority.name, `--namespace=${namespace}`)).toContain('Forbidden');
      expect(await refused('get', 'secrets', '--all-namespaces')).toContain('Forbidden');
      const [own, foreign] = [await driver.poolOf(one), await driver.poolOf(other)].map(({ metadata }) => metadata.name);
      const change = ['patch', 'chunkstorepool', '--type=merge'];
      expect(await refused(...change, foreign ?? '', '--subresource=status', '--patch={"status":{"used":"1Ki"}}')).toContain('Forbidden');
      expect(await refused(...change, own ?? '', '--patch={"spec":{"lost":true}}')).toContain('Forbidden');

      // The one right that it has, to replace a status, is held to its own node by the admission policy.
      const replace = async (pool: Manifest) => {
        const path = `/apis/chunkstore.dev/v1alpha1/chunkstorepools/${pool.metadata.name}/status`;
        return kube.kubectlAny([account.kubeconfig, 'replace', `--raw=${path}`, '--filename=-'], { input: JSON.stringify(pool) });
      };
      const words = 'a store may only write the ChunkStorePools of the node that its own pod runs on';
      const intruding = async () => {
        // The store there may have written in between, which the API server finds out before it asks the policy.
        const { status, errorOutput } = await replace(await driver.poolOf(other));
        expect(status).toBe(1);
        return errorOutput.includes(words) || errorOutput;
      };
      await kube.until("a store's account is refused the pool of another node", intruding, { timeoutMs: waitLimitMs });
      const pretending = { ...(await driver.poolOf(other)), metadata: { name: 'a'.repeat(26) }, status: undefined };
      const made = await kube.kubectlAny([account.kubeconfig, 'create', '--filename=-'], { input: JSON.stringify(pretending) });
      expect(made).toMatchObject({ status: 1, errorOutput: expect.stringContaining(words) });
      const rightful = async () => {
        // The store itself may have written in between.
        const { status, errorOutput } = await replace(await driver.poolOf(one));
        return status === 0 || errorOutput;
      };
      await kube.until("a store's account writes the pool of its node", rightful, { timeoutMs: waitLimitMs });
    } finally {
      account.forget();
    }
  });

  test('the controller has no capability, no root and no file to write', async () => {
    const { name } = (await driver.pod('controller')).metadata;
    const inController = (command: readonly string[]) => kube.execAny({ namespace, pod: name, container: 'controller' }, command);
    const status = (await inController(['cat', '/proc/1/status'])).output;
    const field = (label: string) => new RegExp(`^${label}:\\s*(.*)$`, 'm').exec(status)?.[1]?.split('\t')[0];
    for (const label of ['CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb']) expect([label, field(label)]).toEqual([label, '0'.repeat(16)]);
    expect([field('Uid'), field('NoNewPrivs'), field('Seccomp')]).toEqual(['65532', '1', '2']);
    for (const path of ['/file', '/tmp/file', '/opt/chunkstore/file']) {
      const { status: code, errorOutput } = await inController(['touch', path]);
      expect([path, code === 0, errorOutput]).toEqual([path, false, expect.stringMatching(/Read-only|Permission denied/)]);
    }
    const { spec } = await driver.pod('controller');
    expect(spec.hostNetwork ?? false).toBe(false);
    expect((spec.volumes as Fields[]).filter((volume) => 'hostPath' in volume)).toEqual([]);
  });

  test('a new authority takes over within two minutes when the old one is deleted, and no pod is started again', async () => {
    const [before, former, pods] = [await kube.get(authority), await believed(), await podsAndRestarts()];
    const nodes = await driver.nodes();
    const start = performance.now();
    await kube.api.remove(authority);
    const renewed = async () => {
      const found = await kube.api.find(authority);
      if (found === null) return 'there is no new authority';
      return JSON.stringify(found['data']) !== JSON.stringify(before['data']) || 'it is the former one';
    };
    await kube.until('there is a new authority', renewed, { timeoutMs: rotationLimitMs, namespaces: [namespace] });
    timings.record('authority deleted to a new one', performance.now() - start);
    await inSpace(async (space) => {
      await space.pod({ name: 'observer' });
      const proofs = nodes.map(async (node) => {
        await kube.until(`the store of ${node} shows a certificate of the new authority`, () => showsNew(space.name, node, former), {
          timeoutMs: rotationLimitMs,
          namespaces: [namespace],
        });
        await space.claim({ name: node, size: '64Mi' });
        await space.startPod({ name: node, node, mounts: { '/data': node } });
        await space.podReady(node, { timeoutMs: rotationLimitMs });
      });
      await Promise.all(proofs);
      const tookMs = performance.now() - start;
      timings.record('authority deleted to volumes on all nodes', tookMs);
      expect(tookMs).toBeLessThan(rotationLimitMs);
    })();
    expect(await podsAndRestarts()).toEqual(pods);
  });

  test('no log holds a key', async () => {
    const { data } = await kube.get(authority);
    const keys = Object.values(data as Readonly<Record<string, string>>)
      .map((value) => Buffer.from(value, 'base64').toString('utf8'))
      .flatMap((text) => text.match(/-----BEGIN [A-Z ]*PRIVATE KEY-----[^-]+/g) ?? [])
      .flatMap((pem) => pem.split('\n').slice(1))
      .filter((line) => line.length >= 32);
    expect(keys.length).toBeGreaterThan(0);
    const pods = await kube.api.list('Pod', { namespace });
    const logs = await Promise.all(
      pods.flatMap(({ metadata, spec }) =>
        (spec.containers as Fields[]).map(async ({ name: container }) => {
          const text = await kube.api.logs({ namespace, pod: metadata.name, container, lines: 1_000_000 });
          const found = ['PRIVATE KEY', ...keys].filter((secret) => text.includes(secret));
          return { log: `${metadata.name}/${container}`, length: text.length, found };
        }),
      ),
    );
    expect(logs.filter(({ found }) => found.length > 0)).toEqual([]);
    expect(logs.some(({ length }) => length > 10_000)).toBe(true);
  });

  /**
   * Of the driver's own programs. A sidecar ends when it finds that its connection to the controller was cut, and the resizer
   * finds out only at its next expansion: tests before this one killed controllers, and one beside it may expand a claim.
   */
  async function podsAndRestarts(): Promise<Fields[]> {
    const pods = await kube.api.list('Pod', { namespace, labels: `app.kubernetes.io/instance=${settings.release}` });
    return pods
      .map(({ metadata, status }: Fields) => ({
        name: metadata?.['name'] as string,
        uid: metadata?.['uid'] as string,
        restarts: status?.['containerStatuses']
          ?.filter((one: Fields) => !String(one['name']).startsWith('csi-'))
          .map((one: Fields) => [one['name'], one['restartCount']]),
      }))
      .toSorted((one, other) => (one.name < other.name ? -1 : 1));
  }

  /** The authorities of the public bundle. */
  async function believed(): Promise<X509Certificate[]> {
    const bundle = (await kube.get({ kind: 'ConfigMap', name: `${settings.release}-ca-bundle`, namespace }))['data']['ca.crt'] as string;
    const pieces = bundle.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [];
    return pieces.map((pem) => new X509Certificate(pem));
  }

  /** By the certificate that the store's port shows to anybody. */
  async function showsNew(space: string, node: string, former: readonly X509Certificate[]): Promise<true | string> {
    const store = await driver.pod('store', node);
    const target = `${store['status'].podIP}:${storePort}`;
    const script = 'openssl s_client -connect "$1" </dev/null 2>/dev/null | openssl x509';
    const { status, output } = await kube.execAny({ namespace: space, pod: 'observer' }, ['bash', '-c', script, 'sh', target]);
    if (status !== 0) return 'it shows no certificate';
    const shown = new X509Certificate(output);
    const isFrom = (authorities: readonly X509Certificate[]) => authorities.some(({ publicKey }) => shown.verify(publicKey));
    if (isFrom(former)) return 'it shows a certificate of the former authority';
    return isFrom(await believed()) || 'it shows a certificate of nobody who is believed';
  }

  /** What a store's own pod has, as a KUBECONFIG. */
  async function tokenOf(pod: Manifest): Promise<{ readonly kubeconfig: string; readonly forget: () => void }> {
    const { name, uid } = pod.metadata as { name: string; uid: string };
    const bound = [`--bound-object-kind=Pod`, `--bound-object-name=${name}`, `--bound-object-uid=${uid}`];
    const account = storeAccount.split(':').at(-1) ?? '';
    const token = (await kube.kubectl(['create', 'token', account, `--namespace=${namespace}`, ...bound])).trim();
    const view = JSON.parse(await kube.kubectl(['config', 'view', '--raw', '--minify', '--flatten', '--output=json'])) as {
      clusters: unknown[];
    };
    const folder = mkdtempSync(join(tmpdir(), 'store-account-'));
    const file = join(folder, 'config');
    const [cluster] = view.clusters as { name: string }[];
    const config = {
      apiVersion: 'v1',
      kind: 'Config',
      clusters: view.clusters,
      users: [{ name: 'store', user: { token } }],
      contexts: [{ name: 'store', context: { cluster: cluster?.name, user: 'store' } }],
      'current-context': 'store',
    };
    writeFileSync(file, JSON.stringify(config), { mode: 0o600 });
    return { kubeconfig: `--kubeconfig=${file}`, forget: () => rmSync(folder, { recursive: true, force: true }) };
  }
});
