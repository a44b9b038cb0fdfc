/**
 * What the store role does in Kubernetes beside serving its node: it tells of its pool in a ChunkStorePool, and serves the
 * controller over mutual TLS. Nothing of it is needed for the data path, and nothing here fails the store while the API is
 * away.
 */
import type { Flags } from '../config.ts';
import type { RenewedIdentity } from '../k8s/certificates/renewed-identity.ts';
import { createStoreIdentity } from '../k8s/certificates/store-identity.ts';
import { createKubernetesClient, type KubernetesClient } from '../k8s/client/client.ts';
import { EventRecorder } from '../k8s/events.ts';
import { PoolPublisher } from '../k8s/pools/publisher.ts';
import type { PoolPhase, PoolProblem } from '../k8s/pools/status.ts';
import { DRIVER_NAME } from '../k8s/resources.ts';
import { createControllerServer } from '../store/wire/server.ts';
import type { RunningStore } from '../store/store.ts';
import { listenWithTls } from '../store/wire/tls-listener.ts';
import { systemClock } from '../util/clock.ts';
import type { Logger } from '../util/log.ts';
import type { CallObserver } from '../util/metrics.ts';
import { CONTROLLER_TLS_NAME } from '../util/tls-identity.ts';
import { VERSION } from '../version.ts';
import { parseListenAddress } from './process/http.ts';
import { closeServer } from './process/listen.ts';

/** The calls under way are over by then: what is left is answers on their way. */
const SERVER_CLOSE_LIMIT_MS = 1_000;
const EVENTS_LIMIT_MS = 1_000;

export interface ClusterStoreOptions {
  readonly flags: Flags;
  readonly poolId: string;
  readonly log: Logger;
  readonly observe: CallObserver;
}

export class ClusterStore {
  readonly #options: ClusterStoreOptions;
  readonly #api: KubernetesClient;
  readonly #identity: RenewedIdentity;
  readonly #events: EventRecorder;

  private constructor(options: ClusterStoreOptions, api: KubernetesClient) {
    const { flags, poolId, log } = options;
    this.#options = options;
    this.#api = api;
    this.#events = new EventRecorder({ api, controller: DRIVER_NAME, instance: flags.text('node'), clock: systemClock, logger: log });
    const [namespace, release] = [flags.text('namespace'), flags.text('release')];
    // Asked for at once, so that it is there when the pool is.
    this.#identity = createStoreIdentity({ api, namespace, release, poolId, clock: systemClock, log });
  }

  /** Null outside of Kubernetes. */
  static async join(options: ClusterStoreOptions): Promise<ClusterStore | null> {
    if (!options.flags.has('kubernetes')) return null;
    // What is missing should be told before the pool is touched.
    parseListenAddress(options.flags.text('listen'), '--listen');
    const api = await createKubernetesClient({ userAgent: `chunkstore-store/${VERSION}`, logger: options.log });
    return new ClusterStore(options, api);
  }

  /** Tells of the open pool and serves the controller, until `end`, which says why it is the end. */
  async serve(store: RunningStore, phase: () => PoolPhase): Promise<{ end(phase: PoolPhase): Promise<void> }> {
    const { flags, log, observe } = this.#options;
    const server = createControllerServer({ service: store.calls, log, observe });
    const { host, port } = parseListenAddress(flags.text('listen'), '--listen');
    const listener = await listenWithTls({
      server,
      host: host ?? '::',
      port,
      identity: this.#identity,
      peerName: CONTROLLER_TLS_NAME,
      log,
    });
    const publisher = new PoolPublisher({
      api: this.#api,
      pool: {
        id: store.poolId,
        phase,
        problems: () => problemsOf(store, this.#identity.problem()),
        figures: () => store.look(),
        fence: store.fence,
      },
      node: flags.text('node'),
      version: VERSION,
      clock: systemClock,
      record: this.#events.record,
      log,
    });
    return {
      end: async (last) => {
        await publisher.stop(last);
        listener.close();
        await closeServer(server, { timeoutMs: SERVER_CLOSE_LIMIT_MS });
      },
    };
  }

  async stop(): Promise<void> {
    await this.#identity.stop();
    await this.#events.stop({ timeoutMs: EVENTS_LIMIT_MS });
    this.#api.close();
  }
}

function problemsOf(store: RunningStore, certificate: string | null): readonly PoolProblem[] {
  const failure = store.failure();
  const problems: PoolProblem[] = [];
  if (failure !== null) problems.push({ reason: 'DiskFailed', message: `the pool can only be read: ${failure}` });
  const metadata = store.metadataProblem();
  if (metadata !== null) {
    const message = `nothing new is made, because the metadata have no room to grow: ${metadata}. Make room in that file system`;
    problems.push({ reason: 'MetadataFull', message });
  }
  if (store.growthProblem !== null) problems.push({ reason: 'CannotGrow', message: store.growthProblem });
  if (!store.keeperReady) {
    const message = 'no keeper has the descriptors of the volumes: should the store die now, their I/O fails. Look at the keeper pod';
    problems.push({ reason: 'KeeperAway', message });
  }
  if (certificate !== null) problems.push({ reason: 'NoCertificate', message: `the controller cannot reach this store: ${certificate}` });
  return problems;
}
