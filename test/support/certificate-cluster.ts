/**
 * A cluster as far as certificates go: an API, a clock, and the parts that make, sign and carry certificates, which can be
 * killed and started again. Requests get what the API server adds: who asks, and from which node.
 */
import { X509Certificate } from 'node:crypto';
import { AuthorityKeeper, AuthoritySteps } from '../../src/k8s/certificates/authority.ts';
import { decodeAuthorities, type AuthorityState } from '../../src/k8s/certificates/authority-state.ts';
import { createControllerIdentity } from '../../src/k8s/certificates/controller-identity.ts';
import { BUNDLE_KEY } from '../../src/k8s/certificates/installation.ts';
import type { CertificatePolicy } from '../../src/k8s/certificates/policy.ts';
import type { RenewedIdentity } from '../../src/k8s/certificates/renewed-identity.ts';
import { STORE_SIGNER_NAME, STORE_USAGES } from '../../src/k8s/certificates/request-checks.ts';
import { createRequest } from '../../src/k8s/certificates/requests.ts';
import { CertificateSigner } from '../../src/k8s/certificates/signer.ts';
import { createStoreIdentity } from '../../src/k8s/certificates/store-identity.ts';
import { generateKey, isIssuedByOneOf, parseCertificates } from '../../src/k8s/certificates/x509.ts';
import type { KubernetesApi } from '../../src/k8s/api.ts';
import {
  certificateSigningRequests,
  chunkStorePools,
  configMaps,
  secrets,
  type CertificateSigningRequest,
} from '../../src/k8s/resources.ts';
import { silentLogger } from '../../src/util/log.ts';
import { poolTlsName, type TlsMaterial } from '../../src/util/tls-identity.ts';
import { FakeKubernetes } from './fake-kubernetes.ts';
import { ManualClock } from './manual-clock.ts';
import { StaleView } from './stale-view.ts';

export const MINUTE_MS = 60_000;
export const HOUR_MS = 60 * MINUTE_MS;
export const DAY_MS = 24 * HOUR_MS;

/** As the real one, but an authority's life takes days, not years. */
export const TEST_POLICY: CertificatePolicy = {
  authorityLifetimeMs: 20 * DAY_MS,
  rotateAfterMs: 10 * DAY_MS,
  propagationMs: 6 * HOUR_MS,
  storeLifetimeMs: 2 * DAY_MS,
  controllerLifetimeMs: DAY_MS,
  backdateMs: 10 * MINUTE_MS,
};

const log = silentLogger();
const names = { namespace: 'storage', release: 'demo' };
export const SECRET = { namespace: names.namespace, name: 'demo-ca' };
export const BUNDLE = { namespace: names.namespace, name: 'demo-ca-bundle' };
export const STORE_USER = 'system:serviceaccount:storage:demo-store';

export class CertificateCluster {
  readonly policy: CertificatePolicy;
  readonly clock: ManualClock;
  readonly kubernetes: FakeKubernetes = new FakeKubernetes({ now: () => this.clock.nowMs() });
  readonly problems: (string | null)[] = [];
  readonly #running = new Set<{ stop(): Promise<void> }>();
  #requests = 0;

  /** Begins in the year 2025 unless told otherwise. */
  constructor(options: { readonly policy?: CertificatePolicy; readonly startMs?: number } = {}) {
    this.clock = new ManualClock(options.startMs);
    this.policy = options.policy ?? TEST_POLICY;
  }

  steps(): AuthoritySteps {
    return new AuthoritySteps({ api: this.kubernetes, ...names, policy: this.policy, clock: this.clock, log });
  }

  keeper(): AuthorityKeeper {
    const onProblem = (problem: string | null): void => void this.problems.push(problem);
    return this.#started(new AuthorityKeeper({ api: this.kubernetes, ...names, policy: this.policy, clock: this.clock, log, onProblem }));
  }

  signer(): CertificateSigner {
    return this.#started(
      new CertificateSigner({
        api: this.kubernetes,
        ...names,
        storeServiceAccount: 'demo-store',
        policy: this.policy,
        clock: this.clock,
        log,
      }),
    );
  }

  controller(view = new StaleView()): RenewedIdentity {
    return this.#started(
      createControllerIdentity({ api: view.of(this.kubernetes), ...names, policy: this.policy, clock: this.clock, log }),
    );
  }

  /** On the node, with the pool's resource. */
  store(poolId: string, node: string, view = new StaleView()): RenewedIdentity {
    this.addPool(poolId, node);
    return this.#started(createStoreIdentity({ api: view.of(asUser(this.kubernetes, node)), ...names, poolId, clock: this.clock, log }));
  }

  addPool(poolId: string, node: string): void {
    if (this.kubernetes.object(chunkStorePools, { name: poolId }) === null) {
      this.kubernetes.seed(chunkStorePools, { metadata: { name: poolId }, spec: { node } });
    }
  }

  /** Without a last word. */
  async kill(part: { stop(): Promise<void> }): Promise<void> {
    this.#running.delete(part);
    await part.stop();
  }

  async end(): Promise<void> {
    await Promise.all([...this.#running].map((part) => part.stop()));
  }

  async pass(ms = 0): Promise<void> {
    await this.kubernetes.settle();
    await this.clock.advance(ms);
    await this.kubernetes.settle();
  }

  /** What is in the Secret. */
  authorities(): AuthorityState {
    return decodeAuthorities(this.kubernetes.object(secrets, SECRET)!);
  }

  bundle(): readonly X509Certificate[] {
    return parseCertificates(this.kubernetes.object(configMaps, BUNDLE)?.data?.[BUNDLE_KEY] ?? '');
  }

  requests(): readonly CertificateSigningRequest[] {
    return this.kubernetes.objects(certificateSigningRequests);
  }

  /** A request as a store makes it, but for what is given. */
  addRequest(
    poolId: string,
    changes: {
      readonly pem?: string;
      readonly spec?: Partial<CertificateSigningRequest['spec']>;
      readonly status?: CertificateSigningRequest['status'];
    } = {},
  ): string {
    const name = `request-${++this.#requests}`;
    const pem = changes.pem ?? createRequest({ dnsName: poolTlsName(poolId), ...generateKey() });
    this.kubernetes.seed(certificateSigningRequests, {
      metadata: { name },
      spec: {
        request: Buffer.from(pem).toString('base64'),
        signerName: STORE_SIGNER_NAME,
        usages: [...STORE_USAGES],
        username: STORE_USER,
        extra: extraOf('node-a'),
        ...changes.spec,
      },
      ...(changes.status && { status: changes.status }),
    });
    return name;
  }

  request(name: string): CertificateSigningRequest {
    return this.kubernetes.object(certificateSigningRequests, { name })!;
  }

  /** The certificate that a request got; null when it got none. */
  certificateOf(name: string): X509Certificate | null {
    const encoded = this.request(name).status?.certificate;
    return encoded === undefined ? null : new X509Certificate(Buffer.from(encoded, 'base64'));
  }

  #started<Part extends { stop(): Promise<void> }>(part: Part): Part {
    this.#running.add(part);
    return part;
  }
}

export function extraOf(node: string): Readonly<Record<string, readonly string[]>> {
  return { 'authentication.kubernetes.io/node-name': [node] };
}

/** Whether this one believes what the other one shows. */
export function believes(self: TlsMaterial, other: TlsMaterial, nowMs: number): boolean {
  const key = self.bundle + other.certificate;
  const known = beliefs.get(key) ?? belief(self, other);
  beliefs.set(key, known);
  return known.isIssued && known.fromMs <= nowMs && nowMs < known.toMs;
}

/** Remembered, because tests ask again and again. */
const beliefs = new Map<string, ReturnType<typeof belief>>();

function belief(self: TlsMaterial, other: TlsMaterial) {
  const certificate = new X509Certificate(other.certificate);
  const isIssued = isIssuedByOneOf(certificate, parseCertificates(self.bundle));
  return { isIssued, fromMs: certificate.validFromDate.getTime(), toMs: certificate.validToDate.getTime() };
}

/** The API as a store on this node sees it: the server adds to its requests who it is. */
function asUser(kubernetes: FakeKubernetes, node: string): KubernetesApi {
  return {
    get: (resource, key) => kubernetes.get(resource, key),
    list: (resource, selection) => kubernetes.list(resource, selection),
    create: (resource, object) => {
      const { spec } = object as unknown as CertificateSigningRequest;
      return kubernetes.create(resource, { ...object, spec: { ...spec, username: STORE_USER, extra: extraOf(node) } });
    },
    replace: (resource, object) => kubernetes.replace(resource, object),
    replaceStatus: (resource, object) => kubernetes.replaceStatus(resource, object),
    patch: (resource, key, patch, options) => kubernetes.patch(resource, key, patch, options),
    delete: (resource, key, options) => kubernetes.delete(resource, key, options),
    watch: (resource, selection) => kubernetes.watch(resource, selection),
  };
}
