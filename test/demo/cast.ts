/** The volumes and snapshots that the demo plays with, by the names that it gives them: made, used and deleted through CSI. */
import path from 'node:path';
import type { CsiClient } from '../support/csi-client.ts';
import { ext4Capability, publishVolume, unpublishVolume, type PublishedVolume } from '../support/csi-volume.ts';
import type { LocalDriver } from '../support/local-driver.ts';
import { runCommand } from '../../src/util/exec.ts';
import { digestDevice, digestFolder } from './programs.ts';

export const volumeBytes = 512 * 2 ** 20;
const syncLimitMs = 60_000;
/** Freed slots are counted in the background. */
const settleLimitMs = 15_000;

export type ContentSource = Parameters<CsiClient['controller']['createVolume']>[0]['volumeContentSource'];

export class Cast {
  readonly #driver: LocalDriver;
  readonly #signal: AbortSignal;
  readonly #ids = new Map<string, string>();
  readonly #published = new Map<string, PublishedVolume>();

  constructor(driver: LocalDriver, signal: AbortSignal) {
    this.#driver = driver;
    this.#signal = signal;
  }

  /** What was made by an operator command. */
  remember(name: string, id: string): void {
    this.#ids.set(name, id);
  }

  /** Of all that a volume holds. */
  async digestOf(name: string): Promise<string> {
    return (await digestFolder(this.pathOf(name))).digest;
  }

  /** Of a snapshot as a block device, looked into without CSI. */
  async digestSnapshot(name: string): Promise<string> {
    const driver = this.#driver;
    const { devicePath } = await driver.operate<{ readonly devicePath: string }>('attach', this.idOf(name));
    try {
      return await digestDevice(devicePath);
    } finally {
      await driver.operate('detach', this.idOf(name));
    }
  }

  async problemsOfPool(): Promise<number> {
    return (await this.#driver.operate<{ readonly problems: readonly string[] }>('check')).problems.length;
  }

  async create(name: string, volumeContentSource: ContentSource): Promise<void> {
    const { volume } = await this.#driver.csi.controller.createVolume({
      name,
      capacityRange: { requiredBytes: volumeBytes },
      volumeCapabilities: [ext4Capability],
      ...(volumeContentSource === undefined ? {} : { volumeContentSource }),
    });
    if (volume?.volumeId === undefined) throw new Error(`CreateVolume answered no volume for ${name}`);
    this.#ids.set(name, volume.volumeId);
  }

  async snapshot(source: string, name: string): Promise<string> {
    const { snapshot } = await this.#driver.csi.controller.createSnapshot({ name, sourceVolumeId: this.idOf(source) });
    if (snapshot?.snapshotId === undefined) throw new Error(`CreateSnapshot answered no snapshot for ${name}`);
    return snapshot.snapshotId;
  }

  /** Out of use first, where it is in use. */
  async delete(name: string): Promise<void> {
    if (this.#published.has(name)) await this.unpublish(name);
    await this.#driver.csi.controller.deleteVolume({ volumeId: this.idOf(name) });
  }

  async deleteSnapshot(name: string): Promise<void> {
    await this.#driver.csi.controller.deleteSnapshot({ snapshotId: this.idOf(name) });
  }

  async publish(name: string): Promise<void> {
    this.#signal.throwIfAborted();
    const volume = { volumeId: this.idOf(name), name, capability: ext4Capability };
    this.#published.set(name, await publishVolume(this.#driver, volume));
  }

  async unpublish(name: string): Promise<void> {
    await unpublishVolume(this.#driver, this.volume(name));
    this.#published.delete(name);
  }

  /** What is read afterwards comes from the store, not from the kernel's cache. */
  async reattach(name: string): Promise<void> {
    await this.unpublish(name);
    await this.publish(name);
  }

  async sync(name: string): Promise<void> {
    await runCommand('sync', ['--file-system', this.pathOf(name)], { timeoutMs: syncLimitMs });
  }

  /** Waits for freed space to be counted, for as long as that may take. */
  async settle(): Promise<void> {
    const deadline = performance.now() + settleLimitMs;
    while ((await this.#driver.store.getPool()).usedBytes > 0 && performance.now() < deadline) {
      this.#signal.throwIfAborted();
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }

  fromSnapshot(name: string): ContentSource {
    return { snapshot: { snapshotId: this.idOf(name) } };
  }

  fromVolume(name: string): ContentSource {
    return { volume: { volumeId: this.idOf(name) } };
  }

  idOf(name: string): string {
    const id = this.#ids.get(name);
    if (id === undefined) throw new Error(`the story has made no ${name}`);
    return id;
  }

  volume(name: string): PublishedVolume {
    const volume = this.#published.get(name);
    if (volume === undefined) throw new Error(`${name} is not published`);
    return volume;
  }

  pathOf(name: string, ...more: readonly string[]): string {
    return path.join(this.volume(name).targetPath, ...more);
  }
}
