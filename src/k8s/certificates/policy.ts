/**
 * How long certificates live, and the pace at which authorities follow each other. The defaults leave room for outages: a
 * store goes on being reached for days without the API server, and a rotation takes more than a week of two years.
 */
import type { X509Certificate } from 'node:crypto';
import type { Validity } from './x509.ts';

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
const DAY_MS = 24 * HOUR_MS;

export interface CertificatePolicy {
  readonly authorityLifetimeMs: number;
  /** Age of the issuing authority at which its successor is made. */
  readonly rotateAfterMs: number;
  /** Within this time everybody who can be reached has seen a change of the bundle or of the Secret. */
  readonly propagationMs: number;
  readonly storeLifetimeMs: number;
  readonly controllerLifetimeMs: number;
  /** Certificates are valid from before they were made, for machines whose clocks are behind. */
  readonly backdateMs: number;
}

export const CERTIFICATE_POLICY: CertificatePolicy = {
  authorityLifetimeMs: 2 * 365 * DAY_MS,
  rotateAfterMs: 365 * DAY_MS,
  propagationMs: DAY_MS,
  storeLifetimeMs: 7 * DAY_MS,
  controllerLifetimeMs: DAY_MS,
  backdateMs: 10 * MINUTE_MS,
};

/** Everything is looked at again at least this often, whatever was told or not told meanwhile. */
export const LONGEST_PAUSE_MS = HOUR_MS;

export function validityFrom(nowMs: number, lifetimeMs: number, policy: CertificatePolicy): Validity {
  return { notBeforeMs: nowMs - policy.backdateMs, notAfterMs: nowMs + lifetimeMs };
}

/** When two thirds of its life are over: the rest is for outages. */
export function renewalDueMs(certificate: X509Certificate): number {
  const fromMs = certificate.validFromDate.getTime();
  return fromMs + ((certificate.validToDate.getTime() - fromMs) * 2) / 3;
}
