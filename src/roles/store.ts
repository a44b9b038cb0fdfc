/** The store role: one pool, on a unix socket. In a pod it takes the pool over from its predecessor, and hands it over. */
import path from 'node:path';
import { KeeperClient } from '../block/keeper-client.ts';
import { socketPathOf, type Config, type Flags } from '../config.ts';
import type { PoolPhase } from '../k8s/pools/status.ts';
import { DefragmentLog } from '../store/defragment/log.ts';
import { tellStoreMetrics } from '../store/metrics.ts';
import { PoolLock } from '../store/pool/lock.ts';
import { ScrubSchedule } from '../store/scrub/schedule.ts';
import { LEAST_SCRUB_BYTES_PER_SECOND } from '../store/scrub/scrubber.ts';
import { findPool, prepareStore, type RunningStore, type StoreOptions } from '../store/store.ts';
import type { AskAnswer } from '../store/succession/claim.ts';
import { HAND_OVER_TIMEOUT_MS, HAND_OVER_VERSION } from '../store/succession/hand-over.ts';
import { SuccessionFile } from '../store/succession/succession.ts';
import { StoreClient } from '../store/wire/client.ts';
import { createStoreServer, type HandOverHandler } from '../store/wire/server.ts';
import { systemClock } from '../util/clock.ts';
import { StoreError } from '../util/errors.ts';
import type { Logger } from '../util/log.ts';
import { createMetrics, type CallObserver } from '../util/metrics.ts';
import { topologyValue } from '../util/topology.ts';
import { VERSION } from '../version.ts';
import { ClusterStore } from './cluster-store.ts';
import { poolSettings } from './pool-settings.ts';
import { startHttpIfAsked } from './process/http.ts';
import { fail, type RunningRole } from './process/lifecycle.ts';
import { checkSocketPath, closeServer, listenOnSocket } from './process/listen.ts';
import { STORE_STOP_LIMIT_MS, StoreLife, type Serving, type StoreState } from './store-life.ts';

/** The calls under way are over by then: what is left is answers on their way. */
const SERVER_CLOSE_LIMIT_MS = 1_000;
/** For a question to whoever serves at the same socket. */
const LOOK_LIMIT_MS = 1_000;

export async function startStore(config: Config, log: Logger): Promise<RunningRole> {
  const { flags } = config;
  const died = (error: unknown): never => fail('store', log, error);
  const options = storeOptions(flags, { log, died });
  const endpoint = flags.text('endpoint');
  const verifyEveryMs = flags.optionalDurationMs('scrub-every');
  const socketPath = socketPathOf(endpoint);
  checkSocketPath(socketPath);
  const podUid = flags.optionalText('pod-uid');
  const poolId = await findPool(options);
  const metrics = createMetrics({ role: 'store', version: VERSION });
  const cluster = await ClusterStore.join({ flags, poolId, log, observe: metrics.observeCall });
  const life: StoreLife = new StoreLife({
    poolFolder: options.poolFolder,
    poolId,
    podUid,
    succession: new SuccessionFile({ folder: path.dirname(socketPath), poolId, log }),
    openLock: () => PoolLock.open(options.poolFolder),
    prepare: ({ asItIs }) => prepareStore(asItIs ? { ...options, sizeBytes: null } : options),
    ask: () => askToHandOver(endpoint, { poolId, successor: podUid ?? '' }),
    isServed: () => isServed(endpoint, poolId),
    serve: async (store, handOver) => {
      const telling = tellStoreMetrics({
        metrics,
        poolId,
        engine: store.engine,
        statistics: store.engine,
        metadata: store.engine,
        service: store.calls,
        recovered: store.recovered,
        log,
      });
      const scrubbing = new ScrubSchedule({ calls: store.calls, verifyEveryMs, clock: systemClock, log });
      const defragmenting = new DefragmentLog({ calls: store.calls, clock: systemClock, log });
      const local = await serveCalls(store, { handOver, socketPath, observe: metrics.observeCall, log });
      const remote = await cluster?.serve(store, () => phaseOf(life.state));
      return {
        end: async () => {
          telling.stop();
          const how = life.state === 'waiting' ? 'handing-over' : 'stopped';
          await Promise.all([scrubbing.stop(), defragmenting.stop(), local.end(), remote?.end(how)]);
        },
      };
    },
    failed: died,
    log,
  });
  life.start();
  // Outside a pod whoever started this waits for it; in a pod the wait may last, and SIGTERM must end it.
  if (podUid === null) await life.served;
  const http = await startHttpIfAsked(flags.optionalText('http'), {
    live: () => life.live(),
    ready: () => life.ready(),
    metrics: () => metrics.text(),
    log,
  });
  return {
    ready: life.served,
    stopLimitMs: STORE_STOP_LIMIT_MS,
    stop: async () => {
      await life.stop();
      await http?.stop();
      await cluster?.stop();
    },
  };
}

function phaseOf(state: StoreState): PoolPhase {
  if (state === 'serving') return 'serving';
  return state === 'handing over' ? 'handing-over' : state === 'ending' || state === 'ended' ? 'stopped' : 'starting';
}

function scrubRate(flags: Flags): number {
  const bytesPerSecond = flags.sizeBytes('scrub-rate');
  if (bytesPerSecond >= LEAST_SCRUB_BYTES_PER_SECOND) return bytesPerSecond;
  throw new StoreError('invalid-argument', `--scrub-rate must be ${LEAST_SCRUB_BYTES_PER_SECOND} or more, not ${bytesPerSecond}`);
}

function storeOptions(flags: Flags, parts: { readonly log: Logger; readonly died: (error: Error) => void }): StoreOptions {
  const { log, died } = parts;
  const node = flags.text('node');
  const settings = poolSettings({
    pool: flags.text('pool'),
    size: flags.optionalText('size'),
    chunkSize: flags.optionalText('chunk-size'),
    root: flags.optionalText('pool-root'),
    settingsFolder: flags.optionalText('node-settings'),
    node,
  });
  return {
    poolFolder: settings.folder,
    sizeBytes: settings.sizeBytes,
    chunkSizeBytes: settings.chunkSizeBytes,
    node: topologyValue(node),
    overprovisioningRatio: flags.number('overprovisioning'),
    prewrite: flags.text('prewrite') === 'on',
    parkTimeoutMs: flags.number('full-pool-wait') * 1000,
    scrubBytesPerSecond: scrubRate(flags),
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
    died,
  };
}

/** Serves an open pool's calls on the unix socket. What else stands on an open pool begins and ends here too. */
async function serveCalls(
  store: RunningStore,
  options: { readonly handOver: HandOverHandler; readonly socketPath: string; readonly observe: CallObserver; readonly log: Logger },
): Promise<Serving> {
  const { handOver, socketPath, observe, log } = options;
  const server = createStoreServer({ service: store.calls, nodes: store.nodes, log, observe, handOver });
  await listenOnSocket(server, socketPath);
  return {
    end: async () => {
      store.nodes.close();
      await closeServer(server, { timeoutMs: SERVER_CLOSE_LIMIT_MS });
    },
  };
}

async function askToHandOver(target: string, request: { readonly poolId: string; readonly successor: string }): Promise<AskAnswer> {
  const client = new StoreClient({ target, timeoutMs: HAND_OVER_TIMEOUT_MS });
  try {
    const { keeperKeys } = await client.handOver({ version: HAND_OVER_VERSION, ...request });
    return { kind: 'released', keeperKeys };
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    const isAway = error instanceof StoreError && error.code === 'unavailable';
    return { kind: isAway ? 'away' : 'refused', reason };
  } finally {
    client.close();
  }
}

async function isServed(target: string, poolId: string): Promise<boolean> {
  const client = new StoreClient({ target, timeoutMs: LOOK_LIMIT_MS });
  try {
    return (await client.getPool()).id === poolId;
  } catch {
    return false;
  } finally {
    client.close();
  }
}
