/** The installed driver: its pods by role, its processes, its pools, its operator's commands, and what it left behind. */
import { LoopDeviceList } from '../../../src/linux/loop-device-list.ts';
import type { OwnCluster } from './cluster.ts';
import type { Fields, Manifest } from './api.ts';
import { describePod } from './explain.ts';
import type { Kube } from './kube.ts';
import type { RunResult } from './command.ts';
import type { Settings } from './settings.ts';

export type Role = 'controller' | 'node' | 'store' | 'keeper';
export const nodeRoles = ['node', 'store', 'keeper'] as const;

export const driverName = 'csi.chunkstore.dev';
const storeEndpoint = 'unix:///run/chunkstore/store.sock';
const readyLimitMs = 180_000;
const helmLimitMs = 300_000;
const deviceLimitMs = 5000;
const httpPort = 7461;

/** An object of a store, as `chunkstore list --output json` tells it. */
export interface StoredObject extends Fields {
  readonly name: string;
  readonly id: string;
  readonly kind: 'volume' | 'snapshot';
  readonly sizeBytes: number;
}

export class Driver {
  readonly namespace: string;
  readonly #kube: Kube;
  readonly #settings: Settings;
  readonly #cluster: OwnCluster | null;

  constructor(options: { readonly kube: Kube; readonly settings: Settings; readonly cluster: OwnCluster | null }) {
    this.#kube = options.kube;
    this.#settings = options.settings;
    this.#cluster = options.cluster;
    this.namespace = options.settings.namespace;
  }

  /** Names of the nodes that have a pool. */
  async nodes(): Promise<string[]> {
    return (await this.pods('keeper')).map(({ spec }: Fields) => String(spec?.['nodeName'])).sort();
  }

  /** Pods of a role that are not on their way out; with the chart's surge there may be two stores on a node for a moment. */
  async pods(role: Role, node?: string): Promise<Manifest[]> {
    const labels = `app.kubernetes.io/instance=${this.#settings.release},app.kubernetes.io/component=${role}`;
    const all = await this.#kube.api.list('Pod', { namespace: this.namespace, labels });
    return all.filter((pod) => pod.metadata['deletionTimestamp'] === undefined && (node === undefined || pod['spec'].nodeName === node));
  }

  /** The pod of a role that serves: of a node, or any controller. */
  async pod(role: Role, node?: string): Promise<Manifest> {
    const pods = await this.pods(role, node);
    const ready = pods.find(isReady);
    if (ready === undefined)
      throw new Error(`no ${role} is ready${node === undefined ? '' : ` on ${node}`}: ${pods.map(describePod).join('; ')}`);
    return ready;
  }

  /** Waits until all roles run as their workloads say, in their newest version. */
  async waitUntilReady(options: { readonly timeoutMs?: number } = {}): Promise<void> {
    const probe = async () => {
      const labels = `app.kubernetes.io/instance=${this.#settings.release}`;
      const [deployments, daemonSets] = await Promise.all([
        this.#kube.api.list('Deployment', { namespace: this.namespace, labels }),
        this.#kube.api.list('DaemonSet', { namespace: this.namespace, labels }),
      ]);
      if (daemonSets.length < nodeRoles.length) return 'it is not installed';
      const unready = [...deployments.filter((one) => !isDeploymentReady(one)), ...daemonSets.filter((one) => !isDaemonSetReady(one))];
      return unready.length === 0 || `not ready: ${unready.map(({ metadata }) => metadata.name).join(', ')}`;
    };
    await this.#kube.until('the driver is ready', probe, { timeoutMs: options.timeoutMs ?? readyLimitMs, namespaces: [this.namespace] });
  }

  /** The controller that leads, by its Lease, or led last; and since when. */
  async leader(): Promise<{ readonly pod: string; readonly since: string }> {
    const lease = await this.#kube.get({ kind: 'Lease', name: `${this.#settings.release}-controller`, namespace: this.namespace });
    return { pod: lease['spec'].holderIdentity, since: lease['spec'].acquireTime };
  }

  /** Kills the process of the controller that leads, and waits until one leads again, it or another. Only on our own cluster. */
  async killLeader(): Promise<void> {
    const cluster = this.#ownCluster();
    let since = '';
    // Right after it was killed before, its pod's status may still name the container that is gone.
    const kill = async (): Promise<true | string> => {
      const leader = await this.leader();
      since = leader.since;
      const pod = await this.#kube.get({ kind: 'Pod', name: leader.pod, namespace: this.namespace });
      try {
        await cluster.killContainer(pod['spec'].nodeName, containerOf(pod, 'controller')?.['containerID']);
        return true;
      } catch (error) {
        if (!(error as Error).message.includes('no running task found')) throw error;
        return `its container is gone already: ${leader.pod}`;
      }
    };
    await this.#kube.until('the leading controller is killed', kill, { timeoutMs: readyLimitMs, namespaces: [this.namespace] });
    const probe = async () => (await this.leader()).since !== since || 'nobody has taken the lease yet';
    await this.#kube.until('a controller leads again', probe, { timeoutMs: readyLimitMs, namespaces: [this.namespace] });
  }

  /** Kills the process of a role and returns at once. Only on the tests' own cluster. */
  async kill(role: Role, options: { readonly node?: string; readonly signal?: 'SIGKILL' | 'SIGTERM' } = {}): Promise<void> {
    const pod = await this.pod(role, options.node);
    await this.#ownCluster().killContainer(pod['spec'].nodeName, containerOf(pod, role)?.['containerID'], options.signal);
  }

  /** Kills the process of a role, and waits until another one in its place is ready. */
  async killAndWait(role: Role, options: { readonly node?: string; readonly signal?: 'SIGKILL' | 'SIGTERM' } = {}): Promise<void> {
    const pod = await this.pod(role, options.node);
    const before = containerOf(pod, role)?.['containerID'];
    await this.#ownCluster().killContainer(pod['spec'].nodeName, before, options.signal);
    const { name } = pod.metadata;
    const judge = (found: Manifest | null) => {
      if (found === null) return 'the pod is gone';
      const container = containerOf(found, role);
      if (container?.['containerID'] === before) return 'the killed process is still in its status';
      return container?.['ready'] === true || describePod(found);
    };
    await this.#kube.waitFor({ kind: 'Pod', name, namespace: this.namespace }, judge, {
      what: `has a ready ${role} again`,
      timeoutMs: readyLimitMs,
    });
  }

  /** Deletes the pods of a role (on one node, or all) in order, and waits until others are ready. */
  async restart(role: Role, node?: string): Promise<void> {
    const pods = await this.pods(role, node);
    await Promise.all(pods.map(({ metadata }) => this.#kube.api.remove({ kind: 'Pod', name: metadata.name, namespace: this.namespace })));
    for (const { metadata } of pods) {
      await this.#kube.waitUntilGone({ kind: 'Pod', name: metadata.name, namespace: this.namespace }, { timeoutMs: readyLimitMs });
    }
    // The workload's own status may still be that of before.
    const probe = async () => {
      const others = await this.pods(role, node);
      const unready = others.filter((pod) => !isReady(pod));
      return (
        (others.length >= pods.length && unready.length === 0) ||
        `${others.length} of ${pods.length} are there: ${others.map(describePod).join('; ')}`
      );
    };
    await this.#kube.until(`other pods of role ${role} are ready`, probe, { timeoutMs: readyLimitMs, namespaces: [this.namespace] });
    await this.waitUntilReady();
  }

  /** Deletes all pods of the driver at once, keepers and stores too: volumes in use go on. */
  async restartAll(): Promise<void> {
    await Promise.all([...nodeRoles, 'controller' as const].map((role) => this.restart(role)));
  }

  /** The standard output of one of the operator's commands against the store of a node: `list`, `space`, `check`, … */
  async command(node: string, ...words: readonly string[]): Promise<string> {
    const pod = await this.pod('store', node);
    const command = ['/usr/local/bin/chunkstore', ...words, `--endpoint=${storeEndpoint}`];
    return this.#kube.exec({ namespace: this.namespace, pod: pod.metadata.name, container: 'store' }, command);
  }

  /** All volumes and snapshots of a node's store. */
  async objects(node: string): Promise<readonly StoredObject[]> {
    return JSON.parse(await this.command(node, 'list', '--output=json')) as StoredObject[];
  }

  pools(): Promise<Manifest[]> {
    return this.#kube.api.list('ChunkStorePool');
  }

  async poolOf(node: string): Promise<Manifest> {
    const pool = (await this.pools()).find(({ spec }: Fields) => spec?.['node'] === node);
    if (pool === undefined) throw new Error(`there is no ChunkStorePool of ${node}`);
    return pool;
  }

  /** The metrics of a pod of a role, in Prometheus's text format. */
  async metrics(role: Exclude<Role, 'keeper'>, node?: string): Promise<string> {
    return this.metricsOf((await this.pod(role, node)).metadata.name);
  }

  /** Those of one pod, where several serve. */
  metricsOf(pod: string): Promise<string> {
    return this.#kube.api.text('GET', `api/v1/namespaces/${this.namespace}/pods/${pod}:${httpPort}/proxy/metrics`);
  }

  /** What the driver holds on all nodes, one a line: empty after all claims and snapshots are gone. */
  async leftovers(): Promise<string[]> {
    const found: string[] = [];
    for (const node of await this.nodes()) {
      const objects = await this.objects(node);
      found.push(...objects.map(({ kind, name, id }) => `${kind} ${name} (${id}) in the store of ${node}`));
      found.push(...(await this.mounts(node)).map((path) => `mount ${path} on ${node}`));
    }
    found.push(...(await this.devices()).map((name) => `loop device of ${name}`));
    return found;
  }

  /** Waits until nothing is left over. */
  async waitUntilEmpty(options: { readonly timeoutMs: number }): Promise<void> {
    const probe = async () => {
      const found = await this.leftovers();
      return found.length === 0 || found.join('; ');
    };
    await this.#kube.until('nothing is left in the stores and on the nodes', probe, { ...options, namespaces: [this.namespace] });
  }

  /** Folders on a node where volumes of this driver are staged or published. Empty on a cluster that is not our own. */
  async mounts(node: string): Promise<string[]> {
    if (this.#cluster === null) return [];
    const table = await this.#cluster.on(node, ['cat', '/proc/self/mounts']);
    return table
      .split('\n')
      .map((line) => line.split(' ')[1] ?? '')
      .filter((path) => path.includes(`/kubernetes.io/csi/${driverName}/`) || path.includes('/kubernetes.io~csi/'));
  }

  /** Ids of the volumes and snapshots whose loop devices exist, on this machine. Empty on a cluster that is not our own. */
  async devices(): Promise<string[]> {
    if (this.#cluster === null) return [];
    const pools = (await this.pools()).map(({ metadata }) => metadata.name);
    const { devices } = await new LoopDeviceList().read({ timeoutMs: deviceLimitMs });
    return devices.map(({ fileName }) => fileName).filter((name) => pools.some((pool) => name.startsWith(`${pool}.`)));
  }

  /** Installs it or brings it to these values, as README says: helm's `--set` words over the values of all tests. */
  async install(...set: readonly string[]): Promise<RunResult> {
    const { chart, values, release, driverImage } = this.#settings;
    const image = [`--set=image.repository=${driverImage.repository}`, `--set-string=image.tag=${driverImage.tag}`];
    const files = values.map((file) => `--values=${file}`);
    const words = ['upgrade', '--install', release, chart, `--namespace=${this.namespace}`, '--create-namespace', '--timeout=4m'];
    return this.#kube.helm([...words, ...files, ...image, ...set.map((word) => `--set=${word}`)], { timeoutMs: helmLimitMs });
  }

  uninstall(): Promise<RunResult> {
    const { release } = this.#settings;
    return this.#kube.helm(['uninstall', release, `--namespace=${this.namespace}`, '--wait', '--timeout=4m'], { timeoutMs: helmLimitMs });
  }

  #ownCluster(): OwnCluster {
    if (this.#cluster === null) throw new Error("processes can be killed only on the tests' own cluster; say so in describeOnCluster");
    return this.#cluster;
  }
}

function isReady({ status }: Fields): boolean {
  return status?.['conditions']?.some((condition: Fields) => condition['type'] === 'Ready' && condition['status'] === 'True') ?? false;
}

function containerOf({ status }: Fields, name: string): Fields | undefined {
  return status?.['containerStatuses']?.find((container: Fields) => container['name'] === name);
}

function isDeploymentReady({ metadata, spec, status }: Fields): boolean {
  const wanted = spec?.['replicas'];
  return (
    status?.['observedGeneration'] === metadata?.['generation'] &&
    (status?.['updatedReplicas'] ?? 0) === wanted &&
    (status?.['readyReplicas'] ?? 0) === wanted &&
    (status?.['replicas'] ?? 0) === wanted
  );
}

function isDaemonSetReady({ metadata, spec, status }: Fields): boolean {
  const wanted = status?.['desiredNumberScheduled'];
  // A workload that is replaced only when its pods are deleted may well run its former version.
  const updated = spec?.['updateStrategy']?.type === 'OnDelete' || status?.['updatedNumberScheduled'] === wanted;
  return status?.['observedGeneration'] === metadata?.['generation'] && wanted > 0 && updated && status?.['numberReady'] === wanted;
}
