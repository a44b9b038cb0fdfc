/**
 * One scenario that uses everything the engine can do, ended at every port call it makes: by the death of the process
 * alone, or by the loss of power at that moment. What was answered must be there each time.
 */
import { describe, expect, test } from '@jest/globals';
import { engineSubject } from '../support/engine-subject.ts';
import { printTrace, type Action, type ActionBody, type WalkSetup } from '../support/walk-actions.ts';
import { begin } from '../support/walk-runner.ts';

/** `steps` leaves things under way when the next action comes. */
function actions(...bodies: readonly (ActionBody & { readonly steps?: number })[]): Action[] {
  return bodies.map((body, index) => ({ steps: 3, ...body, n: index + 1 }));
}

const before = actions(
  { do: 'create', on: 'a', size: 262_144 },
  { do: 'create', on: 'b', size: 262_144 },
  { do: 'settle' },
  { do: 'write', on: 'a', at: 0, count: 12 },
  { do: 'write', on: 'b', at: 3, count: 6 },
  { do: 'settle' },
  { do: 'snapshot', on: 'p', from: 'a' },
  { do: 'settle' },
  { do: 'checkpoint' },
  { do: 'settle' },
);

const scenario = actions(
  { do: 'write', on: 'a', at: 2, count: 7, steps: 6 },
  { do: 'flush', on: 'a', steps: 4 },
  { do: 'write', on: 'b', at: 4, count: 1 },
  { do: 'zero', on: 'a', at: 1, count: 5 },
  { do: 'clone', on: 'c', from: 'a', grow: 65_536, steps: 8 },
  { do: 'write', on: 'b', at: 6, count: 20, steps: 8 },
  { do: 'checkpoint', steps: 6 },
  { do: 'settle' },
  { do: 'write', on: 'c', at: 0, count: 3 },
  { do: 'detach', on: 'a' },
  { do: 'revert', on: 'a', to: 'p', safety: 'q', steps: 6 },
  { do: 'write', on: 'b', at: 9, count: 2 },
  { do: 'settle' },
  { do: 'write', on: 'a', at: 5, count: 1 },
  { do: 'delete', on: 'p', steps: 10 },
  { do: 'resize', on: 'b', size: 327_680, steps: 6 },
  { do: 'write', on: 'b', at: 70, count: 4 },
  { do: 'flush', on: 'b' },
  { do: 'settle' },
  { do: 'checkpoint' },
  { do: 'settle' },
).map((action) => ({ ...action, n: action.n + 100 }));

const setup: WalkSetup = { seed: 18, chunkSizeBytes: 16_384, slots: 40, logSizeBytes: 131_072 };
const mostCalls = 2_000;

/** True while the process still dies at that call. */
function endsAt(calls: number, after: readonly Action[]): boolean {
  const subject = engineSubject();
  const trace = { setup, actions: [...before, { do: 'doom', calls, n: 100, steps: 0 } as const, ...scenario] };
  try {
    const walk = begin(subject, setup);
    for (const action of trace.actions) walk.run(action);
    const died = !walk.world.alive;
    if (!died) walk.world.killInsidePortCall(Infinity);
    for (const action of after) walk.run(action);
    walk.finish();
    return died;
  } catch (error) {
    throw new Error(`ended at port call ${calls}: ${String(error)}\n${printTrace({ ...trace, actions: [...trace.actions, ...after] })}`, {
      cause: error,
    });
  }
}

describe('everything that was answered survives', () => {
  test.each<{ readonly how: string; readonly after: readonly ActionBody[] }>([
    { how: 'the death of the process', after: [] },
    { how: 'a death in its recovery too', after: [{ do: 'start', dieAfter: 6, verify: false }] },
    { how: 'the loss of power, nothing unsynced kept', after: [{ do: 'power', style: 'lose' }] },
    { how: 'the loss of power, everything kept', after: [{ do: 'power', style: 'keep' }] },
    { how: 'the loss of power, blocks drawn and torn', after: [{ do: 'power', style: 'draw' }] },
    {
      how: 'a death, a recovery, and the loss of power',
      after: [
        { do: 'start', dieAfter: null, verify: false },
        { do: 'power', style: 'draw' },
      ],
    },
  ])(
    '$how at every port call',
    ({ after }) => {
      const rest = actions(...after).map((action) => ({ ...action, n: action.n + 200 }));
      let calls = 1;
      while (calls < mostCalls && endsAt(calls, rest)) calls += 1;
      expect(calls).toBeGreaterThan(40);
      expect(calls).toBeLessThan(mostCalls);
    },
    120_000,
  );
});
