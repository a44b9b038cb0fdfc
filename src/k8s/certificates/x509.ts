/**
 * Writes X.509 certificates (RFC 5280): authorities, and the certificates that they issue. Keys are ECDSA P-256, signatures
 * ECDSA with SHA-256. Reading and verifying is left to node:crypto and TLS.
 */
import { createHash, createPrivateKey, generateKeyPairSync, randomBytes, sign, X509Certificate, type KeyObject } from 'node:crypto';
import { assert } from '../../util/assert.ts';
import { StoreError } from '../../util/errors.ts';
import { bitString, contextTag, decodeAll, decodeParts, encode, objectIdentifier, sequence, TAG, time, unsignedInteger } from './der.ts';

const OID = {
  commonName: '2.5.4.3',
  ecdsaWithSha256: '1.2.840.10045.4.3.2',
  subjectKeyIdentifier: '2.5.29.14',
  keyUsage: '2.5.29.15',
  subjectAltName: '2.5.29.17',
  basicConstraints: '2.5.29.19',
  authorityKeyIdentifier: '2.5.29.35',
  extendedKeyUsage: '2.5.29.37',
  serverAuth: '1.3.6.1.5.5.7.3.1',
  clientAuth: '1.3.6.1.5.5.7.3.2',
} as const;

export type Purpose = 'serverAuth' | 'clientAuth';

export interface Validity {
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
}

export interface KeyAndCertificate {
  /** PEM. */
  readonly certificate: string;
  /** PEM (PKCS #8). */
  readonly key: string;
}

export interface KeyPair {
  readonly publicKey: KeyObject;
  readonly privateKey: KeyObject;
}

/** Takes a tenth of a millisecond. */
export function generateKey(): KeyPair {
  return generateKeyPairSync('ec', { namedCurve: 'P-256' });
}

export function keyToPem(key: KeyObject): string {
  return key.export({ type: 'pkcs8', format: 'pem' }).toString();
}

export function isP256(key: KeyObject): boolean {
  return key.asymmetricKeyType === 'ec' && key.asymmetricKeyDetails?.namedCurve === 'prime256v1';
}

/** A new authority that may issue certificates for ends, not for further authorities. */
export function createAuthority(options: { readonly name: string; readonly validity: Validity }): KeyAndCertificate {
  const { publicKey, privateKey } = generateKey();
  const subject = nameOf(options.name);
  const certificate = signCertificate(privateKey, {
    issuer: subject,
    subject,
    validity: options.validity,
    publicKey,
    extensions: [
      extension(OID.basicConstraints, 'critical', sequence(encode(0x01, Buffer.from([0xff])), unsignedInteger(Buffer.from([0])))),
      // keyCertSign: bit 5, so two bits of the octet are unused.
      extension(OID.keyUsage, 'critical', encode(TAG.bitString, Buffer.from([2, 0x04]))),
      extension(OID.subjectKeyIdentifier, 'optional', encode(TAG.octetString, keyIdentifier(publicKey))),
    ],
  });
  return { certificate, key: keyToPem(privateKey) };
}

export interface Issuance {
  /** The one name that the certificate is for. */
  readonly dnsName: string;
  readonly purpose: Purpose;
  readonly publicKey: KeyObject;
  /** Cut to that of the authority. */
  readonly validity: Validity;
}

/** Issues a certificate for one DNS name and one purpose. PEM. Errors: unavailable, when the authority has expired. */
export function issueCertificate(authority: KeyAndCertificate, issuance: Issuance): string {
  const { dnsName, purpose, publicKey, validity } = issuance;
  const issuer = new X509Certificate(authority.certificate);
  const notBeforeMs = Math.max(validity.notBeforeMs, issuer.validFromDate.getTime());
  const notAfterMs = Math.min(validity.notAfterMs, issuer.validToDate.getTime());
  if (notBeforeMs >= notAfterMs) {
    throw new StoreError('unavailable', 'the certificate authority has expired; the controller that leads makes another');
  }
  return signCertificate(createPrivateKey(authority.key), {
    issuer: subjectOf(issuer),
    subject: nameOf(dnsName),
    validity: { notBeforeMs, notAfterMs },
    publicKey,
    extensions: [
      extension(OID.basicConstraints, 'critical', sequence()),
      // digitalSignature: bit 0, so seven bits of the octet are unused.
      extension(OID.keyUsage, 'critical', encode(TAG.bitString, Buffer.from([7, 0x80]))),
      extension(OID.extendedKeyUsage, 'optional', sequence(objectIdentifier(OID[purpose]))),
      subjectAltName(dnsName),
      extension(OID.authorityKeyIdentifier, 'optional', sequence(encode(contextTag(0, 'primitive'), keyIdentifier(issuer.publicKey)))),
    ],
  });
}

function signCertificate(
  signingKey: KeyObject,
  parts: {
    readonly issuer: Buffer;
    readonly subject: Buffer;
    readonly validity: Validity;
    readonly publicKey: KeyObject;
    readonly extensions: readonly Buffer[];
  },
): string {
  const { notBeforeMs, notAfterMs } = parts.validity;
  assert(notBeforeMs < notAfterMs, 'a certificate is valid for some time');
  const version3 = encode(contextTag(0, 'constructed'), unsignedInteger(Buffer.from([2])));
  const toBeSigned = sequence(
    version3,
    unsignedInteger(randomBytes(16)),
    SIGNATURE_ALGORITHM,
    parts.issuer,
    sequence(time(notBeforeMs), time(notAfterMs)),
    parts.subject,
    publicKeyInfo(parts.publicKey),
    encode(contextTag(3, 'constructed'), sequence(...parts.extensions)),
  );
  return toPem('CERTIFICATE', signed(toBeSigned, signingKey));
}

const SIGNATURE_ALGORITHM = sequence(objectIdentifier(OID.ecdsaWithSha256));

/** What is signed, with algorithm and signature: the outermost form of certificates and of requests. */
export function signed(content: Buffer, key: KeyObject): Buffer {
  return sequence(content, SIGNATURE_ALGORITHM, bitString(sign('sha256', content, key)));
}

export function publicKeyInfo(key: KeyObject): Buffer {
  return key.export({ type: 'spki', format: 'der' });
}

/** The name "CN=text". */
export function nameOf(text: string): Buffer {
  return sequence(encode(TAG.set, sequence(objectIdentifier(OID.commonName), encode(TAG.utf8String, Buffer.from(text, 'utf8')))));
}

export function subjectAltName(dnsName: string): Buffer {
  const name = encode(contextTag(2, 'primitive'), Buffer.from(dnsName, 'ascii'));
  return extension(OID.subjectAltName, 'optional', sequence(name));
}

function extension(oid: string, kind: 'critical' | 'optional', value: Buffer): Buffer {
  const critical = kind === 'critical' ? [encode(0x01, Buffer.from([0xff]))] : [];
  return sequence(objectIdentifier(oid), ...critical, encode(TAG.octetString, value));
}

/** RFC 5280, 4.2.1.2 (1): the SHA-1 of the key's bits; it identifies, it does not protect. */
function keyIdentifier(key: KeyObject): Buffer {
  const bits = decodeParts(decodeAll(publicKeyInfo(key))[0], TAG.sequence, 2)[1]!;
  return createHash('sha1').update(bits.content.subarray(1)).digest();
}

/** The subject's own bytes, which the issuer of its certificates must repeat: the sixth part of what is signed. */
function subjectOf(certificate: X509Certificate): Buffer {
  const toBeSigned = decodeParts(decodeAll(certificate.raw)[0], TAG.sequence, 3)[0]!;
  return decodeAll(toBeSigned.content)[5]!.whole;
}

export function toPem(label: string, der: Buffer): string {
  const lines = der.toString('base64').match(/.{1,64}/g) ?? [];
  return [`-----BEGIN ${label}-----`, ...lines, `-----END ${label}-----`, ''].join('\n');
}

const CERTIFICATE_BLOCK = /-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----/g;

/** The certificates of a PEM text. Throws when one cannot be read. */
export function parseCertificates(pem: string): readonly X509Certificate[] {
  return [...pem.matchAll(CERTIFICATE_BLOCK)].map(([block]) => new X509Certificate(block));
}

/** Whether one of these authorities issued the certificate: by name and by signature. */
export function isIssuedByOneOf(certificate: X509Certificate, authorities: readonly X509Certificate[]): boolean {
  return authorities.some((authority) => certificate.checkIssued(authority) && certificate.verify(authority.publicKey));
}
