/**
 * A store without an engine: each volume is a FUSE mount that a ram-file-server child serves, put into a real keeper.
 * The test's process plays the node role, so it must not touch a file whose server it has stopped without a limit.
 */
import { DevicePlace, deviceKey } from '../../src/block/kept-device.ts';
import type { KeeperClient } from '../../src/block/keeper-client.ts';
import type { Attachment, AttachmentStore } from '../../src/block/node-devices.ts';
import { closeDescriptor } from '../../src/linux/files.ts';
import { createFuseMount, type FuseMount } from '../../src/linux/fuse-mount.ts';
import { startChild, type Child } from './child.ts';
import { eventually } from './eventually.ts';

interface Volume {
  mount: FuseMount;
  server: Child;
  sizeBytes: number;
}

export class RamVolumes implements AttachmentStore {
  readonly #keeper: KeeperClient;
  readonly #sizeBytes: number;
  readonly #volumes = new Map<string, Volume>();
  readOnly = false;
  /** How long the kernel may use a file's attributes without asking again. */
  attributeSeconds = 1_000_000_000;
  /** Calls in order: "attach <id>", "detach <id>". */
  readonly calls: string[] = [];

  constructor(options: { readonly keeper: KeeperClient; readonly sizeBytes: number }) {
    this.#keeper = options.keeper;
    this.#sizeBytes = options.sizeBytes;
  }

  async attach(id: string): Promise<Attachment> {
    this.calls.push(`attach ${id}`);
    const key = keyOf(id);
    let volume = this.#volumes.get(id);
    if (volume === undefined) {
      const mount = createFuseMount({ source: id });
      const server = await startChild('ram-file-server.ts', {
        parameters: [String(this.#sizeBytes), String(this.attributeSeconds)],
        descriptors: [mount.fuseDescriptor],
      });
      const descriptors: number[] = [];
      descriptors[DevicePlace.fuse] = mount.fuseDescriptor;
      descriptors[DevicePlace.mount] = mount.mountDescriptor;
      await this.#keeper.put(key, {}, descriptors);
      volume = { mount, server, sizeBytes: this.#sizeBytes };
      this.#volumes.set(id, volume);
    }
    return { key, sizeBytes: volume.sizeBytes, readOnly: this.readOnly, attributes: { volume: id } };
  }

  async detach(id: string): Promise<void> {
    this.calls.push(`detach ${id}`);
    await this.endConnection(id);
  }

  /** Makes the file larger, as the engine does at a resize. */
  async grow(id: string, sizeBytes: number): Promise<void> {
    const volume = this.#volume(id);
    await this.#command(volume, { sizeBytes });
    volume.sizeBytes = sizeBytes;
  }

  /** From now on no request of this volume is answered. */
  async stopAnswering(id: string): Promise<void> {
    await this.#command(this.#volume(id), { stop: true });
  }

  /** Ends the FUSE connection, as when store and keeper die together. The next attach makes another. */
  async endConnection(id: string): Promise<void> {
    const volume = this.#volumes.get(id);
    if (volume === undefined) return;
    this.#volumes.delete(id);
    await this.#keeper.drop(keyOf(id));
    closeDescriptor(volume.mount.mountDescriptor);
    await volume.server.kill();
    closeDescriptor(volume.mount.fuseDescriptor);
  }

  /** The requests that the volume's server has seen, a line each. */
  requests(id: string): readonly string[] {
    return this.#volume(id).server.lines;
  }

  async end(): Promise<void> {
    for (const id of [...this.#volumes.keys()]) await this.endConnection(id);
  }

  async #command(volume: Volume, command: object): Promise<void> {
    const count = (): number => volume.server.lines.filter((line) => line === 'OBEYED').length;
    const before = count();
    volume.server.process.stdin?.write(JSON.stringify(command) + '\n');
    await eventually('the server obeys', () => count() > before);
  }

  #volume(id: string): Volume {
    const volume = this.#volumes.get(id);
    if (volume === undefined) throw new Error(`no volume ${id}`);
    return volume;
  }
}

function keyOf(id: string): string {
  return deviceKey(id.slice(id.indexOf('.') + 1));
}
