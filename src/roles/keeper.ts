/** The keeper role: as small as possible, because whatever it is, everybody's devices depend on it. */
import fs from 'node:fs';
import path from 'node:path';
import { Keeper } from '../block/keeper.ts';
import { Poller } from '../linux/poller.ts';
import type { Config } from '../config.ts';
import type { Logger } from '../util/log.ts';
import type { RunningRole } from './lifecycle.ts';

export async function startKeeper(config: Config, log: Logger): Promise<RunningRole> {
  const socketPath = config.flags.text('socket');
  fs.mkdirSync(path.dirname(socketPath), { recursive: true, mode: 0o700 });
  const poller = new Poller();
  const keeper = new Keeper({ socketPath, poller, log: (message, fields) => log.debug(fields, message) });
  return {
    stop: async () => {
      keeper.close();
    },
  };
}
