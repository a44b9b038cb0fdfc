/**
 * Foretells flushes by what came before them: how many writes land between one and the next. Who writes and flushes by
 * turns (a database's log, a journal's commit block) is found out after a few turns, and the sync for the next flush can
 * begin when the last of those writes lands, while its answer and the flush are still on their way.
 *
 * Each run of writes is foretold by the run before it, so that two lengths that alternate are learnt too: a journal's
 * blocks, then its commit block. A wrong guess costs a sync that nobody asked for, and the flush may have to wait for it;
 * the run must then come more often in a row before it is foretold again, so that a pattern that is broken each time it has
 * been learnt is left alone.
 */

/** Runs of so many writes or more are not told apart, and never foretold. */
const LONGEST_RUN = 16;
/** A run must have followed another of its kind so often before it is foretold. */
const TIMES_TO_LEARN = 3;
/** So many times more often after each wrong guess, up to a limit. */
const DISTRUST = 4;
const MOST_TIMES = 48;

export class FlushForecast {
  /** By the length of a run: the length of the one after it, how often that came in a row, and how often it must. */
  readonly #next = new Uint8Array(LONGEST_RUN + 1);
  readonly #times = new Uint8Array(LONGEST_RUN + 1);
  readonly #needed = new Uint8Array(LONGEST_RUN + 1);
  readonly #timesToLearn: number;
  #last = 0;
  #flushedAt = 0;
  #guessedAt = 0;

  /** @param timesToLearn with 0 a flush is always due */
  constructor(timesToLearn: number = TIMES_TO_LEARN) {
    this.#timesToLearn = timesToLearn;
    this.#needed.fill(timesToLearn);
  }

  /** A flush came when so many writes had landed, counted from anywhere. */
  flushed(landed: number): void {
    const run = Math.min(landed - this.#flushedAt, LONGEST_RUN);
    const last = this.#last;
    if (this.#guessedAt > this.#flushedAt) this.#judge(last, this.#guessedAt === landed);
    if (this.#next[last] === run) this.#times[last] = Math.min(this.#times[last]! + 1, MOST_TIMES);
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
    if (this.#timesToLearn === 0) return run > 0;
    return run > 0 && run < LONGEST_RUN && this.#next[last] === run && this.#times[last]! >= this.#needed[last]!;
  }

  /** It was due, and is relied on. */
  guessed(landed: number): void {
    this.#guessedAt = landed;
  }

  #judge(last: number, wasRight: boolean): void {
    const needed = this.#needed[last]!;
    this.#needed[last] = wasRight ? Math.max(needed - 1, this.#timesToLearn) : Math.min(needed * DISTRUST, MOST_TIMES);
  }
}
