/** A scenario that uses everything the engine can do, for those who interrupt it at every call. */
import type { Action, ActionBody, WalkSetup } from './walk-actions.ts';

/** `steps` leaves things under way when the next action comes. */
export function actions(...bodies: readonly (ActionBody & { readonly steps?: number })[]): Action[] {
  return bodies.map((body, index) => ({ steps: 3, ...body, n: index + 1 }));
}

/** A pool with content and a checkpoint, at rest. */
export const beginning = actions(
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

/** What is interrupted. */
export const scenario = actions(
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
  { do: 'defragment', on: 'b', steps: 13 },
  { do: 'write', on: 'b', at: 5, count: 3, steps: 8 },
  { do: 'settle' },
  { do: 'checkpoint' },
  { do: 'settle' },
).map((action) => ({ ...action, n: action.n + 100 }));

export const scenarioSetup: WalkSetup = { seed: 18, chunkSizeBytes: 16_384, slots: 40, logSizeBytes: 131_072 };
