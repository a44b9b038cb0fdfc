/**
 * The block devices of this node: a loop device over each attached volume's FUSE file. Runs in the node role, never in
 * the process that serves the files.
 *
 * A loop device is named "<pool>.<object>" in the kernel, so everything is found again after a restart, and nothing is
 * remembered here. Which of several devices of that name is the living one is told by the file system it lies on: a
 * FUSE connection that ended leaves a device on another one behind. That needs no I/O, which could wait or fail for
 * other reasons.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { StoreError } from '../util/errors.ts';
import { KeyedQueue } from '../util/keyed-queue.ts';
import { closeDescriptor, closeSlowly, fileStatus, openDevice } from '../linux/files.ts';
import { LoopDeviceList } from '../linux/loop-device-list.ts';
import { LoopNumbers } from '../linux/loop-numbers.ts';
import {
  detachLoopDevice,
  configureLoopDevice,
  growLoopDevice,
  loopDeviceNumber,
  loopDeviceSize,
  waitUntilDetached,
  type LoopDevice,
} from '../linux/loop-device.ts';
import { storeErrorOf } from '../linux/system-error.ts';
import { DevicePlace } from './kept-device.ts';

/** What the store says of an attached volume. */
export interface Attachment {
  /** Where the keeper has the device's descriptors. */
  readonly key: string;
  readonly sizeBytes: number;
  readonly readOnly: boolean;
  readonly attributes: Readonly<Record<string, string>>;
}

/** The store's part; both calls are idempotent. `id` is "<pool>.<object>". */
export interface AttachmentStore {
  attach(id: string): Promise<Attachment>;
  /** Succeeds when it is not attached. */
  detach(id: string): Promise<void>;
}

/** The part of KeeperClient that is needed here. */
export interface DescriptorSource {
  get(key: string, options: { readonly places: readonly number[] }): Promise<{ readonly descriptors: readonly number[] } | null>;
}

export interface LoopDevicesOptions {
  readonly store: AttachmentStore;
  /** The keeper of a pool's descriptors, by the pool's id. */
  readonly keeperOf: (poolId: string) => Promise<DescriptorSource>;
  /** For each system call, and for each wait for something to appear or go. */
  readonly timeoutMs?: number;
  readonly log?: (message: string, fields: Readonly<Record<string, unknown>>) => void;
}

export interface AttachedDevice {
  readonly devicePath: string;
  readonly sizeBytes: number;
  readonly attributes: Readonly<Record<string, string>>;
}

const defaultTimeoutMs = 5_000;
const keeperPollMs = 50;
const detachPasses = 3;

export class LoopDevices {
  readonly #options: LoopDevicesOptions;
  readonly #limit: { readonly timeoutMs: number };
  readonly #queue = new KeyedQueue({ maximumWaiting: 16 });
  readonly #list = new LoopDeviceList();
  readonly #numbers = new LoopNumbers();

  constructor(options: LoopDevicesOptions) {
    this.#options = options;
    this.#limit = { timeoutMs: options.timeoutMs ?? defaultTimeoutMs };
  }

  /** Makes the volume a block device, or finds the one it is, and makes it as large as the volume. StoreError `in-use`
   * when a device of a former connection is still mounted. */
  attach(id: string): Promise<AttachedDevice> {
    return this.#queue.run(id, async () => {
      const attachment = await this.#options.store.attach(id);
      return this.#withMount(id, attachment, async (mount) => {
        const found = await this.#livingDevice(id, mount, attachment);
        const devicePath = found ?? (await this.#setUp(id, mount, attachment));
        const sizeBytes = await this.#resize(devicePath, mount, attachment);
        if (found === null) this.#options.log?.('volume attached', { volume: id, devicePath, sizeBytes });
        return { devicePath, sizeBytes, attributes: attachment.attributes };
      });
    });
  }

  /** Takes the device down and tells the store. StoreError `in-use`, with nothing changed, while it is mounted. */
  detach(id: string): Promise<void> {
    return this.#queue.run(id, async () => {
      for (let pass = 0; pass < detachPasses; pass++) {
        const devices = await this.#devicesOf(id);
        if (devices.length === 0) break;
        for (const device of devices) await this.#takeDown(device);
      }
      await this.#tellStoreOfDetach(id);
    });
  }

  /** The kernel lets go of a file somewhat after its device is gone, and the store hears of it from the kernel. */
  async #tellStoreOfDetach(id: string): Promise<void> {
    const deadline = performance.now() + releaseWaitMs;
    for (;;) {
      try {
        return await this.#options.store.detach(id);
      } catch (error) {
        if (!(error instanceof StoreError) || error.code !== 'in-use' || performance.now() >= deadline) throw error;
      }
      await delay(releasePollMs);
    }
  }

  /** The path of the volume's device, or null. */
  async find(id: string): Promise<string | null> {
    const devices = await this.#devicesOf(id);
    const device = devices.findLast((candidate) => !candidate.goingAway);
    return device?.path ?? null;
  }

  /** Makes the device as large as the volume is now. Answers its size in bytes. StoreError `not-found` when it is not
   * attached here. */
  grow(id: string): Promise<number> {
    return this.#queue.run(id, async () => {
      const devicePath = await this.find(id);
      if (devicePath === null) throw new StoreError('not-found', `volume ${id} has no device on this node: attach it first`);
      const attachment = await this.#options.store.attach(id);
      return this.#withMount(id, attachment, (mount) => this.#resize(devicePath, mount, attachment));
    });
  }

  /**
   * Takes down the devices of a pool that nobody serves any more, which store and keeper leave behind when they die at
   * once. Those that are mounted are marked, and go away when they are unmounted; their paths are answered in `inUse`.
   *
   * `attachedIds` asks the store which volumes and snapshots have their devices open. It is asked only after the devices
   * were listed: what was set up before, and is not open for the store, lies on a connection that ended. So a device
   * that is made meanwhile, by whomever, is never taken for a dead one. Nobody is asked when there are no devices.
   */
  async clearLeftovers(
    poolId: string,
    attachedIds: () => Promise<ReadonlySet<string>>,
  ): Promise<{ readonly cleared: readonly string[]; readonly inUse: readonly string[] }> {
    const { devices } = await this.#list.read(this.#limit);
    const own = devices.filter((device) => device.fileName.startsWith(`${poolId}.`));
    const attached = own.length === 0 ? new Set() : await attachedIds();
    const leftovers = own.filter((device) => !attached.has(device.fileName));
    const cleared: string[] = [];
    const inUse: string[] = [];
    for (const device of leftovers) {
      await detachLoopDevice(device, { ...this.#limit, evenInUse: true });
      const gone = await waitUntilDetached(device, { withinMs: leftoverWaitMs });
      (gone ? cleared : inUse).push(device.path);
    }
    return { cleared, inUse };
  }

  /** StoreError `unavailable` when there is none, but a device that cannot be asked may be one. */
  async #devicesOf(id: string): Promise<LoopDevice[]> {
    const { devices, silent } = await this.#list.read(this.#limit);
    const own = devices.filter((device) => device.fileName === id);
    if (own.length > 0 || silent.length === 0) return own;
    throw new StoreError(
      'unavailable',
      `${silent.join(', ')} may be the device of volume ${id}, but does not answer: ask again when its store is ready`,
    );
  }

  /** Null when there is none; devices of this name that are of no use any more are gone then. */
  async #livingDevice(id: string, mount: number, attachment: Attachment): Promise<string | null> {
    const { fileSystemDevice } = await fileStatus(mount, { ...this.#limit, fresh: false });
    let living: string | null = null;
    for (const device of await this.#devicesOf(id)) {
      const useful = !device.goingAway && device.fileSystemDevice === fileSystemDevice && device.readOnly === attachment.readOnly;
      if (useful && living === null) living = device.path;
      else await this.#takeDown(device);
    }
    return living;
  }

  async #takeDown(device: LoopDevice): Promise<void> {
    await detachLoopDevice(device, this.#limit);
    if (await waitUntilDetached(device, { withinMs: this.#limit.timeoutMs })) return;
    const above = await this.#devicesOn(device.path);
    const holder = above.length > 0 ? `${above.join(', ')} stands on it; detach that` : 'a program has it open; end that program';
    throw new StoreError('in-use', `${device.path} (${device.fileName}) does not go away: ${holder}`);
  }

  /** Loop devices that somebody else has set up on this one. The kubelet does so for each pod that uses a block volume,
   * and takes its device down before it unpublishes; ours goes away by itself as soon as that is over. */
  async #devicesOn(path: string): Promise<string[]> {
    const { devices } = await this.#list.read(this.#limit);
    const number = loopDeviceNumber(path);
    return devices.filter(({ blockDevice }) => blockDevice !== 0 && blockDevice === number).map((device) => device.path);
  }

  async #setUp(id: string, mount: number, attachment: Attachment): Promise<string> {
    const { readOnly } = attachment;
    let file: number;
    try {
      file = await openDevice(`/proc/self/fd/${mount}`, { ...this.#limit, readOnly });
    } catch (error) {
      throw storeErrorOf(error, `cannot open the file of volume ${id}`);
    }
    try {
      return await configureLoopDevice({ ...this.#limit, numbers: this.#numbers, descriptor: file, fileName: id, readOnly });
    } finally {
      // When this is the last one, its close tells the store.
      await closeSlowly(file, this.#limit).catch(() => {});
    }
  }

  /** The kernel takes the size from what it knows of the file, so it must ask first. */
  async #resize(devicePath: string, mount: number, attachment: Attachment): Promise<number> {
    const present = await loopDeviceSize(devicePath, this.#limit);
    if (present === attachment.sizeBytes) return present;
    await fileStatus(mount, { ...this.#limit, fresh: true });
    const sizeBytes = await growLoopDevice(devicePath, this.#limit);
    if (sizeBytes >= attachment.sizeBytes) return sizeBytes;
    throw new StoreError(
      'unavailable',
      `${devicePath} has ${sizeBytes} bytes, its volume ${attachment.sizeBytes}: the store has not told the kernel yet`,
    );
  }

  async #withMount<Result>(id: string, attachment: Attachment, use: (mount: number) => Promise<Result>): Promise<Result> {
    const mount = await this.#fetchMount(id, attachment.key);
    try {
      return await use(mount);
    } catch (error) {
      throw storeErrorOf(error, `volume ${id}`);
    } finally {
      closeDescriptor(mount);
    }
  }

  /** A keeper that was just started has nothing until the store has filled it again. */
  async #fetchMount(id: string, key: string): Promise<number> {
    const keeper = await this.#options.keeperOf(poolOf(id));
    const deadline = performance.now() + this.#limit.timeoutMs;
    for (;;) {
      const held = await keeper.get(key, { places: [DevicePlace.mount] });
      const mount = held?.descriptors[0];
      if (mount !== undefined) return mount;
      if (performance.now() >= deadline) {
        throw new StoreError('unavailable', `the keeper does not have the device of volume ${id}: ask again when its store is ready`);
      }
      await delay(keeperPollMs);
    }
  }
}

const leftoverWaitMs = 1_000;
const releaseWaitMs = 2_000;
const releasePollMs = 20;

function poolOf(id: string): string {
  const [pool = '', object = '', ...rest] = id.split('.');
  if (pool === '' || object === '' || rest.length > 0)
    throw new StoreError('invalid-argument', `"${id}" is no volume id: it has the form <pool>.<object>`);
  return pool;
}
