/** What goes wrong with calls of the fake Kubernetes API, on demand: errors before or after the effect, slow calls, no API. */
import type { KubernetesObject, Resource } from '../../src/k8s/api.ts';
import { StoreError } from '../../src/util/errors.ts';

export type Verb = 'get' | 'list' | 'create' | 'replace' | 'replaceStatus' | 'patch' | 'delete';

/** The calls that are meant; what is not given may be anything. */
export interface CallPattern {
  readonly verb?: Verb;
  readonly resource?: Resource<KubernetesObject>;
  readonly name?: string;
}

export interface Fault extends CallPattern {
  /** One call, unless said otherwise; `Infinity` until `clearFaults`. */
  readonly times?: number;
  /** `unavailable`, unless said otherwise. */
  readonly error?: Error;
  /** True: the call takes effect, and only its answer is lost. */
  readonly afterEffect?: boolean;
}

/** A call that is on its way: it neither takes effect nor answers before it is let go. */
export interface HeldCall {
  readonly reached: Promise<void>;
  /** With an error, the call fails with it instead of taking effect. */
  release(error?: Error): void;
}

export interface Call {
  readonly verb: Verb;
  readonly resource: Resource<KubernetesObject>;
  readonly name: string | undefined;
}

export class FakeFaults {
  away = false;
  readonly #faults: { readonly fault: Fault; left: number }[] = [];
  readonly #holds: { readonly pattern: CallPattern; readonly reach: () => void; readonly released: Promise<Error | undefined> }[] = [];

  fail(fault: Fault): void {
    this.#faults.push({ fault, left: fault.times ?? 1 });
  }

  clear(): void {
    this.#faults.length = 0;
  }

  hold(pattern: CallPattern): HeldCall {
    const reached = Promise.withResolvers<void>();
    const released = Promise.withResolvers<Error | undefined>();
    this.#holds.push({ pattern, reach: reached.resolve, released: released.promise });
    return { reached: reached.promise, release: (error) => released.resolve(error) };
  }

  /** Runs a call with what is to go wrong with it. */
  async around<Result>(call: Call, effect: () => Result): Promise<Result> {
    await Promise.resolve();
    const index = this.#holds.findIndex(({ pattern }) => fits(pattern, call));
    if (index >= 0) {
      const [held] = this.#holds.splice(index, 1);
      held!.reach();
      const error = await held!.released;
      if (error !== undefined) throw error;
    }
    if (this.away) throw new StoreError('unavailable', `the Kubernetes API does not answer (${call.verb} ${call.resource.plural})`);
    const entry = this.#faults.find(({ fault, left }) => left > 0 && fits(fault, call));
    if (entry === undefined) return effect();
    entry.left--;
    const error = entry.fault.error ?? new StoreError('unavailable', `${call.verb} ${call.resource.plural} fails in this test`);
    if (entry.fault.afterEffect === true) effect();
    throw error;
  }
}

function fits(pattern: CallPattern, call: Call): boolean {
  if (pattern.verb !== undefined && pattern.verb !== call.verb) return false;
  if (pattern.resource !== undefined && pattern.resource.plural !== call.resource.plural) return false;
  return pattern.name === undefined || pattern.name === call.name;
}
