/**
 * The TLS identity of a process that renews it for as long as it runs: whenever the object changes that it is made from,
 * when it is due, and again soon after a failure. While it cannot be renewed, it stays what it was.
 */
import type { Clock } from '../../util/clock.ts';
import type { Logger } from '../../util/log.ts';
import { Recurring } from '../../util/recurring.ts';
import type { TlsIdentity, TlsMaterial } from '../../util/tls-identity.ts';
import type { Informer, KubernetesObject } from '../api.ts';
import { IdentityHolder } from './identity-holder.ts';
import { LONGEST_PAUSE_MS } from './policy.ts';
import { ProblemLog } from './problem-log.ts';

const RETRY_MS = { first: 1_000, most: 60_000 };

export class RenewedIdentity implements TlsIdentity {
  readonly #informer: Informer<KubernetesObject>;
  readonly #holder: IdentityHolder;
  readonly #problem: ProblemLog;
  readonly #recurring: Recurring;
  /** The informer knows what there is. */
  #listed = false;

  constructor(options: {
    /** Begins the lines of the log, for instance "the certificate of this store". */
    readonly subject: string;
    /** Of the object that the identity is made from; closed by `stop`. */
    readonly informer: Informer<KubernetesObject>;
    /** Gives the holder what there is, and says when all is well. Answers in how many milliseconds it is due again at the
     * latest; what it throws is told as the problem. Never called before the informer is ready. */
    readonly renew: (holder: IdentityHolder, problem: ProblemLog) => number | Promise<number>;
    readonly clock: Clock;
    readonly log: Logger;
  }) {
    const { subject, informer, renew, clock, log } = options;
    this.#informer = informer;
    this.#holder = new IdentityHolder({ log });
    this.#problem = new ProblemLog({ log, subject });
    this.#recurring = new Recurring({
      clock,
      action: async () => (this.#listed ? await renew(this.#holder, this.#problem) : LONGEST_PAUSE_MS),
      onError: (error) => void this.#problem.found(error),
      retryMs: RETRY_MS,
    });
    informer.onChange(() => this.#recurring.poke());
    void informer.ready.then(() => {
      this.#listed = true;
      this.#recurring.poke();
    });
  }

  current(): TlsMaterial | null {
    return this.#holder.current();
  }

  onChange(listener: () => void): () => void {
    return this.#holder.onChange(listener);
  }

  /** Why there is no certificate, or soon will be none; null when all is well. */
  problem(): string | null {
    return this.#problem.current ?? (this.current() === null ? 'there is no certificate yet' : null);
  }

  async stop(): Promise<void> {
    this.#informer.close();
    await this.#recurring.stop();
  }
}
