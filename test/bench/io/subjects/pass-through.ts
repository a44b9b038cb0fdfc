/**
 * No store, but what FUSE under a loop device leaves for one: a server in C (pass-through.c) that does nothing with a
 * request but to do it at the same place of a plain file. What ours has less than this is what Node and the engine cost;
 * what this has less than the loop device is the price of the way itself.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { runCommand } from '../../../../src/util/exec.ts';
import { canUseFuse, canUseLoop, hasPrograms } from '../../../support/machine.ts';
import { fill } from '../../fio.ts';
import { attachFile, detachFile, type LoopFile } from './loop-file.ts';
import type { Subject, SubjectKind, SubjectOptions, Volume } from './subject.ts';

const compileLimitMs = 60_000;
const startLimitMs = 20_000;
const endLimitMs = 20_000;
const source = path.join(import.meta.dirname, 'pass-through.c');
const header = '/usr/include/liburing.h';

export const passThrough: SubjectKind = {
  name: 'pass-through',
  abilities: new Set(),
  stateless: true,
  lack() {
    const lack = [canUseFuse(), canUseLoop(), hasPrograms('cc')].find((capability) => capability.lack !== undefined)?.lack;
    return lack ?? (fs.existsSync(header) ? undefined : `not installed: ${header} (liburing-dev)`);
  },
  async make(options) {
    const program = path.join(options.folder, 'pass-through');
    await runCommand('cc', ['-O2', '-o', program, source, '-luring'], { timeoutMs: compileLimitMs });
    return new PassThrough(options, program);
  },
};

class PassThrough implements Subject {
  readonly #options: SubjectOptions;
  readonly #program: string;
  readonly #volumes = new Set<PassThroughVolume>();

  constructor(options: SubjectOptions, program: string) {
    this.#options = options;
    this.#program = program;
    options.atEnd(async () => {
      const ends = await Promise.allSettled([...this.#volumes].map((volume) => volume.stop()));
      for (const end of ends) if (end.status === 'rejected') throw end.reason;
    });
  }

  async createVolume(options: { readonly name: string; readonly sizeBytes: number }): Promise<Volume> {
    const folder = path.join(this.#options.folder, options.name);
    fs.mkdirSync(folder);
    const volume = new PassThroughVolume(folder, () => this.#volumes.delete(volume));
    this.#volumes.add(volume);
    await volume.create(this.#program, { sizeBytes: options.sizeBytes, signal: this.#options.signal });
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

class PassThroughVolume implements Volume {
  readonly #folder: string;
  readonly #removed: () => void;
  #server: ChildProcess | null = null;
  #device: LoopFile | null = null;

  constructor(folder: string, removed: () => void) {
    this.#folder = folder;
    this.#removed = removed;
  }

  get devicePath(): string {
    if (this.#device === null) throw new Error(`${this.#folder} has no device`);
    return this.#device.devicePath;
  }

  async create(program: string, options: { readonly sizeBytes: number; readonly signal: AbortSignal }): Promise<void> {
    await fill(this.#data, { ...options, order: 'sequential' });
    fs.writeFileSync(this.#mount, '');
    // A group of its own, so that Ctrl-C reaches only us: it ends after its device.
    const server = spawn(program, [this.#data, this.#mount], { stdio: ['ignore', 'pipe', 'pipe'], detached: true });
    this.#server = server;
    let said = '';
    server.stderr.on('data', (piece: Buffer) => (said = (said + piece.toString('utf8')).slice(-1000)));
    const failed = once(server, 'close').then(() => 'failed');
    const word = await Promise.race([once(server.stdout, 'data').then(() => 'ready'), failed, delay(startLimitMs, 'late', { ref: false })]);
    if (word !== 'ready') throw new Error(`pass-through did not start: ${said}`);
    this.#device = await attachFile(this.#mount);
  }

  snapshot = cannot;
  deleteSnapshot = cannot;
  revert = cannot;
  clone = cannot;

  async remove(): Promise<void> {
    await this.stop();
    fs.rmSync(this.#folder, { recursive: true, force: true });
    this.#removed();
  }

  usedBytes(): number {
    return fs.statSync(this.#data).blocks * 512;
  }

  /** Takes device and server down, whatever there is of them; the data stay. */
  async stop(): Promise<void> {
    if (this.#device !== null) await detachFile(this.#device);
    this.#device = null;
    const server = this.#server;
    if (server?.pid === undefined) return;
    if (!hasEnded(server)) {
      const ended = once(server, 'exit');
      server.kill('SIGTERM');
      if ((await Promise.race([ended, delay(endLimitMs, null, { ref: false })])) === null) {
        server.kill('SIGKILL');
        await ended;
      }
    }
    this.#server = null;
    if (server.exitCode === 0) return;
    // It ended in another way than it should, and may have left its mount.
    await runCommand('umount', ['--lazy', this.#mount], { timeoutMs: endLimitMs }).catch(() => {});
    throw new Error(`pass-through ${server.pid} ended with ${server.signalCode ?? server.exitCode}`);
  }

  get #data(): string {
    return path.join(this.#folder, 'data');
  }

  /** The FUSE file is mounted over it. */
  get #mount(): string {
    return path.join(this.#folder, 'mount');
  }
}

function cannot(): Promise<never> {
  return Promise.reject(new Error('what passes requests on has no snapshots'));
}

function hasEnded(server: ChildProcess): boolean {
  return server.exitCode !== null || server.signalCode !== null;
}
