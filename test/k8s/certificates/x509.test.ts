import { createPrivateKey, generateKeyPairSync, X509Certificate } from 'node:crypto';
import { describe, expect, test } from '@jest/globals';
import { contextTag, encode, objectIdentifier, sequence, TAG, unsignedInteger } from '../../../src/k8s/certificates/der.ts';
import { createRequest, readRequest } from '../../../src/k8s/certificates/requests.ts';
import {
  createAuthority,
  generateKey,
  isIssuedByOneOf,
  issueCertificate,
  keyToPem,
  nameOf,
  parseCertificates,
  publicKeyInfo,
  signed,
  subjectAltName,
  toPem,
} from '../../../src/k8s/certificates/x509.ts';

const START_MS = Date.UTC(2030, 0, 1);
const DAY_MS = 86_400_000;
const validity = { notBeforeMs: START_MS, notAfterMs: START_MS + 100 * DAY_MS };
const NAME = 'a.pool.chunkstore.dev';

describe('certificates', () => {
  const authority = createAuthority({ name: 'one', validity });

  test('an authority is one, and may have none below it', () => {
    const certificate = new X509Certificate(authority.certificate);
    expect(certificate.ca).toBe(true);
    expect(certificate.subject).toBe('CN=one');
    expect(certificate.verify(certificate.publicKey)).toBe(true);
    expect(certificate.checkPrivateKey(createPrivateKey(authority.key))).toBe(true);
    expect(certificate.validFromDate.getTime()).toBe(validity.notBeforeMs);
    expect(certificate.validToDate.getTime()).toBe(validity.notAfterMs);
  });

  test.each([
    ['serverAuth', '1.3.6.1.5.5.7.3.1'],
    ['clientAuth', '1.3.6.1.5.5.7.3.2'],
  ] as const)('one for %s has one name and that purpose alone', (purpose, oid) => {
    const { publicKey, privateKey } = generateKey();
    const certificate = new X509Certificate(issueCertificate(authority, { dnsName: NAME, purpose, publicKey, validity }));
    expect(certificate.ca).toBe(false);
    expect(certificate.subjectAltName).toBe(`DNS:${NAME}`);
    expect(certificate.keyUsage).toEqual([oid]);
    expect(certificate.checkPrivateKey(privateKey)).toBe(true);
    expect(isIssuedByOneOf(certificate, parseCertificates(authority.certificate))).toBe(true);
    const other = createAuthority({ name: 'one', validity });
    expect(isIssuedByOneOf(certificate, parseCertificates(other.certificate))).toBe(false);
  });

  test('none outlives its authority, and an expired authority issues none', () => {
    const { publicKey } = generateKey();
    const issue = (notBeforeMs: number, notAfterMs: number) =>
      issueCertificate(authority, { dnsName: NAME, purpose: 'serverAuth', publicKey, validity: { notBeforeMs, notAfterMs } });
    const certificate = new X509Certificate(issue(START_MS - DAY_MS, START_MS + 1000 * DAY_MS));
    expect(certificate.validFromDate.getTime()).toBe(validity.notBeforeMs);
    expect(certificate.validToDate.getTime()).toBe(validity.notAfterMs);
    expect(() => issue(START_MS + 101 * DAY_MS, START_MS + 102 * DAY_MS)).toThrow(expect.objectContaining({ code: 'unavailable' }));
  });

  test('serial numbers differ', () => {
    const serials = [1, 2, 3].map(() => new X509Certificate(createAuthority({ name: 'n', validity }).certificate).serialNumber);
    expect(new Set(serials).size).toBe(3);
  });

  test('years beyond 2049 are written as the standard demands', () => {
    const endMs = Date.UTC(2055, 5, 7, 8, 9, 10);
    const late = createAuthority({ name: 'late', validity: { notBeforeMs: START_MS, notAfterMs: endMs } });
    expect(new X509Certificate(late.certificate).validToDate.getTime()).toBe(endMs);
  });
});

describe('requests', () => {
  const pair = generateKey();
  const request = createRequest({ dnsName: NAME, ...pair });

  test('name and key come out as they went in', () => {
    const { dnsName, publicKey } = readRequest(request);
    expect(dnsName).toBe(NAME);
    expect(publicKey.equals(pair.publicKey)).toBe(true);
  });

  /** A request with these attributes, signed by its key. */
  const requestWith = (attributes: readonly Buffer[], options: { subject?: Buffer; keys?: typeof pair; signer?: typeof pair } = {}) => {
    const { subject = nameOf(NAME), keys = pair, signer = keys } = options;
    const information = sequence(
      unsignedInteger(Buffer.from([0])),
      subject,
      publicKeyInfo(keys.publicKey),
      encode(contextTag(0, 'constructed'), ...attributes),
    );
    return toPem('CERTIFICATE REQUEST', signed(information, signer.privateKey));
  };
  const extensionRequest = (...extensions: readonly Buffer[]) =>
    sequence(objectIdentifier('1.2.840.113549.1.9.14'), encode(TAG.set, sequence(...extensions)));
  const extension = (oid: string, value: Buffer) => sequence(objectIdentifier(oid), encode(TAG.octetString, value));
  const names = (...values: readonly Buffer[]) => extension('2.5.29.17', sequence(...values));
  const dns = (name: string) => encode(contextTag(2, 'primitive'), Buffer.from(name));

  test('the helper of these tests makes good ones', () => {
    expect(requestWith([extensionRequest(subjectAltName(NAME))]).length).toBeGreaterThan(0);
    expect(readRequest(requestWith([extensionRequest(subjectAltName(NAME))])).dnsName).toBe(NAME);
  });

  test.each<[string, () => string]>([
    ['two names', () => requestWith([extensionRequest(names(dns(NAME), dns('b.pool.chunkstore.dev')))])],
    [
      'an address besides',
      () => requestWith([extensionRequest(names(dns(NAME), encode(contextTag(7, 'primitive'), Buffer.from([10, 0, 0, 1]))))]),
    ],
    ['another name than its subject', () => requestWith([extensionRequest(subjectAltName('b.pool.chunkstore.dev'))])],
    ['no name but its subject', () => requestWith([])],
    ['an empty list of extensions', () => requestWith([extensionRequest()])],
    [
      'to be an authority',
      () => requestWith([extensionRequest(subjectAltName(NAME), extension('2.5.29.19', sequence(encode(0x01, Buffer.from([0xff])))))]),
    ],
    [
      'other usages',
      () => requestWith([extensionRequest(subjectAltName(NAME), extension('2.5.29.37', sequence(objectIdentifier('1.3.6.1.5.5.7.3.2'))))]),
    ],
    [
      'a second attribute',
      () => requestWith([extensionRequest(subjectAltName(NAME)), sequence(objectIdentifier('1.2.840.113549.1.9.7'), encode(TAG.set))]),
    ],
    ['a longer subject', () => requestWith([extensionRequest(subjectAltName(NAME))], { subject: Buffer.concat([sequence()]) })],
    ['another curve', () => createRequest({ dnsName: NAME, ...generateKeyPairSync('ec', { namedCurve: 'P-384' }) })],
    ['RSA', () => createRequest({ dnsName: NAME, ...generateKeyPairSync('rsa', { modulusLength: 2048 }) })],
    ["somebody else's key", () => requestWith([extensionRequest(subjectAltName(NAME))], { signer: generateKey() })],
  ])('one that asks for %s is refused', (_, make) => {
    expect(() => readRequest(make())).toThrow(expect.objectContaining({ code: 'invalid-argument' }));
  });

  test.each<[string, string]>([
    ['nothing', ''],
    ['no PEM', 'hello'],
    ['a certificate', createAuthority({ name: 'x', validity }).certificate],
    ['a private key', keyToPem(pair.privateKey)],
    ['two requests', request + request],
    ['something before it', `x\n${request}`],
    ['very much', request + ' '.repeat(100_000)],
    ['empty DER', toPem('CERTIFICATE REQUEST', Buffer.alloc(0))],
    [
      'bytes behind it',
      toPem('CERTIFICATE REQUEST', Buffer.concat([Buffer.from(request.split('\n').slice(1, -2).join(''), 'base64'), Buffer.from([0])])),
    ],
  ])('%s is no request', (_, text) => {
    expect(() => readRequest(text)).toThrow(expect.objectContaining({ code: 'invalid-argument' }));
  });

  test('no byte of one can be changed or cut off', () => {
    const der = Buffer.from(request.split('\n').slice(1, -2).join(''), 'base64');
    for (let index = 0; index < der.length; index++) {
      const changed = Buffer.from(der);
      changed[index]! ^= 1;
      let read: { dnsName: string } | null = null;
      try {
        read = readRequest(toPem('CERTIFICATE REQUEST', changed));
      } catch (error) {
        expect(error).toMatchObject({ code: 'invalid-argument' });
      }
      // The name of the signature's algorithm is said outside of what is signed, and not read.
      if (read !== null) expect(read.dnsName).toBe(NAME);
      expect(() => readRequest(toPem('CERTIFICATE REQUEST', der.subarray(0, index)))).toThrow();
    }
  });
});
