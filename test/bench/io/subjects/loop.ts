/** What all are held against: a loop device over a plain file that is written whole, so that it has no state. */
import fs from 'node:fs';
import path from 'node:path';
import { canUseLoop, hasPrograms } from '../../../support/machine.ts';
import { fill } from '../../fio.ts';
import { attachFile, detachFile, type LoopFile } from './loop-file.ts';
import type { Subject, SubjectKind, SubjectOptions, Volume } from './subject.ts';

export const loop: SubjectKind = {
  name: 'loop',
  abilities: new Set(),
  stateless: true,
  lack: () => canUseLoop().lack ?? hasPrograms('losetup').lack,
  make: (options) => Promise.resolve(new Loop(options)),
};

class Loop implements Subject {
  readonly #options: SubjectOptions;
  readonly #devices = new Map<string, LoopFile>();

  constructor(options: SubjectOptions) {
    this.#options = options;
    options.atEnd(async () => {
      for (const file of this.#devices.keys()) await this.#detach(file);
    });
  }

  async createVolume(options: { readonly name: string; readonly sizeBytes: number }): Promise<Volume> {
    const { name, sizeBytes } = options;
    const file = path.join(this.#options.folder, name);
    await fill(file, { sizeBytes, order: 'sequential', signal: this.#options.signal });
    const device = await attachFile(file);
    this.#devices.set(file, device);
    const cannot = (): Promise<never> => Promise.reject(new Error('a plain file has no snapshots'));
    return {
      devicePath: device.devicePath,
      snapshot: cannot,
      deleteSnapshot: cannot,
      revert: cannot,
      clone: cannot,
      remove: () => this.#remove(file),
    };
  }

  usedBytes(): Promise<number> {
    const { folder } = this.#options;
    const sizes = fs.readdirSync(folder).map((name) => fs.statSync(path.join(folder, name)).blocks * 512);
    return Promise.resolve(sizes.reduce((total, bytes) => total + bytes, 0));
  }

  async settle(): Promise<void> {}

  async removeVolumes(): Promise<void> {
    for (const file of this.#devices.keys()) await this.#remove(file);
  }

  async #remove(file: string): Promise<void> {
    await this.#detach(file);
    fs.rmSync(file, { force: true });
  }

  async #detach(file: string): Promise<void> {
    const device = this.#devices.get(file);
    if (device === undefined) return;
    this.#devices.delete(file);
    await detachFile(device);
  }
}
