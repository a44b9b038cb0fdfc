/**
 * Foretells flushes by what came before them: how many writes land between one and the next. Who writes and flushes by
 * turns (a database's log, a journal's commit block) is found out after a few turns, and the sync for the next flush can
 * begin when the last of those writes lands, while its answer and the flush are still on their way.
 *
 * Each run of writes is foretold by the run before it, so that two lengths that alternate are learnt too: a journal's
 * blocks, then its commit block. A wrong guess costs a sync that nobody asked for, and is unlearnt by the flush after it.
 */

/** Runs of so many writes or more are not told apart, and never foretold. */
const LONGEST_RUN = 16;
/** A run must have followed another of its kind so often before it is foretold. */
const TIMES_TO_LEARN = 3;

export class FlushForecast {
  /** By the length of a run: the length of the one after it, and how often that came in a row. */
  readonly #next = new Uint8Array(LONGEST_RUN + 1);
  readonly #times = new Uint8Array(LONGEST_RUN + 1);
  readonly #timesToLearn: number;
  #last = 0;
  #flushedAt = 0;

  constructor(timesToLearn: number = TIMES_TO_LEARN) {
    this.#timesToLearn = timesToLearn;
  }

  /** A flush came when so many writes had landed, counted from anywhere. */
  flushed(landed: number): void {
    const run = Math.min(landed - this.#flushedAt, LONGEST_RUN);
    const last = this.#last;
    if (this.#next[last] === run) this.#times[last] = Math.min(this.#times[last]! + 1, this.#timesToLearn);
    else {
      this.#next[last] = run;
      this.#times[last] = 1;
    }
    this.#last = run;
    this.#flushedAt = landed;
  }

  /** Whether a flush is likely to be the next thing, now that so many writes have landed. */
  isDue(landed: number): boolean {
    const run = landed - this.#flushedAt;
    const last = this.#last;
    return run > 0 && run < LONGEST_RUN && this.#next[last] === run && this.#times[last]! >= this.#timesToLearn;
  }
}
