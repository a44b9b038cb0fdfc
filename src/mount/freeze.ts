/**
 * Freezes a mounted file system for the moment of a cut, by a helper process (freezer.ts) that thaws it again when this
 * process is done, or dead, or too slow. Should the helper itself be killed, this process thaws. Should both be killed
 * at once, a note on disk tells the next node role (freeze-notes.ts).
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import { closeSlowly, openDevice, thaw } from '../linux/files.ts';
import { isSystemError } from '../linux/system-error.ts';
import { StoreError } from '../util/errors.ts';
import type { FreezeNote } from './freeze-notes.ts';

export interface FrozenFileSystem {
  /**
   * Ends the freeze and says whether it had lasted until now. When false, the file system was thawed before, by the time
   * limit or by somebody else: what was cut since is consistent only as after a crash.
   */
  thaw(): Promise<boolean>;
}

export interface FreezeOptions {
  /** How the helper is started, for instance [process.execPath, main, 'freezer']. */
  readonly helper: readonly [program: string, ...parameters: string[]];
  /** Written for this freeze. It is taken over: removed once nothing is frozen by us, else left. */
  readonly note: FreezeNote;
  /** How long to wait for the sync and the freeze together; 15 s by default. */
  readonly timeoutMs?: number;
}

/**
 * Promises a file system without a write under way. Errors: `in-use` when it is frozen already by somebody's fsfreeze,
 * `unavailable` when it does not come to rest in time; in both cases nothing stays frozen that was not before.
 */
export async function freezeFileSystem(path: string, options: FreezeOptions): Promise<FrozenFileSystem> {
  const timeoutMs = options.timeoutMs ?? 15_000;
  const descriptor = await openDevice(path, { readOnly: true, timeoutMs }).catch(async (cause: unknown) => {
    await options.note.remove();
    throw new StoreError('unavailable', `${path} cannot be opened to freeze it: ${String(cause)}`, { cause });
  });
  const helper = startHelper(options.helper, { descriptor, note: options.note });
  let tooLate = false;
  const timer = setTimeout(() => {
    tooLate = true;
    helper.release();
  }, timeoutMs);
  try {
    const word = await helper.next(['frozen', 'busy', 'abandoned', 'failed']);
    if (word === 'frozen' && !tooLate) return { thaw: () => endFreeze(helper) };
    helper.release();
    if (word === 'frozen') await helper.ended; // just too late: nothing may stay frozen
    if (word === 'busy')
      throw new StoreError(
        'in-use',
        `${path} is frozen already by a fsfreeze that is not ours; thaw it with "fsfreeze --unfreeze ${path}"`,
      );
    const isLate = tooLate && (word === 'frozen' || word === 'abandoned');
    const reason = isLate ? `not within ${timeoutMs} ms` : (word ?? 'the helper process ended');
    throw new StoreError('unavailable', `${path} could not be frozen: ${reason}`);
  } finally {
    clearTimeout(timer);
  }
}

async function endFreeze(helper: FreezerHelper): Promise<boolean> {
  helper.release();
  await helper.ended;
  return helper.lastWord() === 'thawed';
}

interface FreezerHelper {
  /** The next line that begins with one of the words, or null when the helper has ended. */
  next(words: readonly string[]): Promise<string | null>;
  lastWord(): string;
  /** Tells the helper to thaw and end. */
  release(): void;
  /** Settles when the helper has ended and nothing of it stays frozen. */
  readonly ended: Promise<void>;
}

function startHelper(
  command: readonly [string, ...string[]],
  subject: { readonly descriptor: number; readonly note: FreezeNote },
): FreezerHelper {
  const [program, ...parameters] = command;
  // The helper does nothing with the note but to hold its lock as long as it lives.
  const child = spawn(program, parameters, { stdio: ['pipe', 'pipe', 'inherit', subject.descriptor, subject.note.descriptor] });
  const lines: string[] = [];
  let wake = Promise.withResolvers<void>();
  const news = (): void => {
    wake.resolve();
    wake = Promise.withResolvers<void>();
  };
  child.stdin?.on('error', () => {});
  createInterface({ input: child.stdout as Readable }).on('line', (line) => {
    lines.push(line);
    news();
  });
  let hasEnded = false;
  const ended = exitOf(child)
    .then(() => cleanUp(lines.at(-1) ?? '', subject))
    .finally(() => {
      hasEnded = true;
      news();
    });
  // Whoever awaits `next` learns of the end there; nobody may be left who awaits `ended`.
  ended.catch(() => {});
  return {
    ended,
    lastWord: () => lines.at(-1) ?? '',
    release: () => void child.stdin?.end(),
    async next(words) {
      for (let index = 0; ; index += 1) {
        while (index >= lines.length) {
          if (hasEnded) return null;
          await wake.promise;
        }
        const line = lines[index] ?? '';
        if (words.some((word) => line.startsWith(word))) return line.startsWith('failed') ? line : line.split(' ', 1).join('');
      }
    },
  };
}

function exitOf(child: ChildProcess): Promise<void> {
  return new Promise((resolve) => {
    child.on('error', () => resolve()); // not started: nothing was frozen
    child.on('close', () => resolve());
  });
}

/** A helper that was killed could not thaw. It had said what it was about to do, so that a freeze of others stays. */
async function cleanUp(lastLine: string, subject: { readonly descriptor: number; readonly note: FreezeNote }): Promise<void> {
  const { descriptor, note } = subject;
  try {
    if (lastLine === 'freezing' || lastLine === 'frozen') await thaw(descriptor, { timeoutMs: cleanUpTimeoutMs });
  } catch (error) {
    if (!isSystemError(error, 'EINVAL')) {
      await note.leave();
      throw error;
    }
  } finally {
    await closeSlowly(descriptor, { timeoutMs: cleanUpTimeoutMs });
  }
  await note.remove();
}

const cleanUpTimeoutMs = 30_000;
