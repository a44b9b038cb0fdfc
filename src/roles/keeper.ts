/** The keeper role: as small as possible, because whatever it is, everybody's devices depend on it. */
import { Keeper } from '../block/keeper.ts';
import { Poller } from '../linux/poller.ts';
import type { Config } from '../config.ts';
import type { Logger } from '../util/log.ts';
import type { RunningRole } from './lifecycle.ts';

export async function startKeeper(config: Config, log: Logger): Promise<RunningRole> {
  const poller = new Poller();
  const keeper = new Keeper({ socketPath: config.flags.text('socket'), poller, log: (message, fields) => log.debug(fields, message) });
  return {
    stop: async () => {
      keeper.close();
    },
  };
}
