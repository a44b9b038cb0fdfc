/** The controller role: CSI Identity and Controller, over a list of stores or those of a Kubernetes cluster. It keeps no state. */
import { randomUUID } from 'node:crypto';
import { createController } from '../csi/controller/controller.ts';
import { createIdentity } from '../csi/identity.ts';
import { lockedController } from '../csi/locking.ts';
import { BusyLocks } from '../util/busy-locks.ts';
import { CsiServer } from '../csi/server.ts';
import { UsageError, type Config } from '../config.ts';
import { StaticStoreDirectory, type StoreAddress } from '../store/wire/directory.ts';
import type { Logger } from '../util/log.ts';
import { VERSION } from '../version.ts';
import type { RunningRole } from './process/lifecycle.ts';

const STOP_LIMIT_MS = 15_000;

export async function startController(config: Config, log: Logger): Promise<RunningRole> {
  if (config.flags.has('kubernetes')) return (await import('./cluster-controller.ts')).startClusterController(config, log);
  if (!config.flags.has('store')) throw new UsageError('controller: give --store for each store, or --kubernetes');
  const directory = new StaticStoreDirectory(config.flags.list('store').map(parseStore));
  const isReady = async (): Promise<boolean> => {
    await directory.all();
    return true;
  };
  const server = new CsiServer({
    identity: createIdentity({ version: VERSION, isReady }),
    controller: lockedController(createController(directory), new BusyLocks()),
    log,
    newRequestId: randomUUID,
    nowMs: Date.now,
  });
  await server.listen(config.flags.text('endpoint'));
  return {
    stop: async () => {
      await server.stop({ timeoutMs: STOP_LIMIT_MS });
      directory.close();
    },
  };
}

/** "NODE=unix:///path": a node's name has no equals sign. */
function parseStore(text: string): StoreAddress {
  const at = text.indexOf('=');
  if (at <= 0 || at === text.length - 1) throw new UsageError(`--store must be NODE=unix:///PATH, not ${JSON.stringify(text)}`);
  return { node: text.slice(0, at), target: text.slice(at + 1) };
}
