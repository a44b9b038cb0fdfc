/** `chunkstore scrub start|stop|status`: passes over what snapshots hold, and what they found. Damage is status 1. */
import { setTimeout as delay } from 'node:timers/promises';
import { UsageError, type Config } from '../config.ts';
import type { StoreClient } from '../store/wire/client.ts';
import type { ScrubStatus } from '../store/wire/scrub-messages.ts';
import { StoreError } from '../util/errors.ts';
import { printResult } from './output.ts';
import { percentOf, progressLine, scrubLines } from './scrub-report.ts';

const POLL_MS = 500;
/** A store that is replaced or restarted is away for a moment. */
const AWAY_LIMIT_MS = 60_000;
/** Longer than the count after a start and the search for what snapshots hold take. */
const STALL_LIMIT_MS = 30 * 60_000;

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
  let status = begun;
  let told = -1;
  let awayMs = 0;
  let stalledMs = 0;
  while (!hasEnded(status, begun)) {
    const percent = percentOf(status, poolSizeBytes);
    if (percent !== told) tell(progressLine(status, poolSizeBytes));
    told = percent;
    await wait(POLL_MS);
    try {
      const next = await (awayMs > 0 ? resume() : look());
      stalledMs = next.positionBytes === status.positionBytes ? stalledMs + POLL_MS : 0;
      status = next;
      awayMs = 0;
    } catch (error) {
      awayMs += POLL_MS;
      if (!(error instanceof StoreError) || error.code !== 'unavailable' || awayMs > AWAY_LIMIT_MS) throw error;
      continue;
    }
    if (stalledMs > STALL_LIMIT_MS) throw new StoreError('failed-precondition', 'the pass makes no progress: look at the log of the store');
    if (status.running !== 'verify' && !hasEnded(status, begun)) {
      const where = `at ${percentOf(status, poolSizeBytes)} % of the pool`;
      throw new StoreError(
        'failed-precondition',
        `the pass ended early, ${where}: somebody stopped it, the disk failed, or another store took the pool over; "scrub start" goes on with it`,
      );
    }
  }
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
