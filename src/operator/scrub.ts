/** `chunkstore scrub start|stop|status`: passes over what snapshots hold, and what they found. Damage is status 1. */
import { setTimeout as delay } from 'node:timers/promises';
import { UsageError, type Config } from '../config.ts';
import type { StoreClient } from '../store/wire/client.ts';
import type { ScrubStatus } from '../store/wire/scrub-messages.ts';
import { StoreError } from '../util/errors.ts';
import { followPass } from './follow-pass.ts';
import { percentOf, printResult } from './output.ts';
import { progressLine, scrubLines } from './scrub-report.ts';

/** A store, or a pool that none has open. */
export interface ScrubbedPool extends Pick<StoreClient, 'startScrub' | 'stopScrub' | 'getScrub' | 'listDamage'> {
  getPool(): Promise<{ readonly sizeBytes: number; readonly chunkSizeBytes: number }>;
}

export async function scrub(config: Config, store: ScrubbedPool): Promise<void> {
  const [deed] = config.positionals;
  const { flags } = config;
  if (deed !== 'start' && (flags.has('rate') || flags.has('wait'))) throw new UsageError('scrub: --rate and --wait go with start');
  if (deed === 'start') await start(config, store);
  else if (deed === 'stop') await store.stopScrub();
  else if (deed !== 'status') throw new UsageError(`scrub: start, stop or status, not ${JSON.stringify(deed)}`);
  await report(config, store);
}

async function start({ flags }: Config, store: ScrubbedPool): Promise<void> {
  const bytesPerSecond = flags.optionalSizeBytes('rate');
  const begun = await store.startScrub({ bytesPerSecond });
  if (!flags.has('wait')) return;
  const { sizeBytes } = await store.getPool();
  await awaitScrub({
    begun,
    look: () => store.getScrub(),
    resume: () => store.startScrub({ bytesPerSecond }),
    poolSizeBytes: sizeBytes,
    wait: (timeMs) => delay(timeMs),
    tell: (line) => void process.stderr.write(`${line}\n`),
  });
}

/**
 * Resolves when the verifying pass has come to its end; tells of each percent of the way. A store that is started anew
 * goes on with it. `failed-precondition` when it was stopped or stands still, `unavailable` when the store
 * stays away.
 */
export async function awaitScrub(options: {
  readonly begun: ScrubStatus;
  readonly look: () => Promise<ScrubStatus>;
  readonly resume: () => Promise<ScrubStatus>;
  readonly poolSizeBytes: number;
  readonly wait: (timeMs: number) => Promise<unknown>;
  readonly tell: (line: string) => void;
}): Promise<void> {
  const { begun, look, resume, poolSizeBytes, wait, tell } = options;
  const percent = ({ positionBytes }: ScrubStatus): number => percentOf(positionBytes, poolSizeBytes);
  await followPass({
    begun,
    isOver: (status) => hasEnded(status, begun),
    ask: async (_, wasAway) => {
      const next = await (wasAway ? resume() : look());
      if (next.running === 'verify' || hasEnded(next, begun)) return next;
      throw new StoreError(
        'failed-precondition',
        `the pass ended early, at ${percent(next)} % of the pool: somebody stopped it, the disk failed, or another store took the pool over; "scrub start" goes on with it`,
      );
    },
    hasAdvanced: (next, before) => next.positionBytes !== before.positionBytes,
    percentOf: percent,
    lineOf: (status) => progressLine(status, poolSizeBytes),
    name: 'the pass',
    wait,
    tell,
  });
}

function hasEnded(status: ScrubStatus, begun: ScrubStatus): boolean {
  return status.startedAtMs === 0 || status.completedAtMs !== begun.completedAtMs;
}

async function report(config: Config, store: ScrubbedPool): Promise<void> {
  const [status, pool] = [await store.getScrub(), await store.getPool()];
  const damage = status.damagedChunks === 0 ? { chunks: [], more: false } : await store.listDamage();
  printResult(config, scrubLines({ status, damage, pool }), { ...status, damage });
  if (status.damagedChunks > 0) process.exitCode = 1;
}
