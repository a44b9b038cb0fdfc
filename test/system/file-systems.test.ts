/**
 * Volumes with ext4, xfs and btrfs through CSI: what is written is what snapshots, clones, restores and reverts hold,
 * beside each other on one machine, and every file system is clean when it is unmounted.
 */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { status } from '@grpc/grpc-js';
import { createHash, randomBytes } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import type { FileSystem } from '../../src/mount/file-systems.ts';
import { runCommand } from '../../src/util/exec.ts';
import { canMount, canUseFuse, canUseLoop, describeIf, hasCommand, hasFileSystem, hasPrograms } from '../support/capabilities.ts';
import { publishVolume, unpublishVolume, type Capability, type PublishedVolume } from '../support/csi-volume.ts';
import { DriverBed } from '../support/driver-bed.ts';
import { eventually } from '../support/eventually.ts';
import { canGrowMountedExt4 } from '../support/machine.ts';

const MIB = 2 ** 20;
const VOLUME_BYTES = 384 * MIB;
const LARGER_BYTES = 640 * MIB;
const TEST_LIMIT_MS = 120_000;
const programLimit = { timeoutMs: 60_000 };
const fileSystems: readonly FileSystem[] = ['ext4', 'xfs', 'btrfs'];
const programs = ['mkfs.ext4', 'e2fsck', 'resize2fs', 'mkfs.xfs', 'xfs_repair', 'xfs_growfs', 'mkfs.btrfs', 'btrfs', 'btrfstune', 'fstrim'];

type Contents = ReadonlyMap<string, string>;

let bed: DriverBed;

describeIf(
  hasCommand(),
  canUseFuse(),
  canUseLoop(),
  canMount(),
  hasPrograms(...programs),
  ...fileSystems.map((type) => hasFileSystem(type)),
)('volumes with file systems', () => {
  beforeAll(async () => {
    bed = new DriverBed({ size: '3GiB' });
    await bed.start();
  }, TEST_LIMIT_MS);
  afterAll(async () => {
    expect(await bed.cleanUp()).toEqual([]);
  }, TEST_LIMIT_MS);

  describe.each(fileSystems)('%s', (type) => {
    const capability: Capability = {
      mount: { fsType: type, mountFlags: ['noatime'], volumeMountGroup: '' },
      accessMode: { mode: 'SINGLE_NODE_WRITER' },
    };
    const inUse = new Map<string, PublishedVolume>();
    let volumeId: string;
    let snapshotId: string;
    /** What the volume held when the snapshot was cut, but for what was being written. */
    let contents: Contents;

    async function create(name: string, more: { readonly sizeBytes?: number; readonly source?: Source } = {}): Promise<string> {
      const answer = await bed.driver.csi.controller.createVolume({
        name: `${type}-${name}`,
        volumeCapabilities: [capability],
        capacityRange: more.sizeBytes === undefined ? null : { requiredBytes: more.sizeBytes },
        volumeContentSource: more.source ?? null,
      });
      return answer.volume!.volumeId;
    }

    /** Answers the folder. */
    async function use(name: string, id: string): Promise<string> {
      const volume = await publishVolume(bed.driver, { volumeId: id, name: `${type}-${name}`, capability });
      inUse.set(name, volume);
      return volume.targetPath;
    }

    async function putAway(name: string): Promise<void> {
      await unpublishVolume(bed.driver, inUse.get(name)!);
      inUse.delete(name);
    }

    const folderOf = (name: string): string => inUse.get(name)!.targetPath;

    test(
      'a volume is formatted, and mounted with its flags',
      async () => {
        volumeId = await create('source', { sizeBytes: VOLUME_BYTES });
        const folder = await use('source', volumeId);
        const [, , mountType, options] = mountLine(folder);
        expect(mountType).toBe(type);
        expect(options).toContain('noatime');
        writeTree(folder, 150);
        contents = contentsOf(folder);
        expect(contents.size).toBe(150);
      },
      TEST_LIMIT_MS,
    );

    test(
      'snapshots and clones cut under load are mounted beside their source, and hold what was there',
      async () => {
        const { controller } = bed.driver.csi;
        const writer = new Writer(path.join(folderOf('source'), 'load'));
        try {
          await writer.reach(20);
          const before = writer.written;
          const answer = await controller.createSnapshot({ name: `${type}-snapshot`, sourceVolumeId: volumeId });
          snapshotId = answer.snapshot!.snapshotId;
          const after = writer.written;
          await writer.reach(after + 20);
          const beforeClone = writer.written;
          const liveCloneId = await create('live-clone', { source: { volume: { volumeId } } });
          const afterClone = writer.written;
          const cloneId = await create('clone', { source: { snapshot: { snapshotId } } });
          const cloneOfCloneId = await create('clone-of-clone', { source: { volume: { volumeId: cloneId } } });
          await writer.reach(afterClone + 20);

          const cuts: [name: string, id: string, from: number, to: number][] = [
            ['clone', cloneId, before, after],
            ['live-clone', liveCloneId, beforeClone, afterClone],
            ['clone-of-clone', cloneOfCloneId, before, after],
          ];
          for (const [name, id, from, to] of cuts) {
            const folder = await use(name, id);
            expectContents(folder, contents);
            expectWritten(path.join(folder, 'load'), { atLeast: from, below: to + 2 });
          }
        } finally {
          await writer.stop();
        }
        const names = ['source', 'clone', 'live-clone', 'clone-of-clone'];
        for (const name of names) fs.writeFileSync(path.join(folderOf(name), 'mine'), name);
        for (const name of names) fs.rmSync(path.join(folderOf(name), 'tree', name === 'source' ? '1' : '2'), { recursive: true });
        for (const name of names) {
          expect(fs.readFileSync(path.join(folderOf(name), 'mine'), 'utf8')).toBe(name);
          expect(fs.existsSync(path.join(folderOf(name), 'tree', '1'))).toBe(name !== 'source');
        }
        // While it is mounted, a device is nobody's to delete or to take back.
        await expect(controller.deleteVolume({ volumeId })).rejects.toMatchObject({ code: status.FAILED_PRECONDITION });
        const refusal = await bed.command(['revert', volumeId, snapshotId], { statuses: [1] });
        expect(refusal.errorOutput).toContain('is attached to a block device');
      },
      TEST_LIMIT_MS,
    );

    test(
      'a read-only publication refuses writes, and shows what is written beside it',
      async () => {
        const { volumeId: id, stagingPath } = inUse.get('source')!;
        const targetPath = bed.place('volumes', `${type}-read-only`);
        const request = { volumeId: id, stagingTargetPath: stagingPath, targetPath, volumeCapability: capability, readonly: true };
        await bed.driver.csi.node.nodePublishVolume(request);
        await bed.driver.csi.node.nodePublishVolume(request);
        expect(() => fs.writeFileSync(path.join(targetPath, 'new'), '')).toThrow(expect.objectContaining({ code: 'EROFS' }));
        fs.writeFileSync(path.join(folderOf('source'), 'new'), 'seen');
        expect(fs.readFileSync(path.join(targetPath, 'new'), 'utf8')).toBe('seen');
        await bed.driver.csi.node.nodeUnpublishVolume({ volumeId: id, targetPath });
        expect(fs.existsSync(targetPath)).toBe(false);
      },
      TEST_LIMIT_MS,
    );

    test(
      'what is trimmed goes back to the pool',
      async () => {
        const { store } = bed.driver;
        const used = async (): Promise<number> => (await store.getUsage(volumeId)).exclusiveBytes;
        const folder = folderOf('source');
        await runCommand('sync', ['-f', folder], programLimit);
        await runCommand('fstrim', [folder], programLimit);
        const before = await used();
        const file = path.join(folder, 'large');
        fs.writeFileSync(file, randomBytes(48 * MIB), { flush: true });
        await runCommand('sync', ['-f', folder], programLimit);
        expect((await used()) - before).toBeGreaterThanOrEqual(48 * MIB);
        fs.rmSync(file);
        await runCommand('sync', ['-f', folder], programLimit);
        await runCommand('fstrim', [folder], programLimit);
        expect((await used()) - before).toBeLessThan(6 * MIB);
      },
      TEST_LIMIT_MS,
    );

    test(
      'a volume grows while it is mounted, or says when it will',
      async () => {
        const { controller, node } = bed.driver.csi;
        const folder = folderOf('clone');
        const { volumeId: id, stagingPath } = inUse.get('clone')!;
        const before = sizeOf(folder);
        const capacityRange = { requiredBytes: LARGER_BYTES };
        const answer = await controller.controllerExpandVolume({ volumeId: id, capacityRange, volumeCapability: capability });
        expect({ ...answer, capacityBytes: Number(answer.capacityBytes) }).toEqual({
          capacityBytes: LARGER_BYTES,
          nodeExpansionRequired: true,
        });
        const request = { volumeId: id, volumePath: folder, stagingTargetPath: stagingPath, capacityRange, volumeCapability: capability };
        const online = type !== 'ext4' || canGrowMountedExt4().lack === undefined;
        if (online) {
          expect(Number((await node.nodeExpandVolume(request)).capacityBytes)).toBe(LARGER_BYTES);
          expect(Number((await node.nodeExpandVolume(request)).capacityBytes)).toBe(LARGER_BYTES);
        } else {
          const refused = {
            code: status.FAILED_PRECONDITION,
            details: expect.stringMatching(/CAP_SYS_RESOURCE; it grows when the volume is staged again/),
          };
          await expect(node.nodeExpandVolume(request)).rejects.toMatchObject(refused);
          expect(sizeOf(folder)).toBe(before);
          await putAway('clone');
          await use('clone', id);
        }
        expect(sizeOf(folder) - before).toBeGreaterThan((LARGER_BYTES - VOLUME_BYTES) * 0.9);
        expectContents(folder, new Map([...contents].filter(([name]) => !name.startsWith('tree/2/'))));
      },
      TEST_LIMIT_MS,
    );

    test(
      'a restore that is larger than its source has a file system of its size',
      async () => {
        const id = await create('larger', { sizeBytes: LARGER_BYTES, source: { snapshot: { snapshotId } } });
        const folder = await use('larger', id);
        expect(sizeOf(folder)).toBeGreaterThan(LARGER_BYTES * 0.8);
        expectContents(folder, contents);
        const smaller = create('smaller', { sizeBytes: VOLUME_BYTES / 2, source: { snapshot: { snapshotId } } });
        await expect(smaller).rejects.toMatchObject({ code: status.OUT_OF_RANGE });
      },
      TEST_LIMIT_MS,
    );

    test(
      'every file system is clean once it is unmounted',
      async () => {
        // btrfs check takes a device for mounted while a clone of it is.
        const volumes = [...inUse];
        for (const [name] of volumes) await putAway(name);
        expect(await bed.devices()).toEqual([]);
        for (const [, { volumeId: id }] of volumes) await expectClean(type, id);
      },
      TEST_LIMIT_MS,
    );

    test(
      'a volume that is reverted holds what its snapshot holds',
      async () => {
        await bed.driver.operate('revert', volumeId, snapshotId, '--safety-name', `${type}-safety`);
        const folder = await use('source', volumeId);
        expectContents(folder, contents);
        expect(fs.existsSync(path.join(folder, 'mine'))).toBe(false);
        const safety = (await bed.driver.store.listSnapshots()).find(({ name }) => name === `${type}-safety`);
        const undone = await use('undone', await create('undone', { source: { snapshot: { snapshotId: safety!.id } } }));
        expect(fs.readFileSync(path.join(undone, 'mine'), 'utf8')).toBe('source');
        const volumes = [...inUse];
        for (const [name] of volumes) await putAway(name);
        for (const [, { volumeId: id }] of volumes) await expectClean(type, id);
      },
      TEST_LIMIT_MS,
    );

    test(
      'what holds another file system is never formatted anew',
      async () => {
        const other = type === 'xfs' ? 'ext4' : 'xfs';
        const wrong: Capability = { ...capability, mount: { fsType: other, mountFlags: [], volumeMountGroup: '' } };
        // A copy made by hand does not remember what it is for: only its content tells.
        await bed.driver.store.createVolume({
          name: `${type}-unlabelled`,
          sizeBytes: 0,
          source: { kind: 'snapshot', id: snapshotId },
          attributes: {},
        });
        const unlabelled = (await bed.driver.store.listVolumes()).find(({ name }) => name === `${type}-unlabelled`)!;
        for (const id of [volumeId, unlabelled.id]) {
          const stagingTargetPath = bed.place('staging', `${type}-wrong`);
          const staging = bed.driver.csi.node.nodeStageVolume({ volumeId: id, stagingTargetPath, volumeCapability: wrong });
          await expect(staging).rejects.toMatchObject({ code: status.FAILED_PRECONDITION, details: expect.stringContaining(type) });
          expect(await bed.devices()).toEqual([]);
        }
        expectContents(await use('unlabelled', unlabelled.id), contents);
        await putAway('unlabelled');
      },
      TEST_LIMIT_MS,
    );

    test(
      'a source is deleted before what came from it, and nothing is lost',
      async () => {
        const { controller } = bed.driver.csi;
        await controller.deleteVolume({ volumeId });
        await controller.deleteVolume({ volumeId });
        const listed = await controller.listSnapshots({ sourceVolumeId: volumeId });
        expect(listed.entries.map((entry) => entry.snapshot?.snapshotId)).toContain(snapshotId);
        const folder = await use('restored', await create('restored', { source: { snapshot: { snapshotId } } }));
        expectContents(folder, contents);
        await putAway('restored');
      },
      TEST_LIMIT_MS,
    );

    test(
      'after a restart of the driver all is there',
      async () => {
        const ids = new Map((await bed.driver.store.listVolumes()).map(({ name, id }) => [name, id]));
        await bed.restart('SIGTERM');
        for (const name of ['restored', 'larger']) {
          expectContents(await use(name, ids.get(`${type}-${name}`)!), contents);
          await putAway(name);
        }
        expect(await bed.driver.store.check()).toMatchObject({ problems: [] });
        for (const [name, id] of ids) if (name.startsWith(`${type}-`)) await bed.driver.csi.controller.deleteVolume({ volumeId: id });
        for (const { name, id } of await bed.driver.store.listSnapshots())
          if (name.startsWith(`${type}-`)) await bed.driver.csi.controller.deleteSnapshot({ snapshotId: id });
        await eventually('all space is free again', async () => (await bed.driver.store.getPool()).usedBytes === 0, 30_000);
      },
      TEST_LIMIT_MS,
    );
  });
});

type Source = { readonly snapshot: { readonly snapshotId: string } } | { readonly volume: { readonly volumeId: string } };

/** Writes numbered files, each after the one before, until it is stopped. */
class Writer {
  readonly #folder: string;
  readonly #running: Promise<void>;
  #stopped = false;
  written = 0;

  constructor(folder: string) {
    this.#folder = folder;
    fs.mkdirSync(folder);
    this.#running = this.#run();
    this.#running.catch(() => {});
  }

  async reach(count: number): Promise<void> {
    await eventually(`${count} files are written`, () => this.written >= count || this.#stopped, 30_000);
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#running;
  }

  async #run(): Promise<void> {
    try {
      while (!this.#stopped && this.written < 2000) {
        await fs.promises.writeFile(path.join(this.#folder, String(this.written)), textOf(this.written));
        this.written += 1;
      }
    } finally {
      this.#stopped = true;
    }
  }
}

function textOf(number: number): string {
  return `${number}\n`.repeat(2000);
}

/** All that was written before the cut is there and whole, nothing that came after. */
function expectWritten(folder: string, range: { readonly atLeast: number; readonly below: number }): void {
  const numbers = fs.readdirSync(folder).map(Number);
  expect(Math.max(...numbers)).toBeLessThan(range.below);
  for (let number = 0; number < range.atLeast; number += 1) {
    const text = fs.readFileSync(path.join(folder, String(number)), 'utf8');
    if (text !== textOf(number)) throw new Error(`${folder}/${number} was written before the cut, but has ${text.length} other bytes`);
  }
}

/** Files of many sizes in folders tree/0 to tree/9. */
function writeTree(folder: string, count: number): void {
  for (let number = 0; number < count; number += 1) {
    const parent = path.join(folder, 'tree', String(number % 10), `deep-${number % 3}`);
    fs.mkdirSync(parent, { recursive: true });
    fs.writeFileSync(path.join(parent, `file-${number}`), randomBytes((number * 977) % 60_000));
  }
}

/** The digests of all files in the folder `tree`. */
function contentsOf(folder: string): Contents {
  const files = fs.readdirSync(path.join(folder, 'tree'), { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  return new Map(
    files.map((entry) => {
      const file = path.join(entry.parentPath, entry.name);
      return [path.relative(folder, file), createHash('sha256').update(fs.readFileSync(file)).digest('hex')];
    }),
  );
}

function expectContents(folder: string, contents: Contents): void {
  expect(Object.fromEntries(contentsOf(folder))).toEqual(Object.fromEntries(contents));
}

/** The fields of the mount table's line for a folder. */
function mountLine(folder: string): string[] {
  const line = fs
    .readFileSync('/proc/self/mounts', 'utf8')
    .split('\n')
    .find((text) => text.split(' ')[1] === folder);
  return (line ?? '').split(' ');
}

function sizeOf(folder: string): number {
  const { blocks, bsize } = fs.statfsSync(folder);
  return blocks * bsize;
}

async function expectClean(type: FileSystem, id: string): Promise<void> {
  const { devicePath } = await bed.driver.operate<{ readonly devicePath: string }>('attach', id);
  const checks = { ext4: ['e2fsck', '-fn'], xfs: ['xfs_repair', '-n'], btrfs: ['btrfs', 'check', '--readonly'] } as const;
  const [program, ...parameters] = checks[type];
  await runCommand(program, [...parameters, devicePath], programLimit);
  await bed.driver.operate('detach', id);
}
