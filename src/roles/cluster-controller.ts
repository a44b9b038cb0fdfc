/**
 * The controller role in Kubernetes. Every replica serves CSI calls; the one that leads besides issues certificates,
 * reverts volumes, watches over the pools and clears away what was made twice.
 */
import { randomUUID } from 'node:crypto';
import { createController } from '../csi/controller/controller.ts';
import { createIdentity } from '../csi/identity.ts';
import { lockedController } from '../csi/locking.ts';
import type { ClaimNotices } from '../csi/ports.ts';
import { CsiServer } from '../csi/server.ts';
import type { Config } from '../config.ts';
import { AuthorityKeeper } from '../k8s/certificates/authority.ts';
import { createControllerIdentity } from '../k8s/certificates/controller-identity.ts';
import { CERTIFICATE_POLICY } from '../k8s/certificates/policy.ts';
import type { RenewedIdentity } from '../k8s/certificates/renewed-identity.ts';
import { CertificateSigner } from '../k8s/certificates/signer.ts';
import { createKubernetesClient, type KubernetesClient } from '../k8s/client/client.ts';
import { EventRecorder } from '../k8s/events.ts';
import { ForeignSnapshots } from '../k8s/foreign-snapshots.ts';
import { LeaderElection } from '../k8s/leader.ts';
import { collectOrphans } from '../k8s/orphans.ts';
import { PoolMonitor } from '../k8s/pools/monitor.ts';
import { KubernetesStoreDirectory } from '../k8s/pools/store-directory.ts';
import { DRIVER_NAME, leases, persistentVolumeClaims } from '../k8s/resources.ts';
import { poolOfHandle } from '../k8s/reverts/names.ts';
import { RevertReconciler } from '../k8s/reverts/reconciler.ts';
import { StoreClient } from '../store/wire/client.ts';
import { BusyLocks } from '../util/busy-locks.ts';
import { systemClock } from '../util/clock.ts';
import { StoreError } from '../util/errors.ts';
import type { Logger } from '../util/log.ts';
import { createMetrics, type Metrics } from '../util/metrics.ts';
import { poolTlsName } from '../util/tls-identity.ts';
import { VERSION } from '../version.ts';
import { checkCsiServer } from './process/csi-health.ts';
import { startHttpIfAsked } from './process/http.ts';
import type { RunningRole } from './process/lifecycle.ts';

const STOP_LIMIT_MS = 15_000;
/** A part of what a probe waits. */
const HEALTH_LIMIT_MS = 3_000;
const EVENTS_LIMIT_MS = 2_000;

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
      await cluster.events.stop({ timeoutMs: EVENTS_LIMIT_MS });
      cluster.directory.close();
      await cluster.identity.stop();
      cluster.api.close();
    },
  };
}

/** What every replica has. */
interface Cluster {
  readonly api: KubernetesClient;
  readonly identity: RenewedIdentity;
  readonly directory: KubernetesStoreDirectory<StoreClient>;
  readonly events: EventRecorder;
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
  const identity = createControllerIdentity({ api, namespace, release, policy: CERTIFICATE_POLICY, clock: systemClock, log });
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
  const replica = flags.text('identity');
  const events = new EventRecorder({ api, controller: DRIVER_NAME, instance: replica, clock: systemClock, logger: log });
  return { api, identity, directory, events, namespace, release, replica, log };
}

function serveCsi(cluster: Cluster, metrics: Metrics): CsiServer {
  const { directory, log } = cluster;
  return new CsiServer({
    // Whether every store answers is another question: with one node down the others go on.
    identity: createIdentity({ version: VERSION, isReady: () => checkReady(cluster).then(() => true) }),
    controller: lockedController(createController(directory, { notices: noticesOf(cluster) }), new BusyLocks()),
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

/** Events on the claim that a volume is made for. */
function noticesOf({ api, events, log }: Cluster): ClaimNotices {
  const tell: ClaimNotices['tell'] = (claim, { reason, message }) => {
    const found = api.get(persistentVolumeClaims, claim).then((object) => {
      if (object === null) return;
      events.record({ resource: persistentVolumeClaims, object, type: 'Normal', reason, action: 'Provisioning', note: message });
    });
    found.catch((error: unknown) => log.debug({ err: error, claim }, 'a claim was not told'));
  };
  return { tell };
}

/** Kept in the log, and as an event beside the Lease of whoever leads. */
function tellOfAuthority({ api, events, namespace, release, log }: Cluster, problem: string | null): void {
  if (problem === null) return log.info('the certificate authorities are in order again');
  log.error({ problem }, 'the certificate authorities need a person');
  const found = api.get(leases, { namespace, name: leaseName(release) }).then((object) => {
    if (object === null) return;
    events.record({ resource: leases, object, type: 'Warning', reason: 'CertificateAuthority', action: 'Rotating', note: problem });
  });
  found.catch((error: unknown) => log.debug({ err: error }, 'the event could not be written'));
}

function leaseName(release: string): string {
  return `${release}-controller`;
}

function elect(cluster: Cluster): LeaderElection {
  const { api, namespace, release, replica: identity, log } = cluster;
  return new LeaderElection({
    api,
    namespace,
    name: leaseName(release),
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
    record: cluster.events.record,
    random: Math.random,
  });
  const workers = [
    new AuthorityKeeper({ ...certificates, onProblem: (problem) => tellOfAuthority(cluster, problem) }),
    new CertificateSigner({ ...certificates, storeServiceAccount: `${release}-store` }),
    new PoolMonitor({ ...shared, probe: (poolId) => directory.ofPool(poolId) }),
    new ForeignSnapshots({ api, record: cluster.events.record, isOurs: (handle) => poolOfHandle(handle) !== null }),
    reverts,
  ];
  reverts.start();
  const collecting = collectOrphans({ api, stores: () => directory.known(), clock: systemClock, logger: log }, signal);
  await aborted(signal);
  await Promise.all([collecting, ...workers.map((worker) => worker.stop())]);
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
}
