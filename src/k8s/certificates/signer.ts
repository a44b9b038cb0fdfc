/**
 * Answers the CertificateSigningRequests of stores; runs in the controller that leads. Each is checked, approved, checked
 * again and signed: a crash in between leaves it approved, and whoever leads next signs it. One that a person approved is
 * checked like any other. Requests of other signers are never touched.
 */
import { StoreError } from '../../util/errors.ts';
import { Recurring } from '../../util/recurring.ts';
import type { Informer } from '../api.ts';
import { certificateSigningRequests, chunkStorePools, secrets, type CertificateSigningRequest } from '../resources.ts';
import { timestamp } from '../times.ts';
import { decodeAuthorities, type AuthorityState } from './authority-state.ts';
import { authoritySecretOf, type Installation } from './installation.ts';
import { LONGEST_PAUSE_MS, validityFrom, type CertificatePolicy } from './policy.ts';
import { ProblemLog } from './problem-log.ts';
import { readApplication, refusalByPool, STORE_SIGNER_NAME, type Application, type Refusal } from './request-checks.ts';
import { issueCertificate } from './x509.ts';

const RETRY_MS = { first: 1_000, most: 30_000 };
const WAIT_FOR_POOL_MS = 60_000;
const POOL_POLL_MS = 1_000;

export interface SignerOptions extends Installation {
  /** Name of the service account of the stores, in the same namespace. */
  readonly storeServiceAccount: string;
  readonly policy: CertificatePolicy;
}

export class CertificateSigner {
  readonly #options: SignerOptions;
  readonly #username: string;
  readonly #informer: Informer<CertificateSigningRequest>;
  readonly #problem: ProblemLog;
  readonly #recurring: Recurring;

  constructor(options: SignerOptions) {
    const { api, namespace, storeServiceAccount, clock, log } = options;
    this.#options = options;
    this.#username = `system:serviceaccount:${namespace}:${storeServiceAccount}`;
    this.#problem = new ProblemLog({ log, subject: 'the signing of certificates of stores' });
    this.#informer = api.watch(certificateSigningRequests, { fieldSelector: `spec.signerName=${STORE_SIGNER_NAME}` });
    this.#recurring = new Recurring({
      clock,
      action: (stopping) => this.#answerAll(stopping),
      onError: (error) => void this.#problem.found(error),
      retryMs: RETRY_MS,
    });
    this.#informer.onChange(({ kind, object }) => {
      if (kind === 'set' && isOpen(object)) this.#recurring.poke();
    });
  }

  async stop(): Promise<void> {
    this.#informer.close();
    await this.#recurring.stop();
  }

  /** One that cannot be answered does not hold up the others; it is tried again with the next run. */
  async #answerAll(stopping: AbortSignal): Promise<number> {
    let pauseMs = LONGEST_PAUSE_MS;
    const failures: unknown[] = [];
    for (const request of this.#informer.all().filter(isOpen)) {
      if (stopping.aborted) break;
      try {
        if ((await this.#answer(request)) === 'later') pauseMs = POOL_POLL_MS;
      } catch (error) {
        // Somebody was faster, or it is gone: the informer tells, and it is looked at again.
        if (error instanceof StoreError && (error.code === 'busy' || error.code === 'not-found')) continue;
        failures.push(error);
      }
    }
    if (failures.length > 0) throw failures[0];
    this.#problem.solved();
    return pauseMs;
  }

  async #answer(request: CertificateSigningRequest): Promise<'answered' | 'later'> {
    const { api } = this.#options;
    const application = readApplication(request, { username: this.#username });
    if (application.kind === 'refusal') return await this.#refuse(request, application);
    const pool = await api.get(chunkStorePools, { name: application.poolId });
    if (pool === null && this.#isYoung(request)) return 'later';
    const refusal = refusalByPool(application, pool);
    if (refusal !== null) return await this.#refuse(request, refusal);
    const authorities = await this.#authorities();
    const approved = hasCondition(request, 'Approved') ? request : await this.#approve(request, application);
    return await this.#sign(approved, application, authorities);
  }

  /** A store makes its pool's resource about when it asks for its certificate. */
  #isYoung(request: CertificateSigningRequest): boolean {
    const createdMs = Date.parse(request.metadata.creationTimestamp ?? '');
    return this.#options.clock.nowMs() - createdMs < WAIT_FOR_POOL_MS;
  }

  /** Read each time, so that nothing is ever signed from a Secret that was deleted. */
  async #authorities(): Promise<AuthorityState> {
    const key = authoritySecretOf(this.#options);
    const secret = await this.#options.api.get(secrets, key);
    if (secret === null) {
      throw new StoreError('unavailable', `there is no Secret ${key.namespace}/${key.name} yet to sign certificates with`);
    }
    return decodeAuthorities(secret);
  }

  #approve(request: CertificateSigningRequest, { poolId, node }: Application): Promise<CertificateSigningRequest> {
    const message = `the store on node ${node} asks for pool ${poolId}, which is there`;
    return this.#addCondition(request, { type: 'Approved', reason: 'StoreOfPool', message, subresource: 'approval' });
  }

  async #sign(request: CertificateSigningRequest, application: Application, authorities: AuthorityState): Promise<'answered'> {
    const { api, clock, policy, log } = this.#options;
    const { poolId, node, dnsName, publicKey } = application;
    const askedMs = (request.spec.expirationSeconds ?? Number.POSITIVE_INFINITY) * 1_000;
    const validity = validityFrom(clock.nowMs(), Math.min(policy.storeLifetimeMs, askedMs), policy);
    const certificate = issueCertificate(authorities.current, { dnsName, purpose: 'serverAuth', publicKey, validity });
    await api.patch(
      certificateSigningRequests,
      { name: request.metadata.name },
      { ...unchangedSince(request), status: { certificate: Buffer.from(certificate).toString('base64') } },
      { subresource: 'status' },
    );
    log.info({ request: request.metadata.name, pool: poolId, node }, 'certificate of a store signed');
    return 'answered';
  }

  /** An approved request can no longer be denied; it fails instead. */
  async #refuse(request: CertificateSigningRequest, { reason, message }: Refusal): Promise<'answered'> {
    const { log } = this.#options;
    const approved = hasCondition(request, 'Approved');
    await this.#addCondition(request, {
      type: approved ? 'Failed' : 'Denied',
      reason,
      message,
      subresource: approved ? 'status' : 'approval',
    });
    log.warn({ request: request.metadata.name, user: request.spec.username, reason, message }, 'certificate request refused');
    return 'answered';
  }

  #addCondition(
    request: CertificateSigningRequest,
    condition: {
      readonly type: 'Approved' | 'Denied' | 'Failed';
      readonly reason: string;
      readonly message: string;
      readonly subresource: 'approval' | 'status';
    },
  ): Promise<CertificateSigningRequest> {
    const { type, reason, message, subresource } = condition;
    const lastUpdateTime = timestamp(this.#options.clock.nowMs());
    const conditions = [...(request.status?.conditions ?? []), { type, status: 'True', reason, message, lastUpdateTime }];
    const patch = { ...unchangedSince(request), status: { conditions } };
    return this.#options.api.patch(certificateSigningRequests, { name: request.metadata.name }, patch, { subresource });
  }
}

function unchangedSince({ metadata: { resourceVersion, uid } }: CertificateSigningRequest): object {
  return { metadata: { resourceVersion, uid } };
}

/** Still without an answer from us. */
function isOpen(request: CertificateSigningRequest): boolean {
  if (request.spec.signerName !== STORE_SIGNER_NAME) return false;
  const hasCertificate = (request.status?.certificate ?? '') !== '';
  return !hasCertificate && !hasCondition(request, 'Denied') && !hasCondition(request, 'Failed');
}

function hasCondition(request: CertificateSigningRequest, type: string): boolean {
  return request.status?.conditions?.some((condition) => condition.type === type) ?? false;
}
