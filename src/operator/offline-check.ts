/** `chunkstore check --pool DIR`: checks a pool that no store has open. */
import path from 'node:path';
import type { Config } from '../config.ts';
import type { Logger } from '../util/log.ts';
import { printCheck } from './check-report.ts';
import { withOfflinePool } from './offline-pool.ts';

export async function runOfflineCheck(config: Config, log: Logger): Promise<void> {
  const folder = path.resolve(config.flags.text('pool'));
  printCheck(config, await withOfflinePool(folder, log, ({ data }) => data.call({ kind: 'check' })));
}
