/** A volume in use as an orchestrator puts it there: staged, then published at a path of its own below the driver's folder. */
import fs from 'node:fs';
import path from 'node:path';
import type { CsiClient } from './csi-client.ts';
import type { LocalDriver } from './local-driver.ts';

export type Capability = NonNullable<Parameters<CsiClient['node']['nodeStageVolume']>[0]['volumeCapability']>;

const accessMode = { mode: 'SINGLE_NODE_WRITER' } as const;
export const ext4Capability: Capability = { mount: { fsType: 'ext4', mountFlags: [], volumeMountGroup: '' }, accessMode };
export const blockCapability: Capability = { block: {}, accessMode };

export interface PublishedVolume {
  readonly volumeId: string;
  readonly capability: Capability;
  readonly stagingPath: string;
  /** The folder, or the block device. */
  readonly targetPath: string;
}

/** A new volume, in use. */
export async function publishNewVolume(
  driver: LocalDriver,
  volume: { readonly name: string; readonly sizeBytes: number; readonly capability: Capability },
): Promise<PublishedVolume> {
  const { name, sizeBytes, capability } = volume;
  const request = { name, capacityRange: { requiredBytes: sizeBytes }, volumeCapabilities: [capability] };
  const { volumeId } = (await driver.csi.controller.createVolume(request)).volume!;
  return publishVolume(driver, { volumeId, name, capability });
}

export async function publishVolume(
  driver: LocalDriver,
  volume: { readonly volumeId: string; readonly name: string; readonly capability: Capability },
): Promise<PublishedVolume> {
  const { volumeId, name, capability } = volume;
  const stagingPath = path.join(driver.folder, 'staging', name);
  const targetPath = path.join(driver.folder, 'volumes', name);
  // The orchestrator makes the staging folder and the parent of the target.
  fs.mkdirSync(stagingPath, { recursive: true });
  fs.mkdirSync(path.dirname(targetPath), { recursive: true });
  const published = { volumeId, capability, stagingPath, targetPath };
  await driver.csi.node.nodeStageVolume({ volumeId, stagingTargetPath: stagingPath, volumeCapability: capability });
  const request = { volumeId, stagingTargetPath: stagingPath, targetPath, volumeCapability: capability };
  await driver.csi.node.nodePublishVolume(request);
  return published;
}

/** Takes it out of use again; its device is gone afterwards. */
export async function unpublishVolume(driver: LocalDriver, volume: PublishedVolume): Promise<void> {
  const { volumeId, stagingPath, targetPath } = volume;
  await driver.csi.node.nodeUnpublishVolume({ volumeId, targetPath });
  await driver.csi.node.nodeUnstageVolume({ volumeId, stagingTargetPath: stagingPath });
}
