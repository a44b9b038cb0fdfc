/** What both ends of the TCP connection between controller and store have in common. */
import { constants, X509Certificate } from 'node:crypto';
import type { SecureContextOptions } from 'node:tls';
import { assert } from '../../util/assert.ts';
import type { TlsMaterial } from '../../util/tls-identity.ts';

const CERTIFICATE_BLOCK = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g;

/** All that a context needs: whatever were left out would have Node's default. Without material it believes nobody. */
export function contextOptionsOf(material: TlsMaterial | null): SecureContextOptions {
  return {
    ...(material === null ? { ca: [] } : { cert: material.certificate, key: material.key, ca: authoritiesOf(material) }),
    minVersion: 'TLSv1.3',
    // With neither tickets nor a cache of sessions, nothing can be resumed.
    secureOptions: constants.SSL_OP_NO_TICKET,
  };
}

/** At least one: with none, Node would believe all authorities of the web. */
function authoritiesOf({ bundle }: TlsMaterial): string[] {
  const blocks = bundle.match(CERTIFICATE_BLOCK) ?? [];
  assert(blocks.length > 0, 'a bundle names the authorities that are believed');
  return blocks;
}

/** Whether one of the bundle's authorities issued the certificate. */
export function isBelieved(certificate: X509Certificate, material: TlsMaterial): boolean {
  return authoritiesOf(material).some((block) => {
    const authority = new X509Certificate(block);
    return certificate.checkIssued(authority) && certificate.verify(authority.publicKey);
  });
}
