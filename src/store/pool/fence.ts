/**
 * The fence around a pool that was declared lost: nothing is made from it or attached any more. A file `lost` beside
 * pool.json says so, so that it holds over a restart, also while nobody can be asked.
 *
 * Invariant: the fence changes on disk before it changes in memory, so that a restart never undoes what was in effect. It
 * has no say in the data path: what is attached goes on, and detaching, deleting and reading are never refused.
 */
import fs from 'node:fs';
import { rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { Turns } from '../../util/busy-locks.ts';
import { StoreError } from '../../util/errors.ts';
import { syncFolder } from '../../util/sync-folder.ts';

const MARKER = 'lost';
/** For whoever looks into the folder; no program reads it. */
const WORDS = 'This pool was declared lost. Set spec.lost of its ChunkStorePool to false to take it back.\n';

/** What the store's calls ask. */
export interface Fence {
  /** `failed-precondition`, with the cause and the remedy, while the pool is lost. */
  demandOpen(): void;
  readonly lost: boolean;
}

export class PoolFence implements Fence {
  readonly #folder: string;
  readonly #poolId: string;
  readonly #turns = new Turns();
  #lost: boolean;

  /** The caller has the pool's locks. */
  constructor(pool: { readonly folder: string; readonly id: string }) {
    this.#folder = pool.folder;
    this.#poolId = pool.id;
    // Unlike existsSync, this takes no error of the disk for an answer.
    this.#lost = fs.lstatSync(this.#marker, { throwIfNoEntry: false }) !== undefined;
  }

  get lost(): boolean {
    return this.#lost;
  }

  demandOpen(): void {
    if (!this.#lost) return;
    throw new StoreError(
      'failed-precondition',
      `pool ${this.#poolId} was declared lost, so that nothing can be made from it or attached: set spec.lost of its ChunkStorePool to false to take it back`,
    );
  }

  /** Sets up the fence or takes it down; it holds when this resolves. `unavailable` when the disk refuses. */
  setLost(lost: boolean): Promise<void> {
    return this.#turns.take(async () => {
      try {
        if (lost) await writeFile(this.#marker, WORDS, { mode: 0o600, flush: true });
        else await rm(this.#marker, { force: true });
        await syncFolder(this.#folder);
      } catch (error) {
        throw new StoreError('unavailable', `cannot ${lost ? 'write' : 'remove'} ${this.#marker}: ${(error as Error).message}`, {
          cause: error,
        });
      }
      this.#lost = lost;
    });
  }

  get #marker(): string {
    return path.join(this.#folder, MARKER);
  }
}
