/** Freezing a real file system by the helper process, and all the ways in which it must come free again. */
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { spawn } from 'node:child_process';
import { closeSync, existsSync, openSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { once } from 'node:events';
import { freezeFileSystem, type FrozenFileSystem } from '../../../src/mount/freeze.ts';
import { FreezeNotes } from '../../../src/mount/freeze-notes.ts';
import { canUseLoop, describeIf, hasFileSystem, hasPrograms } from '../../support/capabilities.ts';
import { presentSequence } from '../../../src/linux/loop-device.ts';
import { startChild } from '../../support/child.ts';
import { eventually } from '../../support/eventually.ts';
import { startRoleProgram } from '../../support/role-program.ts';
import { run, ScratchDevices, statusOf, type ScratchDevice } from '../../support/scratch-devices.ts';

const freezer = join(import.meta.dirname, '../../support/freezer-process.ts');
const coded = (code: string) => expect.objectContaining({ code });

describeIf(
  canUseLoop(),
  hasFileSystem('ext4'),
  hasPrograms('losetup', 'mkfs.ext4', 'fsfreeze', 'sync'),
)('freezing a file system', () => {
  let scratch: ScratchDevices;
  let device: ScratchDevice;
  let path: string;
  const writers: Promise<unknown>[] = [];
  beforeEach(() => {
    scratch = new ScratchDevices();
    device = scratch.create({ sizeMebibytes: 64 });
    path = scratch.place('volume');
    run('mkfs.ext4', '-q', device.path);
    run('mkdir', path);
    run('mount', device.path, path);
  });
  afterEach(async () => {
    statusOf('fsfreeze', '--unfreeze', path);
    // One that waited for the thaw holds the mount until it has ended.
    await Promise.all(writers.splice(0));
    scratch.cleanUp();
  });

  const helper = (options: { timeLimitMs: number }) => [process.execPath, freezer, String(options.timeLimitMs)] as const;
  const notesFolder = () => scratch.place('notes');
  const notes = () => new FreezeNotes({ folder: notesFolder() });
  const notesLeft = () => (existsSync(notesFolder()) ? readdirSync(notesFolder()) : []);

  async function freeze(program: readonly [string, ...string[]], options: { timeoutMs?: number } = {}): Promise<FrozenFileSystem> {
    const note = await notes().write({ volumeId: 'pool.volume', devicePath: device.path });
    return freezeFileSystem(path, { helper: program, note, ...options });
  }

  /** Whether a write gets through; a frozen file system makes the writer wait. */
  async function canWrite(options: { withinMs: number }): Promise<boolean> {
    const writer = spawn('touch', [join(path, `file-${process.hrtime.bigint()}`)]);
    const ended = once(writer, 'exit').then(() => true);
    writers.push(ended);
    const given = new Promise<boolean>((resolve) => void setTimeout(() => resolve(false), options.withinMs).unref());
    const wrote = await Promise.race([ended, given]);
    if (!wrote) writer.kill('SIGKILL');
    return wrote;
  }

  /** The helper on its own, as its starter sees it, up to a line. */
  async function startHelper(options: { timeLimitMs: number; until: string }) {
    const descriptor = openSync(path, 'r');
    const child = spawn(process.execPath, [freezer, String(options.timeLimitMs)], { stdio: ['pipe', 'pipe', 'inherit', descriptor] });
    closeSync(descriptor);
    let output = '';
    child.stdout?.setEncoding('utf8').on('data', (text: string) => (output += text));
    const ended = once(child, 'close');
    while (!output.split('\n').includes(options.until)) {
      if (child.exitCode !== null) throw new Error(`the helper ended with: ${output}`);
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    return { child, ended, output: () => output.trim().split('\n') };
  }

  test('holds writers until it is thawed, and what was written before is on the device', async () => {
    run('sh', '-c', `echo precious > ${path}/before`);
    const frozen = await freeze(helper({ timeLimitMs: 5000 }));
    const cut = scratch.copy(device, { readOnly: true });
    expect(await canWrite({ withinMs: 200 })).toBe(false);
    expect(await frozen.thaw()).toBe(true);
    expect(await canWrite({ withinMs: 2000 })).toBe(true);
    // Read-only without replay and without a word from ext4: the cut was a clean file system.
    run('mkdir', scratch.place('cut'));
    run('mount', '-o', 'ro', cut.path, scratch.place('cut'));
    expect(readFileSync(scratch.place('cut/before'), 'utf8')).toBe('precious\n');
  });

  test('ends by itself at its limit, and then says that it did not last', async () => {
    const frozen = await freeze(helper({ timeLimitMs: 300 }));
    expect(await canWrite({ withinMs: 3000 })).toBe(true);
    expect(await frozen.thaw()).toBe(false);
  });

  test('ends when the starter dies', async () => {
    const { child, ended, output } = await startHelper({ timeLimitMs: 30_000, until: 'frozen' });
    expect(await canWrite({ withinMs: 100 })).toBe(false);
    child.stdin?.destroy(); // what the kernel does to the pipe of a starter that died
    expect(await canWrite({ withinMs: 2000 })).toBe(true);
    await ended;
    expect(output()).toEqual(['syncing', 'freezing', 'frozen', 'thawed']);
  });

  test('ends on SIGTERM, only after the thaw', async () => {
    const { child, ended, output } = await startHelper({ timeLimitMs: 30_000, until: 'frozen' });
    child.kill('SIGTERM');
    await ended;
    expect(output().at(-1)).toBe('thawed early');
    expect(child.exitCode).toBe(0);
    expect(await canWrite({ withinMs: 2000 })).toBe(true);
  });

  test('ends when the helper is killed, by its starter', async () => {
    const pids: number[] = [];
    // The shell becomes the helper and so keeps its number.
    const program = `echo $$ > ${scratch.place('pid')}; exec "$0" "$@"`;
    const frozen = await freeze(['sh', '-c', program, ...helper({ timeLimitMs: 30_000 })]);
    pids.push(Number(readFileSync(scratch.place('pid'), 'utf8')));
    expect(await canWrite({ withinMs: 100 })).toBe(false);
    process.kill(pids[0] ?? 0, 'SIGKILL');
    expect(await canWrite({ withinMs: 3000 })).toBe(true);
    expect(await frozen.thaw()).toBe(false);
  });

  test("leaves a user's own freeze alone", async () => {
    run('fsfreeze', '--freeze', path);
    await expect(freeze(helper({ timeLimitMs: 300 }))).rejects.toThrow(coded('in-use'));
    await new Promise((resolve) => setTimeout(resolve, 400));
    expect(await canWrite({ withinMs: 100 })).toBe(false);
    run('fsfreeze', '--unfreeze', path);
    expect(await canWrite({ withinMs: 2000 })).toBe(true);
  });

  test('a user who thaws meanwhile is not undone, and the cut is known not to be clean', async () => {
    const frozen = await freeze(helper({ timeLimitMs: 5000 }));
    run('fsfreeze', '--unfreeze', path);
    expect(await frozen.thaw()).toBe(false);
  });

  test('a helper that is told to end before it says that it froze has frozen nothing for its starter', async () => {
    const late = 'echo syncing; echo freezing; cat > /dev/null; echo frozen; echo thawed';
    await expect(freeze(['sh', '-c', late], { timeoutMs: 100 })).rejects.toThrow(coded('unavailable'));
    expect(notesLeft()).toEqual([]);
  });

  test('a helper that does not start is an error and freezes nothing', async () => {
    await expect(freeze(['/no/such/program'])).rejects.toThrow(coded('unavailable'));
    await expect(freeze(['false'])).rejects.toThrow(coded('unavailable'));
    expect(await canWrite({ withinMs: 2000 })).toBe(true);
  });

  test('no descriptor of the file system stays open', async () => {
    const frozen = await freeze(helper({ timeLimitMs: 5000 }));
    await frozen.thaw();
    run('umount', path);
  });

  test('no note stays, however it ends', async () => {
    await (await freeze(helper({ timeLimitMs: 5000 }))).thaw();
    expect(notesLeft()).toEqual([]);
    // By its limit: while it is frozen, or before, on a busy machine.
    await freeze(helper({ timeLimitMs: 50 })).then(
      (frozen) => frozen.thaw(),
      () => false,
    );
    await eventually('the note goes', () => notesLeft().length === 0);
    await expect(freeze(['false'])).rejects.toThrow(coded('unavailable'));
    await eventually('the note goes', () => notesLeft().length === 0);
  });

  test('when node role and helper are killed at once, the next node role thaws', async () => {
    const child = await startChild('freezing-process.ts', {
      parameters: [path, notesFolder(), device.path],
      readyLine: 'frozen',
      ownGroup: true,
    });
    expect(await canWrite({ withinMs: 200 })).toBe(false);
    process.kill(-(child.process.pid ?? 0), 'SIGKILL');
    await child.kill();
    expect(await canWrite({ withinMs: 200 })).toBe(false);
    await eventually('everything is undone', async () => (await notes().undo()).size === 0);
    expect(await canWrite({ withinMs: 2000 })).toBe(true);
    expect(notesLeft()).toEqual([]);
  });

  test('the next node role thaws before all else, also without a store', async () => {
    const folder = scratch.place('run');
    const parameters = [path, join(folder, 'frozen'), device.path];
    const child = await startChild('freezing-process.ts', { parameters, readyLine: 'frozen', ownGroup: true });
    process.kill(-(child.process.pid ?? 0), 'SIGKILL');
    await child.kill();
    const [store, keeper, endpoint] = [`unix://${folder}/store.sock`, `${folder}/keeper.sock`, `unix://${folder}/csi.sock`];
    const node = startRoleProgram('node', '--endpoint', endpoint, '--node', 'n1', '--store', store, '--keeper', keeper);
    try {
      await node.ready();
      await eventually('it is undone', () => readdirSync(join(folder, 'frozen')).length === 0);
      expect(await canWrite({ withinMs: 2000 })).toBe(true);
    } finally {
      node.process.kill('SIGTERM');
    }
    expect(await node.ended).toBe(0);
  }, 40_000);

  test('a freeze that goes on is nobody else’s to undo, and none begins beside it', async () => {
    const frozen = await freeze(helper({ timeLimitMs: 5000 }));
    expect((await notes().undo()).get('pool.volume')).toContain('not gone yet');
    await expect(freeze(helper({ timeLimitMs: 5000 }))).rejects.toThrow(coded('busy'));
    expect(await frozen.thaw()).toBe(true);
    expect(await notes().undo()).toEqual(new Map());
  });

  test('a note of a device that was taken down since thaws nothing', async () => {
    const note = await notes().write({ volumeId: 'pool.volume', devicePath: device.path });
    await note.leave();
    run('umount', path);
    const sequence = presentSequence(device.path);
    scratch.detach(device);
    // Somebody else on this machine may have the number by now.
    await eventually('it is detached', () => presentSequence(device.path) !== sequence);
    // Somebody else's file system stands there now, frozen by its owner.
    const other = scratch.create({ sizeMebibytes: 64 });
    run('mkfs.ext4', '-q', other.path);
    run('mount', other.path, path);
    run('fsfreeze', '--freeze', path);
    expect(await notes().undo()).toEqual(new Map());
    expect(notesLeft()).toEqual([]);
    expect(await canWrite({ withinMs: 100 })).toBe(false);
  });
});
