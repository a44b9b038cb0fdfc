/**
 * What the Secret of the certificate authorities holds, and its form. At most two authorities are there at a time: the one
 * that issues, and beside it either its announced successor or its predecessor, whose key is gone already.
 *
 *     version                     "1"
 *     current.crt, current.key    the authority that issues
 *     next.crt, next.key          its successor, in the bundle already
 *     next.issue-after            since when everybody has seen it; from then on it issues (absent: not published yet)
 *     previous.crt                the predecessor
 *     previous.drop-after         when nothing that it issued is valid any more
 */
import { createPrivateKey, type X509Certificate } from 'node:crypto';
import { StoreError } from '../../util/errors.ts';
import type { Secret } from '../resources.ts';
import { isP256, parseCertificates, type KeyAndCertificate } from './x509.ts';

const VERSION = '1';

export interface AuthorityState {
  readonly current: KeyAndCertificate;
  readonly next: (KeyAndCertificate & { readonly issueAfterMs: number | null }) | null;
  readonly previous: { readonly certificate: string; readonly dropAfterMs: number } | null;
}

/** The certificates that everybody must believe. PEM. */
export function bundleOf(state: AuthorityState): string {
  return [state.current, state.next, state.previous].map((authority) => authority?.certificate ?? '').join('');
}

export function encodeAuthorities(state: AuthorityState): Readonly<Record<string, string>> {
  const { current, next, previous } = state;
  const texts: Record<string, string> = { version: VERSION, 'current.crt': current.certificate, 'current.key': current.key };
  if (next !== null) {
    texts['next.crt'] = next.certificate;
    texts['next.key'] = next.key;
    if (next.issueAfterMs !== null) texts['next.issue-after'] = new Date(next.issueAfterMs).toISOString();
  }
  if (previous !== null) {
    texts['previous.crt'] = previous.certificate;
    texts['previous.drop-after'] = new Date(previous.dropAfterMs).toISOString();
  }
  return Object.fromEntries(Object.entries(texts).map(([name, text]) => [name, Buffer.from(text).toString('base64')]));
}

/** Errors: failed-precondition, with what is wrong and the remedy. Never a word of what is secret. */
export function decodeAuthorities(secret: Secret): AuthorityState {
  const reader = new SecretReader(secret);
  if (reader.required('version') !== VERSION) throw reader.damaged('it is of another version of this driver');
  const current = reader.keyAndCertificate('current');
  const hasNext = reader.optional('next.crt') !== null || reader.optional('next.key') !== null;
  const hasPrevious = reader.optional('previous.crt') !== null;
  if (hasNext && hasPrevious) throw reader.damaged('it holds a next and a previous authority at once');
  return {
    current,
    next: hasNext ? { ...reader.keyAndCertificate('next'), issueAfterMs: reader.time('next.issue-after') } : null,
    previous: hasPrevious
      ? { certificate: reader.certificate('previous.crt').pem, dropAfterMs: reader.requiredTime('previous.drop-after') }
      : null,
  };
}

class SecretReader {
  readonly #secret: Secret;

  constructor(secret: Secret) {
    this.#secret = secret;
  }

  optional(name: string): string | null {
    const encoded = this.#secret.data?.[name];
    return encoded === undefined ? null : Buffer.from(encoded, 'base64').toString('utf8');
  }

  required(name: string): string {
    const text = this.optional(name);
    if (text === null) throw this.damaged(`${name} is missing`);
    return text;
  }

  certificate(name: string): { readonly pem: string; readonly parsed: X509Certificate } {
    const pem = this.required(name);
    let certificates: readonly X509Certificate[];
    try {
      certificates = parseCertificates(pem);
    } catch {
      throw this.damaged(`${name} cannot be read`);
    }
    const [parsed] = certificates;
    if (parsed === undefined || certificates.length > 1) throw this.damaged(`${name} is not one certificate`);
    if (!parsed.ca || !isP256(parsed.publicKey)) throw this.damaged(`${name} is not an authority of this driver`);
    return { pem, parsed };
  }

  keyAndCertificate(name: string): KeyAndCertificate {
    const { pem, parsed } = this.certificate(`${name}.crt`);
    const key = this.required(`${name}.key`);
    if (!fits(parsed, key)) throw this.damaged(`${name}.key is not the key of ${name}.crt`);
    return { certificate: pem, key };
  }

  time(name: string): number | null {
    const text = this.optional(name);
    if (text === null) return null;
    const atMs = Date.parse(text);
    if (Number.isNaN(atMs)) throw this.damaged(`${name} is not a time`);
    return atMs;
  }

  requiredTime(name: string): number {
    this.required(name);
    return this.time(name)!;
  }

  damaged(what: string): StoreError {
    const { namespace = '', name } = this.#secret.metadata;
    return new StoreError(
      'failed-precondition',
      `the Secret ${namespace}/${name} of the certificate authorities is damaged: ${what}. Stores and controllers go on with the ` +
        'certificates that they have until those expire. Restore the Secret from a backup, or delete it: then new authorities are ' +
        'made, and controllers reach stores again as soon as each has a new certificate',
    );
  }
}

function fits(certificate: X509Certificate, key: string): boolean {
  try {
    return certificate.checkPrivateKey(createPrivateKey(key));
  } catch {
    return false;
  }
}
