/**
 * qemu's qcow2: for each volume a qemu-storage-daemon that exports the image as a FUSE file, under a loop device. Clusters
 * of 64 KiB and direct, asynchronous I/O to the image; snapshots are internal ones. It has no clones here: a clone is an
 * overlay on an image that nobody writes any more.
 */
import fs from 'node:fs';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { canUseFuse, canUseLoop, hasPrograms } from '../../../support/machine.ts';
import { runCommand } from '../../../../src/util/exec.ts';
import { QemuMonitor } from './qemu-monitor.ts';
import { ServedVolume, ServedVolumes } from './served-volumes.ts';
import type { SubjectKind, Volume } from './subject.ts';

const commandLimitMs = 120_000;
const connectLimitMs = 20_000;
const pollMs = 20;

export const qcow2: SubjectKind = {
  name: 'qcow2',
  abilities: new Set(['snapshot', 'revert']),
  stateless: false,
  lack: () => [canUseFuse(), canUseLoop(), hasPrograms('qemu-img', 'qemu-storage-daemon')].find(({ lack }) => lack !== undefined)?.lack,
  make: (options) => Promise.resolve(new ServedVolumes(options, (folder) => new Qcow2Volume(folder))),
};

class Qcow2Volume extends ServedVolume {
  #monitor: QemuMonitor | null = null;

  override async create(sizeBytes: number): Promise<void> {
    const parameters = ['create', '-q', '-f', 'qcow2', '-o', 'cluster_size=64k', this.image, String(sizeBytes)];
    await runCommand('qemu-img', parameters, { timeoutMs: commandLimitMs });
    await this.#start();
  }

  override snapshot(name: string): Promise<void> {
    return this.#run('blockdev-snapshot-internal-sync', name);
  }

  override deleteSnapshot(name: string): Promise<void> {
    return this.#run('blockdev-snapshot-delete-internal-sync', name);
  }

  override async revert(snapshotName: string): Promise<void> {
    await this.stop();
    await runCommand('qemu-img', ['snapshot', '-a', snapshotName, this.image], { timeoutMs: commandLimitMs });
    await this.#start();
  }

  override clone(): Promise<Volume> {
    return Promise.reject(new Error('a qcow2 image in use has no clones'));
  }

  override async stop(): Promise<void> {
    try {
      await super.stop();
    } finally {
      this.#monitor?.close();
      this.#monitor = null;
    }
  }

  async #start(): Promise<void> {
    const socketPath = path.join(this.folder, 'monitor');
    fs.rmSync(socketPath, { force: true });
    const parameters = [
      ...['--blockdev', `driver=file,node-name=file,filename=${this.image},cache.direct=on,aio=native,discard=unmap`],
      ...['--blockdev', 'driver=qcow2,node-name=image,file=file,discard=unmap'],
      ...['--export', `fuse,id=export,node-name=image,mountpoint=${this.exported},writable=on`],
      ...['--chardev', `socket,id=monitor,path=${socketPath},server=on,wait=off`, '--monitor', 'chardev=monitor'],
    ];
    await this.serve(['qemu-storage-daemon', ...parameters], async (_, signal) => {
      // It makes them in the order of its parameters: where the monitor is, the export is.
      while (!fs.existsSync(socketPath)) await delay(pollMs, null, { signal });
      this.#monitor = await QemuMonitor.open(socketPath, { timeoutMs: connectLimitMs });
    });
  }

  async #run(command: string, snapshotName: string): Promise<void> {
    if (this.#monitor === null) throw new Error(`${this.folder} is not served`);
    await this.#monitor.run(command, { device: 'image', name: snapshotName }, { timeoutMs: commandLimitMs });
  }
}
