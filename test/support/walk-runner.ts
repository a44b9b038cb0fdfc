/** Draws walks, runs traces again, and shortens the ones that fail. */
import type { EnginePorts } from '../../src/engine/ports.ts';
import { EngineWalk } from './engine-walk.ts';
import { SeededRandom } from './seeded-random.ts';
import { SimulatedWorld, type EngineUnderTest, type PortsWrapper } from './simulated-world.ts';
import { drawAction } from './walk-generator.ts';
import type { Action, Trace, WalkSetup } from './walk-actions.ts';

/** What stands under the walk. */
export interface WalkSubject {
  /** Draws the sizes of a pool. */
  readonly setup: (seed: number, random: SeededRandom) => WalkSetup;
  readonly engineMemoryBytes: number;
  /** `failed` is called when the engine has stopped. */
  readonly makeEngine: (ports: EnginePorts, setup: WalkSetup, failed: (error: Error) => void) => EngineUnderTest;
  /** Makes a new pool in the world; nothing has run in it yet. */
  readonly format: (world: SimulatedWorld, setup: WalkSetup) => void;
  readonly wrapPorts?: PortsWrapper;
  readonly mayBeFull: boolean;
  readonly mayAbort: boolean;
  readonly parkTimeoutMs: number;
  readonly pagesMayLeak: number;
  readonly layersAtRest: number;
  readonly maximumGranules: number;
}

export interface Failure {
  readonly trace: Trace;
  readonly error: Error;
}

export interface WalkResult {
  readonly failure: Failure | null;
  readonly operations: number;
  readonly events: number;
}

export function randomWalk(subject: WalkSubject, seed: number, length: number): WalkResult {
  const random = new SeededRandom(seed);
  const setup = subject.setup(seed, random);
  const actions: Action[] = [];
  const temper = { chunkSizeBytes: setup.chunkSizeBytes, calm: random.chance(0.6), maximumGranules: subject.maximumGranules };
  let walk: EngineWalk | null = null;
  try {
    walk = begin(subject, setup);
    for (let n = 1; n <= length; n += 1) {
      const action = drawAction(random, walk.view(), temper, n);
      actions.push(action);
      if (!walk.run(action)) actions.pop();
    }
    walk.finish();
    return { failure: null, operations: walk.operations, events: walk.world.steps };
  } catch (error) {
    return {
      failure: { trace: { setup, actions }, error: asError(error) },
      operations: walk?.operations ?? 0,
      events: walk?.world.steps ?? 0,
    };
  }
}

/** Runs a trace; the error it ends with, if it fails. */
export function replay(subject: WalkSubject, trace: Trace): Error | null {
  try {
    const walk = begin(subject, trace.setup);
    for (const action of trace.actions) walk.run(action);
    walk.finish();
    return null;
  } catch (error) {
    return asError(error);
  }
}

/** Takes actions out while the trace still fails in the same way, largest pieces first, then their events. Bounded in time. */
export function shrink(subject: WalkSubject, failure: Failure, limitMs = 20_000): Failure {
  const deadline = performance.now() + limitMs;
  const { setup } = failure.trace;
  let best = failure;
  const attempt = (actions: readonly Action[]): boolean => {
    const error = replay(subject, { setup, actions });
    if (!error || kindOf(error) !== kindOf(failure.error)) return false;
    best = { trace: { setup, actions }, error };
    return true;
  };
  for (let size = Math.ceil(best.trace.actions.length / 2); size >= 1; size = size === 1 ? 0 : Math.ceil(size / 2)) {
    for (let at = Math.max(0, best.trace.actions.length - size); at >= 0 && performance.now() < deadline; at -= size) {
      const { actions } = best.trace;
      attempt([...actions.slice(0, at), ...actions.slice(at + size)]);
    }
  }
  for (let at = 0; at < best.trace.actions.length && performance.now() < deadline; at += 1) {
    const { actions } = best.trace;
    for (const steps of [0, 1, 4]) {
      if (actions[at]!.steps <= steps) break;
      if (attempt(actions.map((action, index) => (index === at ? { ...action, steps } : action)))) break;
    }
  }
  return best;
}

/** A walk over a new pool whose engine serves. */
export function begin(subject: WalkSubject, setup: WalkSetup): EngineWalk {
  const failed = (error: Error): void => walk.stopped(error);
  const world = new SimulatedWorld({
    seed: setup.seed,
    dataSizeBytes: setup.slots * setup.chunkSizeBytes,
    logSizeBytes: setup.logSizeBytes,
    engineMemoryBytes: subject.engineMemoryBytes,
    makeEngine: (ports) => subject.makeEngine(ports, setup, failed),
    ...(subject.wrapPorts ? { wrapPorts: subject.wrapPorts } : {}),
    requestBytes: subject.maximumGranules * 4096,
  });
  subject.format(world, setup);
  const walk: EngineWalk = new EngineWalk({
    world,
    chunkSizeBytes: setup.chunkSizeBytes,
    maximumGranules: subject.maximumGranules,
    mayBeFull: subject.mayBeFull,
    mayAbort: subject.mayAbort,
    parkTimeoutMs: subject.parkTimeoutMs,
    pagesMayLeak: subject.pagesMayLeak,
    layersAtRest: subject.layersAtRest,
  });
  walk.run({ do: 'start', dieAfter: null, verify: false, n: 0, steps: 0 });
  return walk;
}

/** What went wrong, without the numbers and names of one run. */
function kindOf(error: Error): string {
  return `${error.name} ${error.message}`
    .replace(/(volume|snapshot) \w+/g, 'object')
    .replace(/\d+/g, 'N')
    .replace(/(reads) .*/s, '$1')
    .slice(0, 60);
}

function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error));
}
