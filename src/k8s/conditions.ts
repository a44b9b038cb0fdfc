/** Conditions in the status of an object, by the conventions of the Kubernetes API. */
import type { Condition } from './api.ts';
import { timestamp } from './times.ts';

export type ConditionVerdict = Pick<Condition, 'status' | 'reason' | 'message'>;

interface StatusWithConditions {
  readonly conditions?: readonly Condition[];
}

export function conditionOf(status: StatusWithConditions | undefined, type: string): Condition | null {
  return status?.conditions?.find((condition) => condition.type === type) ?? null;
}

/** The condition with this verdict. It keeps the time of its transition for as long as its own status stays. */
export function conditionAfter(
  before: StatusWithConditions | undefined,
  next: ConditionVerdict & { readonly type: string },
  at: { readonly generation: number | undefined; readonly nowMs: number },
): Condition {
  const former = conditionOf(before, next.type);
  return {
    ...next,
    lastTransitionTime: former?.status === next.status ? former.lastTransitionTime : timestamp(at.nowMs),
    ...(at.generation === undefined ? {} : { observedGeneration: at.generation }),
  };
}
