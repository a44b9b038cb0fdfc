/**
 * Who had the pool, who has it, and who is to have it: so that of two pods on one node exactly one wants it, whatever dies
 * when. Pods are named by their UIDs. A pod asks for the pool once at most, so that two of them never take it from each
 * other in turns; and one that had its turn and lost it takes the pool only after nobody wanted it for a while.
 *
 * It is kept in a file beside the store's socket, in a folder that does not outlive a boot, and is written only by whoever
 * has the pool's locks. Losing it costs no data, only the order of who takes the pool first.
 */
import { randomBytes } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import type { Logger } from '../../util/log.ts';

export interface Succession {
  /** The pod that served last, as far as it did not end in order. */
  readonly holder: string | null;
  /** The pod that the holder hands over to, until somebody serves. */
  readonly promised: string | null;
  /** Pods that had their turn, the latest last. */
  readonly past: readonly string[];
  /** Until somebody serves: what the keeper is to hold for the next one, which whoever had the pool gives a keeper that was
   * started anew since. Empty when nothing depends on it. */
  readonly kept: readonly string[];
}

export const NO_SUCCESSION: Succession = { holder: null, promised: null, past: [], kept: [] };

const MOST_PAST = 64;

/** The pod serves now. */
export function afterTaking(before: Succession, pod: string): Succession {
  const done = [before.holder, before.promised].filter((other) => other !== null);
  const past = [...before.past.filter((other) => !done.includes(other)), ...new Set(done)].filter((other) => other !== pod);
  return { holder: pod, promised: null, past: past.slice(-MOST_PAST), kept: [] };
}

/** The holder begins to hand over, and leaves this with the keeper; null: it does not after all. */
export function afterPromise(before: Succession, successor: string | null, kept: readonly string[] = []): Succession {
  return { ...before, promised: successor, kept };
}

/** The holder ends in order, leaves this with the keeper, and whoever comes may have the pool. */
export function afterLeaving(before: Succession, kept: readonly string[] = []): Succession {
  return { ...before, holder: null, promised: null, kept };
}

/** Whether others go first: the pool must then have been free for a while. */
export function mustWait(succession: Succession, pod: string): boolean {
  const { holder, promised, past } = succession;
  if (promised !== null) return promised !== pod;
  return holder !== null && holder !== pod && past.includes(pod);
}

/** What the keeper is to hold for the pod, as whoever had the pool before wrote down; null when that is not known. */
export function keptFor(succession: Succession, pod: string): readonly string[] | null {
  const { holder, promised, kept } = succession;
  const isMeant = promised === pod || (promised === null && holder === null);
  return isMeant && kept.length > 0 ? kept : null;
}

/** Whether the pod may ask whoever has the pool to hand it over. */
export function mayAsk(succession: Succession, pod: string): boolean {
  return succession.holder !== pod && !succession.past.includes(pod);
}

/** Whether another pod has served since this one did. */
export function isSucceeded(succession: Succession, pod: string): boolean {
  return succession.holder !== pod && succession.past.includes(pod);
}

const VERSION = 1;
/** The keys of all devices that a keeper holds for a pool take a few hundred KiB at most. */
const LARGEST_FILE_BYTES = 4 * 1024 * 1024;

export class SuccessionFile {
  readonly #file: string;
  readonly #log: Logger;
  #warned = false;

  constructor(options: { readonly folder: string; readonly poolId: string; readonly log: Logger }) {
    this.#file = path.join(options.folder, `${options.poolId}.succession`);
    this.#log = options.log;
  }

  /** What is not there or cannot be read is as if nobody had the pool before. */
  read(): Succession {
    try {
      const status = fs.statSync(this.#file);
      if (!status.isFile() || status.size > LARGEST_FILE_BYTES) throw new Error(`it is no file of at most ${LARGEST_FILE_BYTES} bytes`);
      return decode(fs.readFileSync(this.#file, 'utf8'));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT' && !this.#warned) {
        this.#warned = true;
        this.#log.warn({ file: this.#file, reason: (error as Error).message }, 'cannot read who had the pool before; taken as nobody');
      }
      return NO_SUCCESSION;
    }
  }

  /** To be called with the pool's locks taken. A failure is logged and changes nothing else. */
  write(succession: Succession): void {
    const temporary = `${this.#file}.${randomBytes(4).toString('hex')}`;
    try {
      fs.mkdirSync(path.dirname(this.#file), { recursive: true });
      fs.writeFileSync(temporary, JSON.stringify({ version: VERSION, ...succession }), { mode: 0o600 });
      fs.renameSync(temporary, this.#file);
    } catch (error) {
      this.#log.warn({ file: this.#file, reason: (error as Error).message }, 'cannot write down who has the pool');
    }
  }
}

function decode(text: string): Succession {
  const { version, holder, promised, past, kept = [] } = JSON.parse(text) as Record<string, unknown>;
  if (version !== VERSION) throw new Error(`it has version ${String(version)}, not ${VERSION}`);
  const isPod = (value: unknown): value is string | null => value === null || typeof value === 'string';
  const isList = (value: unknown): value is string[] => Array.isArray(value) && value.every((entry) => typeof entry === 'string');
  if (!isPod(holder) || !isPod(promised) || !isList(past) || !isList(kept)) throw new Error('it is damaged');
  return { holder, promised, past, kept };
}
