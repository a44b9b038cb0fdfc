/** The status of a VolumeRevert: its phase and its three conditions always say the same. */
import { conditionAfter, conditionOf } from '../conditions.ts';
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
  const { generation } = revert.metadata;
  const { phase, reason } = verdict;
  const message = sentence(verdict.message);
  const conditions = PHASES.map((type) => {
    const status = type === phase ? 'True' : 'False';
    return conditionAfter(revert.status, { type, status, reason, message }, { generation, nowMs: options.nowMs });
  });
  return { ...revert.status, phase, ...(generation === undefined ? {} : { observedGeneration: generation }), conditions };
}

/** Whether the status says this already. */
export function says(revert: VolumeRevert, verdict: Verdict): boolean {
  const { status, metadata } = revert;
  const condition = conditionOf(status, verdict.phase);
  return (
    status?.phase === verdict.phase &&
    status.observedGeneration === metadata.generation &&
    condition?.status === 'True' &&
    condition.reason === verdict.reason &&
    condition.message === sentence(verdict.message)
  );
}
