/** Volumes that are image files in a file system which shares blocks between copies, each under a loop device. What a copy
 * is, and how one is made, is the file system's. */
import { attachFile, detachFile, type LoopFile } from './loop-file.ts';
import type { Subject, Volume } from './subject.ts';

/** What a file system does with images; names are its own to place. */
export interface ImageCopies {
  /** Of an image without data. */
  make(name: string, sizeBytes: number): Promise<void>;
  /** Shares all blocks with the source, which may be in use. */
  copy(source: string, name: string, options: { readonly writable: boolean }): Promise<void>;
  remove(name: string): Promise<void>;
  fileOf(name: string): string;
  readonly usedBytes: () => number;
  /** Ends when what was removed has given its space back. */
  settle(): Promise<void>;
}

export class ImageVolumes implements Subject {
  readonly #copies: ImageCopies;
  readonly #volumes = new Set<ImageVolume>();

  constructor(copies: ImageCopies) {
    this.#copies = copies;
  }

  async createVolume(options: { readonly name: string; readonly sizeBytes: number }): Promise<Volume> {
    await this.#copies.make(options.name, options.sizeBytes);
    return this.#open(options.name);
  }

  async removeVolumes(): Promise<void> {
    for (const volume of this.#volumes) await volume.remove();
  }

  usedBytes(): Promise<number> {
    return Promise.resolve(this.#copies.usedBytes());
  }

  settle(): Promise<void> {
    return this.#copies.settle();
  }

  /** Frees all images; they stay. */
  async detachAll(): Promise<void> {
    for (const volume of this.#volumes) await volume.detach();
  }

  async #open(name: string): Promise<ImageVolume> {
    const volume = new ImageVolume(name, this.#copies, {
      cloned: async (clone) => this.#open(clone),
      removed: (of) => this.#volumes.delete(of),
    });
    this.#volumes.add(volume);
    await volume.attach();
    return volume;
  }
}

class ImageVolume implements Volume {
  readonly #name: string;
  readonly #copies: ImageCopies;
  readonly #owner: { cloned(name: string): Promise<ImageVolume>; removed(volume: ImageVolume): void };
  readonly #snapshots = new Set<string>();
  #device: LoopFile | null = null;

  constructor(
    name: string,
    copies: ImageCopies,
    owner: { cloned(name: string): Promise<ImageVolume>; removed(volume: ImageVolume): void },
  ) {
    this.#name = name;
    this.#copies = copies;
    this.#owner = owner;
  }

  get devicePath(): string {
    if (this.#device === null) throw new Error(`${this.#name} has no device`);
    return this.#device.devicePath;
  }

  async attach(): Promise<void> {
    this.#device = await attachFile(this.#copies.fileOf(this.#name));
  }

  async detach(): Promise<void> {
    const device = this.#device;
    this.#device = null;
    if (device !== null) await detachFile(device);
  }

  async snapshot(name: string): Promise<void> {
    await this.#copies.copy(this.#name, this.#snapshotName(name), { writable: false });
    this.#snapshots.add(name);
  }

  async deleteSnapshot(name: string): Promise<void> {
    this.#snapshots.delete(name);
    await this.#copies.remove(this.#snapshotName(name));
  }

  async revert(snapshotName: string): Promise<void> {
    await this.detach();
    await this.#copies.remove(this.#name);
    await this.#copies.copy(this.#snapshotName(snapshotName), this.#name, { writable: true });
    await this.attach();
  }

  async clone(options: { readonly snapshotName: string; readonly name: string }): Promise<Volume> {
    await this.#copies.copy(this.#snapshotName(options.snapshotName), options.name, { writable: true });
    return this.#owner.cloned(options.name);
  }

  async remove(): Promise<void> {
    await this.detach();
    for (const name of this.#snapshots) await this.deleteSnapshot(name);
    await this.#copies.remove(this.#name);
    this.#owner.removed(this);
  }

  #snapshotName(name: string): string {
    return `${this.#name}.${name}`;
  }
}
