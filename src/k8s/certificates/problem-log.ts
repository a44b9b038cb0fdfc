/** Says a lasting problem once, and once that it is over, however often it is found. */
import { StoreError } from '../../util/errors.ts';
import type { Logger } from '../../util/log.ts';

export class ProblemLog {
  readonly #log: Logger;
  readonly #subject: string;
  #current: string | null = null;

  /** `subject` begins both lines, for instance "the certificate of this store". */
  constructor(options: { readonly log: Logger; readonly subject: string }) {
    this.#log = options.log;
    this.#subject = options.subject;
  }

  /** Null: all is well. */
  get current(): string | null {
    return this.#current;
  }

  /** Answers whether it is another one than before. */
  found(error: unknown): boolean {
    const problem = error instanceof Error ? error.message : String(error);
    if (problem === this.#current) return false;
    this.#current = problem;
    if (error instanceof StoreError) this.#log.warn({ code: error.code, reason: problem }, `${this.#subject} has a problem`);
    else this.#log.error({ err: error }, `${this.#subject} has a problem`);
    return true;
  }

  /** Answers whether there was one. */
  solved(): boolean {
    if (this.#current === null) return false;
    this.#current = null;
    this.#log.info(`${this.#subject} has no problem any more`);
    return true;
  }
}
