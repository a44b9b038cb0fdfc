/**
 * The certificate of a controller: each replica issues its own, in memory, from the Secret that only controllers may read,
 * and issues the next one when two thirds of its life are over or its authority is believed no more. While the Secret is
 * away or damaged, it goes on with what it has.
 */
import { X509Certificate } from 'node:crypto';
import type { Clock } from '../../util/clock.ts';
import { StoreError } from '../../util/errors.ts';
import type { Logger } from '../../util/log.ts';
import { Recurring } from '../../util/recurring.ts';
import { CONTROLLER_TLS_NAME, type TlsIdentity, type TlsMaterial } from '../../util/tls-identity.ts';
import type { Informer, KubernetesApi } from '../api.ts';
import { secrets, type Secret } from '../resources.ts';
import { authoritySecretName, watchOne } from './authority.ts';
import { bundleOf, decodeAuthorities, type AuthorityState, type NamespacedName } from './authority-state.ts';
import { IdentityHolder } from './identity-holder.ts';
import { LONGEST_PAUSE_MS, renewalDueMs, validityFrom, type CertificatePolicy } from './policy.ts';
import { ProblemLog } from './problem-log.ts';
import { generateKey, isIssuedByOneOf, issueCertificate, keyToPem, parseCertificates, type KeyAndCertificate } from './x509.ts';

const RETRY_MS = { first: 1_000, most: 60_000 };

export class ControllerIdentity implements TlsIdentity {
  readonly #clock: Clock;
  readonly #policy: CertificatePolicy;
  readonly #key: NamespacedName;
  readonly #informer: Informer<Secret>;
  readonly #holder: IdentityHolder;
  readonly #problem: ProblemLog;
  readonly #recurring: Recurring;
  /** The informer knows what there is. */
  #listed = false;
  #own: KeyAndCertificate | null = null;

  constructor(options: {
    readonly api: KubernetesApi;
    readonly namespace: string;
    readonly release: string;
    readonly policy: CertificatePolicy;
    readonly clock: Clock;
    readonly log: Logger;
  }) {
    const { api, namespace, release, policy, clock, log } = options;
    this.#clock = clock;
    this.#policy = policy;
    this.#key = { namespace, name: authoritySecretName(release) };
    this.#holder = new IdentityHolder({ log });
    this.#problem = new ProblemLog({ log, subject: 'the certificate of this controller' });
    this.#informer = watchOne(api, secrets, this.#key);
    this.#recurring = new Recurring({
      clock,
      action: () => Promise.resolve().then(() => this.#run()),
      onError: (error) => void this.#problem.found(error),
      retryMs: RETRY_MS,
    });
    this.#informer.onChange(() => this.#recurring.poke());
    void this.#informer.ready.then(() => {
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

  #run(): number {
    if (!this.#listed) return LONGEST_PAUSE_MS;
    const secret = this.#informer.get(this.#key);
    if (secret === null) {
      throw new StoreError(
        'unavailable',
        `there is no Secret ${this.#key.namespace}/${this.#key.name} yet: the controller that leads makes it`,
      );
    }
    const state = decodeAuthorities(secret);
    if (this.#own === null || this.#isOutdated(this.#own, state)) this.#own = this.#issue(state);
    this.#holder.set({ ...this.#own, bundle: bundleOf(state) });
    this.#problem.solved();
    return Math.min(renewalDueMs(new X509Certificate(this.#own.certificate)) - this.#clock.nowMs(), LONGEST_PAUSE_MS);
  }

  #isOutdated(own: KeyAndCertificate, state: AuthorityState): boolean {
    const certificate = new X509Certificate(own.certificate);
    return this.#clock.nowMs() >= renewalDueMs(certificate) || !isIssuedByOneOf(certificate, parseCertificates(bundleOf(state)));
  }

  #issue(state: AuthorityState): KeyAndCertificate {
    const { publicKey, privateKey } = generateKey();
    const validity = validityFrom(this.#clock.nowMs(), this.#policy.controllerLifetimeMs, this.#policy);
    const certificate = issueCertificate(state.current, { dnsName: CONTROLLER_TLS_NAME, purpose: 'clientAuth', publicKey, validity });
    return { certificate, key: keyToPem(privateKey) };
  }
}
