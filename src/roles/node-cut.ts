/**
 * The node role's part of a cut: what the store asks for before it cuts a volume that is in use. File systems are
 * synced, or frozen by a helper process that thaws them whatever happens; a raw block device's cached writes are
 * written out.
 */
import { freezeFileSystem, type FrozenFileSystem } from '../mount/freeze.ts';
import type { FreezeNotes } from '../mount/freeze-notes.ts';
import type { MountEntry } from '../mount/mount-table.ts';
import { syncFileSystem } from '../mount/sync.ts';
import type { NodeAction } from '../store/wire/messages.ts';
import { runCommand } from '../util/exec.ts';

export interface NodeCutOptions {
  readonly devicePathOf: (volumeId: string) => Promise<string | null>;
  readonly mounts: () => Promise<readonly MountEntry[]>;
  /** How the freezer role is started. */
  readonly freezer: readonly [program: string, ...args: string[]];
  readonly notes: Pick<FreezeNotes, 'write'>;
}

/** A little less than the store waits, so that it hears the reason. */
const LIMIT_MS = 9_000;
/** What carries a bound device node is no file system of the volume. */
const NODE_CARRIERS: readonly string[] = ['devtmpfs', 'tmpfs'];

export class NodeCut {
  readonly #options: NodeCutOptions;
  readonly #frozen = new Map<string, FrozenFileSystem>();
  #closed = false;

  constructor(options: NodeCutOptions) {
    this.#options = options;
  }

  async perform(action: NodeAction, volumeId: string): Promise<void> {
    if (action === 'ACTION_THAW') return this.#thaw(volumeId);
    const devicePath = await this.#options.devicePathOf(volumeId);
    if (devicePath === null) return;
    const mounts = await this.#options.mounts();
    const mount = mounts.find((entry) => entry.source === devicePath && !NODE_CARRIERS.includes(entry.fileSystem));
    if (mount === undefined) {
      await runCommand('sync', ['--', devicePath], { timeoutMs: LIMIT_MS });
      return;
    }
    // What is mounted read-only holds nothing back.
    if (mounts.every((entry) => entry.source !== devicePath || entry.options.includes('ro'))) return;
    if (action === 'ACTION_SYNC') await syncFileSystem(mount.target, { timeoutMs: LIMIT_MS });
    else await this.#freeze(volumeId, { devicePath, target: mount.target });
  }

  /** Thaws what is frozen: the store that is to cut it is gone, and its cuts with it. */
  async release(): Promise<void> {
    await Promise.allSettled([...this.#frozen.keys()].map((volumeId) => this.#thaw(volumeId)));
  }

  /** Thaws what is frozen. A process that is the first of its container takes its helpers with it when it ends. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.release();
  }

  async #freeze(volumeId: string, place: { readonly devicePath: string; readonly target: string }): Promise<void> {
    await this.#thaw(volumeId);
    if (this.#closed) throw new Error('the node role is stopping');
    const { freezer, notes } = this.#options;
    const note = await notes.write({ volumeId, devicePath: place.devicePath });
    this.#frozen.set(volumeId, await freezeFileSystem(place.target, { helper: freezer, note, timeoutMs: LIMIT_MS }));
    if (this.#closed) await this.#thaw(volumeId);
  }

  async #thaw(volumeId: string): Promise<void> {
    const frozen = this.#frozen.get(volumeId);
    this.#frozen.delete(volumeId);
    if (frozen === undefined) return;
    if (!(await frozen.thaw())) throw new Error('the file system was thawed before the cut was over');
  }
}
