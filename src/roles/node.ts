/**
 * The node role: CSI Identity and Node, and the only process that opens, mounts or waits on a volume's device.
 */
import { randomUUID } from 'node:crypto';
import { KeeperClient } from '../block/keeper-client.ts';
import { LoopDevices } from '../block/node-devices.ts';
import { createIdentity } from '../csi/identity.ts';
import { lockedNode } from '../csi/locking.ts';
import { BusyLocks } from '../util/busy-locks.ts';
import { createNode } from '../csi/node/node.ts';
import type { NodeDevices } from '../csi/ports.ts';
import { CsiServer } from '../csi/server.ts';
import type { Config } from '../config.ts';
import { inspectLoopDevice } from '../linux/loop-device.ts';
import { Poller } from '../linux/poller.ts';
import { findHolders } from '../mount/holders.ts';
import { SystemMounter } from '../mount/mounter.ts';
import { StoreClient } from '../store/client.ts';
import { parseWireId } from '../store/ids.ts';
import { NodeSessionClient } from '../store/node-session-client.ts';
import { StoreError } from '../util/errors.ts';
import type { Logger } from '../util/log.ts';
import { VERSION } from '../version.ts';
import type { RunningRole } from './lifecycle.ts';
import { NodeCut } from './node-cut.ts';
import { programOf } from './program.ts';

const STOP_LIMIT_MS = 15_000;
const INSPECT_LIMIT_MS = 5_000;

export async function startNode(config: Config, log: Logger): Promise<RunningRole> {
  const { flags } = config;
  const store = new StoreClient({ target: flags.text('store') });
  const keepers = new KeeperClients(flags.text('keeper'));
  const devices = makeLoopDevices({ store, keepers, log });
  const mounter = new SystemMounter();
  if (flags.has('clear-leftovers')) await clearLeftovers(store, devices, log);
  const node = flags.text('node');
  const server = new CsiServer({
    identity: createIdentity({ version: VERSION, isReady: () => store.getPool().then(() => true) }),
    node: lockedNode(createNode({ devices: nodeDevices(devices), mounter, nodeId: node, topologyNode: node }), new BusyLocks()),
    log,
    newRequestId: randomUUID,
    nowMs: Date.now,
  });
  const cut = new NodeCut({ devicePathOf: (id) => devices.find(id), mounts: () => mounter.list(), freezer: programOf('freezer') });
  const session = new NodeSessionClient({ node, open: () => store.nodeSession(), perform: (action, id) => cut.perform(action, id), log });
  await server.listen(flags.text('endpoint'));
  return {
    drain: () => drain(store, devices, mounter),
    stop: async () => {
      await server.stop({ timeoutMs: STOP_LIMIT_MS });
      session.close();
      await keepers.close();
      store.close();
    },
  };
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

async function clearLeftovers(store: StoreClient, devices: LoopDevices, log: Logger): Promise<void> {
  const { id } = await store.getPool();
  const { inUse } = await devices.clearLeftovers(id);
  if (inUse.length > 0) log.warn({ devices: inUse }, 'devices of a store that ended are still mounted; they fail until they are unmounted');
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
