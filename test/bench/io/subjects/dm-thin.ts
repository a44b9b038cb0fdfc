/**
 * Thin provisioning of the device mapper, which LVM's thin volumes are made of: a pool with blocks of 64 KiB on a file that
 * is written whole, under a loop device, and its metadata on another one. It is set up by dmsetup: what LVM adds is in its
 * commands, not in the path of a request. Messages and tables: admin-guide/device-mapper/thin-provisioning in the kernel's
 * documentation.
 */
import fs from 'node:fs';
import path from 'node:path';
import { runCommand, type CommandResult } from '../../../../src/util/exec.ts';
import { canUseLoop, hasDeviceMapperTarget, hasPrograms } from '../../../support/machine.ts';
import { fill } from '../../fio.ts';
import { attachFile, detachFile, type LoopFile } from './loop-file.ts';
import type { Subject, SubjectKind, SubjectOptions, Volume } from './subject.ts';

const MIB = 2 ** 20;
const SECTOR_BYTES = 512;
const blockBytes = 64 * 1024;
/** As many blocks as a pool of 16 GiB has take 12 MiB; snapshots under writes copy pages of the metadata. */
const metadataBytes = 256 * MIB;
/** A pool whose metadata begins with zeros is a new one. */
const newMetadata = Buffer.alloc(4096);
/**
 * Without them a block's first write would write all of it with zeros, a discard would take the block out of the file, and
 * writes to a pool that is full would wait for a minute.
 */
const features = ['skip_block_zeroing', 'no_discard_passdown', 'error_if_no_space'];
const limitMs = 60_000;
/** Of the status of a command that asks for what may not be there. */
const NOT_THERE = 1;

export const dmThin: SubjectKind = {
  name: 'dm-thin',
  abilities: new Set(['snapshot', 'clone', 'revert']),
  stateless: false,
  lack: () => canUseLoop().lack ?? hasPrograms('dmsetup', 'losetup').lack ?? hasDeviceMapperTarget('thin-pool').lack,
  make: async (options) => {
    const pool = new ThinPool(options);
    options.atEnd(() => pool.takeDown());
    await pool.setUp();
    return pool;
  },
};

class ThinPool implements Subject {
  readonly #options: SubjectOptions;
  readonly #name = `chunkstore-bench-${process.pid}`;
  readonly #loops: LoopFile[] = [];
  readonly #volumes = new Set<ThinVolume>();
  #lastId = 0;
  #devicePath = '';

  constructor(options: SubjectOptions) {
    this.#options = options;
  }

  async setUp(): Promise<void> {
    const { folder, poolBytes, signal } = this.#options;
    const sizeBytes = Math.ceil(poolBytes / MIB) * MIB;
    const files = { metadata: path.join(folder, 'metadata'), data: path.join(folder, 'data') };
    await fill(files.metadata, { sizeBytes: metadataBytes, order: 'sequential', signal });
    await fill(files.data, { sizeBytes, order: 'sequential', signal });
    const metadata = fs.openSync(files.metadata, 'r+');
    fs.writeSync(metadata, newMetadata, 0, newMetadata.length, 0);
    fs.closeSync(metadata);
    const devices: string[] = [];
    for (const file of [files.metadata, files.data]) {
      const loop = await attachFile(file);
      this.#loops.push(loop);
      devices.push(loop.devicePath);
    }
    const lowWater = 0;
    this.#devicePath = await activate(
      this.#name,
      sizeBytes,
      `thin-pool ${[...devices, blockBytes / SECTOR_BYTES, lowWater, features.length, ...features].join(' ')}`,
    );
  }

  async createVolume({ name, sizeBytes }: { readonly name: string; readonly sizeBytes: number }): Promise<ThinVolume> {
    const id = this.newId();
    await this.tell(`create_thin ${id}`);
    return this.open({ name, sizeBytes, id });
  }

  async removeVolumes(): Promise<void> {
    for (const volume of this.#volumes) await volume.remove();
  }

  /** Data alone, as the pool counts it: with what its last transaction has given back. */
  async usedBytes(): Promise<number> {
    const { output } = await dmsetup('status', this.#name);
    const [, usedBlocks] = /thin-pool \d+ \d+\/\d+ (\d+)\/\d+ /.exec(output) ?? [];
    if (usedBlocks === undefined) throw new Error(`dmsetup tells no use of ${this.#name}: ${output.trim()}`);
    return Number(usedBlocks) * blockBytes;
  }

  /** A deletion ends when its space is back. */
  async settle(): Promise<void> {}

  async takeDown(): Promise<void> {
    for (const volume of this.#volumes) await deactivate(volume.deviceName);
    await deactivate(this.#name);
    for (let loop = this.#loops.pop(); loop !== undefined; loop = this.#loops.pop()) await detachFile(loop);
  }

  /** Of a volume or snapshot: the pool knows them by number. */
  newId(): number {
    this.#lastId += 1;
    return this.#lastId;
  }

  async tell(message: string): Promise<void> {
    await dmsetup('message', this.#name, '0', message);
  }

  async open(options: { readonly name: string; readonly sizeBytes: number; readonly id: number }): Promise<ThinVolume> {
    const volume = new ThinVolume(this, { ...options, deviceName: `${this.#name}-${options.name}` });
    this.#volumes.add(volume);
    await volume.activate();
    return volume;
  }

  forget(volume: ThinVolume): void {
    this.#volumes.delete(volume);
  }

  get devicePath(): string {
    return this.#devicePath;
  }
}

class ThinVolume implements Volume {
  readonly deviceName: string;
  readonly #pool: ThinPool;
  readonly #sizeBytes: number;
  readonly #snapshots = new Map<string, number>();
  #id: number;
  #devicePath = '';

  constructor(pool: ThinPool, options: { readonly deviceName: string; readonly sizeBytes: number; readonly id: number }) {
    this.#pool = pool;
    this.deviceName = options.deviceName;
    this.#sizeBytes = options.sizeBytes;
    this.#id = options.id;
  }

  get devicePath(): string {
    return this.#devicePath;
  }

  async activate(): Promise<void> {
    this.#devicePath = await activate(this.deviceName, this.#sizeBytes, `thin ${this.#pool.devicePath} ${this.#id}`);
  }

  /** No request may be under way meanwhile, or the snapshot is of no point in time. */
  async snapshot(name: string): Promise<void> {
    const id = this.#pool.newId();
    await dmsetup('suspend', this.deviceName);
    try {
      await this.#pool.tell(`create_snap ${id} ${this.#id}`);
    } finally {
      await dmsetup('resume', this.deviceName);
    }
    this.#snapshots.set(name, id);
  }

  async deleteSnapshot(name: string): Promise<void> {
    await this.#pool.tell(`delete ${this.#idOf(name)}`);
    this.#snapshots.delete(name);
  }

  async revert(snapshotName: string): Promise<void> {
    await deactivate(this.deviceName);
    const id = this.#pool.newId();
    await this.#pool.tell(`create_snap ${id} ${this.#idOf(snapshotName)}`);
    await this.#pool.tell(`delete ${this.#id}`);
    this.#id = id;
    await this.activate();
  }

  async clone({ snapshotName, name }: { readonly snapshotName: string; readonly name: string }): Promise<Volume> {
    const id = this.#pool.newId();
    await this.#pool.tell(`create_snap ${id} ${this.#idOf(snapshotName)}`);
    return this.#pool.open({ name, sizeBytes: this.#sizeBytes, id });
  }

  async remove(): Promise<void> {
    await deactivate(this.deviceName);
    for (const name of this.#snapshots.keys()) await this.deleteSnapshot(name);
    await this.#pool.tell(`delete ${this.#id}`);
    this.#pool.forget(this);
  }

  #idOf(snapshotName: string): number {
    const id = this.#snapshots.get(snapshotName);
    if (id === undefined) throw new Error(`${this.deviceName} has no snapshot ${snapshotName}`);
    return id;
  }
}

/** Promises the path that the kernel gives it: the one by its name is made by udev, where there is one, and later. */
async function activate(name: string, sizeBytes: number, target: string): Promise<string> {
  await dmsetup('create', name, '--table', `0 ${sizeBytes / SECTOR_BYTES} ${target}`);
  const { output } = await dmsetup('info', '--columns', '--noheadings', '-o', 'blkdevname', name);
  return path.join('/dev', output.trim());
}

/** Does nothing where there is none. Whoever has it open for a moment is waited for. */
async function deactivate(name: string): Promise<void> {
  const { status } = await runCommand('dmsetup', ['info', name], { timeoutMs: limitMs, expectedStatuses: [0, NOT_THERE] });
  if (status !== NOT_THERE) await dmsetup('remove', '--retry', name);
}

function dmsetup(...words: readonly string[]): Promise<CommandResult> {
  return runCommand('dmsetup', words, { timeoutMs: limitMs });
}
