/** How long the engine's calls that change what there is took: from their arrival on the data thread until their answer. */
import type { ControlRequest } from '../../engine/control.ts';

export const CHANGING_CALLS = [
  'create',
  'snapshot',
  'clone',
  'revert',
  'resize',
  'delete',
] as const satisfies readonly ControlRequest['kind'][];
export type ChangingCall = (typeof CHANGING_CALLS)[number];

/** Of the calls of one kind since the start, those that failed included. */
export interface CallTime {
  readonly count: number;
  readonly sumSeconds: number;
}

export type CallTimesByCall = Readonly<Record<ChangingCall, CallTime>>;

export class CallTimes {
  readonly #counts = new Map<string, number>();
  readonly #sumsMs = new Map<string, number>();

  /** Kinds that change nothing are passed over when the sums are told. */
  record(kind: ControlRequest['kind'], tookMs: number): void {
    this.#counts.set(kind, (this.#counts.get(kind) ?? 0) + 1);
    this.#sumsMs.set(kind, (this.#sumsMs.get(kind) ?? 0) + tookMs);
  }

  sums(): CallTimesByCall {
    const of = (call: ChangingCall): CallTime => ({
      count: this.#counts.get(call) ?? 0,
      sumSeconds: (this.#sumsMs.get(call) ?? 0) / 1_000,
    });
    return Object.fromEntries(CHANGING_CALLS.map((call) => [call, of(call)])) as CallTimesByCall;
  }
}
