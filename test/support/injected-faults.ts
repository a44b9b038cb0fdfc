/** Faults that a test injects into a simulated port: each passes over some calls of its kind, and then hits some. */

export interface InjectedFault<Fault extends { readonly kind: string }> {
  readonly fault: Fault;
  skip: number;
  times: number;
  /** Calls that it has hit. */
  hits: number;
}

/** The fault that hits a call of this kind now, if one does. */
export function takeFault<Fault extends { readonly kind: string }>(
  faults: readonly InjectedFault<Fault>[],
  kind: Fault['kind'],
): Fault | null {
  for (const state of faults) {
    if (state.fault.kind !== kind || state.times === 0) continue;
    if (state.skip > 0) {
      state.skip -= 1;
      continue;
    }
    state.times -= 1;
    state.hits += 1;
    return state.fault;
  }
  return null;
}
