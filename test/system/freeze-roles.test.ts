/**
 * Freezes as the store asks for them, by a node role and its helper that are real processes; the store is this process, so
 * that a cut takes as long as a test wants. Whoever dies in the middle: the file system comes free within ten seconds.
 */
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import type { Server } from '@grpc/grpc-js';
import fs from 'node:fs';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { clearLoopDevice, configureLoopDevice } from '../../src/linux/loop-device.ts';
import { LoopNumbers } from '../../src/linux/loop-numbers.ts';
import { closeServer, listenOnSocket } from '../../src/roles/process/listen.ts';
import { NodeSessions } from '../../src/store/wire/node-sessions.ts';
import { createStoreServer, type StoreHandlers } from '../../src/store/wire/server.ts';
import { StoreError } from '../../src/util/errors.ts';
import { silentLogger } from '../../src/util/log.ts';
import { canUseLoop, describeIf, hasFileSystem, hasPrograms } from '../support/capabilities.ts';
import { eventually } from '../support/eventually.ts';
import { startRoleProgram, type RoleProgram } from '../support/role-program.ts';
import { run, ScratchDevices, statusOf } from '../support/scratch-devices.ts';
import { Stalls } from '../support/stalls.ts';

const VOLUME_ID = `${'p'.repeat(26)}.${'v'.repeat(26)}`;
const PROMISED_MS = 10_000;
const LIMIT_MS = 60_000;

describeIf(
  canUseLoop(),
  hasFileSystem('ext4'),
  hasPrograms('mkfs.ext4', 'fsfreeze', 'sync'),
)('a freeze for a cut', () => {
  let scratch: ScratchDevices;
  let devicePath: string;
  let mount: string;
  let sessions: NodeSessions;
  let server: Server;
  let node: RoleProgram;
  let stalls: Stalls;

  beforeEach(async () => {
    scratch = new ScratchDevices();
    mount = scratch.place('volume');
    const file = scratch.place('volume.img');
    fs.writeFileSync(file, '');
    fs.truncateSync(file, 64 * 2 ** 20);
    const descriptor = fs.openSync(file, 'r+');
    devicePath = await configureLoopDevice({
      numbers: new LoopNumbers(),
      descriptor,
      fileName: VOLUME_ID,
      readOnly: false,
      timeoutMs: 5_000,
    });
    fs.closeSync(descriptor);
    run('mkfs.ext4', '-q', devicePath);
    fs.mkdirSync(mount);
    run('mount', devicePath, mount);
    await startStore();
    node = await startNode();
    stalls = await Stalls.watch(mount);
  }, LIMIT_MS);
  afterEach(async () => {
    statusOf('fsfreeze', '--unfreeze', mount);
    await stalls.kill();
    node.process.kill('SIGTERM');
    await node.ended;
    for (const pid of helpers()) process.kill(pid, 'SIGKILL');
    sessions.close();
    await closeServer(server, { timeoutMs: 1_000 });
    statusOf('umount', mount);
    await clearLoopDevice(devicePath, { fileName: VOLUME_ID, timeoutMs: 5_000, evenInUse: true });
    scratch.cleanUp();
  }, LIMIT_MS);

  const place = (name: string): string => path.join(scratch.folder, 'run', name);

  async function startStore(): Promise<void> {
    const away = (): Promise<never> => Promise.reject(new StoreError('unavailable', 'this store has nothing but node sessions'));
    const service = new Proxy({}, { get: () => away }) as StoreHandlers;
    sessions = new NodeSessions({ log: silentLogger() });
    server = createStoreServer({ service, nodes: sessions, log: silentLogger() });
    await listenOnSocket(server, place('store.sock'));
  }

  async function startNode(): Promise<RoleProgram> {
    const sockets = ['--store', `unix://${place('store.sock')}`, '--keeper', place('keeper.sock')];
    const role = startRoleProgram('node', '--endpoint', `unix://${place('csi.sock')}`, '--node', 'n1', ...sockets);
    await role.ready();
    await eventually('it is connected to the store', () => sessions.connected);
    return role;
  }

  /** The helper processes of this node role. */
  function helpers(): number[] {
    const isHelper = (pid: string): boolean => {
      try {
        const parent = /^PPid:\s*(\d+)$/m.exec(fs.readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
        return Number(parent) === node.process.pid && fs.readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('freezer');
      } catch {
        return false;
      }
    };
    return fs
      .readdirSync('/proc')
      .filter((name) => /^\d+$/.test(name) && isHelper(name))
      .map(Number);
  }

  const notesLeft = (): string[] => (fs.existsSync(place('frozen')) ? fs.readdirSync(place('frozen')) : []);

  /** Does it in the middle of a frozen cut; then the file system comes free in time, and stays free. */
  async function whileFrozen(deed: () => void | Promise<void>): Promise<void> {
    await sessions.beforeCut(VOLUME_ID, { freeze: true }, async () => {
      expect(notesLeft()).toEqual([VOLUME_ID]);
      expect(helpers()).toHaveLength(1);
      await delay(300);
      await deed();
      await comesFree();
    });
    expect(await longestMs()).toBeLessThan(PROMISED_MS);
    await eventually('no note stays', () => notesLeft().length === 0, PROMISED_MS);
    expect(helpers()).toEqual([]);
  }

  async function comesFree(): Promise<void> {
    const other = await Stalls.watch(mount);
    expect(await other.longestMs()).toBeLessThan(PROMISED_MS);
    fs.writeFileSync(path.join(mount, 'after'), 'free', { flush: true });
  }

  async function longestMs(): Promise<number> {
    const longest = await stalls.longestMs();
    expect(longest).toBeGreaterThan(250);
    return longest;
  }

  test(
    'ends with the cut',
    async () => {
      await sessions.beforeCut(VOLUME_ID, { freeze: true }, () => delay(500));
      expect(await longestMs()).toBeLessThan(2_000);
    },
    LIMIT_MS,
  );

  test(
    'ends when its helper is killed',
    async () => {
      await whileFrozen(() => void process.kill(helpers()[0]!, 'SIGKILL'));
    },
    LIMIT_MS,
  );

  test(
    'ends when the node role is killed',
    async () => {
      await whileFrozen(async () => {
        node.process.kill('SIGKILL');
        await node.ended;
        node = await startNode();
      });
    },
    LIMIT_MS,
  );

  test(
    'ends when node role and helper are killed at once, with the next node role',
    async () => {
      await whileFrozen(async () => {
        const [helper] = helpers();
        process.kill(helper!, 'SIGKILL');
        node.process.kill('SIGKILL');
        await node.ended;
        node = await startNode();
      });
    },
    LIMIT_MS,
  );

  test(
    'ends when the store goes away and says nothing any more',
    async () => {
      await whileFrozen(async () => {
        sessions.close();
        await closeServer(server, { timeoutMs: 100 });
      });
      await startStore();
    },
    LIMIT_MS,
  );

  test(
    "is none where a user's own fsfreeze is: the cut is made, and the user's stays",
    async () => {
      run('fsfreeze', '--freeze', mount);
      let cuts = 0;
      await sessions.beforeCut(VOLUME_ID, { freeze: true }, async () => void (cuts += 1));
      expect(cuts).toBe(1);
      await eventually('no helper stays', () => helpers().length === 0 && notesLeft().length === 0);
      // Ours is over; a second one of the user's would be refused if the first one were gone.
      expect(statusOf('fsfreeze', '--freeze', mount)).not.toBe(0);
      run('fsfreeze', '--unfreeze', mount);
    },
    LIMIT_MS,
  );

  test(
    "is not ended by the user's own fsfreeze, which is refused meanwhile and possible right after",
    async () => {
      await sessions.beforeCut(VOLUME_ID, { freeze: true }, async () => {
        expect(statusOf('fsfreeze', '--freeze', mount)).not.toBe(0);
        await delay(200);
      });
      await eventually('no helper stays', () => helpers().length === 0 && notesLeft().length === 0);
      run('fsfreeze', '--freeze', mount);
      await delay(500);
      expect(statusOf('fsfreeze', '--unfreeze', mount)).toBe(0);
      expect(await longestMs()).toBeLessThan(PROMISED_MS);
    },
    LIMIT_MS,
  );
});
