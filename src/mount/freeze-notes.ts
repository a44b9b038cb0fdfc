/**
 * Notes of the file systems that this node freezes, on disk, so that a freeze outlives nobody: when a container is
 * killed, the node role and its helper die at once, neither can thaw any more, and the user's file system would stay
 * frozen for ever. The next node role finds the note, and thaws.
 *
 * A note is there before its freeze begins, and until it is surely over. It is locked (flock) by the node role and by
 * the helper, who inherits it; the kernel gives the lock back when the last of them is really gone, also when one hangs
 * in the freeze itself and dies only after it. So a note that can be locked names a file system that nobody will freeze
 * any more, and thawing it once is enough; one that cannot be locked is somebody's.
 */
import { constants, link, mkdir, open, readdir, readFile, rm, stat, type FileHandle } from 'node:fs/promises';
import path from 'node:path';
import { randomBytes } from 'node:crypto';
import { tryLock } from '../linux/files.ts';
import { presentSequence } from '../linux/loop-device.ts';
import { isSystemError } from '../linux/system-error.ts';
import { assert } from '../util/assert.ts';
import { StoreError } from '../util/errors.ts';
import { runCommand } from '../util/exec.ts';
import { readMountTable, type MountEntry } from './mount-table.ts';
import { syncFolder } from '../util/sync-folder.ts';

/** What is about to be frozen. */
export interface FreezeSubject {
  /** The volume's id; the note's name. */
  readonly volumeId: string;
  readonly devicePath: string;
}

/** A note that this process holds. */
export interface FreezeNote {
  /** Open and locked: for the helper to inherit. */
  readonly descriptor: number;
  /** Nothing is frozen by us any more. */
  remove(): Promise<void>;
  /** Something may be frozen still, and we do not know better: for `undo`. */
  leave(): Promise<void>;
}

/** The content of a note. The device's path and sequence name one setting up of it, within one run of the kernel. */
export interface NotedFreeze {
  readonly version: 1;
  readonly bootId: string;
  readonly devicePath: string;
  readonly sequence: number | null;
}

export interface FreezeNotesOptions {
  /** Survives this process and need not survive the machine. Made when it is missing. */
  readonly folder: string;
  /** Of each thaw. */
  readonly timeoutMs?: number;
}

const TIMEOUT_MS = 5_000;
const LARGEST_NOTE_BYTES = 4_096;
const NAME = /^[a-z0-9][a-z0-9.-]*$/;

export class FreezeNotes {
  readonly #folder: string;
  readonly #timeoutMs: number;

  constructor(options: FreezeNotesOptions) {
    this.#folder = options.folder;
    this.#timeoutMs = options.timeoutMs ?? TIMEOUT_MS;
  }

  /** Resolves when the note is durable. `busy` when there is one already: an earlier freeze is not undone yet. */
  async write(subject: FreezeSubject): Promise<FreezeNote> {
    assert(NAME.test(subject.volumeId), 'a volume id can be a file name');
    await mkdir(this.#folder, { recursive: true, mode: 0o700 });
    const place = path.join(this.#folder, subject.volumeId);
    // The note gets its name only when it is complete and locked.
    const temporary = path.join(this.#folder, `.${randomBytes(4).toString('hex')}`);
    const file = await open(temporary, 'wx', 0o600);
    try {
      assert(tryLock(file.fd), 'a new file is not locked');
      const sequence = presentSequence(subject.devicePath);
      await file.writeFile(
        JSON.stringify({ version: 1, bootId: await bootId(), devicePath: subject.devicePath, sequence } satisfies NotedFreeze),
      );
      await file.sync();
      await link(temporary, place);
      await syncFolder(this.#folder);
    } catch (error) {
      await file.close();
      if (!isSystemError(error, 'EEXIST')) throw error;
      throw new StoreError('busy', `an earlier freeze of volume ${subject.volumeId} is not undone yet`, { cause: error });
    } finally {
      await rm(temporary, { force: true });
    }
    return {
      descriptor: file.fd,
      remove: async () => {
        await rm(place, { force: true });
        await file.close();
      },
      leave: () => file.close(),
    };
  }

  /**
   * Thaws what notes name that nobody holds any more. Answers those that remain, with the reason in words: they are to
   * be tried again. A file system that is not frozen, or not there any more, needs nothing.
   */
  async undo(): Promise<ReadonlyMap<string, string>> {
    const remaining = new Map<string, string>();
    for (const name of await this.#names()) {
      try {
        const reason = await this.#undoOne(path.join(this.#folder, name));
        if (reason !== null) remaining.set(name, reason);
      } catch (error) {
        remaining.set(name, error instanceof Error ? error.message : String(error));
      }
    }
    return remaining;
  }

  async #names(): Promise<string[]> {
    try {
      return (await readdir(this.#folder)).filter((name) => NAME.test(name)).sort();
    } catch (error) {
      if (isSystemError(error, 'ENOENT')) return [];
      throw error;
    }
  }

  /** Null when it is done. */
  async #undoOne(place: string): Promise<string | null> {
    const file = await openIfThere(place);
    if (file === null) return null;
    try {
      if (!tryLock(file.fd)) return 'a process that froze it, or is about to, is not gone yet';
      // Its holder may have removed it, and somebody may have written another, between opening and locking.
      if ((await stat(place).catch(() => null))?.ino !== (await file.stat()).ino) return null;
      const status = await file.stat();
      if (!status.isFile() || status.size > LARGEST_NOTE_BYTES) return 'this is no note of ours; look at it and remove it';
      const noted = parseNote(await file.readFile('utf8'));
      if (noted === null) return 'another version of this program wrote the note, or it is damaged; look at it and remove it';
      const target = whatToThaw(noted, {
        bootId: await bootId(),
        sequence: presentSequence(noted.devicePath),
        mounts: await readMountTable(),
      });
      if (target !== null) await this.#thaw(target);
      await rm(place, { force: true });
      return null;
    } finally {
      await file.close();
    }
  }

  /** By a program of its own, since a thaw may hang as long as the device does, and must not take our threads along. */
  async #thaw(target: string): Promise<void> {
    const result = await runCommand('fsfreeze', ['--unfreeze', target], { timeoutMs: this.#timeoutMs, expectedStatuses: [0, 1] });
    // EINVAL: it is not frozen. The program has one status for every failure, and speaks English here.
    if (result.status === 0 || result.errorOutput.includes('Invalid argument')) return;
    throw new StoreError('unavailable', `${target} cannot be thawed: ${result.errorOutput.trim()}`);
  }
}

/** Where to thaw; null when what was frozen is gone. Only mounts of the very setting up of the device count. */
export function whatToThaw(
  noted: NotedFreeze,
  present: { readonly bootId: string; readonly sequence: number | null; readonly mounts: readonly MountEntry[] },
): string | null {
  if (noted.bootId !== present.bootId || noted.sequence === null || noted.sequence !== present.sequence) return null;
  // A device node that is bound somewhere has the device as its source too, but carries no file system.
  const mount = present.mounts.find(({ source, fileSystem }) => source === noted.devicePath && !nodeCarriers.includes(fileSystem));
  return mount?.target ?? null;
}

function parseNote(text: string): NotedFreeze | null {
  let note: Partial<NotedFreeze> | null;
  try {
    note = JSON.parse(text) as Partial<NotedFreeze> | null;
  } catch {
    return null;
  }
  if (note?.version !== 1 || typeof note.bootId !== 'string' || typeof note.devicePath !== 'string') return null;
  if (note.sequence !== null && !Number.isSafeInteger(note.sequence)) return null;
  return /^\/dev\/loop\d+$/.test(note.devicePath) ? (note as NotedFreeze) : null;
}

async function openIfThere(place: string): Promise<FileHandle | null> {
  try {
    // A pipe in its place would otherwise be waited for.
    return await open(place, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (error) {
    if (isSystemError(error, 'ENOENT')) return null;
    throw error;
  }
}

async function bootId(): Promise<string> {
  return (await readFile('/proc/sys/kernel/random/boot_id', 'utf8')).trim();
}

const nodeCarriers = ['devtmpfs', 'tmpfs'];
