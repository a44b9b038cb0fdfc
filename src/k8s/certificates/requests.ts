/**
 * Certificate requests (PKCS #10, RFC 2986), in the one form that a store makes: a P-256 key, a subject of one common name,
 * and one DNS name as the only extension. A request is read by taking key and name out of it, writing it anew and comparing
 * all bytes: nothing else can be in it.
 */
import { createPublicKey, verify, type KeyObject } from 'node:crypto';
import { StoreError } from '../../util/errors.ts';
import { contextTag, decodeAll, decodeParts, encode, objectIdentifier, sequence, TAG, unsignedInteger } from './der.ts';
import { isP256, nameOf, publicKeyInfo, signed, subjectAltName, toPem } from './x509.ts';

const EXTENSION_REQUEST = '1.2.840.113549.1.9.14';
const LABEL = 'CERTIFICATE REQUEST';
const BLOCK = /^\s*-----BEGIN CERTIFICATE REQUEST-----([A-Za-z0-9+/=\s]+)-----END CERTIFICATE REQUEST-----\s*$/;
/** Ours have about 600; everything that reads a request is bounded by it. */
const LONGEST_REQUEST_CHARACTERS = 4096;

export interface CertificateRequest {
  readonly dnsName: string;
  readonly publicKey: KeyObject;
}

/** PEM. */
export function createRequest(options: {
  readonly dnsName: string;
  readonly publicKey: KeyObject;
  readonly privateKey: KeyObject;
}): string {
  return toPem(LABEL, signed(requestInformation(options), options.privateKey));
}

function requestInformation({ dnsName, publicKey }: CertificateRequest): Buffer {
  const extensions = sequence(subjectAltName(dnsName));
  const attribute = sequence(objectIdentifier(EXTENSION_REQUEST), encode(TAG.set, extensions));
  return sequence(
    unsignedInteger(Buffer.from([0])),
    nameOf(dnsName),
    publicKeyInfo(publicKey),
    encode(contextTag(0, 'constructed'), attribute),
  );
}

/** Errors: invalid-argument, with what is wrong, when it is not such a request or its signature is not that of its key. */
export function readRequest(pem: string): CertificateRequest {
  if (pem.length > LONGEST_REQUEST_CHARACTERS) throw refused(`it is longer than ${LONGEST_REQUEST_CHARACTERS} characters`);
  const block = BLOCK.exec(pem);
  if (block === null) throw refused('it is not one PEM block of a certificate request');
  let request: CertificateRequest & { readonly information: Buffer; readonly signature: Buffer };
  try {
    request = takeApart(Buffer.from(block[1]!, 'base64'));
  } catch (error) {
    throw refused('it is not of the form that a store makes', error);
  }
  if (!isP256(request.publicKey)) throw refused('its key is not ECDSA P-256');
  if (!requestInformation(request).equals(request.information)) {
    throw refused('it asks for more or other than one DNS name, which is also its subject');
  }
  if (!isSignedByItsKey(request)) throw refused('its signature does not fit its key');
  return { dnsName: request.dnsName, publicKey: request.publicKey };
}

function takeApart(der: Buffer): CertificateRequest & { information: Buffer; signature: Buffer } {
  const outermost = decodeAll(der);
  const [information, , signature] = decodeParts(outermost.length === 1 ? outermost[0] : undefined, TAG.sequence, 3);
  const [, subject, keyInfo] = decodeParts(information, TAG.sequence, 4);
  const [onlyName] = decodeParts(subject, TAG.sequence, 1);
  const [nameParts] = decodeParts(onlyName, TAG.set, 1);
  const [, name] = decodeParts(nameParts, TAG.sequence, 2);
  const publicKey = createPublicKey({ key: keyInfo!.whole, format: 'der', type: 'spki' });
  return {
    dnsName: name!.content.toString('latin1'),
    publicKey,
    information: information!.whole,
    signature: signature!.content.subarray(1),
  };
}

function isSignedByItsKey(request: { readonly publicKey: KeyObject; readonly information: Buffer; readonly signature: Buffer }): boolean {
  try {
    return verify('sha256', request.information, request.publicKey, request.signature);
  } catch {
    return false;
  }
}

function refused(why: string, cause?: unknown): StoreError {
  return new StoreError('invalid-argument', `the certificate request is refused: ${why}`, { cause });
}
