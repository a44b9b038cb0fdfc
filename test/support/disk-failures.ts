/**
 * Disks and metadata that fail: the nth call of each kind, once or from then on always, in each way it can. Then everything
 * is read while the engine goes on or has stopped; the process ends or the power goes; and with healthy disks everything
 * that was answered is there, checked, used and deleted.
 */
import { EngineWalk } from './engine-walk.ts';
import { beginning, scenario, scenarioSetup } from './full-scenario.ts';
import { SeededRandom } from './seeded-random.ts';
import type { PowerLossStyle } from './simulated-disk.ts';
import type { WorldFault } from './simulated-world.ts';
import { printTrace, type Action, type ActionBody } from './walk-actions.ts';
import { drawAction } from './walk-generator.ts';
import { begin, type WalkSubject } from './walk-runner.ts';

const inputOutputError = 5;
const noSpaceError = 28;
const always = 1_000_000_000;

/** A fault without its place. */
export type FaultForm = WorldFault extends infer Fault ? (Fault extends WorldFault ? Omit<Fault, 'skip' | 'times'> : never) : never;

/** Every kind of call, and every way in which it fails. */
export const faultForms: readonly FaultForm[] = [
  { port: 'data', kind: 'read', errno: inputOutputError },
  { port: 'data', kind: 'read', errno: inputOutputError, how: 'short' },
  { port: 'data', kind: 'write', errno: inputOutputError },
  { port: 'data', kind: 'write', errno: noSpaceError },
  { port: 'data', kind: 'write', errno: inputOutputError, how: 'short' },
  { port: 'data', kind: 'write', errno: inputOutputError, how: 'torn' },
  { port: 'data', kind: 'sync', errno: inputOutputError },
  { port: 'log', kind: 'read', errno: inputOutputError },
  { port: 'log', kind: 'read', errno: inputOutputError, how: 'short' },
  { port: 'log', kind: 'write', errno: inputOutputError },
  { port: 'log', kind: 'write', errno: noSpaceError },
  { port: 'log', kind: 'write', errno: inputOutputError, how: 'short' },
  { port: 'log', kind: 'write', errno: inputOutputError, how: 'torn' },
  { port: 'log', kind: 'sync', errno: inputOutputError },
  { port: 'metadata', kind: 'load', how: 'error' },
  { port: 'metadata', kind: 'page', how: 'error' },
  { port: 'metadata', kind: 'commit', how: 'error' },
  { port: 'metadata', kind: 'commit', how: 'done' },
];

/** When the fault is there: while the pool serves, or from a start after a death or after a power cut on. */
export type FaultMoment = 'serving' | 'after a death' | 'after a power cut';
export const faultMoments: readonly FaultMoment[] = ['serving', 'after a death', 'after a power cut'];

/** How the process with the bad disk ends. */
export type FaultEnding = 'kill' | PowerLossStyle;
export const faultEndings: readonly FaultEnding[] = ['kill', 'lose', 'keep', 'draw'];

export interface FaultTally {
  cases: number;
  /** Cases in which the engine stopped. */
  stopped: number;
}

/**
 * Fails the nth call of that form for every n, once and from then on always, with every end; with `oneEnd` with one of them
 * in turn. Throws at the first thing that must not be.
 */
export function failEverywhere(
  subject: WalkSubject,
  { form, moment, oneEnd = false }: { readonly form: FaultForm; readonly moment: FaultMoment; readonly oneEnd?: boolean },
): FaultTally {
  const tally = { cases: 0, stopped: 0 };
  for (const times of [1, always]) {
    for (let skip = 0, hit = true; hit; skip += 1) {
      const actionsAfter = [0, 3, Infinity][skip % 3]!;
      const fault = { ...form, skip, times };
      const endings = oneEnd ? [faultEndings[(skip + Number(times === 1)) % faultEndings.length]!] : faultEndings;
      for (const ending of endings) hit &&= failAt(subject, { fault, moment, ending, actionsAfter }, tally);
    }
  }
  return tally;
}

interface FaultRun {
  readonly fault: WorldFault;
  readonly moment: FaultMoment;
  readonly ending: FaultEnding;
  /** How many actions come after the one in which the fault hit first: what comes later may mend what it did. */
  readonly actionsAfter: number;
}

/** False when there is no such call. */
function failAt(subject: WalkSubject, { fault, moment, ending, actionsAfter }: FaultRun, tally: FaultTally): boolean {
  const fail = numbered(50, { do: 'fail', fault });
  const crash: ActionBody = moment === 'after a power cut' ? { do: 'power', style: 'draw' } : { do: 'kill' };
  const list = moment === 'serving' ? [...fail, ...scenario] : [...scenario, ...numbered(600, crash), ...fail, ...restart];
  const done: Action[] = [];
  try {
    const walk = begin(subject, scenarioSetup);
    const run = (action: Action): void => {
      done.push(action);
      walk.run(action);
    };
    const hit = (): boolean => walk.fault !== null && walk.fault.hits > 0;
    let left = actionsAfter;
    for (const action of [...beginning, ...list]) {
      if (hit() && left-- <= 0) break;
      run(action);
    }
    for (const action of numbered(700, { do: 'settle' }, { do: 'verify' }, { do: 'settle' })) run(action);
    if (!hit()) return false;
    tally.cases += 1;
    if (walk.failure !== null) tally.stopped += 1;
    const end: ActionBody = ending === 'kill' ? { do: 'kill' } : { do: 'power', style: ending };
    for (const action of [...numbered(710, end), ...proof]) run(action);
    walk.finish();
    return true;
  } catch (error) {
    throw new Error(`${String(error)}\n${printTrace({ setup: scenarioSetup, actions: done })}`, { cause: error });
  }
}

/** A pool is opened on bad disks, and used if it opens. */
const restart = numbered(
  610,
  { do: 'start', dieAfter: null, verify: true },
  { do: 'write', on: 'a', at: 1, count: 9 },
  { do: 'write', on: 'b', at: 3, count: 4 },
  { do: 'flush', on: 'a' },
  { do: 'snapshot', on: 'r', from: 'a' },
  { do: 'settle' },
  { do: 'checkpoint' },
  { do: 'settle' },
  { do: 'write', on: 'a', at: 2, count: 2 },
  { do: 'delete', on: 'r' },
);

/** With healthy disks everything is read and checked, and used, so that what counts as free and is not does harm. */
const proof = numbered(
  800,
  { do: 'start', dieAfter: null, verify: true },
  { do: 'check' },
  { do: 'write', on: 'a', at: 0, count: 16 },
  { do: 'write', on: 'b', at: 0, count: 16 },
  { do: 'flush', on: 'a' },
  { do: 'settle' },
  { do: 'verify' },
);

/** What a walk with faults leaves out: other faults and crashes, and figures that an engine that stops does not give. */
const leftOut: ReadonlySet<ActionBody['do']> = new Set(['kill', 'killInside', 'power', 'stop', 'start', 'doom', 'fault', 'space', 'wrong']);

/** A sequence drawn by a seed, with a fault somewhere in it, and the rest of it on healthy disks once the engine has stopped. */
export function walkWithFaults(subject: WalkSubject, seed: number, length: number): FaultTally {
  const random = new SeededRandom(seed);
  const setup = subject.setup(seed, random);
  const tally = { cases: 0, stopped: 0 };
  const done: Action[] = [];
  try {
    const walk: EngineWalk = begin(subject, setup);
    const temper = { chunkSizeBytes: setup.chunkSizeBytes, calm: true, maximumGranules: subject.maximumGranules };
    const run = (action: Action): void => {
      if (walk.run(action)) done.push(action);
    };
    const end = (n: number): void => {
      for (const action of numbered(n, { do: 'settle' }, { do: 'verify' }, { do: 'settle' })) run(action);
      if (walk.failure !== null) tally.stopped += 1;
      const ending = random.pick(faultEndings);
      run({ ...(ending === 'kill' ? { do: 'kill' } : { do: 'power', style: ending }), n: n + 10, steps: 0 });
      // Now and then the fault is there while the pool opens again.
      if (random.chance(0.3)) {
        run({ ...drawFault(random), n: n + 11, steps: 0 });
        run({ do: 'start', dieAfter: null, verify: true, n: n + 12, steps: 5 });
        if (walk.world.alive) run({ do: 'kill', n: n + 13, steps: 0 });
      }
      run({ do: 'start', dieAfter: null, verify: true, n: n + 14, steps: 0 });
      run({ do: 'check', n: n + 15, steps: 0 });
    };
    for (let n = 1; n <= length; n += 1) {
      if (n % 25 === 12) {
        run({ ...drawFault(random), n: 10_000 + n, steps: 0 });
        tally.cases += 1;
      }
      if (n % 25 === 0) end(20_000 + 20 * n);
      const action = drawAction(random, walk.view(), temper, n);
      if (!leftOut.has(action.do)) run(action);
    }
    end(90_000);
    walk.finish();
  } catch (error) {
    throw new Error(`seed ${seed}: ${String(error)}\n${printTrace({ setup, actions: done })}`, { cause: error });
  }
  return tally;
}

function drawFault(random: SeededRandom): ActionBody & { readonly do: 'fail' } {
  const form = random.pick(faultForms);
  return { do: 'fail', fault: { ...form, skip: random.below(random.pick([2, 10, 40])), times: random.pick([1, 2, always]) } as WorldFault };
}

function numbered(first: number, ...bodies: readonly ActionBody[]): Action[] {
  return bodies.map((body, index) => ({ ...body, n: first + index, steps: 0 }));
}
