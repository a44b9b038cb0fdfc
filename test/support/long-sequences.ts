/**
 * Long sequences of operations, drawn by a seed without a crash; then run again and cut at port calls all over them. After
 * the cut the rest of the sequence goes on, as far as it is still possible, so that what a recovery got wrong does harm.
 */
import { EngineWalk } from './engine-walk.ts';
import { SeededRandom } from './seeded-random.ts';
import type { Ending } from './short-sequences.ts';
import { printTrace, type Action, type ActionBody, type WalkSetup } from './walk-actions.ts';
import { drawAction } from './walk-generator.ts';
import { begin, type WalkSubject } from './walk-runner.ts';

export interface LongSequence {
  readonly setup: WalkSetup;
  readonly actions: readonly Action[];
  /** That the engine makes from the first action to the last. */
  readonly portCalls: number;
}

/** Crashes, injected errors, and a comparison of figures that must not be interrupted; the end compares them all the same. */
const leftOut: ReadonlySet<ActionBody['do']> = new Set(['kill', 'killInside', 'power', 'stop', 'start', 'doom', 'fault', 'space']);
const firstCrashNumber = 100_000;

export function drawLongSequence(subject: WalkSubject, seed: number, length: number): LongSequence {
  const random = new SeededRandom(seed);
  const setup = subject.setup(seed, random);
  const temper = { chunkSizeBytes: setup.chunkSizeBytes, calm: true, maximumGranules: subject.maximumGranules };
  const walk: EngineWalk = begin(subject, setup);
  const actions: Action[] = [];
  const before = walk.world.portCalls;
  for (let n = 1; actions.length < length && n <= 4 * length; n += 1) {
    const action = drawAction(random, walk.view(), temper, n);
    if (!leftOut.has(action.do) && walk.run(action)) actions.push(action);
  }
  return { setup, actions, portCalls: walk.world.portCalls - before };
}

/** Runs the sequence, cuts it at a port call, and goes on with what is left. Throws when something was lost. */
export function cutLongSequence(
  subject: WalkSubject,
  sequence: LongSequence,
  cut: { readonly calls: number; readonly ending: Ending },
): void {
  const done: Action[] = [];
  try {
    const walk = begin(subject, sequence.setup);
    const run = (action: Action): void => {
      done.push(action);
      walk.run(action);
    };
    run({ do: 'doom', calls: cut.calls, n: firstCrashNumber, steps: 0 });
    let recovered = false;
    for (const action of sequence.actions) {
      run(action);
      if (walk.world.alive || recovered) continue;
      recovered = true;
      if (cut.ending !== 'kill') run({ do: 'power', style: cut.ending, n: firstCrashNumber + 1, steps: 0 });
      run({ do: 'start', dieAfter: null, verify: true, n: firstCrashNumber + 2, steps: 0 });
      run({ do: 'check', n: firstCrashNumber + 3, steps: 0 });
    }
    if (!recovered) walk.world.killInsidePortCall(Infinity);
    walk.finish();
  } catch (error) {
    const where = `cut at port call ${cut.calls}, ${JSON.stringify(cut.ending)}`;
    throw new Error(`${where}: ${String(error)}\n${printTrace({ setup: sequence.setup, actions: done })}`, { cause: error });
  }
}
