/** The status of a VolumeRevert: its phase and its three conditions always say the same. */
import type { Condition } from '../api.ts';
import type { VolumeRevert } from '../resources.ts';
import { sentence } from './wording.ts';

type Status = NonNullable<VolumeRevert['status']>;
export type Phase = NonNullable<Status['phase']>;

export interface Verdict {
  readonly phase: Phase;
  /** One word in CamelCase. */
  readonly reason: string;
  readonly message: string;
}

const PHASES: readonly Phase[] = ['Waiting', 'Complete', 'Failed'];

/** The status with this verdict; a condition keeps its time of transition for as long as its status stays. */
export function withVerdict(revert: VolumeRevert, verdict: Verdict, options: { readonly nowMs: number }): Status {
  const now = timestamp(options.nowMs);
  const generation = revert.metadata.generation;
  const observed = generation === undefined ? {} : { observedGeneration: generation };
  const before = revert.status?.conditions ?? [];
  const conditions = PHASES.map((type): Condition => {
    const status = type === verdict.phase ? 'True' : 'False';
    const known = before.find((condition) => condition.type === type);
    const lastTransitionTime = known?.status === status ? known.lastTransitionTime : now;
    return { type, status, reason: verdict.reason, message: sentence(verdict.message), lastTransitionTime, ...observed };
  });
  return { ...revert.status, phase: verdict.phase, ...observed, conditions };
}

/** Whether the status says this already. */
export function says(revert: VolumeRevert, verdict: Verdict): boolean {
  const { status, metadata } = revert;
  const condition = status?.conditions?.find(({ type }) => type === verdict.phase);
  return (
    status?.phase === verdict.phase &&
    status.observedGeneration === metadata.generation &&
    condition?.status === 'True' &&
    condition.reason === verdict.reason &&
    condition.message === sentence(verdict.message)
  );
}

/** As the API has times: whole seconds. */
export function timestamp(nowMs: number): string {
  return new Date(nowMs).toISOString().replace(/\.\d+Z$/, 'Z');
}
