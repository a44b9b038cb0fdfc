/**
 * The certificate of a store: a key in memory, a CertificateSigningRequest for it, and the certificate that the controller
 * signs; anew when two thirds of its life are over or its authority is believed no more. Whom the store believes is in the
 * ConfigMap of the bundle.
 *
 * The store serves its unix socket whether or not there is a certificate: nothing here ever fails it. Requests are not
 * deleted: the right to do so could not be confined to a store's own, and the cluster collects them (after an hour, when
 * nobody answered after a day).
 */
import { createHash, createPrivateKey, X509Certificate } from 'node:crypto';
import type { Clock } from '../../util/clock.ts';
import { StoreError } from '../../util/errors.ts';
import type { Logger } from '../../util/log.ts';
import { poolTlsName } from '../../util/tls-identity.ts';
import type { KubernetesApi } from '../api.ts';
import { certificateSigningRequests, configMaps, type CertificateSigningRequest, type ConfigMap } from '../resources.ts';
import type { IdentityHolder } from './identity-holder.ts';
import { BUNDLE_KEY, bundleConfigMapOf, watchOne, type Installation, type NamespacedName } from './installation.ts';
import { LONGEST_PAUSE_MS, renewalDueMs } from './policy.ts';
import type { ProblemLog } from './problem-log.ts';
import { RenewedIdentity } from './renewed-identity.ts';
import { createRequest } from './requests.ts';
import { STORE_SIGNER_NAME, STORE_USAGES } from './request-checks.ts';
import { generateKey, isIssuedByOneOf, keyToPem, parseCertificates, publicKeyInfo, type KeyAndCertificate } from './x509.ts';

/** Between looks at a request: a tenth of the time that it has been waiting, within these bounds. */
const POLL_MS = { least: 200, most: 10_000 };
/** From then on the wait is a problem worth telling. */
const LONG_WAIT_MS = 30_000;
/** Between one request and the next, so that neither a bundle that comes late nor a refusal makes a flood of them. */
const BETWEEN_REQUESTS_MS = { afterGrant: 5_000, afterRefusal: 30_000 };

interface PendingRequest {
  readonly name: string;
  readonly key: string;
  readonly request: string;
  readonly sinceMs: number;
  created: boolean;
}

export interface StoreIdentityOptions extends Installation {
  readonly poolId: string;
}

/** Renewed from now on, until it is stopped. */
export function createStoreIdentity(options: StoreIdentityOptions): RenewedIdentity {
  const key = bundleConfigMapOf(options);
  const informer = watchOne(options.api, configMaps, key);
  const applicant = new StoreApplicant(options);
  return new RenewedIdentity({
    ...options,
    subject: 'the certificate of this store',
    informer,
    renew: (holder, problem) => applicant.renew(informer.get(key), holder, problem),
  });
}

class StoreApplicant {
  readonly #api: KubernetesApi;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #poolId: string;
  readonly #bundleKey: NamespacedName;
  /** The last one that could be read. */
  #bundle: { readonly pem: string; readonly authorities: readonly X509Certificate[] } | null = null;
  #own: KeyAndCertificate | null = null;
  #pending: PendingRequest | null = null;
  #nextRequestMs = 0;

  constructor(options: StoreIdentityOptions) {
    this.#api = options.api;
    this.#clock = options.clock;
    this.#log = options.log;
    this.#poolId = options.poolId;
    this.#bundleKey = bundleConfigMapOf(options);
  }

  /** Answers in how many milliseconds it is due again. */
  async renew(published: ConfigMap | null, holder: IdentityHolder, problem: ProblemLog): Promise<number> {
    this.#readBundle(published);
    this.#tell(holder);
    if (!this.#needsCertificate()) return this.#untilRenewal(problem);
    if (this.#pending === null) {
      const pauseMs = this.#nextRequestMs - this.#clock.nowMs();
      if (pauseMs > 0) return pauseMs;
      this.#pending = this.#newRequest();
    }
    const certificate = await this.#ask(this.#pending);
    if (certificate === null) return this.#untilNextLook(this.#pending, problem);
    this.#own = { certificate, key: this.#pending.key };
    this.#endRequest({ pauseMs: BETWEEN_REQUESTS_MS.afterGrant });
    this.#tell(holder);
    problem.solved();
    this.#log.info({ until: new X509Certificate(certificate).validToDate.toISOString() }, 'this store has a new certificate');
    return this.#needsCertificate() ? BETWEEN_REQUESTS_MS.afterGrant : this.#untilRenewal(problem);
  }

  /** A bundle that is away or damaged changes nothing: the controller that leads repairs it. */
  #readBundle(published: ConfigMap | null): void {
    const pem = published?.data?.[BUNDLE_KEY];
    if (pem === undefined || pem === this.#bundle?.pem) return;
    try {
      const authorities = parseCertificates(pem);
      if (authorities.length > 0) this.#bundle = { pem, authorities };
    } catch (error) {
      this.#log.warn(
        { err: error, configMap: this.#bundleKey.name },
        'the bundle of certificate authorities cannot be read; the former one stays',
      );
    }
  }

  #tell(holder: IdentityHolder): void {
    if (this.#own !== null && this.#bundle !== null) holder.set({ ...this.#own, bundle: this.#bundle.pem });
  }

  #needsCertificate(): boolean {
    if (this.#own === null) return true;
    const certificate = new X509Certificate(this.#own.certificate);
    if (this.#clock.nowMs() >= renewalDueMs(certificate)) return true;
    return this.#bundle !== null && !isIssuedByOneOf(certificate, this.#bundle.authorities);
  }

  #untilRenewal(problem: ProblemLog): number {
    const { namespace, name } = this.#bundleKey;
    if (this.#bundle === null) {
      throw new StoreError(
        'unavailable',
        `there is no bundle in the ConfigMap ${namespace}/${name} yet: the controller that leads makes it`,
      );
    }
    problem.solved();
    return Math.min(renewalDueMs(new X509Certificate(this.#own!.certificate)) - this.#clock.nowMs(), LONGEST_PAUSE_MS);
  }

  #newRequest(): PendingRequest {
    const pair = generateKey();
    // The name is made from the key, so one that exists already is this one, created by a call whose answer was lost.
    const digest = createHash('sha256').update(publicKeyInfo(pair.publicKey)).digest('hex').slice(0, 12);
    return {
      name: `chunkstore-${this.#poolId}-${digest}`,
      key: keyToPem(pair.privateKey),
      request: createRequest({ dnsName: poolTlsName(this.#poolId), ...pair }),
      sinceMs: this.#clock.nowMs(),
      created: false,
    };
  }

  /** The certificate, or null while nobody has answered. */
  async #ask(pending: PendingRequest): Promise<string | null> {
    if (!pending.created) await this.#create(pending);
    const request = await this.#api.get(certificateSigningRequests, { name: pending.name });
    if (request === null) {
      this.#endRequest({ pauseMs: BETWEEN_REQUESTS_MS.afterRefusal });
      throw new StoreError(
        'unavailable',
        `the CertificateSigningRequest ${pending.name} is gone before it was answered; another will be made`,
      );
    }
    const refusal = request.status?.conditions?.find(({ type }) => type === 'Denied' || type === 'Failed');
    if (refusal !== undefined) {
      this.#endRequest({ pauseMs: BETWEEN_REQUESTS_MS.afterRefusal });
      throw new StoreError(
        'failed-precondition',
        `the CertificateSigningRequest of this store was refused (${refusal.reason ?? refusal.type}): ${refusal.message ?? 'no reason given'}`,
      );
    }
    const encoded = request.status?.certificate;
    if (encoded === undefined || encoded === '') return null;
    return this.#checked(Buffer.from(encoded, 'base64').toString('utf8'), pending);
  }

  async #create(pending: PendingRequest): Promise<void> {
    const object: CertificateSigningRequest = {
      metadata: { name: pending.name, labels: { 'app.kubernetes.io/name': 'chunkstore' } },
      spec: { request: Buffer.from(pending.request).toString('base64'), signerName: STORE_SIGNER_NAME, usages: STORE_USAGES },
    };
    try {
      await this.#api.create(certificateSigningRequests, object);
    } catch (error) {
      if (!(error instanceof StoreError && error.code === 'already-exists')) throw error;
    }
    pending.created = true;
  }

  #checked(pem: string, pending: PendingRequest): string {
    let fits = false;
    try {
      const [certificate] = parseCertificates(pem);
      fits =
        certificate !== undefined &&
        certificate.checkPrivateKey(createPrivateKey(pending.key)) &&
        certificate.subjectAltName === `DNS:${poolTlsName(this.#poolId)}` &&
        certificate.validToDate.getTime() > this.#clock.nowMs();
    } catch {
      // Not readable: it does not fit.
    }
    if (fits) return pem;
    this.#endRequest({ pauseMs: BETWEEN_REQUESTS_MS.afterRefusal });
    throw new StoreError(
      'failed-precondition',
      `the certificate in ${pending.name} is not what this store asked for; another will be asked for`,
    );
  }

  #endRequest({ pauseMs }: { readonly pauseMs: number }): void {
    this.#pending = null;
    this.#nextRequestMs = this.#clock.nowMs() + pauseMs;
  }

  #untilNextLook(pending: PendingRequest, problem: ProblemLog): number {
    const waitedMs = this.#clock.nowMs() - pending.sinceMs;
    if (waitedMs > LONG_WAIT_MS) {
      const why = `the CertificateSigningRequest ${pending.name} is not answered yet: does a controller run, and does one lead?`;
      problem.found(new StoreError('unavailable', why));
    }
    return Math.min(Math.max(waitedMs / 10, POLL_MS.least), POLL_MS.most);
  }
}
