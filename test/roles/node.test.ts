/** The node role as a pod runs it, where its store is not there yet. */
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { connectCsi } from '../support/csi-client.ts';
import { callAsKubelet } from '../support/kubelet.ts';
import { freePort, startRoleProgram, type RoleProgram } from '../support/role-program.ts';

const NODE = `a-node-with-a-name-${'that-is-long-'.repeat(5)}.example.com`;

let folder: string;
let role: RoleProgram;
let port: number;
beforeEach(async () => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), 'chunkstore-pod-'));
  fs.mkdirSync(path.join(folder, 'registry'));
  port = await freePort();
  role = startRoleProgram(
    'node',
    ...['--endpoint', `unix://${folder}/csi.sock`, '--node', NODE],
    ...['--store', `unix://${folder}/run/store.sock`, '--keeper', `${folder}/run/keeper.sock`],
    ...['--registration', `${folder}/registry`, '--kubelet-endpoint', '/var/lib/kubelet/plugins/x/csi.sock'],
    ...['--http', `127.0.0.1:${port}`],
  );
  await role.ready();
}, 30_000);
afterEach(async () => {
  role.process.kill('SIGKILL');
  await role.ended;
  fs.rmSync(folder, { recursive: true, force: true });
});

async function probe(name: 'livez' | 'readyz'): Promise<{ status: number; text: string }> {
  const response = await fetch(`http://127.0.0.1:${port}/${name}`);
  return { status: response.status, text: await response.text() };
}

function register(): ReturnType<typeof callAsKubelet> {
  return callAsKubelet(`${folder}/registry/csi.chunkstore.dev-reg.sock`);
}

describe('the node role without its store', () => {
  test('serves, registers, lives, and is not ready', async () => {
    const csi = connectCsi(`unix://${folder}/csi.sock`);
    const { nodeId, accessibleTopology } = await csi.node.nodeGetInfo({});
    csi.close();
    expect(nodeId).toBe(NODE);
    expect(accessibleTopology?.segments['csi.chunkstore.dev/node']).toMatch(/^a-node-with-a-name-.{33,44}$/);
    const kubelet = register();
    expect(await kubelet.getInfo()).toMatchObject({ endpoint: '/var/lib/kubelet/plugins/x/csi.sock' });
    await kubelet.notify({ pluginRegistered: true, error: '' });
    kubelet.close();
    expect(await probe('livez')).toEqual({ status: 200, text: 'ok\n' });
    const { status, text } = await probe('readyz');
    expect(status).toBe(503);
    expect(text).toContain('store');
  }, 30_000);

  test('SIGTERM takes its sockets away, and nothing else', async () => {
    role.process.kill('SIGTERM');
    expect(await role.ended).toBe(0);
    expect(fs.readdirSync(path.join(folder, 'registry'))).toEqual([]);
    expect(fs.readdirSync(folder)).not.toContain('csi.sock');
  }, 40_000);

  test('a refusal by the kubelet ends it as a failure, with the reason', async () => {
    const kubelet = register();
    await kubelet.notify({ pluginRegistered: false, error: 'topology value collision' }).catch(() => {});
    kubelet.close();
    expect(await role.ended).toBe(1);
    expect(role.lines.join('\n')).toContain('topology value collision');
    expect(fs.readdirSync(path.join(folder, 'registry'))).toEqual([]);
  }, 40_000);

  test('a CSI socket that is gone is a reason to be started anew', async () => {
    fs.rmSync(path.join(folder, 'csi.sock'));
    expect((await probe('livez')).status).toBe(503);
  }, 30_000);
});
