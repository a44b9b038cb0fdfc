/** Waits for a pass over a pool or a volume that a store makes by itself, as `--wait` of `scrub` and `defragment` do. */
import { StoreError } from '../util/errors.ts';

const POLL_MS = 500;
/** A store that is replaced or restarted is away for a moment. */
const AWAY_LIMIT_MS = 60_000;
/** Longer than the count after a start, and whatever else has to go first. */
const STALL_LIMIT_MS = 30 * 60_000;

export interface PassOptions<Status> {
  readonly begun: Status;
  readonly isOver: (status: Status) => boolean;
  /** Asks the store how far it is, and may begin it again. `wasAway`: the question before this one found no store. */
  readonly ask: (before: Status, wasAway: boolean) => Promise<Status>;
  readonly hasAdvanced: (next: Status, before: Status) => boolean;
  readonly percentOf: (status: Status) => number;
  readonly lineOf: (status: Status) => string;
  /** What makes no progress, for an error. */
  readonly name: string;
  readonly wait: (timeMs: number) => Promise<unknown>;
  readonly tell: (line: string) => void;
}

/**
 * Resolves with the status that is over; tells of each percent of the way. `failed-precondition` when the pass stands still,
 * `unavailable` when the store stays away, and what `ask` fails with otherwise.
 */
export async function followPass<Status>(options: PassOptions<Status>): Promise<Status> {
  const { begun, isOver, ask, hasAdvanced, percentOf, lineOf, name, wait, tell } = options;
  let status = begun;
  let told = -1;
  let awayMs = 0;
  let stalledMs = 0;
  while (!isOver(status)) {
    const percent = percentOf(status);
    if (percent !== told) tell(lineOf(status));
    told = percent;
    await wait(POLL_MS);
    try {
      const next = await ask(status, awayMs > 0);
      stalledMs = hasAdvanced(next, status) ? 0 : stalledMs + POLL_MS;
      status = next;
      awayMs = 0;
    } catch (error) {
      awayMs += POLL_MS;
      if (!(error instanceof StoreError) || error.code !== 'unavailable' || awayMs > AWAY_LIMIT_MS) throw error;
      continue;
    }
    if (stalledMs > STALL_LIMIT_MS) throw new StoreError('failed-precondition', `${name} makes no progress: look at the log of the store`);
  }
  return status;
}
