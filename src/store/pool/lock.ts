/**
 * The locks of a pool: the flock of its files `data` and `log`. Whoever has both has the pool. They belong to the open
 * files, so I/O in flight on them keeps the locks after the death of a process, until it is over.
 *
 * Invariant: it has both locks or none.
 */
import fs from 'node:fs';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { closeDescriptor, openDirect, tryLock, unlock } from '../../linux/files.ts';
import { StoreError } from '../../util/errors.ts';

const POLL_MS = 10;

export class PoolLock {
  readonly folder: string;
  /** Opened with O_DIRECT. */
  readonly dataDescriptor: number;
  readonly logDescriptor: number;
  #taken = false;
  #closed = false;

  private constructor(folder: string, descriptors: { readonly data: number; readonly log: number }) {
    this.folder = folder;
    this.dataDescriptor = descriptors.data;
    this.logDescriptor = descriptors.log;
  }

  /** Opens the files of a pool; takes nothing. */
  static open(folder: string): PoolLock {
    const data = openDirectly(path.join(folder, 'data'));
    try {
      return new PoolLock(folder, { data, log: openDirectly(path.join(folder, 'log')) });
    } catch (error) {
      closeDescriptor(data);
      throw error;
    }
  }

  get taken(): boolean {
    return this.#taken;
  }

  /** Takes the locks unless another process has one of them, and says whether it has them now. */
  take(): boolean {
    if (this.#taken) return true;
    if (!tryLock(this.dataDescriptor)) return false;
    this.#taken = tryLock(this.logDescriptor);
    if (!this.#taken) unlock(this.dataDescriptor);
    return this.#taken;
  }

  async takeWithin(timeoutMs: number): Promise<boolean> {
    const deadline = performance.now() + timeoutMs;
    while (!this.take()) {
      if (performance.now() >= deadline) return false;
      await delay(POLL_MS);
    }
    return true;
  }

  /** Gives the locks back at once, and keeps the files open. */
  release(): void {
    if (!this.#taken) return;
    this.#taken = false;
    unlock(this.logDescriptor);
    unlock(this.dataDescriptor);
  }

  /**
   * Gives the locks back, so that the next process has them at once: an io_uring that was closed keeps its files for a
   * while (tried: seconds, on a busy machine).
   */
  close(): void {
    if (this.#closed) return;
    this.release();
    this.#closed = true;
    closeDescriptor(this.logDescriptor);
    closeDescriptor(this.dataDescriptor);
  }

  /** Fails when the folder has other files by now than those that are open here. */
  demandSameFiles(): void {
    for (const [name, descriptor] of [
      ['data', this.dataDescriptor],
      ['log', this.logDescriptor],
    ] as const) {
      const file = path.join(this.folder, name);
      const present = fs.statSync(file, { throwIfNoEntry: false });
      const open = fs.fstatSync(descriptor);
      if (present?.ino === open.ino && present.dev === open.dev) continue;
      throw new StoreError('failed-precondition', `${file} was replaced while this store waited for it: start it again`);
    }
  }
}

function openDirectly(file: string): number {
  try {
    return openDirect(file, { readOnly: false });
  } catch (error) {
    const remedy =
      (error as NodeJS.ErrnoException).code === 'EINVAL'
        ? ': its file system cannot read and write without a cache (O_DIRECT); choose another, not tmpfs'
        : '';
    throw new StoreError('failed-precondition', `cannot open ${file}${remedy === '' ? `: ${(error as Error).message}` : remedy}`, {
      cause: error,
    });
  }
}
