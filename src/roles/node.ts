/**
 * The node role: CSI Identity and Node, and the only process that opens, mounts or waits on a volume's device.
 *
 * It serves and registers whether its store is there or not: what needs the store is `unavailable` until it comes, and
 * the kubelet asks again. It keeps nothing in memory that its successor would miss.
 */
import { randomUUID } from 'node:crypto';
import path from 'node:path';
import { KeeperClient } from '../block/keeper-client.ts';
import { LoopDevices } from '../block/node-devices.ts';
import { socketPathOf, type Config, type Flags } from '../config.ts';
import { createIdentity } from '../csi/identity.ts';
import { lockedNode } from '../csi/locking.ts';
import { DRIVER_NAME } from '../csi/names.ts';
import { createNode } from '../csi/node/node.ts';
import type { NodeDevices } from '../csi/ports.ts';
import { CsiServer } from '../csi/server.ts';
import { Registration } from '../k8s/registration.ts';
import { inspectLoopDevice } from '../linux/loop-device.ts';
import { Poller } from '../linux/poller.ts';
import { FreezeNotes } from '../mount/freeze-notes.ts';
import { findHolders } from '../mount/holders.ts';
import { SystemMounter } from '../mount/mounter.ts';
import { ARENA_COUNTS } from '../store/data-thread/memory-layout.ts';
import { StoreClient } from '../store/wire/client.ts';
import { parseWireId } from '../store/wire/ids.ts';
import { NodeSessionClient } from '../store/wire/node-session-client.ts';
import { BusyLocks } from '../util/busy-locks.ts';
import { StoreError } from '../util/errors.ts';
import type { Logger } from '../util/log.ts';
import { createMetrics, type CallObserver } from '../util/metrics.ts';
import { withinTime } from '../util/time-limit.ts';
import { topologyValue } from '../util/topology.ts';
import { VERSION } from '../version.ts';
import { NodeCut } from './node-cut.ts';
import { NodeUpkeep } from './node-upkeep.ts';
import { checkCsiServer } from './process/csi-health.ts';
import { startHttpIfAsked } from './process/http.ts';
import type { RoleProcessControl, RunningRole } from './process/lifecycle.ts';
import { programOf } from './process/program.ts';

const STOP_LIMIT_MS = 15_000;
/** For file systems that are frozen at that moment. */
const THAW_LIMIT_MS = 5_000;
const INSPECT_LIMIT_MS = 5_000;
/** A part of what a probe waits. */
const HEALTH_LIMIT_MS = 3_000;

export async function startNode(config: Config, log: Logger, control: RoleProcessControl): Promise<RunningRole> {
  const { flags } = config;
  const notes = new FreezeNotes({ folder: path.join(path.dirname(flags.text('keeper')), 'frozen') });
  const store = new StoreClient({ target: flags.text('store') });
  const keepers = new KeeperClients(flags.text('keeper'));
  const devices = makeLoopDevices({ store, keepers, log });
  // Before anything that could wait for a file system which a predecessor has left frozen.
  const upkeep = await NodeUpkeep.start({ notes, devices, store, log });
  const mounter = new SystemMounter();
  const metrics = createMetrics({ role: 'node', version: VERSION });
  const server = makeServer(flags, { devices, mounter, store, observe: metrics.observeCall, log });
  const cut = new NodeCut({ devicePathOf: (id) => devices.find(id), mounts: () => mounter.list(), freezer: programOf('freezer'), notes });
  const session = new NodeSessionClient({
    node: flags.text('node'),
    open: () => store.nodeSession(),
    perform: (action, id) => cut.perform(action, id),
    lost: () => {
      upkeep.storeLost();
      void cut.release();
    },
    log,
  });
  await server.listen(flags.text('endpoint'));
  const registration = await register(flags, { log, control });
  const http = await startHttpIfAsked(flags.optionalText('http'), {
    live: () => Promise.all([checkCsiServer(flags.text('endpoint'), { timeoutMs: HEALTH_LIMIT_MS }), registration?.checkSocket()]),
    ready: () => Promise.all([withinTime(store.getPool(), { timeoutMs: HEALTH_LIMIT_MS, what: 'the store' }), registration?.check()]),
    metrics: () => metrics.text(),
    log,
  });
  return {
    drain: () => drain(store, devices, mounter),
    stop: async () => {
      // The kubelet goes first: what it may call must be served.
      await registration?.stop();
      session.close();
      await Promise.all([
        server.stop({ timeoutMs: STOP_LIMIT_MS }),
        withinTime(cut.close(), { timeoutMs: THAW_LIMIT_MS, what: 'a frozen file system' }).catch((error: unknown) => {
          log.warn({ err: error }, 'a file system stays frozen until the next node role thaws it');
        }),
      ]);
      await http?.stop();
      // Calls under way to a store that does not answer end with this.
      store.close();
      await upkeep.stop();
      await keepers.close();
    },
  };
}

function makeServer(
  flags: Flags,
  parts: {
    readonly devices: LoopDevices;
    readonly mounter: SystemMounter;
    readonly store: StoreClient;
    readonly observe: CallObserver;
    readonly log: Logger;
  },
): CsiServer {
  const { devices, mounter, store, observe, log } = parts;
  const node = flags.text('node');
  const service = createNode({
    devices: nodeDevices(devices),
    mounter,
    nodeId: node,
    topologyNode: topologyValue(node),
    maximumVolumes: ARENA_COUNTS.devices,
  });
  return new CsiServer({
    identity: createIdentity({ version: VERSION, isReady: () => store.getPool().then(() => true) }),
    node: lockedNode(service, new BusyLocks()),
    log,
    newRequestId: randomUUID,
    nowMs: Date.now,
    observe,
  });
}

/** Null outside of Kubernetes. A refusal ends the process in order, and whoever keeps it alive has it try again. */
async function register(flags: Flags, parts: { readonly log: Logger; readonly control: RoleProcessControl }): Promise<Registration | null> {
  const folder = flags.optionalText('registration');
  if (folder === null) return null;
  return Registration.start({
    folder,
    driver: DRIVER_NAME,
    endpoint: socketPathOf(flags.text('kubelet-endpoint')),
    log: parts.log,
    refused: (error) => parts.control.endWith(error),
  });
}

/** The loop devices of this node, over its store and keeper. */
export function makeLoopDevices(parts: {
  readonly store: StoreClient;
  readonly keepers: KeeperClients;
  readonly log: Logger;
}): LoopDevices {
  const { store, keepers, log } = parts;
  return new LoopDevices({
    store: {
      attach: async (id) => {
        const { keeperKey, sizeBytes, readOnly, attributes } = await store.attach(id);
        return { key: keeperKey, sizeBytes, readOnly, attributes };
      },
      detach: (id) => store.detach(id),
    },
    keeperOf: (poolId) => keepers.of(poolId),
    log: (message, fields) => log.info(fields, message),
  });
}

/** The port of the CSI services. Whose a device is, the kernel tells: it bears the volume's id, dead or alive. */
function nodeDevices(devices: LoopDevices): NodeDevices {
  return {
    attach: (id) => devices.attach(id),
    detach: (id) => devices.detach(id),
    find: (id) => devices.find(id),
    grow: (id) => devices.grow(id),
    owner: async (devicePath) => {
      const device = await inspectLoopDevice(devicePath, { timeoutMs: INSPECT_LIMIT_MS });
      return device !== null && parseWireId(device.fileName) !== null ? device.fileName : null;
    },
  };
}

/** Connections to one keeper, one a pool, made when they are needed. */
export class KeeperClients {
  readonly #socketPath: string;
  readonly #poller = new Poller();
  readonly #clients = new Map<string, Promise<KeeperClient>>();

  constructor(socketPath: string) {
    this.#socketPath = socketPath;
  }

  of(poolId: string): Promise<KeeperClient> {
    const known = this.#clients.get(poolId);
    if (known !== undefined) return known;
    const client = KeeperClient.connect({ socketPath: this.#socketPath, role: 'node', pool: poolId, poller: this.#poller });
    this.#clients.set(poolId, client);
    client.catch(() => this.#clients.delete(poolId));
    return client;
  }

  async close(): Promise<void> {
    for (const client of this.#clients.values()) await (await client.catch(() => null))?.close();
    await this.#poller.close();
  }
}

/** Takes down every device that nobody uses; names who uses the others. */
async function drain(store: StoreClient, devices: LoopDevices, mounter: SystemMounter): Promise<readonly string[]> {
  const [volumes, snapshots] = await Promise.all([store.listVolumes(), store.listSnapshots()]);
  const holders: string[] = [];
  for (const { id, name, attached } of [...volumes, ...snapshots]) {
    if (!attached) continue;
    const users = await usersOf(id, devices, mounter);
    if (users.length > 0) holders.push(`${name} ${users.join(', ')}`);
  }
  return holders;
}

async function usersOf(id: string, devices: LoopDevices, mounter: SystemMounter): Promise<readonly string[]> {
  const devicePath = await devices.find(id);
  const mounts = devicePath === null ? [] : (await mounter.list()).filter((entry) => entry.source === devicePath);
  const users: string[] = [];
  for (const { target } of mounts) {
    const processes = await findHolders(target);
    users.push(`is mounted at ${target}${processes.length === 0 ? '' : ` and used by ${processes.join(', ')}`}`);
  }
  if (users.length > 0) return users;
  try {
    await devices.detach(id);
    return [];
  } catch (error) {
    if (error instanceof StoreError && error.code === 'in-use') return [`(${devicePath ?? 'its device'}) is held: ${error.message}`];
    throw error;
  }
}
