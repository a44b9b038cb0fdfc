/**
 * Tells whoever asked another driver for a snapshot of our volume, by a VolumeSnapshotClass of that driver. The snapshot
 * controller does not compare the class with the volume, so the request goes to a driver that knows nothing of the volume,
 * or to nobody, and says nothing at all. For the controller that leads.
 */
import type { Informer, KubernetesApi } from './api.ts';
import type { RecordedEvent } from './events.ts';
import { DRIVER_NAME, volumeSnapshotContents, volumeSnapshots, type VolumeSnapshotContent } from './resources.ts';

export interface ForeignSnapshotsOptions {
  readonly api: Pick<KubernetesApi, 'watch'>;
  readonly record: (event: RecordedEvent) => void;
  /** Whether a handle has the form of our volumes' handles. */
  readonly isOurs: (volumeHandle: string) => boolean;
}

export class ForeignSnapshots {
  readonly #options: ForeignSnapshotsOptions;
  readonly #informer: Informer<VolumeSnapshotContent>;

  /** Begins at once. */
  constructor(options: ForeignSnapshotsOptions) {
    this.#options = options;
    this.#informer = options.api.watch(volumeSnapshotContents);
    this.#informer.onChange(({ kind, object }) => {
      if (kind === 'set') this.#look(object);
    });
  }

  async stop(): Promise<void> {
    this.#informer.close();
  }

  #look({ metadata, spec, status }: VolumeSnapshotContent): void {
    const { source, driver, volumeSnapshotClassName = '', volumeSnapshotRef } = spec;
    const { name, namespace, uid } = volumeSnapshotRef;
    if (driver === DRIVER_NAME || status?.readyToUse === true || !this.#options.isOurs(source.volumeHandle ?? '')) return;
    if (name === undefined || namespace === undefined || uid === undefined) return;
    this.#options.record({
      resource: volumeSnapshots,
      object: { apiVersion: 'snapshot.storage.k8s.io/v1', kind: 'VolumeSnapshot', metadata: { name, namespace, uid } },
      type: 'Warning',
      reason: 'ClassOfAnotherDriver',
      action: 'CreateSnapshot',
      note:
        `the VolumeSnapshotClass ${JSON.stringify(volumeSnapshotClassName)} is of the driver ${driver}, but the claim's volume is of ` +
        `${DRIVER_NAME}. Delete this VolumeSnapshot and make one with a class of ${DRIVER_NAME}. If it does not go because ` +
        `there is no ${driver} here, take the finalizers from the VolumeSnapshotContent ${metadata.name}`,
    });
  }
}
