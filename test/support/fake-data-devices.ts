/** The data thread's devices, the keeper and the FUSE mounts over plain maps; a test opens and closes devices by hand. */
import type { DescriptorKeeper, FuseMounts } from '../../src/store/attachments.ts';
import type { DataDevices, DeviceConnection } from '../../src/store/data-thread/control.ts';
import { StoreError } from '../../src/util/errors.ts';

export class FakeDataDevices implements DataDevices {
  readonly maximumConnections: number;
  readonly served = new Map<number, DeviceConnection>();
  readonly open = new Set<number>();

  constructor(maximumConnections = 4) {
    this.maximumConnections = maximumConnections;
  }

  async add(device: DeviceConnection): Promise<void> {
    this.served.set(device.connection, device);
  }

  async recover(devices: readonly DeviceConnection[]): Promise<{ answered: number; submitted: number }> {
    for (const device of devices) await this.add(device);
    return { answered: 0, submitted: 0 };
  }

  async remove(connection: number): Promise<void> {
    if (this.open.has(connection)) throw new StoreError('in-use', `connection ${connection} is open`);
    this.served.delete(connection);
  }

  async openConnections(): Promise<ReadonlySet<number>> {
    return new Set(this.open);
  }

  async resize(connection: number, sizeBytes: number): Promise<void> {
    const device = this.served.get(connection);
    if (device !== undefined) this.served.set(connection, { ...device, sizeBytes });
  }

  /** As if a loop device were set up over it. */
  openObject(objectId: string): void {
    for (const device of this.served.values()) if (device.objectId === objectId) this.open.add(device.connection);
  }

  closeAll(): void {
    this.open.clear();
  }
}

interface Held {
  readonly metadata: Readonly<Record<string, string | number | boolean>>;
  readonly descriptors: readonly number[];
}

export class FakeKeeper implements DescriptorKeeper {
  readonly entries = new Map<string, Held>();

  async put(key: string, metadata: Held['metadata'], descriptors: readonly number[]): Promise<void> {
    this.entries.set(key, { metadata, descriptors });
  }

  async adopt(key: string): Promise<Held | null> {
    return this.entries.get(key) ?? null;
  }

  async drop(key: string): Promise<void> {
    this.entries.delete(key);
  }

  async list(): Promise<{ key: string }[]> {
    return [...this.entries.keys()].map((key) => ({ key }));
  }
}

export class FakeMounts implements FuseMounts {
  readonly open = new Set<number>();
  #next = 100;

  create(): { fuseDescriptor: number; mountDescriptor: number } {
    const fuseDescriptor = this.#next++;
    const mountDescriptor = this.#next++;
    this.open.add(fuseDescriptor).add(mountDescriptor);
    return { fuseDescriptor, mountDescriptor };
  }

  close(descriptor: number): void {
    this.open.delete(descriptor);
  }
}
