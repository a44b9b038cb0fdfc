/** The data thread's devices, the keeper and the FUSE mounts over plain maps; a test opens and closes devices by hand. */
import type { DescriptorKeeper, FuseMounts } from '../../src/store/attachments.ts';
import type { DataDevices, DeviceConnection } from '../../src/store/control.ts';
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

export class FakeKeeper implements DescriptorKeeper {
  readonly entries = new Map<string, { text: string; descriptors: readonly number[] }>();

  async put(key: string, text: string, descriptors: readonly number[]): Promise<void> {
    this.entries.set(key, { text, descriptors });
  }

  async get(key: string): Promise<{ text: string; descriptors: readonly number[] } | null> {
    return this.entries.get(key) ?? null;
  }

  async remove(key: string): Promise<void> {
    this.entries.delete(key);
  }

  async list(): Promise<readonly string[]> {
    return [...this.entries.keys()];
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
