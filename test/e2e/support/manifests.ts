/** Objects that tests apply, with what is the same in most of them left out. None names a namespace: a space adds its own. */
import type { Fields, Manifest } from './api.ts';

export const defaultClass = 'chunkstore';

export interface ClaimOptions {
  readonly name: string;
  /** 128Mi, if not given. */
  readonly size?: string;
  readonly storageClass?: string;
  readonly accessModes?: readonly string[];
  readonly volumeMode?: 'Filesystem' | 'Block';
  /** What it is made from: a VolumeSnapshot or another claim of its namespace. */
  readonly source?: { readonly kind: 'VolumeSnapshot' | 'PersistentVolumeClaim'; readonly name: string };
}

export function claim(options: ClaimOptions): Manifest {
  return {
    apiVersion: 'v1',
    kind: 'PersistentVolumeClaim',
    metadata: { name: options.name },
    spec: claimSpec(options),
  };
}

/** Also what a volumeClaimTemplate or a generic ephemeral volume says. */
export function claimSpec(options: Omit<ClaimOptions, 'name'>): Fields {
  const { source } = options;
  return {
    storageClassName: options.storageClass ?? defaultClass,
    accessModes: options.accessModes ?? ['ReadWriteOnce'],
    volumeMode: options.volumeMode ?? 'Filesystem',
    resources: { requests: { storage: options.size ?? '128Mi' } },
    ...(source === undefined
      ? {}
      : { dataSource: { ...(source.kind === 'VolumeSnapshot' ? { apiGroup: 'snapshot.storage.k8s.io' } : {}), ...source } }),
  };
}

export interface PodOptions {
  readonly name: string;
  readonly image: string;
  /** Claims by the path that each is mounted on. */
  readonly mounts?: Readonly<Record<string, string | { readonly claim: string; readonly readOnly: boolean }>>;
  /** Claims by the path that each is a raw block device at. */
  readonly devices?: Readonly<Record<string, string>>;
  /** Only on this node. The scheduler still places it, as WaitForFirstConsumer needs. */
  readonly node?: string;
  /** Waits for ever, if not given, and ends at once when it is asked to. */
  readonly command?: readonly string[];
  /** Merged into the pod's spec. */
  readonly spec?: Fields;
  /** Merged into its container. */
  readonly container?: Fields;
  readonly labels?: Readonly<Record<string, string>>;
}

export function pod(options: PodOptions): Manifest {
  const mounts = Object.entries(options.mounts ?? {}).map(([path, what], index) => ({
    volume: `mount-${index}`,
    path,
    ...(typeof what === 'string' ? { claim: what, readOnly: false } : what),
  }));
  const devices = Object.entries(options.devices ?? {}).map(([path, claim], index) => ({ volume: `device-${index}`, path, claim }));
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: options.name, ...(options.labels === undefined ? {} : { labels: options.labels }) },
    spec: {
      terminationGracePeriodSeconds: 2,
      restartPolicy: 'Never',
      ...(options.node === undefined ? {} : { nodeSelector: { 'kubernetes.io/hostname': options.node } }),
      containers: [
        {
          name: 'main',
          image: options.image,
          imagePullPolicy: 'IfNotPresent',
          command: options.command ?? ['sh', '-c', 'trap "exit 0" TERM; sleep infinity & wait'],
          volumeMounts: mounts.map(({ volume, path, readOnly }) => ({ name: volume, mountPath: path, readOnly })),
          volumeDevices: devices.map(({ volume, path }) => ({ name: volume, devicePath: path })),
          ...options.container,
        },
      ],
      volumes: [
        ...mounts.map(({ volume, claim }) => ({ name: volume, persistentVolumeClaim: { claimName: claim } })),
        ...devices.map(({ volume, claim }) => ({ name: volume, persistentVolumeClaim: { claimName: claim } })),
      ],
      ...options.spec,
    },
  };
}

export function snapshot(options: { readonly name: string; readonly claim: string; readonly snapshotClass?: string }): Manifest {
  return {
    apiVersion: 'snapshot.storage.k8s.io/v1',
    kind: 'VolumeSnapshot',
    metadata: { name: options.name },
    spec: { volumeSnapshotClassName: options.snapshotClass ?? defaultClass, source: { persistentVolumeClaimName: options.claim } },
  };
}

export function revert(options: {
  readonly name: string;
  readonly claim: string;
  readonly snapshot: string;
  readonly keepSafetySnapshot?: boolean;
}): Manifest {
  const { name, claim: claimName, snapshot: snapshotName, keepSafetySnapshot } = options;
  return {
    apiVersion: 'chunkstore.dev/v1alpha1',
    kind: 'VolumeRevert',
    metadata: { name },
    spec: { claimName, snapshotName, ...(keepSafetySnapshot === undefined ? {} : { keepSafetySnapshot }) },
  };
}

export function storageClass(options: {
  readonly name: string;
  readonly parameters?: Readonly<Record<string, string>>;
  /** Merged over all else. */
  readonly fields?: Fields;
}): Manifest {
  return {
    apiVersion: 'storage.k8s.io/v1',
    kind: 'StorageClass',
    metadata: { name: options.name },
    provisioner: 'csi.chunkstore.dev',
    volumeBindingMode: 'WaitForFirstConsumer',
    allowVolumeExpansion: true,
    reclaimPolicy: 'Delete',
    parameters: options.parameters ?? {},
    ...options.fields,
  };
}

/** Fields of a pod's spec: the node where the scheduler shall rather have it. */
export function preferring(node: string): Fields {
  return {
    affinity: {
      nodeAffinity: {
        preferredDuringSchedulingIgnoredDuringExecution: [
          { weight: 100, preference: { matchExpressions: [{ key: 'kubernetes.io/hostname', operator: 'In', values: [node] }] } },
        ],
      },
    },
  };
}
