/** Volumes that are served by a program each: from a file, as a FUSE file, under a loop device. */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { runCommand } from '../../../../src/util/exec.ts';
import { describeEnd, endsWithin } from '../../../support/process-end.ts';
import { attachFile, detachFile, type LoopFile } from './loop-file.ts';
import type { Subject, SubjectOptions, Volume } from './subject.ts';

const startLimitMs = 20_000;
/** It writes out what it holds first, on a disk that others keep busy. */
const endLimitMs = 40_000;
const killedLimitMs = 10_000;

export class ServedVolumes implements Subject {
  readonly #folder: string;
  readonly #open: (folder: string) => ServedVolume;
  readonly #volumes = new Set<ServedVolume>();

  /** @param open of a volume that there is not yet, in a folder of its own */
  constructor(options: SubjectOptions, open: (folder: string) => ServedVolume) {
    this.#folder = options.folder;
    this.#open = open;
    options.atEnd(async () => {
      const ends = await Promise.allSettled([...this.#volumes].map((volume) => volume.stop()));
      for (const end of ends) if (end.status === 'rejected') throw end.reason;
    });
  }

  async createVolume(options: { readonly name: string; readonly sizeBytes: number }): Promise<Volume> {
    const folder = path.join(this.#folder, options.name);
    fs.mkdirSync(folder);
    const volume = this.#open(folder);
    volume.removed = () => this.#volumes.delete(volume);
    this.#volumes.add(volume);
    await volume.create(options.sizeBytes);
    return volume;
  }

  async removeVolumes(): Promise<void> {
    const failures: unknown[] = [];
    for (const volume of this.#volumes) await volume.remove().catch((error: unknown) => failures.push(error));
    if (failures.length > 0) throw failures[0];
  }

  usedBytes(): Promise<number> {
    const sizes = [...this.#volumes].map((volume) => volume.usedBytes());
    return Promise.resolve(sizes.reduce((total, bytes) => total + bytes, 0));
  }

  async settle(): Promise<void> {}
}

export abstract class ServedVolume implements Volume {
  /** Called when it is gone. */
  removed = (): void => {};
  protected readonly folder: string;
  /** What is served. */
  protected readonly image: string;
  /** The FUSE file is mounted over it. */
  protected readonly exported: string;
  #server: ChildProcess | null = null;
  #device: LoopFile | null = null;

  constructor(folder: string) {
    this.folder = folder;
    this.image = path.join(folder, 'image');
    this.exported = path.join(folder, 'exported');
  }

  get devicePath(): string {
    if (this.#device === null) throw new Error(`${this.folder} has no device`);
    return this.#device.devicePath;
  }

  /** Makes the image and serves it. */
  abstract create(sizeBytes: number): Promise<void>;
  abstract snapshot(name: string): Promise<void>;
  abstract deleteSnapshot(name: string): Promise<void>;
  abstract revert(snapshotName: string): Promise<void>;
  abstract clone(options: { readonly snapshotName: string; readonly name: string }): Promise<Volume>;

  async remove(): Promise<void> {
    await this.stop();
    fs.rmSync(this.folder, { recursive: true, force: true });
    this.removed();
  }

  usedBytes(): number {
    return fs.statSync(this.image).blocks * 512;
  }

  /** Takes device and server down, whatever there is of them; the image stays. */
  async stop(): Promise<void> {
    if (this.#device !== null) await detachFile(this.#device);
    this.#device = null;
    const server = this.#server;
    if (server === null) return;
    server.kill('SIGTERM');
    if (!(await endsWithin(server, endLimitMs))) server.kill('SIGKILL');
    await endsWithin(server, killedLimitMs);
    this.#server = null;
    if (server.exitCode === 0 || server.pid === undefined) return;
    // It ended in another way than it should, and may have left its mount.
    await runCommand('umount', ['--lazy', this.exported], { timeoutMs: killedLimitMs }).catch(() => {});
    throw new Error(`${server.spawnfile} ${server.pid} ended with ${describeEnd(server)}`);
  }

  /** @param isServed settles once the FUSE file is mounted; when the signal is aborted, nobody waits any more */
  protected async serve(
    command: readonly [program: string, ...parameters: string[]],
    isServed: (server: ChildProcess, signal: AbortSignal) => Promise<void>,
  ): Promise<void> {
    fs.writeFileSync(this.exported, '');
    const [program, ...parameters] = command;
    // A group of its own, so that Ctrl-C reaches only us: it ends after its device.
    const server = spawn(program, parameters, { stdio: ['ignore', 'pipe', 'pipe'], detached: true });
    this.#server = server;
    let said = '';
    server.stdout.resume();
    server.stderr.on('data', (piece: Buffer) => (said = (said + piece.toString('utf8')).slice(-1000)));
    const waiting = new AbortController();
    const { signal } = waiting;
    try {
      await Promise.race([
        isServed(server, signal),
        once(server, 'close', { signal }).then(() => Promise.reject(new Error(`it ended with ${describeEnd(server)}: ${said}`))),
        delay(startLimitMs, null, { signal }).then(() => Promise.reject(new Error(`it is not ready: ${said}`))),
      ]);
    } catch (cause) {
      throw new Error(`${program} did not start: ${(cause as Error).message}`, { cause });
    } finally {
      waiting.abort();
    }
    this.#device = await attachFile(this.exported);
  }
}
