/**
 * One scenario that uses everything the engine can do, ended at every port call it makes: by the death of the process
 * alone, or by the loss of power at that moment. What was answered must be there each time.
 */
import { describe, expect, test } from '@jest/globals';
import { engineSubject } from '../support/engine-subject.ts';
import { actions, beginning, scenario, scenarioSetup as setup } from '../support/full-scenario.ts';
import { printTrace, type Action, type ActionBody } from '../support/walk-actions.ts';
import { begin } from '../support/walk-runner.ts';

const mostCalls = 2_000;

/** True while the process still dies at that call. */
function endsAt(calls: number, after: readonly Action[], flushesToLearn: number): boolean {
  const subject = engineSubject({ flushesToLearn });
  const trace = { setup, actions: [...beginning, { do: 'doom', calls, n: 100, steps: 0 } as const, ...scenario] };
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

describe.each([
  { syncs: 'as they are asked for', flushesToLearn: 3 },
  { syncs: 'after every write', flushesToLearn: 0 },
])('everything that was answered survives, with syncs $syncs', ({ flushesToLearn }) => {
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
      while (calls < mostCalls && endsAt(calls, rest, flushesToLearn)) calls += 1;
      expect(calls).toBeGreaterThan(40);
      expect(calls).toBeLessThan(mostCalls);
    },
    120_000,
  );
});
