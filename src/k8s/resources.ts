/**
 * The kinds of objects that this driver reads and writes, with the fields that it uses. Names are those of the
 * Kubernetes API reference (1.34) and of the snapshot API (snapshot.storage.k8s.io/v1).
 */
import type { Condition, KubernetesObject, Resource } from './api.ts';

export const API_GROUP = 'chunkstore.dev';
export const DRIVER_NAME = 'csi.chunkstore.dev';

/** A pool, and by it the node that it is on. Its name is the pool's id. */
export interface ChunkStorePool extends KubernetesObject {
  readonly spec: {
    /** Name of the Kubernetes node. */
    readonly node: string;
    /** Declared gone for good: its volumes and snapshots may be deleted, and the pool is fenced should it come back. */
    readonly lost?: boolean;
  };
  readonly status?: {
    /** Quantities, rounded for people: "100Gi". The exact numbers in bytes are metrics. */
    readonly size?: string;
    readonly used?: string;
    readonly free?: string;
    /** Sum of the sizes of all volumes, and how large it may become. */
    readonly provisioned?: string;
    readonly provisionLimit?: string;
    /** Used in percent of size, as an integer. */
    readonly usedPercent?: number;
    readonly chunkSize?: string;
    readonly volumes?: number;
    readonly snapshots?: number;
    /** Volumes and snapshots whose block device is set up. */
    readonly attached?: number;
    /** Writes that wait for room. */
    readonly parkedWrites?: number;
    /** Of the passes over what snapshots hold. */
    readonly scrub?: {
      readonly lastCompleted?: string;
      /** How far a verifying pass came that is under way. */
      readonly runningPercent?: number;
      readonly damagedChunks?: number;
      readonly protected?: string;
    };
    readonly version?: string;
    /** Ready, Full, Degraded, Damaged. */
    readonly conditions?: readonly Condition[];
  };
}

/** Makes a claim's volume what one of its snapshots is. */
export interface VolumeRevert extends KubernetesObject {
  readonly spec: {
    readonly claimName: string;
    readonly snapshotName: string;
    /** True unless said otherwise: what the volume holds now is kept as a VolumeSnapshot. */
    readonly keepSafetySnapshot?: boolean;
  };
  readonly status?: {
    readonly phase?: 'Waiting' | 'Complete' | 'Failed';
    readonly observedGeneration?: number;
    /** What was found by name at first; another object of the same name is not taken for it. */
    readonly claimUid?: string;
    readonly volumeHandle?: string;
    /** Filesystem or Block, as the volume was. */
    readonly sourceVolumeMode?: string;
    readonly snapshotUid?: string;
    readonly snapshotHandle?: string;
    /** Written before the store is asked to revert: the volume's incarnation (its last revert) that the call demands, so that a
     * call which is late or repeated cannot revert again, and when the last call began. */
    readonly volumeIncarnation?: number;
    readonly attemptedAt?: string;
    /** The store has reverted; only the safety snapshot is left to be seen to. */
    readonly revertedAt?: string;
    readonly safetySnapshotHandle?: string;
    /** The VolumeSnapshot that keeps what the volume held before. */
    readonly safetySnapshotName?: string;
    readonly completedAt?: string;
    /** Waiting, Complete, Failed. */
    readonly conditions?: readonly Condition[];
  };
}

export interface Secret extends KubernetesObject {
  readonly type?: string;
  /** Base64. */
  readonly data?: Readonly<Record<string, string>>;
}
export interface ConfigMap extends KubernetesObject {
  readonly data?: Readonly<Record<string, string>>;
}

export interface Lease extends KubernetesObject {
  readonly spec: {
    readonly holderIdentity?: string;
    readonly leaseDurationSeconds?: number;
    /** RFC 3339 with microseconds. */
    readonly acquireTime?: string;
    readonly renewTime?: string;
    readonly leaseTransitions?: number;
  };
}

export interface EndpointSlice extends KubernetesObject {
  readonly addressType: string;
  readonly endpoints?: readonly {
    readonly addresses: readonly string[];
    readonly conditions?: { readonly ready?: boolean; readonly serving?: boolean; readonly terminating?: boolean };
    readonly nodeName?: string;
    readonly targetRef?: { readonly kind?: string; readonly name?: string; readonly uid?: string };
  }[];
  readonly ports?: readonly { readonly name?: string; readonly port?: number }[];
}

export interface Pod extends KubernetesObject {
  readonly spec: {
    readonly nodeName?: string;
    readonly volumes?: readonly {
      readonly name: string;
      readonly persistentVolumeClaim?: { readonly claimName: string };
      readonly ephemeral?: object;
    }[];
  };
  readonly status?: { readonly phase?: string };
}

export interface PersistentVolumeClaim extends KubernetesObject {
  readonly spec: { readonly volumeName?: string; readonly storageClassName?: string; readonly volumeMode?: string };
  readonly status?: { readonly phase?: string };
}

export interface PersistentVolume extends KubernetesObject {
  readonly spec: {
    readonly csi?: { readonly driver: string; readonly volumeHandle: string };
    readonly claimRef?: { readonly namespace?: string; readonly name?: string; readonly uid?: string };
    readonly volumeMode?: string;
  };
  readonly status?: { readonly phase?: string };
}

export interface VolumeSnapshot extends KubernetesObject {
  readonly spec: {
    readonly source: { readonly persistentVolumeClaimName?: string; readonly volumeSnapshotContentName?: string };
    readonly volumeSnapshotClassName?: string;
  };
  readonly status?: { readonly boundVolumeSnapshotContentName?: string; readonly readyToUse?: boolean; readonly restoreSize?: string };
}

export interface VolumeSnapshotContent extends KubernetesObject {
  readonly spec: {
    readonly driver: string;
    readonly deletionPolicy: 'Delete' | 'Retain';
    readonly source: { readonly volumeHandle?: string; readonly snapshotHandle?: string };
    readonly sourceVolumeMode?: string;
    readonly volumeSnapshotClassName?: string;
    readonly volumeSnapshotRef: {
      readonly apiVersion?: string;
      readonly kind?: string;
      readonly name?: string;
      readonly namespace?: string;
      readonly uid?: string;
    };
  };
  readonly status?: { readonly snapshotHandle?: string; readonly readyToUse?: boolean };
}

export interface VolumeSnapshotClass extends KubernetesObject {
  readonly driver: string;
  readonly deletionPolicy: 'Delete' | 'Retain';
}

/** certificates.k8s.io/v1. The server itself says who asks: username and extra cannot be forged. */
export interface CertificateSigningRequest extends KubernetesObject {
  readonly spec: {
    /** Base64 of a PEM request. */
    readonly request: string;
    readonly signerName: string;
    readonly usages: readonly string[];
    readonly expirationSeconds?: number;
    readonly username?: string;
    readonly uid?: string;
    readonly groups?: readonly string[];
    readonly extra?: Readonly<Record<string, readonly string[]>>;
  };
  readonly status?: {
    /** Base64 of a PEM chain. */
    readonly certificate?: string;
    readonly conditions?: readonly {
      readonly type: string;
      readonly status: string;
      readonly reason?: string;
      readonly message?: string;
      readonly lastUpdateTime?: string;
    }[];
  };
}

/** events.k8s.io/v1. */
export interface Event extends KubernetesObject {
  readonly eventTime: string;
  readonly reportingController: string;
  readonly reportingInstance: string;
  readonly action: string;
  readonly reason: string;
  readonly note: string;
  readonly type: 'Normal' | 'Warning';
  readonly regarding: {
    readonly apiVersion?: string;
    readonly kind: string;
    readonly name: string;
    readonly namespace?: string;
    readonly uid?: string;
  };
  readonly series?: { readonly count: number; readonly lastObservedTime: string };
}

const core = { group: '', version: 'v1' } as const;
const own = { group: API_GROUP, version: 'v1alpha1' } as const;
const snapshots = { group: 'snapshot.storage.k8s.io', version: 'v1' } as const;

export const chunkStorePools: Resource<ChunkStorePool> = { ...own, kind: 'ChunkStorePool', plural: 'chunkstorepools', namespaced: false };
export const volumeReverts: Resource<VolumeRevert> = { ...own, kind: 'VolumeRevert', plural: 'volumereverts', namespaced: true };
export const secrets: Resource<Secret> = { ...core, kind: 'Secret', plural: 'secrets', namespaced: true };
export const configMaps: Resource<ConfigMap> = { ...core, kind: 'ConfigMap', plural: 'configmaps', namespaced: true };
export const pods: Resource<Pod> = { ...core, kind: 'Pod', plural: 'pods', namespaced: true };
export const persistentVolumeClaims: Resource<PersistentVolumeClaim> = {
  ...core,
  kind: 'PersistentVolumeClaim',
  plural: 'persistentvolumeclaims',
  namespaced: true,
};
export const persistentVolumes: Resource<PersistentVolume> = {
  ...core,
  kind: 'PersistentVolume',
  plural: 'persistentvolumes',
  namespaced: false,
};
export const leases: Resource<Lease> = { group: 'coordination.k8s.io', version: 'v1', kind: 'Lease', plural: 'leases', namespaced: true };
export const endpointSlices: Resource<EndpointSlice> = {
  group: 'discovery.k8s.io',
  version: 'v1',
  kind: 'EndpointSlice',
  plural: 'endpointslices',
  namespaced: true,
};
export const volumeSnapshots: Resource<VolumeSnapshot> = {
  ...snapshots,
  kind: 'VolumeSnapshot',
  plural: 'volumesnapshots',
  namespaced: true,
};
export const volumeSnapshotContents: Resource<VolumeSnapshotContent> = {
  ...snapshots,
  kind: 'VolumeSnapshotContent',
  plural: 'volumesnapshotcontents',
  namespaced: false,
};
export const volumeSnapshotClasses: Resource<VolumeSnapshotClass> = {
  ...snapshots,
  kind: 'VolumeSnapshotClass',
  plural: 'volumesnapshotclasses',
  namespaced: false,
};
export const namespaces: Resource<KubernetesObject> = { ...core, kind: 'Namespace', plural: 'namespaces', namespaced: false };
export const certificateSigningRequests: Resource<CertificateSigningRequest> = {
  group: 'certificates.k8s.io',
  version: 'v1',
  kind: 'CertificateSigningRequest',
  plural: 'certificatesigningrequests',
  namespaced: false,
};
export const events: Resource<Event> = { group: 'events.k8s.io', version: 'v1', kind: 'Event', plural: 'events', namespaced: true };
