/** `chunkstore defragment VOLUME`: begins, stops or tells of it. What ended early with `--wait` is status 1. */
import { setTimeout as delay } from 'node:timers/promises';
import { UsageError, type Config } from '../config.ts';
import type { StoreClient } from '../store/wire/client.ts';
import type { ClientDefragment } from '../store/wire/defragment-messages.ts';
import { defragmentLines, progressLine } from './defragment-report.ts';
import { findObject } from './find.ts';
import { followPass } from './follow-pass.ts';
import { percentOf, printResult } from './output.ts';

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
 * to begin it again, and finds in place what was moved. Whatever a look tells of was ended by somebody, and stays so.
 * `failed-precondition` when it stands still, `unavailable` when the store stays away.
 */
export function awaitDefragment(options: {
  readonly begun: ClientDefragment;
  readonly look: () => Promise<ClientDefragment>;
  readonly resume: () => Promise<ClientDefragment>;
  readonly wait: (timeMs: number) => Promise<unknown>;
  readonly tell: (line: string) => void;
}): Promise<ClientDefragment> {
  const { begun, look, resume, wait, tell } = options;
  return followPass({
    begun,
    isOver: ({ state }) => state !== 'running' && state !== 'never',
    ask: (before, wasAway) => (!wasAway && before.state === 'never' ? resume() : look()),
    hasAdvanced: (next, before) => next.positionBytes !== before.positionBytes || next.movedBytes !== before.movedBytes,
    percentOf: ({ positionBytes, sizeBytes }) => percentOf(positionBytes, sizeBytes),
    lineOf: progressLine,
    name: 'defragmenting',
    wait,
    tell,
  });
}
