import fs from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { once } from 'node:events';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { Registration, type RegistrationOptions } from '../../src/k8s/registration.ts';
import type { StoreError } from '../../src/util/errors.ts';
import { silentLogger } from '../../src/util/log.ts';
import { eventually } from '../support/eventually.ts';
import { callAsKubelet } from '../support/kubelet.ts';

const SOCKET = 'csi.chunkstore.dev-reg.sock';

let folder: string;
let registrations: Registration[];
beforeEach(() => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), 'chunkstore-reg-'));
  registrations = [];
});
afterEach(async () => {
  for (const registration of registrations) await registration.stop();
  fs.rmSync(folder, { recursive: true, force: true });
});

async function register(options: Partial<RegistrationOptions> = {}): Promise<Registration> {
  const registration = await Registration.start({
    folder,
    driver: 'csi.chunkstore.dev',
    endpoint: '/var/lib/kubelet/plugins/csi.chunkstore.dev/csi.sock',
    log: silentLogger(),
    refused: () => {},
    ...options,
  });
  registrations.push(registration);
  return registration;
}

const kubelet = () => callAsKubelet(path.join(folder, SOCKET));

describe('registration with the kubelet', () => {
  test('says who the driver is, and is done when the kubelet says so', async () => {
    const registration = await register();
    await expect(registration.check()).rejects.toThrow(/has not asked/);
    const caller = kubelet();
    expect(await caller.getInfo()).toEqual({
      type: 'CSIPlugin',
      name: 'csi.chunkstore.dev',
      endpoint: '/var/lib/kubelet/plugins/csi.chunkstore.dev/csi.sock',
      supportedVersions: ['1.0.0'],
    });
    await expect(registration.check()).rejects.toThrow(/has not answered/);
    await caller.notify({ pluginRegistered: true, error: '' });
    await registration.check();
    // The kubelet was started again: it asks anew, and the driver stays what it was.
    await caller.getInfo();
    await registration.check();
    caller.close();
  });

  test('a refusal is told, with its reason', async () => {
    const errors: StoreError[] = [];
    const registration = await register({ refused: (error) => errors.push(error) });
    const caller = kubelet();
    await caller.notify({ pluginRegistered: false, error: 'topology value collision' });
    caller.close();
    await eventually('it is told', () => errors.length === 1);
    expect(errors[0]?.message).toContain('topology value collision');
    await expect(registration.check()).rejects.toThrow(/refused/);
  });

  test('the socket appears under no other name that the kubelet would look at', async () => {
    const seen: string[] = [];
    const watcher = fs.watch(folder, (_event, name) => seen.push(name ?? ''));
    await register();
    await eventually('it appears', () => seen.includes(SOCKET));
    watcher.close();
    expect(new Set(seen.filter((name) => !name.startsWith('.')))).toEqual(new Set([SOCKET]));
    expect(fs.readdirSync(folder)).toEqual([SOCKET]);
    expect(fs.statSync(path.join(folder, SOCKET)).mode & 0o777).toBe(0o600);
  });

  test('replaces what a predecessor that was killed left behind', async () => {
    // Node removes a socket's name when it closes it; one that was moved stays, as after a kill.
    const dead = net.createServer().listen(path.join(folder, 'dead'));
    await once(dead, 'listening');
    fs.renameSync(path.join(folder, 'dead'), path.join(folder, SOCKET));
    dead.close();
    await once(dead, 'close');
    expect(fs.existsSync(path.join(folder, SOCKET))).toBe(true);
    await register();
    const caller = kubelet();
    await caller.getInfo();
    caller.close();
  });

  test('its end takes the socket away, but not a successor’s', async () => {
    const first = await register();
    const second = await register();
    await first.stop();
    const caller = kubelet();
    await caller.getInfo();
    caller.close();
    await second.checkSocket();
    await second.stop();
    expect(fs.readdirSync(folder)).toEqual([]);
  });

  test('notices that its socket was removed', async () => {
    const registration = await register();
    fs.rmSync(path.join(folder, SOCKET));
    await expect(registration.checkSocket()).rejects.toThrow(/was removed/);
  });

  test('makes no folder of its own, which no kubelet would watch', async () => {
    await expect(register({ folder: path.join(folder, 'missing') })).rejects.toThrow(/plugins_registry/);
    expect(fs.readdirSync(folder)).toEqual([]);
  });

  test('warns when the kubelet does not come', async () => {
    const warnings: unknown[] = [];
    const log = {
      ...silentLogger(),
      info: () => {},
      warn: (fields: unknown) => warnings.push(fields),
    } as unknown as RegistrationOptions['log'];
    await register({ patienceMs: 10, log });
    await eventually('it warns', () => warnings.length === 1);
  });
});
