/** What the real API demands of changes to a CertificateSigningRequest, tried on 1.34. */
import { isDeepStrictEqual } from 'node:util';
import type { KubernetesObject } from '../../src/k8s/api.ts';
import type { CertificateSigningRequest } from '../../src/k8s/resources.ts';
import { StoreError } from '../../src/util/errors.ts';

/** The change as it is taken: its spec never changes, what was decided stays decided, a certificate stays. */
export function asSigningRequest(before: KubernetesObject, wanted: KubernetesObject, change: string): KubernetesObject {
  const [old, next] = [before, wanted] as [CertificateSigningRequest, CertificateSigningRequest];
  if (change === 'status') {
    const refuse = (why: string): never => {
      throw new StoreError('failed-precondition', `CertificateSigningRequest ${before.metadata.name} is invalid: ${why}`);
    };
    const decisions = (object: CertificateSigningRequest): unknown[] =>
      (object.status?.conditions ?? []).filter(({ type }) => type === 'Approved' || type === 'Denied');
    if (!isDeepStrictEqual(decisions(old), decisions(next))) refuse('updates may not add, change or remove a decision');
    const certificate = old.status?.certificate;
    if (certificate !== undefined && certificate !== next.status?.certificate)
      refuse('updates may not modify existing certificate content');
  }
  return { ...next, spec: old.spec } as KubernetesObject;
}
