/** Ours: a whole driver in a folder of its own, its volumes published as block devices through CSI. The space of its pool
 * is written once before, as it is in a pool that is in use, and as the files of the peers are. */
import { setTimeout as delay } from 'node:timers/promises';
import { awaitDefragment } from '../../../../src/operator/defragment.ts';
import { blockCapability, publishNewVolume, publishVolume, unpublishVolume, type PublishedVolume } from '../../../support/csi-volume.ts';
import { LocalDriver } from '../../../support/local-driver.ts';
import { canUseFuse, canUseLoop, hasCommand } from '../../../support/machine.ts';
import { fill } from '../../fio.ts';
import { untilStill } from './still-space.ts';
import type { Subject, SubjectKind, Volume } from './subject.ts';

const MIB = 2 ** 20;
/** Log, metadata and the slots that a pool keeps in reserve. */
const spareBytes = 512 * MIB;
const unusedBytes = 256 * MIB;

export const chunkstore: SubjectKind = {
  name: 'chunkstore',
  abilities: new Set(['snapshot', 'clone', 'revert', 'defragment']),
  stateless: false,
  lack: () => [canUseFuse(), canUseLoop(), hasCommand()].find(({ lack }) => lack !== undefined)?.lack,
  async make(options) {
    const sizeBytes = options.poolBytes + spareBytes;
    // Volumes without data are many times the pool.
    const flags = ['--overprovisioning', '100'];
    const driver = await LocalDriver.start({ folder: options.folder, size: `${Math.ceil(sizeBytes / MIB)}MiB`, flags });
    let stopped = false;
    options.atEnd(async () => {
      if (stopped) return;
      stopped = true;
      const problems = await driver.stop();
      if (problems.length > 0) throw new Error(problems.join('\n'));
    });
    const subject = new Chunkstore(driver);
    const whole = await subject.createVolume({ name: 'whole', sizeBytes: sizeBytes - unusedBytes });
    await fill(whole.devicePath, { sizeBytes: sizeBytes - unusedBytes, order: 'sequential', signal: options.signal });
    await whole.remove();
    await subject.settle();
    return subject;
  },
};

class Chunkstore implements Subject {
  readonly #driver: LocalDriver;
  readonly #volumes = new Set<ChunkstoreVolume>();

  constructor(driver: LocalDriver) {
    this.#driver = driver;
  }

  async createVolume(options: { readonly name: string; readonly sizeBytes: number }): Promise<Volume> {
    const published = await publishNewVolume(this.#driver, { ...options, capability: blockCapability });
    return new ChunkstoreVolume({ driver: this.#driver, name: options.name, published, siblings: this.#volumes });
  }

  async removeVolumes(): Promise<void> {
    for (const volume of this.#volumes) await volume.remove();
  }

  async usedBytes(): Promise<number> {
    return (await this.#driver.store.getPool()).usedBytes;
  }

  settle(): Promise<void> {
    return untilStill(() => this.usedBytes());
  }
}

class ChunkstoreVolume implements Volume {
  readonly #driver: LocalDriver;
  readonly #name: string;
  readonly #snapshotIds = new Map<string, string>();
  /** All volumes of the driver; it is among them until it is removed. */
  readonly #siblings: Set<ChunkstoreVolume>;
  #published: PublishedVolume;

  constructor(parts: {
    readonly driver: LocalDriver;
    readonly name: string;
    readonly published: PublishedVolume;
    readonly siblings: Set<ChunkstoreVolume>;
  }) {
    this.#driver = parts.driver;
    this.#name = parts.name;
    this.#published = parts.published;
    this.#siblings = parts.siblings;
    this.#siblings.add(this);
  }

  get devicePath(): string {
    return this.#published.targetPath;
  }

  async snapshot(name: string): Promise<void> {
    const request = { name: `${this.#name}-${name}`, sourceVolumeId: this.#published.volumeId, attributes: {} };
    this.#snapshotIds.set(name, (await this.#driver.store.createSnapshot(request)).snapshot.id);
  }

  async deleteSnapshot(name: string): Promise<void> {
    await this.#driver.store.deleteSnapshot(this.#idOf(name));
    this.#snapshotIds.delete(name);
  }

  async revert(snapshotName: string): Promise<void> {
    const { volumeId } = this.#published;
    await unpublishVolume(this.#driver, this.#published);
    await this.#driver.store.revertVolume({ id: volumeId, snapshotId: this.#idOf(snapshotName), safety: null });
    this.#published = await publishVolume(this.#driver, { volumeId, name: this.#name, capability: blockCapability });
  }

  async clone(options: { readonly snapshotName: string; readonly name: string }): Promise<Volume> {
    const { name } = options;
    const source = { kind: 'snapshot', id: this.#idOf(options.snapshotName) } as const;
    const { volume } = await this.#driver.store.createVolume({ name, sizeBytes: 0, source, attributes: {} });
    const published = await publishVolume(this.#driver, { volumeId: volume.id, name, capability: blockCapability });
    return new ChunkstoreVolume({ driver: this.#driver, name, published, siblings: this.#siblings });
  }

  async defragment(): Promise<void> {
    const { volumeId } = this.#published;
    const { store } = this.#driver;
    const { state } = await awaitDefragment({
      begun: await store.startDefragment(volumeId),
      look: () => store.getDefragment(volumeId),
      resume: () => store.startDefragment(volumeId),
      wait: (timeMs) => delay(timeMs),
      tell: () => {},
    });
    if (state !== 'done') throw new Error(`defragmenting ${this.#name} ended early: ${state}`);
  }

  async remove(): Promise<void> {
    this.#siblings.delete(this);
    await unpublishVolume(this.#driver, this.#published);
    await this.#driver.csi.controller.deleteVolume({ volumeId: this.#published.volumeId });
    for (const name of this.#snapshotIds.keys()) await this.deleteSnapshot(name);
  }

  #idOf(snapshotName: string): string {
    const id = this.#snapshotIds.get(snapshotName);
    if (id === undefined) throw new Error(`${this.#name} has no snapshot ${snapshotName}`);
    return id;
  }
}
