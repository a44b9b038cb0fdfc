/**
 * Which objects have a FUSE connection, and which of those are open. An attachment is the pair of descriptors of one
 * unlisted FUSE mount, served by the data thread and kept by the keeper under `device/<object id>`. It is `attached` in
 * the sense of everybody else only while its file is open, that is, while a loop device is set up over it.
 *
 * Invariants: the keeper has the descriptors before the data thread serves them, so that the death of this process at
 * any point loses no connection that a loop device could stand on; and an attachment leaves the keeper only after the
 * data thread has let go of it.
 */
import { randomInt } from 'node:crypto';
import { deviceKey } from '../block/kept-device.ts';
import type { ObjectId, ObjectInfo } from '../engine/control.ts';
import { assert } from '../util/assert.ts';
import { StoreError } from '../util/errors.ts';
import type { Logger } from '../util/log.ts';
import type { DataDevices, DeviceConnection } from './data-thread/control.ts';

/** What is remembered with the descriptors. */
type DeviceMetadata = Readonly<Record<string, string | number | boolean>>;

/** The keeper, as far as the store needs it (src/block/keeper-client.ts): it holds copies of descriptors under a key, with
 * a few words beside them. A keeper that was started again is given everything again by its client. */
export interface DescriptorKeeper {
  put(key: string, metadata: DeviceMetadata, descriptors: readonly number[]): Promise<void>;
  /** Takes over what a predecessor put: null when the key is unknown. The descriptors belong to the caller. */
  adopt(key: string): Promise<{ readonly metadata: DeviceMetadata; readonly descriptors: readonly number[] } | null>;
  drop(key: string): Promise<void>;
  list(): Promise<readonly { readonly key: string }[]>;
}

export interface FuseMounts {
  create(options: { readonly source: string }): { readonly fuseDescriptor: number; readonly mountDescriptor: number };
  close(descriptor: number): void;
}

export interface AttachmentPorts {
  readonly devices: DataDevices;
  readonly keeper: DescriptorKeeper;
  readonly mounts: FuseMounts;
  readonly log: Logger;
}

interface Attachment {
  readonly objectId: ObjectId;
  readonly connection: number;
  readonly incarnation: number;
  readonly readOnly: boolean;
  readonly fuseDescriptor: number;
  readonly mountDescriptor: number;
}

type Kept = NonNullable<Awaited<ReturnType<DescriptorKeeper['adopt']>>>;

const KEY_PREFIX = deviceKey('');
const LARGEST_INCARNATION = 2 ** 31;

export class Attachments {
  readonly #ports: AttachmentPorts;
  readonly #attachments = new Map<ObjectId, Attachment>();
  /** By key, between adopting and recovering. */
  readonly #adopted = new Map<string, Kept>();

  constructor(ports: AttachmentPorts) {
    this.#ports = ports;
  }

  /** Fetches from the keeper what a predecessor left there; needs nothing of the pool but its locks. */
  async adopt(): Promise<void> {
    for (const { key } of await this.#ports.keeper.list()) {
      if (!key.startsWith(KEY_PREFIX)) continue;
      const kept = await this.#ports.keeper.adopt(key);
      if (kept === null) throw new StoreError('unavailable', `the keeper listed ${key} but does not hold it any more: start again`);
      this.#adopted.set(key, kept);
    }
  }

  /** Takes over what was adopted. Objects that are gone since are dropped. */
  async recover(objects: readonly ObjectInfo[]): Promise<{ readonly answered: number; readonly submitted: number }> {
    const devices: DeviceConnection[] = [];
    const known = new Map(objects.map((object) => [object.id, object]));
    for (const [key, kept] of this.#adopted) {
      const object = known.get(key.slice(KEY_PREFIX.length));
      if (object === undefined) {
        this.#ports.log.warn({ key }, 'the keeper holds a device of an object that is gone; dropped');
        for (const descriptor of kept.descriptors) this.#ports.mounts.close(descriptor);
        // A keeper that has gone is no reason to give up the others: the next one is not given this.
        await this.#ports.keeper.drop(key).catch((error: unknown) => this.#ports.log.warn({ err: error, key }, 'not dropped yet'));
        continue;
      }
      const attachment = attachmentOf(key, kept, object.id);
      this.#attachments.set(object.id, attachment);
      devices.push({ ...attachment, sizeBytes: object.sizeBytes });
    }
    this.#adopted.clear();
    return this.#ports.devices.recover(devices);
  }

  /** What the keeper holds of them. */
  keeperKeys(): readonly string[] {
    return [...this.#attachments.keys()].map(deviceKey);
  }

  /** Closes this process's descriptors; the keeper's, and the connections with them, stay. Nothing else follows. */
  close(): void {
    for (const attachment of this.#attachments.values()) this.#closeDescriptors(attachment);
    for (const { descriptors } of this.#adopted.values()) for (const descriptor of descriptors) this.#ports.mounts.close(descriptor);
    this.#attachments.clear();
    this.#adopted.clear();
  }

  /** Makes sure that the object can be set up as a loop device. The caller holds the object's device lock. */
  async attach(object: ObjectInfo, options: { readonly source: string }): Promise<{ keeperKey: string; readOnly: boolean }> {
    const existing = this.#attachments.get(object.id);
    if (existing !== undefined) return { keeperKey: deviceKey(object.id), readOnly: existing.readOnly };
    const attachment = this.#create(object, options.source);
    this.#attachments.set(object.id, attachment);
    try {
      await this.#put(attachment);
      await this.#ports.devices.add({ ...attachment, sizeBytes: object.sizeBytes });
    } catch (error) {
      await this.#drop(attachment);
      throw error;
    }
    return { keeperKey: deviceKey(object.id), readOnly: attachment.readOnly };
  }

  /** Takes the connection down; succeeds when there is none, `in-use` while it is open. */
  async detach(objectId: ObjectId): Promise<void> {
    const attachment = this.#attachments.get(objectId);
    if (attachment === undefined) return;
    await this.#ports.devices.remove(attachment.connection);
    await this.#drop(attachment);
  }

  /** Like `detach`, for calls that need the object to be unattached: `failed-precondition` while it is open. */
  async release(objectId: ObjectId, options: { readonly what: string }): Promise<void> {
    try {
      await this.detach(objectId);
    } catch (error) {
      if (!(error instanceof StoreError) || error.code !== 'in-use') throw error;
      throw new StoreError('failed-precondition', `${options.what} is attached to a block device; unmount and detach it first`, {
        cause: error,
      });
    }
  }

  /** The objects whose block device is open. */
  async attached(): Promise<ReadonlySet<ObjectId>> {
    if (this.#attachments.size === 0) return new Set();
    const open = await this.#ports.devices.openConnections();
    const ids = [...this.#attachments.values()].filter(({ connection }) => open.has(connection)).map(({ objectId }) => objectId);
    return new Set(ids);
  }

  async resized(object: ObjectInfo): Promise<void> {
    const attachment = this.#attachments.get(object.id);
    if (attachment !== undefined) await this.#ports.devices.resize(attachment.connection, object.sizeBytes);
  }

  #create(object: ObjectInfo, source: string): Attachment {
    const connection = this.#freeConnection();
    const incarnation = randomInt(1, LARGEST_INCARNATION);
    const mount = this.#ports.mounts.create({ source });
    return { objectId: object.id, connection, incarnation, readOnly: object.kind === 'snapshot', ...mount };
  }

  #freeConnection(): number {
    const taken = new Set([...this.#attachments.values()].map((attachment) => attachment.connection));
    const { maximumConnections } = this.#ports.devices;
    for (let connection = 1; connection <= maximumConnections; connection++) if (!taken.has(connection)) return connection;
    throw new StoreError('failed-precondition', `all ${maximumConnections} devices of this store are attached; detach one first`);
  }

  async #put(attachment: Attachment): Promise<void> {
    const { objectId, connection, incarnation, readOnly, fuseDescriptor, mountDescriptor } = attachment;
    await this.#ports.keeper.put(deviceKey(objectId), { connection, incarnation, readOnly }, [fuseDescriptor, mountDescriptor]);
  }

  async #drop(attachment: Attachment): Promise<void> {
    this.#attachments.delete(attachment.objectId);
    this.#closeDescriptors(attachment);
    await this.#ports.keeper.drop(deviceKey(attachment.objectId));
  }

  #closeDescriptors({ mountDescriptor, fuseDescriptor }: Attachment): void {
    this.#ports.mounts.close(mountDescriptor);
    this.#ports.mounts.close(fuseDescriptor);
  }
}

function attachmentOf(key: string, kept: Kept, objectId: ObjectId): Attachment {
  const [fuseDescriptor, mountDescriptor] = kept.descriptors;
  if (fuseDescriptor === undefined || mountDescriptor === undefined)
    throw new StoreError('data-loss', `the keeper has ${key} without its two descriptors`);
  const { connection, incarnation, readOnly } = kept.metadata;
  assert(typeof connection === 'number' && typeof incarnation === 'number' && typeof readOnly === 'boolean', `${key} was put by a store`);
  return { objectId, connection, incarnation, readOnly, fuseDescriptor, mountDescriptor };
}
