/**
 * qemu's qcow2: for each volume a qemu-storage-daemon that exports the image as a FUSE file, under a loop device. Clusters
 * of 64 KiB and direct, asynchronous I/O to the image; snapshots are internal ones. It has no clones here: a clone is an
 * overlay on an image that nobody writes any more.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { canUseFuse, canUseLoop, hasPrograms } from '../../../support/machine.ts';
import { runCommand } from '../../../../src/util/exec.ts';
import { attachFile, detachFile, type LoopFile } from './loop-file.ts';
import { QemuMonitor } from './qemu-monitor.ts';
import type { Subject, SubjectKind, SubjectOptions, Volume } from './subject.ts';

const commandLimitMs = 120_000;
const startLimitMs = 20_000;
const endLimitMs = 20_000;
const pollMs = 20;

export const qcow2: SubjectKind = {
  name: 'qcow2',
  abilities: new Set(['snapshot', 'revert']),
  stateless: false,
  lack: () => [canUseFuse(), canUseLoop(), hasPrograms('qemu-img', 'qemu-storage-daemon')].find(({ lack }) => lack !== undefined)?.lack,
  make: (options) => Promise.resolve(new Qcow2(options)),
};

class Qcow2 implements Subject {
  readonly #folder: string;
  readonly #volumes = new Set<Qcow2Volume>();

  constructor(options: SubjectOptions) {
    this.#folder = options.folder;
    options.atEnd(async () => {
      const ends = await Promise.allSettled([...this.#volumes].map((volume) => volume.stop()));
      for (const end of ends) if (end.status === 'rejected') throw end.reason;
    });
  }

  async createVolume(options: { readonly name: string; readonly sizeBytes: number }): Promise<Volume> {
    const folder = path.join(this.#folder, options.name);
    fs.mkdirSync(folder);
    const volume = new Qcow2Volume(folder, () => this.#volumes.delete(volume));
    this.#volumes.add(volume);
    await volume.create(options.sizeBytes);
    return volume;
  }

  async removeVolumes(): Promise<void> {
    for (const volume of this.#volumes) await volume.remove();
  }

  usedBytes(): Promise<number> {
    const sizes = [...this.#volumes].map((volume) => volume.usedBytes());
    return Promise.resolve(sizes.reduce((total, bytes) => total + bytes, 0));
  }

  async settle(): Promise<void> {}
}

class Qcow2Volume implements Volume {
  readonly #folder: string;
  readonly #removed: () => void;
  #daemon: ChildProcess | null = null;
  #monitor: QemuMonitor | null = null;
  #device: LoopFile | null = null;

  constructor(folder: string, removed: () => void) {
    this.#folder = folder;
    this.#removed = removed;
  }

  get devicePath(): string {
    if (this.#device === null) throw new Error(`${this.#folder} has no device`);
    return this.#device.devicePath;
  }

  async create(sizeBytes: number): Promise<void> {
    const parameters = ['create', '-q', '-f', 'qcow2', '-o', 'cluster_size=64k', this.#image, String(sizeBytes)];
    await runCommand('qemu-img', parameters, { timeoutMs: commandLimitMs });
    fs.writeFileSync(this.#export, '');
    await this.#start();
  }

  snapshot(name: string): Promise<void> {
    return this.#run('blockdev-snapshot-internal-sync', name);
  }

  deleteSnapshot(name: string): Promise<void> {
    return this.#run('blockdev-snapshot-delete-internal-sync', name);
  }

  async revert(snapshotName: string): Promise<void> {
    await this.stop();
    await runCommand('qemu-img', ['snapshot', '-a', snapshotName, this.#image], { timeoutMs: commandLimitMs });
    await this.#start();
  }

  clone(): Promise<Volume> {
    return Promise.reject(new Error('a qcow2 image in use has no clones'));
  }

  async remove(): Promise<void> {
    await this.stop();
    fs.rmSync(this.#folder, { recursive: true, force: true });
    this.#removed();
  }

  usedBytes(): number {
    return fs.statSync(this.#image).blocks * 512;
  }

  /** Takes device and daemon down, whatever there is of them; the image stays. */
  async stop(): Promise<void> {
    if (this.#device !== null) await detachFile(this.#device);
    this.#device = null;
    const [monitor, daemon] = [this.#monitor, this.#daemon];
    this.#monitor = null;
    this.#daemon = null;
    monitor?.close();
    if (daemon !== null) await endDaemon(daemon);
  }

  get #image(): string {
    return path.join(this.#folder, 'image');
  }

  /** The FUSE file is mounted over it. */
  get #export(): string {
    return path.join(this.#folder, 'export');
  }

  async #start(): Promise<void> {
    const socketPath = path.join(this.#folder, 'monitor');
    fs.rmSync(socketPath, { force: true });
    const parameters = [
      ...['--blockdev', `driver=file,node-name=file,filename=${this.#image},cache.direct=on,aio=native,discard=unmap`],
      ...['--blockdev', 'driver=qcow2,node-name=image,file=file,discard=unmap'],
      ...['--export', `fuse,id=export,node-name=image,mountpoint=${this.#export},writable=on`],
      ...['--chardev', `socket,id=monitor,path=${socketPath},server=on,wait=off`, '--monitor', 'chardev=monitor'],
    ];
    // A group of its own, so that Ctrl-C reaches only us: it ends after its device.
    const daemon = spawn('qemu-storage-daemon', parameters, { stdio: ['ignore', 'ignore', 'pipe'], detached: true });
    this.#daemon = daemon;
    let said = '';
    daemon.stderr.on('data', (piece: Buffer) => (said = (said + piece.toString('utf8')).slice(-1000)));
    const failed = once(daemon, 'error').then(([error]) => (said = String(error)));
    // It makes them in the order of its parameters: where the monitor is, the export is.
    for (const deadline = performance.now() + startLimitMs; !fs.existsSync(socketPath); await Promise.race([delay(pollMs), failed])) {
      if (performance.now() > deadline || hasEnded(daemon) || daemon.pid === undefined)
        throw new Error(`qemu-storage-daemon did not start: ${said}`);
    }
    this.#monitor = await QemuMonitor.open(socketPath, { timeoutMs: startLimitMs });
    this.#device = await attachFile(this.#export);
  }

  async #run(command: string, snapshotName: string): Promise<void> {
    if (this.#monitor === null) throw new Error(`${this.#folder} is not served`);
    await this.#monitor.run(command, { device: 'image', name: snapshotName }, { timeoutMs: commandLimitMs });
  }
}

/** It closes the image and takes the export down, unless it hangs. */
async function endDaemon(daemon: ChildProcess): Promise<void> {
  daemon.kill('SIGTERM');
  if (await endsWithin(daemon, endLimitMs)) return;
  daemon.kill('SIGKILL');
  await endsWithin(daemon, endLimitMs);
  throw new Error(`qemu-storage-daemon ${daemon.pid} had to be killed`);
}

async function endsWithin(daemon: ChildProcess, limitMs: number): Promise<boolean> {
  const deadline = performance.now() + limitMs;
  while (!hasEnded(daemon) && performance.now() < deadline) await delay(pollMs);
  return hasEnded(daemon);
}

function hasEnded(daemon: ChildProcess): boolean {
  return daemon.exitCode !== null || daemon.signalCode !== null || daemon.pid === undefined;
}
