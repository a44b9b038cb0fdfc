/** `chunkstore scrub start|status --pool DIR`: scrubs a pool that no store has open, or tells what is known of it. */
import path from 'node:path';
import { UsageError, type Config } from '../config.ts';
import { raisePoolVersion } from '../store/pool/pool.ts';
import { Scrubber } from '../store/scrub/scrubber.ts';
import { damageMessage, damageOf } from '../store/wire/scrub-messages.ts';
import type { Logger } from '../util/log.ts';
import { withOfflinePool } from './offline-pool.ts';
import { scrub } from './scrub.ts';

/** Nobody else uses the pool; others may use its disk. */
const BYTES_PER_SECOND = 256 * 2 ** 20;

export async function runOfflineScrub(config: Config, log: Logger): Promise<void> {
  const { flags, positionals } = config;
  const folder = path.resolve(flags.text('pool'));
  if (positionals[0] === 'start' && !flags.has('wait'))
    throw new UsageError('scrub: start with --pool needs --wait, because nobody goes on with it');
  await withOfflinePool(folder, log, async ({ data, pool }) => {
    const scrubber = new Scrubber({ engine: data, raiseVersion: () => raisePoolVersion(folder), bytesPerSecond: BYTES_PER_SECOND });
    await scrub(config, {
      startScrub: ({ bytesPerSecond }) => scrubber.start({ mode: 'verify', bytesPerSecond: bytesPerSecond ?? 0 }),
      stopScrub: () => scrubber.stop(),
      getScrub: () => scrubber.status(),
      listDamage: async () => damageOf(damageMessage(pool.id, await scrubber.damage())),
      getPool: () => data.call({ kind: 'pool' }),
    });
  });
}
