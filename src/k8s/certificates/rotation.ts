/**
 * The order in which authorities follow each other, as a pure decision. It keeps one promise: whatever certificate anybody
 * presents, everybody else believes its authority. So an authority is in the bundle for the time of a propagation before it
 * issues anything, and stays in it until all that it issued has expired.
 */
import { X509Certificate } from 'node:crypto';
import { assert } from '../../util/assert.ts';
import type { AuthorityState } from './authority-state.ts';
import type { CertificatePolicy } from './policy.ts';
import type { KeyAndCertificate } from './x509.ts';

export type RotationStep =
  /** Nothing to do before this time. */
  | { readonly kind: 'wait'; readonly untilMs: number }
  /** The issuing authority is old: make its successor. */
  | { readonly kind: 'announce' }
  /** The bundle holds the successor from now on: note when it may issue. */
  | { readonly kind: 'note-published' }
  | { readonly kind: 'switch' }
  | { readonly kind: 'drop-previous' }
  /** The issuing authority has expired, and with it everything that it issued. */
  | { readonly kind: 'start-over' };

/** What to do next, given that the published bundle is that of `state`. */
export function nextStep(state: AuthorityState, nowMs: number, policy: CertificatePolicy): RotationStep {
  const { current, next, previous } = state;
  const currentEndsMs = endOf(current.certificate);
  if (nowMs >= currentEndsMs) return next !== null && nowMs < endOf(next.certificate) ? { kind: 'switch' } : { kind: 'start-over' };
  if (next !== null) {
    if (next.issueAfterMs === null) return { kind: 'note-published' };
    if (nowMs >= next.issueAfterMs) return { kind: 'switch' };
    return { kind: 'wait', untilMs: Math.min(next.issueAfterMs, currentEndsMs) };
  }
  if (previous !== null) return nowMs >= previous.dropAfterMs ? { kind: 'drop-previous' } : { kind: 'wait', untilMs: previous.dropAfterMs };
  const rotateAtMs = startOf(current.certificate) + policy.rotateAfterMs;
  return nowMs >= rotateAtMs ? { kind: 'announce' } : { kind: 'wait', untilMs: rotateAtMs };
}

/** The state after a step. `createAuthority` is asked for one when the step needs it. */
export function afterStep(
  state: AuthorityState,
  step: Exclude<RotationStep, { kind: 'wait' }>,
  options: { readonly nowMs: number; readonly policy: CertificatePolicy; readonly createAuthority: () => KeyAndCertificate },
): AuthorityState {
  const { nowMs, policy, createAuthority } = options;
  const { current, next } = state;
  switch (step.kind) {
    case 'announce':
      return { ...state, next: { ...createAuthority(), issueAfterMs: null } };
    case 'note-published':
      assert(next !== null, 'a successor is there to be published');
      return { ...state, next: { ...next, issueAfterMs: nowMs + policy.propagationMs } };
    case 'switch': {
      assert(next !== null, 'a successor is there to issue');
      const longestLifetimeMs = Math.max(policy.storeLifetimeMs, policy.controllerLifetimeMs);
      // A replica that reads the Secret late may issue from the predecessor a little longer.
      const dropAfterMs = nowMs + policy.propagationMs + longestLifetimeMs;
      return {
        current: { certificate: next.certificate, key: next.key },
        next: null,
        previous: { certificate: current.certificate, dropAfterMs },
      };
    }
    case 'drop-previous':
      return { ...state, previous: null };
    case 'start-over':
      return { current: createAuthority(), next: null, previous: null };
  }
}

/** The bundle has lacked the successor: from now on, the time until it issues begins anew. */
export function publishedAnew(state: AuthorityState): AuthorityState {
  return state.next === null ? state : { ...state, next: { ...state.next, issueAfterMs: null } };
}

export function startOf(certificate: string): number {
  return new X509Certificate(certificate).validFromDate.getTime();
}

function endOf(certificate: string): number {
  return new X509Certificate(certificate).validToDate.getTime();
}
