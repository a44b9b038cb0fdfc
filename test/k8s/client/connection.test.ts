import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { inClusterConnection, kubeconfigConnection } from '../../../src/k8s/client/connection.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'connection-'));
});
afterEach(() => rm(folder, { recursive: true }));

const environment = { KUBERNETES_SERVICE_HOST: '10.96.0.1', KUBERNETES_SERVICE_PORT: '6443' };
const write = (name: string, content: string): Promise<void> => writeFile(join(folder, name), content);
const code = (message: RegExp): object => expect.objectContaining({ code: 'failed-precondition', message: expect.stringMatching(message) });

describe('the connection of a pod', () => {
  test('is to the address in its environment, with token and CA of its service account', async () => {
    await write('token', 'one\n');
    await write('ca.crt', 'the CA');
    const connection = await inClusterConnection({ environment, folder });
    expect(connection.server.href).toBe('https://10.96.0.1:6443/');
    expect(await connection.credentials({ renewed: false })).toEqual({ headers: { authorization: 'Bearer one' }, ca: 'the CA' });
    const six = await inClusterConnection({ environment: { KUBERNETES_SERVICE_HOST: 'fd00::1' }, folder });
    expect(six.server.host).toBe('[fd00::1]');
  });

  test('notices a new token and CA, at once when the old one is refused', async () => {
    await write('token', 'one');
    await write('ca.crt', 'first');
    let nowMs = 0;
    const connection = await inClusterConnection({ environment, folder, monotonicMs: () => nowMs });
    const bearer = async (renewed = false): Promise<unknown> => (await connection.credentials({ renewed })).headers?.['authorization'];
    await write('token', 'two');
    await write('ca.crt', 'second');
    nowMs = 9_000;
    expect(await bearer()).toBe('Bearer one');
    nowMs = 10_000;
    expect(await bearer()).toBe('Bearer two');
    expect((await connection.credentials({ renewed: false })).ca).toBe('second');
    await write('token', 'three');
    expect(await bearer(true)).toBe('Bearer three');
    await rm(join(folder, 'token'));
    nowMs = 60_000;
    expect(await bearer()).toBe('Bearer three');
  });

  test('outside of a pod, or without a token, says so', async () => {
    await expect(inClusterConnection({ environment: {}, folder })).rejects.toEqual(code(/no pod of Kubernetes.*kubeconfig/));
    await expect(inClusterConnection({ environment, folder })).rejects.toEqual(code(/automountServiceAccountToken/));
  });
});

describe('the connection of a kubeconfig', () => {
  const kubeconfig = (user: object): string =>
    JSON.stringify({
      apiVersion: 'v1',
      kind: 'Config',
      clusters: [{ name: 'c', cluster: { server: 'https://api.example:6443/prefix', 'certificate-authority-data': btoa('the CA') } }],
      users: [{ name: 'u', user }],
      contexts: [{ name: 'x', context: { cluster: 'c', user: 'u' } }],
      'current-context': 'x',
    });

  test('is that of its current context', async () => {
    await write('config', kubeconfig({ token: 'secret' }));
    const connection = await kubeconfigConnection(join(folder, 'config'));
    expect(connection.server.href).toBe('https://api.example:6443/prefix');
    const { agent, ca, headers } = await connection.credentials({ renewed: false });
    expect({ agent, ca: String(ca), authorization: headers?.['Authorization'] }).toEqual({
      agent: undefined,
      ca: 'the CA',
      authorization: 'Bearer secret',
    });
  });

  test('that is not there, or no kubeconfig, says so', async () => {
    await expect(kubeconfigConnection(join(folder, 'missing'))).rejects.toEqual(code(/missing cannot be read: ENOENT/));
    await write('config', '{}');
    await expect(kubeconfigConnection(join(folder, 'config'))).rejects.toEqual(code(/./));
  });
});
