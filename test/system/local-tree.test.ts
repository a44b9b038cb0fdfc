import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { canUseFuse, canUseLoop, describeIf, hasFileSystem, hasPrograms } from '../support/capabilities.ts';
import { eventually } from '../support/eventually.ts';
import { LocalTree } from '../support/local-tree.ts';

const MIB = 1 << 20;
const SIZE = ['--size', '512MiB'];

let tree: LocalTree;
let folder: string;
beforeEach(() => {
  tree = new LocalTree();
  folder = path.join(tree.folder, 'mounted');
});
afterEach(async () => {
  if (spawnSync('mountpoint', ['-q', folder]).status === 0) spawnSync('umount', ['--lazy', folder], { timeout: 10_000 });
  await tree.end();
}, 60_000);

function run(program: string, ...args: readonly string[]): string {
  const { status, stdout, stderr } = spawnSync(program, args, { encoding: 'utf8', timeout: 30_000 });
  if (status !== 0) throw new Error(`${program} ${args.join(' ')}: ${stderr}`);
  return stdout;
}

/** A volume with a file system, mounted. */
function mountVolume(name: string): string {
  tree.operate('create', name, '--size', '128MiB');
  const device = tree.operate('attach', name).output;
  run('mkfs.ext4', '-q', device);
  fs.mkdirSync(folder, { recursive: true });
  run('mount', device, folder);
  return device;
}

describeIf(
  canUseFuse(),
  canUseLoop(),
  hasFileSystem('ext4'),
  hasPrograms('mkfs.ext4', 'ps', 'mountpoint'),
)('chunkstore local', () => {
  test('is a tree of telling processes that ends on SIGTERM and finds everything again', async () => {
    expect(await tree.start(...SIZE)).toBe(true);
    expect(tree.output).toMatch(/ready.*unix:\/\/.*csi\.sock/);
    expect([...tree.roles().keys()].toSorted()).toEqual(['controller', 'keeper', 'node', 'store']);
    expect(tree.operate('create', 'data', '--size', '64MiB').status).toBe(0);
    expect(tree.operate('snapshot', 'data', 'before').status).toBe(0);
    const before = await tree.store.listVolumes();
    tree.signal('SIGTERM');
    await tree.ended();
    expect(tree.exitCode).toBe(0);

    expect(await tree.start()).toBe(true);
    expect(await tree.store.listVolumes()).toEqual(before);
    expect((await tree.store.listSnapshots()).map(({ name }) => name)).toEqual(['before']);
    expect(tree.operate('list').output).toMatch(/data[^]*└─ before/);
  }, 60_000);

  test('a second one on the same folder is refused, and disturbs nothing', async () => {
    await tree.start(...SIZE);
    const second = tree.operate('local', '--endpoint', `unix://${tree.folder}/other.sock`);
    expect(second.status).toBe(1);
    expect(second.error).toContain('another keeper');
    expect(tree.operate('create', 'data', '--size', '64MiB').status).toBe(0);
  }, 60_000);

  test('a larger --size grows the pool, a smaller one is refused', async () => {
    await tree.start(...SIZE);
    tree.signal('SIGTERM');
    await tree.ended();
    expect(await tree.start('--size', '256MiB')).toBe(false);
    expect(tree.exitCode).toBe(1);
    expect(tree.words.join('\n')).toContain('cannot shrink');
    expect(await tree.start('--size', '768MiB')).toBe(true);
    expect((await tree.store.getPool()).sizeBytes).toBeGreaterThan(700 * MIB);
  }, 60_000);

  test('SIGTERM names who holds a volume, stays, and goes when it is let go', async () => {
    await tree.start(...SIZE, '--stop-wait', '2');
    mountVolume('data');
    const holder = spawn('sleep', ['60'], { cwd: folder });
    tree.signal('SIGTERM');
    await eventually('it gives up', () => tree.words.some((line) => line.includes('not stopped')), 20_000);
    expect(tree.words[0]).toContain(`data is mounted at ${folder} and used by process ${holder.pid} (sleep)`);
    expect(tree.hasEnded).toBe(false);
    fs.writeFileSync(path.join(folder, 'still'), 'served');

    holder.kill();
    await once(holder, 'exit');
    run('umount', folder);
    const { id } = await tree.store.getPool();
    tree.signal('SIGTERM');
    await tree.ended();
    expect(tree.exitCode).toBe(0);
    expect(await tree.devicesOf(id)).toEqual([]);
  }, 60_000);

  test('a raw device that is published counts as in use', async () => {
    await tree.start(...SIZE, '--stop-wait', '1');
    tree.operate('create', 'raw', '--size', '64MiB');
    const device = tree.operate('attach', 'raw').output;
    fs.writeFileSync(folder, '');
    run('mount', '--bind', device, folder);
    tree.signal('SIGTERM');
    await eventually('it gives up', () => tree.words.some((line) => line.includes('not stopped')), 20_000);
    expect(tree.words[0]).toContain(`raw is mounted at ${folder}`);
    run('umount', folder);
  }, 60_000);

  test('no write is lost and no error seen when store and keeper are killed under load', async () => {
    await tree.start(...SIZE);
    mountVolume('data');
    const file = path.join(folder, 'numbers');
    // Direct, one block after the other: each is acknowledged by the device before the next is sent.
    const program = `
      const fs = require('node:fs');
      const file = fs.openSync(${JSON.stringify(file)}, fs.constants.O_RDWR | fs.constants.O_CREAT | fs.constants.O_SYNC);
      const end = Date.now() + 8000;
      let written = 0;
      while (Date.now() < end) {
        const block = Buffer.alloc(4096, written % 251);
        block.writeUInt32LE(written, 0);
        fs.writeSync(file, block, 0, 4096, (written % 4096) * 4096);
        written += 1;
      }
      console.log(written);
    `;
    const writer = spawn(process.execPath, ['-e', program], { env: {} });
    let written = '';
    let errors = '';
    writer.stdout.on('data', (data: Buffer) => (written += data.toString()));
    writer.stderr.on('data', (data: Buffer) => (errors += data.toString()));
    const ended = once(writer, 'exit');
    await delay(1000);
    await tree.killRole('store');
    // One at a time: what store and keeper both lose is lost.
    await eventually('the new store has everything', () => tree.errors.split('"pool is open"').length === 3, 20_000);
    await delay(500);
    await tree.killRole('keeper');
    await eventually('the new keeper has everything', () => tree.errors.includes('a keeper holds everything again'), 20_000);
    await delay(500);
    await tree.killRole('store');
    await ended;
    expect(errors).toBe('');
    const count = Number(written);
    expect(count).toBeGreaterThan(100);

    run('umount', folder);
    const device = tree.operate('attach', 'data').output;
    run('mount', device, folder);
    const content = fs.readFileSync(file);
    for (let number = Math.max(0, count - 4096); number < count; number++) {
      const at = (number % 4096) * 4096;
      expect(content.readUInt32LE(at)).toBe(number);
      expect(content[at + 4095]).toBe(number % 251);
    }
    run('umount', folder);
    expect(tree.operate('check').output).toContain('every count is what the trees say');
  }, 90_000);

  test('a call that comes while its role is started again waits for it', async () => {
    await tree.start(...SIZE);
    const pid = tree.pidOf('node');
    process.kill(pid, 'SIGKILL');
    tree.operate('create', 'data', '--size', '64MiB');
    expect(tree.operate('attach', 'data').output).toMatch(/^\/dev\/loop\d+$/);
    expect(tree.operate('detach', 'data').status).toBe(0);
  }, 60_000);

  test('an operator looks into a snapshot, read-only, and checks the pool offline', async () => {
    await tree.start(...SIZE);
    mountVolume('data');
    fs.writeFileSync(path.join(folder, 'file'), 'before');
    expect(tree.operate('snapshot', 'data', 's').status).toBe(0);
    fs.writeFileSync(path.join(folder, 'file'), 'after');
    run('umount', folder);
    const device = tree.operate('attach', 's').output;
    run('mount', '-o', 'ro,noload', device, folder);
    expect(fs.readFileSync(path.join(folder, 'file'), 'utf8')).toBe('before');
    run('umount', folder);
    expect(run('blockdev', '--getro', device).trim()).toBe('1');
    expect(tree.operate('detach', 's').status).toBe(0);
    expect(tree.operate('detach', 'data').status).toBe(0);
    expect(tree.operate('revert', 'data', 's').output).toMatch(/is kept as snapshot before-revert-/);
    expect(tree.operate('check', '--pool', path.join(tree.state, 'pool')).error).toContain('still holds');
    tree.signal('SIGTERM');
    await tree.ended();
    expect(tree.operate('check', '--pool', path.join(tree.state, 'pool')).output).toContain('every count');
  }, 60_000);

  test('when the parent is killed all end, and the next start clears their devices', async () => {
    await tree.start(...SIZE);
    const { id } = await tree.store.getPool();
    mountVolume('data');
    fs.writeFileSync(path.join(folder, 'file'), 'kept');
    run('sync', '-f', folder);
    tree.operate('create', 'other', '--size', '64MiB');
    const other = tree.operate('attach', 'other').output;
    const roles = [...tree.roles().values()];
    tree.signal('SIGKILL');
    await tree.ended();
    await eventually('the roles end', () => roles.every((pid) => !fs.existsSync(`/proc/${pid}/exe`) || !canReadExe(pid)), 15_000);

    expect(await tree.start()).toBe(true);
    expect(await tree.devicesOf(id)).not.toContain(other);
    run('umount', folder);
    await eventually('the device that was mounted is gone too', async () => (await tree.devicesOf(id)).length === 0);
    const device = tree.operate('attach', 'data').output;
    run('mount', device, folder);
    expect(fs.readFileSync(path.join(folder, 'file'), 'utf8')).toBe('kept');
    run('umount', folder);
  }, 60_000);
});

/** A zombie has no program any more. */
function canReadExe(pid: number): boolean {
  try {
    fs.readlinkSync(`/proc/${pid}/exe`);
    return true;
  } catch {
    return false;
  }
}
