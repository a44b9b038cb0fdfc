/** `chunkstore defragment VOLUME`: begins, stops or tells of it. What ended early with `--wait` is status 1. */
import { setTimeout as delay } from 'node:timers/promises';
import { UsageError, type Config } from '../config.ts';
import type { StoreClient } from '../store/wire/client.ts';
import type { ClientDefragment } from '../store/wire/defragment-messages.ts';
import { StoreError } from '../util/errors.ts';
import { defragmentLines, percentOf, progressLine } from './defragment-report.ts';
import { findObject } from './find.ts';
import { printResult } from './output.ts';

const POLL_MS = 500;
/** A store that is replaced or restarted is away for a moment. */
const AWAY_LIMIT_MS = 60_000;
/** Longer than the count after a start, and whatever else has to go first. */
const STALL_LIMIT_MS = 30 * 60_000;

export async function defragment(config: Config, store: StoreClient): Promise<void> {
  const { flags } = config;
  const deeds = ['wait', 'stop', 'status'].filter((flag) => flags.has(flag));
  if (deeds.length > 1) throw new UsageError(`defragment: --${deeds.join(' and --')} do not go together`);
  const [word = ''] = config.positionals;
  const { id, name } = await findObject(store, word, 'volume');
  const status = await run();
  printResult(config, defragmentLines(name, status), { name, ...status });

  async function run(): Promise<ClientDefragment> {
    if (flags.has('status')) return store.getDefragment(id);
    if (flags.has('stop')) return store.stopDefragment(id);
    const begun = await store.startDefragment(id);
    if (!flags.has('wait')) return begun;
    const ended = await awaitDefragment({
      begun,
      look: () => store.getDefragment(id),
      resume: () => store.startDefragment(id),
      wait: (timeMs) => delay(timeMs),
      tell: (line) => void process.stderr.write(`${line}\n`),
    });
    if (ended.state !== 'done') process.exitCode = 1;
    return ended;
  }
}

/**
 * Resolves with how it ended; tells of each percent of the way. A store that was started anew knows nothing of it: it is told
 * to begin it again, and finds in place what was moved. Whatever a look tells of was ended by somebody, and stays so. `failed-precondition` when it stands still, `unavailable` when the store stays away.
 */
export async function awaitDefragment(options: {
  readonly begun: ClientDefragment;
  readonly look: () => Promise<ClientDefragment>;
  readonly resume: () => Promise<ClientDefragment>;
  readonly wait: (timeMs: number) => Promise<unknown>;
  readonly tell: (line: string) => void;
}): Promise<ClientDefragment> {
  const { begun, look, resume, wait, tell } = options;
  let status = begun;
  let told = -1;
  let awayMs = 0;
  let stalledMs = 0;
  while (status.state === 'running' || status.state === 'never') {
    const percent = percentOf(status);
    if (percent !== told) tell(progressLine(status));
    told = percent;
    await wait(POLL_MS);
    try {
      const next = await (awayMs === 0 && status.state === 'never' ? resume() : look());
      const stands = next.positionBytes === status.positionBytes && next.movedBytes === status.movedBytes;
      stalledMs = stands ? stalledMs + POLL_MS : 0;
      status = next;
      awayMs = 0;
    } catch (error) {
      awayMs += POLL_MS;
      if (!(error instanceof StoreError) || error.code !== 'unavailable' || awayMs > AWAY_LIMIT_MS) throw error;
      continue;
    }
    if (stalledMs > STALL_LIMIT_MS)
      throw new StoreError('failed-precondition', 'defragmenting makes no progress: look at the log of the store');
  }
  return status;
}
