/**
 * A machine in memory for tests of the node service: block devices, what is on them, and a mount table. It outlives a
 * service over it, so a test can start the service anew in the middle of anything.
 */
import type { FileSystem, FileSystemStats, MountEntry, Mounter, NodeDevices } from '../../src/csi/ports.ts';
import { StoreError } from '../../src/util/errors.ts';
import type { FakeStore } from './fake-stores.ts';

export interface Content {
  /** A file system's or another signature's name. */
  readonly kind: string;
  readonly fileSystemId: string;
  readonly sizeBytes: number;
}

interface FakeDevice {
  readonly volumeId: string;
  sizeBytes: number;
  working: boolean;
}

/** Makes and removes real folders and files where a test looks at them; nothing otherwise. */
export interface Paths {
  create(path: string, kind: 'folder' | 'file'): Promise<void>;
  remove(path: string): Promise<void>;
}

const noPaths: Paths = { create: () => Promise.resolve(), remove: () => Promise.resolve() };

export class FakeMachine {
  readonly devices = new Map<string, FakeDevice>();
  readonly contents = new Map<string, Content>();
  readonly mounts: MountEntry[] = [];
  /** Calls in order, for instance "format /dev/loop0 ext4". */
  readonly calls: string[] = [];
  /** Called before each call; may throw or wait. */
  before: (call: string) => void | Promise<void> = () => {};
  /** Called after each call that changed something: throwing here is a death after the deed. */
  after: (call: string) => void | Promise<void> = () => {};
  readonly nodeDevices: NodeDevices;
  readonly mounter: Mounter;
  readonly #store: FakeStore;
  readonly #paths: Paths;
  #loops = 0;

  constructor(store: FakeStore, paths: Paths = noPaths) {
    this.#store = store;
    this.#paths = paths;
    store.onClone = (from, to) => {
      const content = this.contents.get(from);
      if (content !== undefined) this.contents.set(to, content);
    };
    this.nodeDevices = this.#makeNodeDevices();
    this.mounter = this.#makeMounter();
  }

  /** As if the store had died for good: the volume's device stays under its mounts, but works no more. */
  kill(volumeId: string): void {
    for (const device of this.devices.values()) if (device.volumeId === volumeId) device.working = false;
  }

  contentOf(volumeId: string): Content | undefined {
    return this.contents.get(volumeId);
  }

  #presentPath(volumeId: string): string | null {
    return [...this.devices].find(([, device]) => device.volumeId === volumeId)?.[0] ?? null;
  }

  #takeDown(devicePath: string): void {
    if (this.mounts.some((mount) => mount.source === devicePath)) throw new StoreError('in-use', `${devicePath} is mounted`);
    this.devices.delete(devicePath);
  }

  async #do<Result>(call: string, action: () => Result | Promise<Result>): Promise<Result> {
    await this.before(call);
    this.calls.push(call);
    const result = await action();
    await this.after(call);
    return result;
  }

  #makeNodeDevices(): NodeDevices {
    return {
      attach: (id) =>
        this.#do(`attach ${id}`, async () => {
          const { sizeBytes, attributes } = await this.#store.getVolume(id);
          for (const [path, device] of this.devices) if (device.volumeId === id && !device.working) this.#takeDown(path);
          const devicePath = this.#presentPath(id) ?? `/dev/loop${this.#loops++}`;
          this.devices.set(devicePath, { volumeId: id, sizeBytes, working: true });
          this.#store.setAttached(id, true);
          return { devicePath, sizeBytes, attributes };
        }),
      detach: (id) =>
        this.#do(`detach ${id}`, () => {
          for (const [path, device] of this.devices) if (device.volumeId === id) this.#takeDown(path);
          this.#store.setAttached(id, false);
        }),
      find: (id) => Promise.resolve(this.#presentPath(id)),
      owner: (devicePath) => Promise.resolve(this.devices.get(devicePath)?.volumeId ?? null),
      grow: (id) =>
        this.#do(`grow device ${id}`, async () => {
          const { sizeBytes } = await this.#store.getVolume(id);
          const path = this.#presentPath(id);
          if (path === null) throw new StoreError('not-found', `volume ${id} is not attached`);
          this.devices.get(path)!.sizeBytes = sizeBytes;
          return sizeBytes;
        }),
    };
  }

  #makeMounter(): Mounter {
    return {
      probe: (devicePath) => this.#do(`probe ${devicePath}`, () => this.contents.get(this.#device(devicePath).volumeId)?.kind ?? null),
      format: (devicePath, fileSystem, options) =>
        this.#do(`format ${[devicePath, fileSystem, ...options].join(' ')}`, () => {
          const { volumeId, sizeBytes } = this.#device(devicePath);
          if (this.contents.has(volumeId)) throw new StoreError('failed-precondition', `${devicePath} is not empty`);
          const given = options.indexOf('-U');
          this.contents.set(volumeId, {
            kind: fileSystem,
            fileSystemId: given < 0 ? `random ${volumeId}` : options[given + 1]!,
            sizeBytes,
          });
        }),
      prepare: (devicePath, fileSystem, { clone, fileSystemId }) =>
        this.#do(`prepare ${devicePath} ${fileSystem}`, () => {
          if (this.mounts.some((mount) => mount.source === devicePath)) throw new Error('a mounted file system is not to be checked');
          const { volumeId } = this.#device(devicePath);
          const content = this.contents.get(volumeId)!;
          if (clone && fileSystem === 'btrfs' && content.fileSystemId !== fileSystemId) {
            this.calls.push(`new file system id for ${devicePath}`);
            this.contents.set(volumeId, { ...content, fileSystemId });
          }
        }),
      mount: (devicePath, target, fileSystem, { flags, readOnly }) =>
        this.#do(`mount ${devicePath} ${target}`, async () => {
          const content = this.contents.get(this.#device(devicePath).volumeId);
          if (content?.kind !== fileSystem) throw new StoreError('failed-precondition', `${devicePath} has no ${fileSystem}`);
          await this.#paths.create(target, 'folder');
          this.mounts.push({ target, source: devicePath, fileSystem, options: [readOnly ? 'ro' : 'rw', ...flags] });
        }),
      bind: (source, target, { readOnly, block }) =>
        this.#do(`bind ${source} ${target}`, async () => {
          const from = block ? { source, fileSystem: 'devtmpfs', options: ['rw'] } : this.#topmost(source);
          if (from === null) throw new Error(`${source} is not mounted`);
          await this.#paths.create(target, block ? 'file' : 'folder');
          this.mounts.push({ target, source: from.source, fileSystem: from.fileSystem, options: readOnly ? ['ro'] : from.options });
        }),
      unmount: (target) =>
        this.#do(`unmount ${target}`, async () => {
          for (let index = this.mounts.length - 1; index >= 0; index -= 1)
            if (this.mounts[index]!.target === target) this.mounts.splice(index, 1);
          await this.#paths.remove(target);
        }),
      find: (target) => Promise.resolve(this.#topmost(target)),
      list: () => Promise.resolve([...this.mounts]),
      grow: (devicePath, mountPath, fileSystem) =>
        this.#do(`grow ${fileSystem} ${mountPath}`, () => {
          const mount = this.#topmost(mountPath);
          if (mount?.source !== devicePath || mount.options.includes('ro'))
            throw new Error(`${mountPath} is not a writable mount of ${devicePath}`);
          const { volumeId, sizeBytes } = this.#device(devicePath);
          this.contents.set(volumeId, { ...this.contents.get(volumeId)!, sizeBytes });
        }),
      stats: (path) => Promise.resolve(this.#stats(path)),
      blockSize: (devicePath) => Promise.resolve(this.devices.get(devicePath)?.sizeBytes ?? 0),
    };
  }

  #stats(path: string): FileSystemStats {
    const mount = this.#topmost(path);
    if (mount === null) throw new StoreError('not-found', `there is no ${path}`);
    const totalBytes = this.contents.get(this.#device(mount.source).volumeId)!.sizeBytes;
    const inodes =
      (mount.fileSystem as FileSystem) === 'btrfs'
        ? { totalInodes: 0, freeInodes: 0, usedInodes: 0 }
        : { totalInodes: 100, freeInodes: 89, usedInodes: 11 };
    return { totalBytes, availableBytes: totalBytes - 4_096, usedBytes: 4_096, ...inodes };
  }

  #device(devicePath: string): FakeDevice {
    const device = this.devices.get(devicePath);
    if (device === undefined) throw new Error(`there is no ${devicePath}`);
    if (!device.working) throw new StoreError('unavailable', `${devicePath} does not answer`);
    return device;
  }

  #topmost(target: string): MountEntry | null {
    return this.mounts.findLast((mount) => mount.target === target) ?? null;
  }
}
