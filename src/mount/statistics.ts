/**
 * Space and inodes of a file system. statfs may hang with its device, and each hanging call keeps one of Node's few
 * threads; so only two run at a time, and a path that has not answered in time is not asked again before it has.
 */
import { statfs } from 'node:fs/promises';
import { isSystemError } from '../linux/system-error.ts';
import { StoreError } from '../util/errors.ts';

export interface FileSystemStats {
  readonly totalBytes: number;
  readonly availableBytes: number;
  readonly usedBytes: number;
  readonly totalInodes: number;
  readonly freeInodes: number;
  readonly usedInodes: number;
}

export interface StatfsAnswer {
  readonly bsize: number;
  readonly blocks: number;
  readonly bfree: number;
  readonly bavail: number;
  readonly files: number;
  readonly ffree: number;
}

export class StatisticsReader {
  readonly #ask: (path: string) => Promise<StatfsAnswer>;
  readonly #timeoutMs: number;
  /** Paths whose answer did not come in time; each still keeps a turn. */
  readonly #late = new Set<string>();
  readonly #queue: (() => void)[] = [];
  #running = 0;

  constructor(options: { readonly timeoutMs?: number; readonly ask?: (path: string) => Promise<StatfsAnswer> } = {}) {
    this.#timeoutMs = options.timeoutMs ?? 10_000;
    this.#ask = options.ask ?? statfs;
  }

  /** Errors: `not-found` when the path does not exist, `unavailable` when its file system does not answer in time. */
  async read(path: string): Promise<FileSystemStats> {
    if (this.#late.has(path)) throw new StoreError('unavailable', `the file system at ${path} has not answered the last question yet`);
    if (this.#late.size >= turns) {
      throw new StoreError('unavailable', `${path} is not asked, since ${[...this.#late].join(' and ')} do not answer`);
    }
    const answer = this.#askInTurn(path);
    const { promise: limit, reject } = Promise.withResolvers<never>();
    const timer = setTimeout(() => {
      this.#late.add(path);
      void answer.catch(() => {}).finally(() => this.#late.delete(path));
      reject(new StoreError('unavailable', `the file system at ${path} did not answer within ${this.#timeoutMs} ms`));
    }, this.#timeoutMs);
    try {
      return toStats(await Promise.race([answer, limit]));
    } catch (cause) {
      throw statisticsError(path, cause);
    } finally {
      clearTimeout(timer);
    }
  }

  async #askInTurn(path: string): Promise<StatfsAnswer> {
    if (this.#running >= turns) await new Promise<void>((resolve) => this.#queue.push(resolve));
    else this.#running += 1;
    try {
      return await this.#ask(path);
    } finally {
      // The turn passes on to the next in line.
      const next = this.#queue.shift();
      if (next === undefined) this.#running -= 1;
      else next();
    }
  }
}

export function toStats(answer: StatfsAnswer): FileSystemStats {
  return {
    totalBytes: answer.blocks * answer.bsize,
    availableBytes: answer.bavail * answer.bsize,
    usedBytes: (answer.blocks - answer.bfree) * answer.bsize,
    totalInodes: answer.files,
    freeInodes: answer.ffree,
    usedInodes: answer.files - answer.ffree,
  };
}

function statisticsError(path: string, cause: unknown): StoreError {
  if (cause instanceof StoreError) return cause;
  if (isSystemError(cause, 'ENOENT', 'ENOTDIR')) return new StoreError('not-found', `there is no ${path}`, { cause });
  return new StoreError('unavailable', `the file system at ${path} answers with an error: ${String(cause)}`, { cause });
}

/** Half of the threads that Node has for such calls. */
const turns = 2;
