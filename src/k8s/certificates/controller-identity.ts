/**
 * The certificate of a controller: each replica issues its own, in memory, from the Secret that only controllers may read,
 * and issues the next one when two thirds of its life are over or its authority is believed no more. While the Secret is
 * away or damaged, it goes on with what it has.
 */
import { X509Certificate } from 'node:crypto';
import { StoreError } from '../../util/errors.ts';
import { CONTROLLER_TLS_NAME } from '../../util/tls-identity.ts';
import { secrets, type Secret } from '../resources.ts';
import { bundleOf, decodeAuthorities, type AuthorityState } from './authority-state.ts';
import type { IdentityHolder } from './identity-holder.ts';
import { authoritySecretOf, watchOne, type Installation } from './installation.ts';
import { LONGEST_PAUSE_MS, renewalDueMs, validityFrom, type CertificatePolicy } from './policy.ts';
import type { ProblemLog } from './problem-log.ts';
import { RenewedIdentity } from './renewed-identity.ts';
import { generateKey, isIssuedByOneOf, issueCertificate, keyToPem, parseCertificates, type KeyAndCertificate } from './x509.ts';

export interface ControllerIdentityOptions extends Installation {
  readonly policy: CertificatePolicy;
}

/** Renewed from now on, until it is stopped. */
export function createControllerIdentity(options: ControllerIdentityOptions): RenewedIdentity {
  const key = authoritySecretOf(options);
  const informer = watchOne(options.api, secrets, key);
  const issuer = new ControllerIssuer(options);
  return new RenewedIdentity({
    ...options,
    subject: 'the certificate of this controller',
    informer,
    renew: (holder, problem) => issuer.renew(informer.get(key), holder, problem),
  });
}

class ControllerIssuer {
  readonly #options: ControllerIdentityOptions;
  #own: KeyAndCertificate | null = null;

  constructor(options: ControllerIdentityOptions) {
    this.#options = options;
  }

  /** Answers in how many milliseconds it is due again. */
  renew(secret: Secret | null, holder: IdentityHolder, problem: ProblemLog): number {
    if (secret === null) {
      const { namespace, name } = authoritySecretOf(this.#options);
      throw new StoreError('unavailable', `there is no Secret ${namespace}/${name} yet: the controller that leads makes it`);
    }
    const state = decodeAuthorities(secret);
    if (this.#own === null || this.#isOutdated(this.#own, state)) this.#own = this.#issue(state);
    holder.set({ ...this.#own, bundle: bundleOf(state) });
    problem.solved();
    return Math.min(renewalDueMs(new X509Certificate(this.#own.certificate)) - this.#options.clock.nowMs(), LONGEST_PAUSE_MS);
  }

  #isOutdated(own: KeyAndCertificate, state: AuthorityState): boolean {
    const certificate = new X509Certificate(own.certificate);
    const isDue = this.#options.clock.nowMs() >= renewalDueMs(certificate);
    return isDue || !isIssuedByOneOf(certificate, parseCertificates(bundleOf(state)));
  }

  #issue(state: AuthorityState): KeyAndCertificate {
    const { clock, policy } = this.#options;
    const { publicKey, privateKey } = generateKey();
    const validity = validityFrom(clock.nowMs(), policy.controllerLifetimeMs, policy);
    const certificate = issueCertificate(state.current, { dnsName: CONTROLLER_TLS_NAME, purpose: 'clientAuth', publicKey, validity });
    return { certificate, key: keyToPem(privateKey) };
  }
}
