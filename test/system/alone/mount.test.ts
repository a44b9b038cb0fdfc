/** The mounter over real file systems on loop devices over sparse files. */
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { spawn } from 'node:child_process';
import {
  closeSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  statSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { minimumSizesBytes, type FileSystem } from '../../../src/mount/file-systems.ts';
import { mayResizeMountedExt4 } from '../../../src/mount/grow.ts';
import { SystemMounter } from '../../../src/mount/mounter.ts';
import { syncFileSystem } from '../../../src/mount/sync.ts';
import { canUseLoop, describeIf, hasFileSystem, hasPrograms } from '../../support/capabilities.ts';
import { run, ScratchDevices, statusOf, type ScratchDevice } from '../../support/scratch-devices.ts';

const fileSystems: readonly FileSystem[] = ['ext4', 'xfs', 'btrfs'];
const sizesMebibytes = { ext4: 64, xfs: 320, btrfs: 160 } as const;
const needs = [
  canUseLoop(),
  hasPrograms(
    'losetup',
    'blkid',
    'mkfs.ext4',
    'mkfs.xfs',
    'mkfs.btrfs',
    'e2fsck',
    'resize2fs',
    'xfs_growfs',
    'xfs_repair',
    'btrfs',
    'mkswap',
    'debugfs',
  ),
  ...fileSystems.map((type) => hasFileSystem(type)),
];
const mayGrowMountedExt4 = await mayResizeMountedExt4();
const newId = '5f0c2a4e-1111-4222-8333-444455556666';
const otherId = '6a1d3b5f-1111-4222-8333-444455556666';
const writable = { flags: [], readOnly: false };
const coded = (code: string, message?: string | RegExp) =>
  expect.objectContaining({ code, ...(message === undefined ? {} : { message: expect.stringMatching(message) }) });

describeIf(...needs)('mounts of real file systems', () => {
  const mounter = new SystemMounter();
  let scratch: ScratchDevices;
  beforeEach(() => void (scratch = new ScratchDevices()));
  afterEach(() => scratch.cleanUp());

  async function formatted(fileSystem: FileSystem): Promise<ScratchDevice> {
    const device = scratch.create({ sizeMebibytes: sizesMebibytes[fileSystem] });
    await mounter.format(device.path, fileSystem, []);
    return device;
  }

  async function mounted(fileSystem: FileSystem, name = 'volume'): Promise<{ device: ScratchDevice; path: string }> {
    const device = await formatted(fileSystem);
    await mounter.mount(device.path, scratch.place(name), fileSystem, writable);
    return { device, path: scratch.place(name) };
  }

  describe('looking at a device', () => {
    test('an empty one is null', async () => {
      expect(await mounter.probe(scratch.create({ sizeMebibytes: 8 }).path)).toBeNull();
    });

    test.each(fileSystems)('%s is named', async (fileSystem) => {
      expect(await mounter.probe((await formatted(fileSystem)).path)).toBe(fileSystem);
    });

    const signatures: [string, (path: string) => void][] = [
      ['swap', (path) => void run('mkswap', path)],
      ['dos', (path) => writeAt(path, 446, partitionTable())],
      ['crypto_LUKS', (path) => writeAt(path, 0, luksHeader())],
      ['LVM2_member', (path) => writeAt(path, 512, lvmLabel())],
    ];
    test.each(signatures)('%s is named, and never formatted', async (type, write) => {
      const device = scratch.create({ sizeMebibytes: 320 });
      write(device.path);
      expect(await mounter.probe(device.path)).toBe(type);
      const before = run('sha256sum', device.path);
      for (const fileSystem of fileSystems) {
        await expect(mounter.format(device.path, fileSystem, [])).rejects.toThrow(
          coded('failed-precondition', new RegExp(`holds ${type}`)),
        );
      }
      expect(run('sha256sum', device.path)).toBe(before);
    });

    test('one that cannot be read is an error, never empty, and is not formatted', async () => {
      const device = scratch.create({ sizeMebibytes: 64 });
      truncateSync(device.file, 0); // the loop device answers every read with EIO
      expect(statusOf('blkid', '-p', device.path)).toBe(2); // what it says of an empty device too
      await expect(mounter.probe(device.path)).rejects.toThrow(coded('unavailable', /cannot be read/));
      await expect(mounter.format(device.path, 'ext4', [])).rejects.toThrow(coded('unavailable'));
    });

    test('one whose end cannot be read is an error too', async () => {
      const device = scratch.create({ sizeMebibytes: 64 });
      truncateSync(device.file, 32 * 1024 * 1024);
      await expect(mounter.probe(device.path)).rejects.toThrow(coded('unavailable', /cannot be read/));
    });

    test('one that is not there, or is no device, is an error', async () => {
      await expect(mounter.probe('/dev/no-such-device')).rejects.toThrow(coded('not-found'));
      await expect(mounter.probe(scratch.folder)).rejects.toThrow(expect.objectContaining({ name: 'StoreError' }));
      await expect(mounter.blockSize('/dev/no-such-device')).rejects.toThrow(coded('not-found'));
      await expect(mounter.blockSize(scratch.folder)).rejects.toThrow(coded('failed-precondition', /not a block device/));
    });

    test('its size is in bytes', async () => {
      expect(await mounter.blockSize(scratch.create({ sizeMebibytes: 3 }).path)).toBe(3 * 1024 * 1024);
    });
  });

  describe('formatting', () => {
    test.each(fileSystems.flatMap((held) => fileSystems.map((wanted) => [held, wanted] as const)))(
      'a device with %s is not formatted as %s',
      async (held, wanted) => {
        const device = await formatted(held);
        await expect(mounter.format(device.path, wanted, [])).rejects.toThrow(coded('failed-precondition'));
        expect(await mounter.probe(device.path)).toBe(held);
      },
    );

    test('a mounted device is refused before anything else', async () => {
      const { device } = await mounted('ext4');
      await expect(mounter.format(device.path, 'ext4', [])).rejects.toThrow(coded('in-use'));
    });

    test.each(fileSystems)('%s leaves a sparse device sparse, and does not discard it', async (fileSystem) => {
      const device = scratch.create({ sizeMebibytes: sizesMebibytes[fileSystem] });
      // A block that no file system writes to when it is made, and which is not looked at for signatures.
      writeAt(device.path, 50 * 1024 * 1024 + 8192, Buffer.from('kept'));
      const discards = discardsOf(device.path);
      await mounter.format(device.path, fileSystem, []);
      expect(discardsOf(device.path)).toBe(discards);
    });

    test.each(fileSystems)('%s is made beside a mounted device of the same backing file', async (fileSystem) => {
      // As all of ours are to who looks at sysfs: their backing files have no path.
      const { device, path } = await mounted('ext4');
      truncateSync(device.file, 1024 ** 3);
      const other = scratch.over(device.file, { offsetMebibytes: 512 });
      await mounter.format(other.path, fileSystem, []);
      await mounter.mount(other.path, scratch.place('other'), fileSystem, writable);
      writeFileSync(scratch.place('other/file'), 'beside');
      writeFileSync(`${path}/file`, 'first');
      expect(readFileSync(scratch.place('other/file'), 'utf8')).toBe('beside');
    });

    test('a btrfs has what a user asked for, and passes its own check', async () => {
      const device = scratch.create({ sizeMebibytes: 320 });
      await mounter.format(device.path, 'btrfs', ['-L', 'label', '-U', newId, '-n', '8192']);
      expect(run('blkid', '-p', '-s', 'LABEL', '-s', 'UUID', '-o', 'value', device.path).trim().split('\n').sort()).toEqual([
        newId,
        'label',
      ]);
      expect(run('btrfs', 'inspect-internal', 'dump-super', device.path)).toMatch(/nodesize\s+8192/);
      expect(statusOf('btrfs', 'check', '--readonly', device.path)).toBe(0);
    });

    test("a user's options are obeyed", async () => {
      const device = scratch.create({ sizeMebibytes: 64 });
      await mounter.format(device.path, 'ext4', ['-L', 'label', '-E', 'stride=16']);
      expect(run('blkid', '-p', '-s', 'LABEL', '-o', 'value', device.path)).toBe('label\n');
      expect(run('dumpe2fs', '-h', device.path)).toMatch(/RAID stride:\s+16/);
    });

    test('an interrupted mkfs.xfs can be done again', async () => {
      const device = await formatted('xfs');
      writeAt(device.path, 126, Buffer.from([1])); // sb_inprogress, as a killed mkfs leaves it
      expect(run('blkid', '-p', '-s', 'TYPE', '-o', 'value', device.path)).toBe('xfs\n');
      expect(await mounter.probe(device.path)).toBeNull();
      await mounter.format(device.path, 'xfs', []);
      await mounter.mount(device.path, scratch.place('volume'), 'xfs', writable);
    });

    test.each(fileSystems)('%s can be made, mounted and written at its minimum size, and ext4 then has a journal', async (fileSystem) => {
      const device = scratch.create({ sizeMebibytes: minimumSizesBytes[fileSystem] / 1024 / 1024 });
      await mounter.format(device.path, fileSystem, []);
      await mounter.mount(device.path, scratch.place('volume'), fileSystem, writable);
      writeFileSync(scratch.place('volume/file'), 'x'.repeat(100_000));
      if (fileSystem === 'ext4') expect(run('dumpe2fs', '-h', device.path)).toContain('has_journal');
    });

    test('one MiB below its minimum ext4 has no journal, and XFS is not made', async () => {
      const small = scratch.create({ sizeMebibytes: minimumSizesBytes.ext4 / 1024 / 1024 - 1 });
      await mounter.format(small.path, 'ext4', []);
      expect(run('dumpe2fs', '-h', small.path)).not.toContain('has_journal');
      const other = scratch.create({ sizeMebibytes: minimumSizesBytes.xfs / 1024 / 1024 - 1 });
      await expect(mounter.format(other.path, 'xfs', [])).rejects.toThrow(coded('unavailable', /300/));
    });
  });

  describe('mounting', () => {
    test.each(fileSystems)('%s is mounted, found, filled, counted, synced and unmounted', async (fileSystem) => {
      const { device, path } = await mounted(fileSystem);
      expect(await mounter.find(path)).toMatchObject({ target: path, source: device.path, fileSystem });
      expect((await mounter.list()).filter((mount) => mount.source === device.path)).toHaveLength(1);
      const before = await mounter.stats(path);
      writeFileSync(`${path}/file`, Buffer.alloc(2 * 1024 * 1024, 1));
      await syncFileSystem(path);
      const after = await mounter.stats(path);
      expect(after.usedBytes - before.usedBytes).toBeGreaterThanOrEqual(2 * 1024 * 1024);
      expect(after.totalBytes).toBeLessThanOrEqual(sizesMebibytes[fileSystem] * 1024 * 1024);
      if (fileSystem !== 'btrfs') expect(after.usedInodes - before.usedInodes).toBe(1);
      await mounter.unmount(path);
      expect(await mounter.find(path)).toBeNull();
      expect(existsSync(path)).toBe(false);
      await mounter.unmount(path);
    });

    test('again is success and adds no layer; another device or another way is already-exists', async () => {
      const { device, path } = await mounted('ext4');
      await mounter.mount(device.path, path, 'ext4', writable);
      expect((await mounter.list()).filter((mount) => mount.target === path)).toHaveLength(1);
      const other = await formatted('ext4');
      await expect(mounter.mount(other.path, path, 'ext4', writable)).rejects.toThrow(coded('already-exists'));
      await expect(mounter.mount(device.path, path, 'ext4', { flags: [], readOnly: true })).rejects.toThrow(coded('already-exists'));
    });

    test('flags are in effect, and a bad one mounts nothing', async () => {
      const device = await formatted('ext4');
      const path = scratch.place('volume');
      await expect(mounter.mount(device.path, path, 'ext4', { flags: ['noatime,bind'], readOnly: false })).rejects.toThrow(
        coded('invalid-argument', /bind/),
      );
      expect(await mounter.find(path)).toBeNull();
      await mounter.mount(device.path, path, 'ext4', { flags: ['noatime', 'commit=17'], readOnly: false });
      expect((await mounter.find(path))?.options).toEqual(expect.arrayContaining(['noatime', 'commit=17', 'rw']));
    });

    test('read-only is read-only', async () => {
      const device = await formatted('ext4');
      await mounter.mount(device.path, scratch.place('volume'), 'ext4', { flags: ['rw'], readOnly: true });
      expect((await mounter.find(scratch.place('volume')))?.options).toContain('ro');
      expect(() => writeFileSync(scratch.place('volume/file'), '')).toThrow(/EROFS/);
    });

    test('strange names and links above are no obstacle, a link in the place itself is', async () => {
      const device = await formatted('ext4');
      mkdirSync(scratch.place('real \\040 größe'));
      run('ln', '-s', scratch.place('real \\040 größe'), scratch.place('link'));
      const path = scratch.place('link/volume\n1');
      await mounter.mount(device.path, path, 'ext4', writable);
      expect((await mounter.find(path))?.source).toBe(device.path);
      await mounter.unmount(path);
      expect(existsSync(path)).toBe(false);
      await expect(mounter.mount(device.path, scratch.place('link'), 'ext4', writable)).rejects.toThrow(coded('failed-precondition'));
    });

    test('a folder is bound read-only beside a writable one, with flags of its own', async () => {
      const { device, path } = await mounted('ext4');
      writeFileSync(`${path}/file`, 'content');
      const place = scratch.place('published');
      const options = { flags: ['noexec', 'commit=9'], readOnly: true, block: false };
      await mounter.bind(path, place, options);
      await mounter.bind(path, place, options);
      expect(await mounter.find(place)).toMatchObject({
        source: device.path,
        fileSystem: 'ext4',
        options: expect.arrayContaining(['ro', 'noexec']),
      });
      expect((await mounter.list()).filter((mount) => mount.target === place)).toHaveLength(1);
      expect(readFileSync(`${place}/file`, 'utf8')).toBe('content');
      expect(() => writeFileSync(`${place}/file`, '')).toThrow(/EROFS/);
      writeFileSync(`${path}/file`, 'still writable');
      await expect(mounter.bind(path, place, { ...writable, block: false })).rejects.toThrow(coded('already-exists'));
      await mounter.unmount(place);
      expect(readFileSync(`${path}/file`, 'utf8')).toBe('still writable');
    });

    test('a read-only bind that was cut short before it was read-only is made so', async () => {
      const { path } = await mounted('ext4');
      const place = scratch.place('published');
      await mounter.bind(path, place, { ...writable, block: false });
      await mounter.bind(path, place, { flags: [], readOnly: true, block: false });
      expect((await mounter.find(place))?.options).toContain('ro');
    });

    test('a bind mount keeps the restrictions of what is bound', async () => {
      const device = await formatted('ext4');
      await mounter.mount(device.path, scratch.place('volume'), 'ext4', { flags: ['nosuid', 'nodev'], readOnly: false });
      await mounter.bind(scratch.place('volume'), scratch.place('published'), { flags: [], readOnly: true, block: false });
      expect((await mounter.find(scratch.place('published')))?.options).toEqual(expect.arrayContaining(['nosuid', 'nodev', 'ro']));
    });

    test('a device node is bound onto a file and found as the device it is', async () => {
      const device = scratch.create({ sizeMebibytes: 8 });
      const place = scratch.place('pod/raw');
      await mounter.bind(device.path, place, { ...writable, block: true });
      await mounter.bind(device.path, place, { ...writable, block: true });
      expect(statSync(place).isBlockDevice()).toBe(true);
      expect(await mounter.find(place)).toMatchObject({ target: place, source: device.path });
      expect((await mounter.list()).filter((mount) => mount.target === place)).toHaveLength(1);
      expect(await mounter.blockSize(place)).toBe(8 * 1024 * 1024);
      const other = scratch.create({ sizeMebibytes: 8 });
      await expect(mounter.bind(other.path, place, { ...writable, block: true })).rejects.toThrow(coded('already-exists'));
      await mounter.unmount(place);
      expect(existsSync(place)).toBe(false);
    });
  });

  describe('unmounting', () => {
    test('takes off every layer', async () => {
      const { path } = await mounted('ext4');
      const second = await formatted('ext4');
      run('mount', second.path, path);
      run('mount', '--bind', path, path);
      await mounter.unmount(path);
      expect(await mounter.find(path)).toBeNull();
      expect(existsSync(path)).toBe(false);
    });

    test('names the process that has a file open, or works there', async () => {
      const { path } = await mounted('ext4');
      const descriptor = openSync(`${path}/file`, 'w');
      await expect(mounter.unmount(path)).rejects.toThrow(coded('in-use', new RegExp(`process ${process.pid} `)));
      closeSync(descriptor);
      const child = spawn('sleep', ['60'], { cwd: path });
      await new Promise((resolve) => child.once('spawn', resolve));
      await expect(mounter.unmount(path)).rejects.toThrow(coded('in-use', new RegExp(`process ${child.pid} \\(sleep\\)`)));
      const gone = new Promise((resolve) => child.once('exit', resolve));
      child.kill();
      await gone;
      await mounter.unmount(path);
    });

    test('names a mount and a loop device within', async () => {
      const { path } = await mounted('ext4');
      mkdirSync(`${path}/below`);
      run('mount', '-t', 'tmpfs', 'none', `${path}/below`);
      writeFileSync(`${path}/image`, Buffer.alloc(1024 * 1024));
      const inner = scratch.over(`${path}/image`);
      await expect(mounter.unmount(path)).rejects.toThrow(coded('in-use', new RegExp(`a mount at ${path}/below.*${inner.path} `)));
      expect(await mounter.find(path)).not.toBeNull();
    });

    test('never removes what is not empty', async () => {
      mkdirSync(scratch.place('folder'));
      writeFileSync(scratch.place('folder/precious'), 'data');
      await expect(mounter.unmount(scratch.place('folder'))).rejects.toThrow(coded('failed-precondition'));
      await expect(mounter.unmount(scratch.place('folder/precious'))).rejects.toThrow(coded('failed-precondition'));
      expect(readFileSync(scratch.place('folder/precious'), 'utf8')).toBe('data');
    });

    test('of what never was is success', async () => {
      await mounter.unmount(scratch.place('no/such/place'));
    });
  });

  describe('growing', () => {
    const mountedGrowth = fileSystems.filter((fileSystem) => fileSystem !== 'ext4' || mayGrowMountedExt4);
    test.each(mountedGrowth)('%s grows with its device while mounted, freshly repaired, twice', async (fileSystem) => {
      const device = await formatted(fileSystem);
      const path = scratch.place('volume');
      await mounter.prepare(device.path, fileSystem, { clone: false, fileSystemId: newId });
      await mounter.mount(device.path, path, fileSystem, writable);
      writeFileSync(`${path}/file`, 'content');
      const before = await mounter.stats(path);
      await mounter.grow(device.path, path, fileSystem);
      expect((await mounter.stats(path)).totalBytes).toBe(before.totalBytes);
      scratch.grow(device, { sizeMebibytes: 2 * sizesMebibytes[fileSystem] });
      for (let time = 0; time < 2; time += 1) {
        await mounter.grow(device.path, path, fileSystem);
        expect((await mounter.stats(path)).totalBytes).toBeGreaterThan(1.9 * before.totalBytes);
      }
      expect(readFileSync(`${path}/file`, 'utf8')).toBe('content');
    });

    describeIf({ lack: mayGrowMountedExt4 ? 'CAP_SYS_RESOURCE is there' : undefined })('without CAP_SYS_RESOURCE', () => {
      test('a mounted ext4 says why it cannot grow, and does when it is prepared again', async () => {
        const { device, path } = await mounted('ext4');
        writeFileSync(`${path}/file`, 'content');
        const before = await mounter.stats(path);
        await mounter.grow(device.path, path, 'ext4');
        scratch.grow(device, { sizeMebibytes: 2 * sizesMebibytes.ext4 });
        await expect(mounter.grow(device.path, path, 'ext4')).rejects.toThrow(coded('failed-precondition', /CAP_SYS_RESOURCE/));
        await mounter.unmount(path);
        await mounter.prepare(device.path, 'ext4', { clone: true, fileSystemId: newId });
        await mounter.mount(device.path, path, 'ext4', writable);
        await mounter.grow(device.path, path, 'ext4');
        expect((await mounter.stats(path)).totalBytes).toBeGreaterThan(1.9 * before.totalBytes);
        expect(readFileSync(`${path}/file`, 'utf8')).toBe('content');
        await mounter.unmount(path);
        expectSound(device, 'ext4');
      });
    });

    test('a btrfs below 256 MiB, which the kernel does not resize, says so, unless there is nothing to do', async () => {
      const { device, path } = await mounted('btrfs');
      await mounter.grow(device.path, path, 'btrfs');
      scratch.grow(device, { sizeMebibytes: 200 });
      await expect(mounter.grow(device.path, path, 'btrfs')).rejects.toThrow(coded('failed-precondition', /256 MiB/));
    });

    test('a folder that is not the mount is refused, lest another file system grows', async () => {
      const { device, path } = await mounted('btrfs');
      mkdirSync(`${path}/folder`);
      await expect(mounter.grow(device.path, `${path}/folder`, 'btrfs')).rejects.toThrow(coded('failed-precondition'));
      await expect(mounter.grow('/dev/loop-other', path, 'btrfs')).rejects.toThrow(coded('failed-precondition'));
    });
  });

  describe('after a crash', () => {
    /** A file that is synced by itself, so that it stands only in the log, and a copy of the device right then. */
    async function crashed(fileSystem: FileSystem, options: { readonly readOnly?: boolean } = {}) {
      const { device, path } = await mounted(fileSystem, 'source');
      await writeAndSync(`${path}/old`, 'old content');
      await syncFileSystem(path);
      await writeAndSync(`${path}/synced`, 'synced content');
      return { source: device, sourcePath: path, copy: scratch.copy(device, options) };
    }

    test.each(fileSystems)('a clone of a mounted %s is mounted beside it with all that was synced, and is sound', async (fileSystem) => {
      const { source, sourcePath, copy } = await crashed(fileSystem);
      const path = scratch.place('clone');
      if (fileSystem === 'btrfs') expect(superblockField(copy, 'log_root')).not.toBe('0');
      await mounter.prepare(copy.path, fileSystem, { clone: true, fileSystemId: newId });
      await mounter.prepare(copy.path, fileSystem, { clone: true, fileSystemId: newId });
      await mounter.mount(copy.path, path, fileSystem, writable);
      expect(await mounter.find(path)).toMatchObject({ source: copy.path, fileSystem });
      expect(readFileSync(`${path}/synced`, 'utf8')).toBe('synced content');
      writeFileSync(`${path}/synced`, 'changed in the clone');
      expect(readFileSync(`${sourcePath}/synced`, 'utf8')).toBe('synced content');
      await mounter.unmount(path);
      await mounter.unmount(sourcePath);
      for (const device of [source, copy]) expectSound(device, fileSystem);
    });

    test('a btrfs clone, and a clone of that, have ids of their own on every copy of the superblock', async () => {
      const { source, copy } = await crashed('btrfs');
      await mounter.prepare(copy.path, 'btrfs', { clone: true, fileSystemId: newId });
      await mounter.mount(copy.path, scratch.place('clone'), 'btrfs', writable);
      await writeAndSync(scratch.place('clone/later'), 'later');
      const second = scratch.copy(copy);
      await mounter.prepare(second.path, 'btrfs', { clone: true, fileSystemId: otherId });
      const supers = run('btrfs', 'inspect-internal', 'dump-super', '-a', second.path);
      expect([...supers.matchAll(/^fsid\s+(\S+)/gm)].map((match) => match[1])).toEqual([otherId, otherId]);
      expect([...supers.matchAll(/^csum\s.*\[match\]/gm)]).toHaveLength(2);
      await mounter.mount(second.path, scratch.place('second'), 'btrfs', writable);
      expect(readFileSync(scratch.place('second/later'), 'utf8')).toBe('later');
      // No temporary id of the kernel's: all three would be mountable together before Linux 6.7 too.
      const original = superblockField(source, 'fsid');
      for (const id of [original, newId, otherId]) expect(existsSync(`/sys/fs/btrfs/${id}`)).toBe(true);
    });

    test('a btrfs that is no clone keeps its id', async () => {
      const device = await formatted('btrfs');
      const before = superblockField(device, 'fsid');
      await mounter.prepare(device.path, 'btrfs', { clone: false, fileSystemId: newId });
      expect(superblockField(device, 'fsid')).toBe(before);
    });

    test('a mounted clone does not get an id under way', async () => {
      const { device } = await mounted('btrfs');
      await expect(mounter.prepare(device.path, 'btrfs', { clone: true, fileSystemId: newId })).rejects.toThrow(coded('in-use'));
      const { device: other } = await mounted('ext4', 'other');
      await expect(mounter.prepare(other.path, 'ext4', { clone: false, fileSystemId: newId })).rejects.toThrow(coded('in-use'));
    });

    test.each(['ext4', 'btrfs'] as const)('a read-only device with an unreplayed %s is mounted beside its source', async (fileSystem) => {
      const { copy } = await crashed(fileSystem, { readOnly: true });
      const path = scratch.place('snapshot');
      await expect(mounter.mount(copy.path, path, fileSystem, writable)).rejects.toThrow(coded('failed-precondition', /read-only/));
      await mounter.prepare(copy.path, fileSystem, { clone: true, fileSystemId: newId });
      await mounter.mount(copy.path, path, fileSystem, { flags: [], readOnly: true });
      expect(readFileSync(`${path}/old`, 'utf8')).toBe('old content');
      expect(() => writeFileSync(`${path}/old`, '')).toThrow(/EROFS/);
    });

    test('a read-only XFS is mounted with a clean log, and with an unreplayed one only if the user wants its older state', async () => {
      const { copy, source, sourcePath } = await crashed('xfs', { readOnly: true });
      const path = scratch.place('snapshot');
      const readOnly = { flags: [], readOnly: true };
      await expect(mounter.mount(copy.path, path, 'xfs', readOnly)).rejects.toThrow(coded('failed-precondition', /make a clone/));
      await mounter.mount(copy.path, path, 'xfs', { flags: ['norecovery'], readOnly: true });
      await mounter.unmount(path);
      await mounter.unmount(sourcePath);
      const clean = scratch.copy(source, { readOnly: true });
      await mounter.mount(clean.path, path, 'xfs', readOnly);
      expect(readFileSync(`${path}/synced`, 'utf8')).toBe('synced content');
    });

    test('prepare repairs an ext4 that can be repaired without a decision', async () => {
      const { copy } = await crashed('ext4');
      expect(run('dumpe2fs', '-h', copy.path)).toContain('needs_recovery');
      await mounter.prepare(copy.path, 'ext4', { clone: false, fileSystemId: newId });
      expect(run('dumpe2fs', '-h', copy.path)).not.toContain('needs_recovery');
    });

    test('prepare reports a damaged ext4 as data loss, names the command, and changes no more', async () => {
      const { device, path } = await mounted('ext4');
      for (let index = 0; index < 20; index += 1) writeFileSync(`${path}/file${index}`, 'x'.repeat(10_000));
      await mounter.unmount(path);
      run('debugfs', '-w', '-R', 'clri <2>', device.path); // no root folder any more
      run('debugfs', '-w', '-R', 'set_super_value state 2', device.path); // known to have errors
      await expect(mounter.prepare(device.path, 'ext4', { clone: false, fileSystemId: newId })).rejects.toThrow(
        coded('data-loss', new RegExp(`e2fsck -f ${device.path}`)),
      );
    });
  });
});

/** Writes a file and syncs it alone, which leaves it in the file system's log. */
async function writeAndSync(path: string, text: string): Promise<void> {
  const descriptor = openSync(path, 'w');
  writeSync(descriptor, text);
  fsyncSync(descriptor);
  closeSync(descriptor);
}

function writeAt(path: string, offsetBytes: number, bytes: Uint8Array): void {
  const descriptor = openSync(path, 'r+');
  writeSync(descriptor, bytes, 0, bytes.length, offsetBytes);
  fsyncSync(descriptor);
  closeSync(descriptor);
}

function superblockField(device: ScratchDevice, name: string): string {
  const text = run('btrfs', 'inspect-internal', 'dump-super', device.path);
  return new RegExp(`^${name}\\s+(\\S+)`, 'm').exec(text)?.[1] ?? '';
}

/** How many discards the device has completed. */
function discardsOf(path: string): number {
  return Number(
    readFileSync(`/sys/class/block/${path.slice('/dev/'.length)}/stat`, 'utf8')
      .trim()
      .split(/\s+/)[11],
  );
}

function expectSound(device: ScratchDevice, fileSystem: FileSystem): void {
  const command = { ext4: ['e2fsck', '-f', '-n'], xfs: ['xfs_repair', '-n'], btrfs: ['btrfs', 'check', '--readonly'] }[fileSystem];
  const [program = '', ...parameters] = command;
  expect(statusOf(program, ...parameters, device.path)).toBe(0);
}

/** One Linux partition from sector 256 on, and the mark at the end of the sector. */
function partitionTable(): Uint8Array {
  const entry = Buffer.alloc(66);
  entry[4] = 0x83;
  entry.writeUInt32LE(256, 8);
  entry.writeUInt32LE(1024, 12);
  entry.writeUInt16LE(0xaa55, 64);
  return entry;
}

function luksHeader(): Uint8Array {
  const header = Buffer.alloc(592);
  header.set([0x4c, 0x55, 0x4b, 0x53, 0xba, 0xbe, 0, 1]);
  header.write('aes', 8);
  header.write('5f0c2a4e-1111-4222-8333-444455556666', 168);
  return header;
}

/** The label of a physical volume in its second sector, with LVM's own checksum. */
function lvmLabel(): Uint8Array {
  const label = Buffer.alloc(512);
  label.write('LABELONE', 0);
  label.writeBigUInt64LE(1n, 8);
  label.writeUInt32LE(32, 20);
  label.write('LVM2 001', 24);
  label.write('abcdefghijklmnopqrstuvwxyz012345', 32);
  let checksum = 0xf597a6cf;
  for (const byte of label.subarray(20)) {
    checksum ^= byte;
    for (let bit = 0; bit < 8; bit += 1) checksum = (checksum >>> 1) ^ ((checksum & 1) === 1 ? 0xedb88320 : 0);
  }
  label.writeUInt32LE(checksum >>> 0, 16);
  return label;
}
