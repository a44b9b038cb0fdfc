/** Certificate authorities and identities for tests of TLS. */
import {
  createAuthority,
  generateKey,
  issueCertificate,
  keyToPem,
  type KeyAndCertificate,
  type Purpose,
} from '../../src/k8s/certificates/x509.ts';
import type { TlsIdentity, TlsMaterial } from '../../src/util/tls-identity.ts';

const HOUR_MS = 3_600_000;
let authorities = 0;

export class TestAuthority {
  readonly authority: KeyAndCertificate;

  constructor() {
    const nowMs = Date.now();
    const validity = { notBeforeMs: nowMs - 10 * HOUR_MS, notAfterMs: nowMs + 10 * HOUR_MS };
    this.authority = createAuthority({ name: `test authority ${++authorities}`, validity });
  }

  /** `bundle` is this authority's certificate unless others are given. */
  issue(
    dnsName: string,
    purpose: Purpose,
    options: { readonly bundle?: readonly TestAuthority[]; readonly validForMs?: number; readonly validSinceMs?: number } = {},
  ): TlsMaterial {
    const { bundle = [this], validForMs = HOUR_MS, validSinceMs = HOUR_MS } = options;
    const { publicKey, privateKey } = generateKey();
    const validity = { notBeforeMs: Date.now() - validSinceMs, notAfterMs: Date.now() + validForMs };
    const certificate = issueCertificate(this.authority, { dnsName, purpose, publicKey, validity });
    return { certificate, key: keyToPem(privateKey), bundle: bundle.map(({ authority }) => authority.certificate).join('') };
  }
}

/** Changes when the test says so. */
export class TestIdentity implements TlsIdentity {
  readonly #listeners = new Set<() => void>();
  #material: TlsMaterial | null;

  constructor(material: TlsMaterial | null) {
    this.#material = material;
  }

  current(): TlsMaterial | null {
    return this.#material;
  }

  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  set(material: TlsMaterial | null): void {
    this.#material = material;
    for (const listener of this.#listeners) listener();
  }
}
