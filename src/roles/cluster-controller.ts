/**
 * The controller role in Kubernetes. Every replica serves CSI calls; the one that leads besides issues certificates,
 * reverts volumes, watches over the pools and clears away what was made twice.
 */
import { randomUUID } from 'node:crypto';
import { createController } from '../csi/controller/controller.ts';
import { createIdentity } from '../csi/identity.ts';
import { lockedController } from '../csi/locking.ts';
import { CsiServer } from '../csi/server.ts';
import type { Config } from '../config.ts';
import { AuthorityKeeper } from '../k8s/certificates/authority.ts';
import { ControllerIdentity } from '../k8s/certificates/controller-identity.ts';
import { CERTIFICATE_POLICY } from '../k8s/certificates/policy.ts';
import { CertificateSigner } from '../k8s/certificates/signer.ts';
import { createKubernetesClient, type KubernetesClient } from '../k8s/client.ts';
import { LeaderElection } from '../k8s/leader.ts';
import { PoolMonitor } from '../k8s/pool-monitor.ts';
import { RevertReconciler } from '../k8s/reverts/reconciler.ts';
import { KubernetesStoreDirectory } from '../k8s/store-directory.ts';
import { StoreClient } from '../store/client.ts';
import { BusyLocks } from '../util/busy-locks.ts';
import { systemClock } from '../util/clock.ts';
import { StoreError } from '../util/errors.ts';
import type { Logger } from '../util/log.ts';
import { createMetrics, type Metrics } from '../util/metrics.ts';
import { poolTlsName } from '../util/tls-identity.ts';
import { VERSION } from '../version.ts';
import { checkCsiServer } from './csi-health.ts';
import { startHttpIfAsked } from './http.ts';
import type { RunningRole } from './lifecycle.ts';

const STOP_LIMIT_MS = 15_000;
/** A part of what a probe waits. */
const HEALTH_LIMIT_MS = 3_000;

export async function startClusterController(config: Config, log: Logger): Promise<RunningRole> {
  const { flags } = config;
  const endpoint = flags.text('endpoint');
  const metrics = createMetrics({ role: 'controller', version: VERSION });
  const cluster = await joinCluster(config, log);
  const election = elect(cluster);
  const server = serveCsi(cluster, metrics);
  await server.listen(endpoint);
  const http = await startHttpIfAsked(flags.optionalText('http'), {
    live: () => checkCsiServer(endpoint, { timeoutMs: HEALTH_LIMIT_MS }),
    ready: () => checkReady(cluster),
    metrics: () => metrics.text(),
    log,
  });
  return {
    stop: async () => {
      await server.stop({ timeoutMs: STOP_LIMIT_MS });
      await election.stop();
      await http?.stop();
      cluster.directory.close();
      await cluster.identity.stop();
      cluster.api.close();
    },
  };
}

/** What every replica has. */
interface Cluster {
  readonly api: KubernetesClient;
  readonly identity: ControllerIdentity;
  readonly directory: KubernetesStoreDirectory<StoreClient>;
  readonly namespace: string;
  readonly release: string;
  /** This replica's name. */
  readonly replica: string;
  readonly log: Logger;
}

async function joinCluster({ flags }: Config, log: Logger): Promise<Cluster> {
  const namespace = flags.text('namespace');
  const release = flags.text('release');
  const service = flags.text('stores-service');
  const api = await createKubernetesClient({ userAgent: `chunkstore-controller/${VERSION}`, logger: log });
  const identity = new ControllerIdentity({ api, namespace, release, policy: CERTIFICATE_POLICY, clock: systemClock, log });
  const directory = new KubernetesStoreDirectory({
    api,
    namespace,
    service,
    connect: ({ address, port, poolId }) =>
      new StoreClient({
        target: address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`,
        tls: { identity, serverName: poolTlsName(poolId) },
      }),
    log,
  });
  return { api, identity, directory, namespace, release, replica: flags.text('identity'), log };
}

function serveCsi(cluster: Cluster, metrics: Metrics): CsiServer {
  const { directory, log } = cluster;
  return new CsiServer({
    // Whether every store answers is another question: with one node down the others go on.
    identity: createIdentity({ version: VERSION, isReady: () => checkReady(cluster).then(() => true) }),
    controller: lockedController(
      createController(directory, { notices: { tell: (claim, notice) => log.info({ claim, ...notice }, 'notice') } }),
      new BusyLocks(),
    ),
    log,
    newRequestId: randomUUID,
    nowMs: Date.now,
    observe: metrics.observeCall,
  });
}

/** It knows the cluster's pools, and the stores will believe it. */
async function checkReady({ directory, identity }: Cluster): Promise<void> {
  await directory.ready();
  if (identity.current() === null) throw new StoreError('unavailable', identity.problem() ?? 'there is no certificate yet');
}

function elect(cluster: Cluster): LeaderElection {
  const { api, namespace, release, replica: identity, log } = cluster;
  return new LeaderElection({
    api,
    namespace,
    name: `${release}-controller`,
    identity,
    lead: (signal) => lead(cluster, signal),
    clock: systemClock,
    logger: log,
  });
}

/** Does the work of the one that leads, until the signal. */
async function lead(cluster: Cluster, signal: AbortSignal): Promise<void> {
  const { api, directory, namespace, release, log } = cluster;
  const shared = { api, clock: systemClock, log };
  const certificates = { ...shared, namespace, release, policy: CERTIFICATE_POLICY };
  const reverts = new RevertReconciler({
    ...shared,
    stores: directory,
    record: ({ reason, note }) => log.info({ reason, note }, 'event'),
    random: Math.random,
  });
  const workers = [
    new AuthorityKeeper({ ...certificates, onProblem: (problem) => log.error({ problem }, 'certificate authority') }),
    new CertificateSigner({ ...certificates, storeServiceAccount: `${release}-store` }),
    new PoolMonitor({ ...shared, probe: (poolId) => directory.ofPool(poolId) }),
    reverts,
  ];
  reverts.start();
  await aborted(signal);
  await Promise.all(workers.map((worker) => worker.stop()));
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
}
