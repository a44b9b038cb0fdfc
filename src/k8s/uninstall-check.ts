/**
 * What stands against taking the driver away, and what stays behind. Without the driver's programs the I/O of a mounted
 * volume fails for good, and nobody takes a finalizer away; data on the nodes stays in any case.
 */
import type { KubernetesApi, KubernetesObject, Resource } from './api.ts';
import { conditionOf } from './conditions.ts';
import {
  chunkStorePools,
  DRIVER_NAME,
  persistentVolumes,
  pods,
  volumeReverts,
  volumeSnapshotContents,
  type ChunkStorePool,
  type PersistentVolume,
  type Pod,
  type VolumeRevert,
  type VolumeSnapshotContent,
} from './resources.ts';
import { StoreError } from '../util/errors.ts';

/** What the check looks at: all of the cluster's, of these kinds. */
export interface InstalledObjects {
  readonly volumes: readonly PersistentVolume[];
  readonly pods: readonly Pod[];
  readonly pools: readonly ChunkStorePool[];
  readonly reverts: readonly VolumeRevert[];
  readonly contents: readonly VolumeSnapshotContent[];
}

export interface UninstallFindings {
  /** Each stands against it, in words. Empty: nothing does. */
  readonly obstacles: readonly string[];
  /** Pools that were not declared lost, whose data stays. */
  readonly pools: readonly { readonly node: string; readonly volumes: number; readonly snapshots: number; readonly used: string }[];
  /** Objects that stay, and wait for the driver when they are deleted. */
  readonly volumeCount: number;
  readonly snapshotCount: number;
}

/** Reads what the check looks at. A kind that cannot be listed because its CRD is gone has no objects; `onMissing` is told.
 * Fails as the API does for what every cluster has. */
export async function readInstalled(api: KubernetesApi, onMissing: (words: string) => void): Promise<InstalledObjects> {
  const listOwn = async <Type extends KubernetesObject>(resource: Resource<Type>): Promise<readonly Type[]> => {
    try {
      return await api.list(resource);
    } catch (error) {
      if (!(error instanceof StoreError) || error.code !== 'failed-precondition') throw error;
      onMissing(error.message);
      return [];
    }
  };
  return {
    volumes: await api.list(persistentVolumes),
    pods: await api.list(pods),
    pools: await listOwn(chunkStorePools),
    reverts: await listOwn(volumeReverts),
    contents: await listOwn(volumeSnapshotContents),
  };
}

export function findingsOf(objects: InstalledObjects): UninstallFindings {
  const volumes = objects.volumes.filter(({ spec }) => spec.csi?.driver === DRIVER_NAME);
  const pools = objects.pools.filter(({ spec }) => spec.lost !== true);
  return {
    obstacles: [...podsInTheWay(objects.pods, volumes), ...attachedPools(pools), ...unfinishedReverts(objects.reverts)],
    pools: pools
      .map(({ spec, status }) => ({
        node: spec.node,
        volumes: status?.volumes ?? 0,
        snapshots: status?.snapshots ?? 0,
        used: status?.used ?? 'an unknown part',
      }))
      .toSorted((one, other) => (one.node < other.node ? -1 : 1)),
    volumeCount: volumes.length,
    snapshotCount: objects.contents.filter(({ spec }) => spec.driver === DRIVER_NAME).length,
  };
}

/** What is said to whoever wants to uninstall and may not. `resume` is the command after which helm upgrades again. */
export function wordsOfRefusal({ obstacles }: UninstallFindings, options: { readonly resume: string | null }): string {
  const { resume } = options;
  return [
    'not uninstalled, and nothing was changed, because of:',
    ...shortened(obstacles).map((obstacle) => `  - ${obstacle}`),
    'Delete or scale down the pods that use these volumes, then uninstall again.',
    ...(resume === null ? [] : [`Until then the release shows as "uninstalling"; to keep and upgrade it, run: ${resume}`]),
    'To uninstall nevertheless (I/O of these volumes will fail): helm uninstall --no-hooks',
  ].join('\n');
}

/** What is said when nothing stands against it. `poolRoot` is the folder of the nodes that holds their pools. */
export function wordsOfFarewell(findings: UninstallFindings, options: { readonly poolRoot: string }): string {
  const { pools, volumeCount, snapshotCount } = findings;
  const stays = pools.map(
    ({ node, volumes, snapshots, used }) =>
      `  - node ${node}, below ${options.poolRoot}: ${counted(volumes, 'volume')}, ${counted(snapshots, 'snapshot')}, ${used} in use`,
  );
  const waiting = [
    ...(volumeCount > 0 ? [counted(volumeCount, 'PersistentVolume')] : []),
    ...(snapshotCount > 0 ? [counted(snapshotCount, 'VolumeSnapshotContent')] : []),
  ];
  return [
    'No volume is in use.',
    ...(stays.length > 0
      ? ['The data stays on the nodes, and is found again when the driver is installed again:', ...shortened(stays)]
      : []),
    ...(waiting.length > 0
      ? [`${waiting.join(' and ')} of ${DRIVER_NAME} stay too; to delete one of them takes the driver, so until it is back that waits.`]
      : []),
    'The resource definitions (CRDs) stay; whoever deletes them deletes all their objects.',
  ].join('\n');
}

const MOST_NAMED = 20;

function shortened(lines: readonly string[]): readonly string[] {
  return lines.length <= MOST_NAMED ? lines : [...lines.slice(0, MOST_NAMED), `  and ${lines.length - MOST_NAMED} more`];
}

function podsInTheWay(all: readonly Pod[], volumes: readonly PersistentVolume[]): readonly string[] {
  const claims = new Set(volumes.map(({ spec }) => `${spec.claimRef?.namespace ?? ''}/${spec.claimRef?.name ?? ''}`));
  return all
    .filter(({ spec, status }) => spec.nodeName !== undefined && status?.phase !== 'Succeeded' && status?.phase !== 'Failed')
    .flatMap((pod) => {
      const used = claimsOf(pod).filter((name) => claims.has(`${pod.metadata.namespace ?? ''}/${name}`));
      return used.length === 0
        ? []
        : [`pod ${pod.metadata.namespace}/${pod.metadata.name} on node ${pod.spec.nodeName} uses ${used.join(', ')}`];
    });
}

/** A generic ephemeral volume's claim is named after pod and volume (Kubernetes reference, EphemeralVolumeSource). */
function claimsOf({ metadata, spec }: Pod): readonly string[] {
  return (spec.volumes ?? []).flatMap(({ name, persistentVolumeClaim, ephemeral }) => {
    if (persistentVolumeClaim !== undefined) return [persistentVolumeClaim.claimName];
    return ephemeral === undefined ? [] : [`${metadata.name}-${name}`];
  });
}

/** Also what no pod of the API explains: a pod that was deleted by force, or a volume that could not be unmounted. */
function attachedPools(pools: readonly ChunkStorePool[]): readonly string[] {
  return pools.flatMap(({ metadata, spec, status }) => {
    const attached = status?.attached ?? 0;
    if (attached === 0) return [];
    const remedy =
      conditionOf(status, 'Ready')?.status === 'Unknown'
        ? 'its store does not answer: bring the node back or, should it be gone for good, set spec.lost of the ChunkStorePool'
        : 'right after a pod has gone, wait a minute';
    return [`${counted(attached, 'block device')} in use on node ${spec.node} (pool ${metadata.name}); ${remedy}`];
  });
}

function unfinishedReverts(reverts: readonly VolumeRevert[]): readonly string[] {
  return reverts
    .filter(({ metadata }) => (metadata.finalizers ?? []).length > 0)
    .map(({ metadata }) => `VolumeRevert ${metadata.namespace}/${metadata.name} is not finished: wait for it, or delete it`);
}

function counted(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`;
}
