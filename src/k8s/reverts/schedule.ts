/**
 * When which key is worked on: one worker a key, a bounded number at once, and never more often than a rate. What could
 * not be finished is tried again after a while that doubles, with jitter; a change of the object is looked at soon, but
 * does not get around the rate either.
 */
import type { Clock } from '../../util/clock.ts';

export interface ScheduleOptions {
  /** Never rejects. False: try again later. */
  readonly work: (key: string) => Promise<boolean>;
  readonly clock: Clock;
  /** From 0 to below 1. */
  readonly random: () => number;
  readonly mostAtOnce: number;
  /** Between two starts of the same key. */
  readonly shortestMs: number;
  readonly longestMs: number;
}

interface Entry {
  running: boolean;
  /** Changed while it ran. */
  changed: boolean;
  /** Runs in a row that did not finish. */
  unfinished: number;
  startedMs: number;
  due: boolean;
  cancel: (() => void) | null;
}

export class Schedule {
  readonly #options: ScheduleOptions;
  /** Whose turn was longest ago comes first, or many that wait for a store that is away would keep the others from theirs. */
  readonly #entries = new Map<string, Entry>();
  #running = 0;
  #stopped = false;
  #idle: (() => void) | null = null;

  constructor(options: ScheduleOptions) {
    this.#options = options;
  }

  /** The object has changed. */
  changed(key: string): void {
    if (this.#stopped) return;
    const entry = this.#entries.get(key) ?? {
      running: false,
      changed: false,
      unfinished: 0,
      startedMs: -Infinity,
      due: false,
      cancel: null,
    };
    this.#entries.set(key, entry);
    if (entry.running) entry.changed = true;
    else if (!entry.due) this.#runAfter(key, entry, this.#untilAllowedMs(entry));
  }

  /** Starts nothing more; resolves when nothing runs. */
  async stop(): Promise<void> {
    this.#stopped = true;
    for (const entry of this.#entries.values()) entry.cancel?.();
    this.#entries.clear();
    if (this.#running === 0) return;
    await new Promise<void>((resolve) => {
      this.#idle = resolve;
    });
  }

  #runAfter(key: string, entry: Entry, delayMs: number): void {
    entry.cancel?.();
    entry.cancel = this.#options.clock.after(delayMs, () => {
      entry.cancel = null;
      entry.due = true;
      this.#startDue();
    });
  }

  #startDue(): void {
    for (const [key, entry] of this.#entries) {
      if (this.#running >= this.#options.mostAtOnce) return;
      if (entry.due && !entry.running) void this.#run(key, entry);
    }
  }

  async #run(key: string, entry: Entry): Promise<void> {
    const { work, clock } = this.#options;
    this.#entries.delete(key);
    this.#entries.set(key, entry);
    entry.due = false;
    entry.changed = false;
    entry.running = true;
    entry.startedMs = clock.nowMs();
    this.#running++;
    const finished = await work(key);
    this.#running--;
    entry.running = false;
    if (this.#stopped) {
      if (this.#running === 0) this.#idle?.();
      return;
    }
    entry.unfinished = finished ? 0 : entry.unfinished + 1;
    if (entry.changed) this.#runAfter(key, entry, this.#untilAllowedMs(entry));
    else if (!finished) this.#runAfter(key, entry, this.#backoffMs(entry));
    else this.#entries.delete(key);
    this.#startDue();
  }

  #untilAllowedMs(entry: Entry): number {
    const { shortestMs, clock } = this.#options;
    // The clock may be set back meanwhile.
    return Math.min(shortestMs, Math.max(0, entry.startedMs + shortestMs - clock.nowMs()));
  }

  #backoffMs(entry: Entry): number {
    const { shortestMs, longestMs, random } = this.#options;
    const fullMs = Math.min(longestMs, shortestMs * 2 ** Math.min(entry.unfinished - 1, 20));
    return Math.max(shortestMs, fullMs * (0.5 + random() / 2));
  }
}
