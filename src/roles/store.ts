/** The store role: one pool, on a unix socket. */
import { KeeperClient } from '../block/keeper-client.ts';
import { parseSize, socketPathOf, type Config } from '../config.ts';
import { startStore as openStore } from '../store/store.ts';
import type { Logger } from '../util/log.ts';
import { fail, type RunningRole } from './lifecycle.ts';
import { closeServer, listenOnSocket } from './listen.ts';

const STOP_LIMIT_MS = 10_000;

export async function startStore(config: Config, log: Logger): Promise<RunningRole> {
  const { flags } = config;
  const chunkSize = flags.optionalText('chunk-size');
  const store = await openStore({
    poolFolder: flags.text('pool'),
    sizeBytes: flags.optionalSizeBytes('size'),
    chunkSizeBytes: chunkSize === null ? null : parseSize(chunkSize, '--chunk-size'),
    node: flags.text('node'),
    overprovisioningRatio: flags.number('overprovisioning'),
    prewrite: flags.text('prewrite') === 'on',
    parkTimeoutMs: flags.number('full-pool-wait') * 1000,
    keeperOf: (pool) =>
      KeeperClient.connect({
        socketPath: flags.text('keeper'),
        role: 'store',
        pool,
        onLost: (reason) =>
          log.error({ reason: reason.message }, 'the keeper is gone; should this process die now, its volumes die with it'),
        onRefilled: () => log.info('a keeper holds everything again'),
      }),
    log,
    died: (error) => fail('store', log, error),
  });
  await listenOnSocket(store.server, socketPathOf(flags.text('endpoint')));
  return {
    stop: async () => {
      store.endSessions();
      await closeServer(store.server, { timeoutMs: STOP_LIMIT_MS });
      await store.close();
    },
  };
}
