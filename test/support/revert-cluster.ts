/** A cluster with claims, snapshots and VolumeReverts over a model store, and what users and other controllers do in it. */
import {
  DRIVER_NAME,
  namespaces,
  persistentVolumeClaims,
  persistentVolumes,
  pods,
  volumeReverts,
  volumeSnapshotContents,
  volumeSnapshots,
  type VolumeRevert,
} from '../../src/k8s/resources.ts';
import { fakeId } from './fake-stores.ts';
import { FakeKubernetes } from './fake-kubernetes.ts';
import { RevertModelStore, type ModelVolume } from './revert-store.ts';

export const POOL = fakeId('pool');

export class RevertCluster {
  nowMs = Date.UTC(2026, 0, 1);
  readonly kubernetes = new FakeKubernetes({ now: () => this.nowMs });
  readonly store = new RevertModelStore();
  /** Safety snapshots, by their name in the store, that somebody deleted. */
  readonly spoiled = new Set<string>();
  #made = 0;

  constructor(names: readonly string[] = ['default']) {
    for (const name of names) this.kubernetes.seed(namespaces, { metadata: { name } });
  }

  /** A bound claim with a volume of its own. */
  claim(namespace: string, name: string): ModelVolume {
    const claimUid = this.#uid();
    const volumeName = `pvc-${claimUid}`;
    const id = this.handle('volume');
    const volume = this.store.addVolume({ id, namespace, claimUid, content: `${id} new` });
    this.kubernetes.seed(persistentVolumeClaims, {
      metadata: { namespace, name, uid: claimUid },
      spec: { volumeName },
      status: { phase: 'Bound' },
    });
    this.kubernetes.seed(persistentVolumes, {
      metadata: { name: volumeName },
      spec: { csi: { driver: DRIVER_NAME, volumeHandle: id }, claimRef: { namespace, name, uid: claimUid }, volumeMode: 'Filesystem' },
      status: { phase: 'Bound' },
    });
    return volume;
  }

  /** A VolumeSnapshot of the volume, taken. Returns its handle. */
  snapshot(namespace: string, name: string, volume: ModelVolume): string {
    const uid = this.#uid();
    const contentName = `snapcontent-${uid}`;
    const id = this.handle('snapshot');
    this.store.addSnapshot(id, volume);
    this.kubernetes.seed(volumeSnapshots, {
      metadata: { namespace, name, uid },
      spec: { source: { persistentVolumeClaimName: 'whatever' } },
      status: { boundVolumeSnapshotContentName: contentName, readyToUse: true },
    });
    this.kubernetes.seed(volumeSnapshotContents, {
      metadata: { name: contentName },
      spec: {
        driver: DRIVER_NAME,
        deletionPolicy: 'Delete',
        source: { volumeHandle: volume.id },
        volumeSnapshotRef: { namespace, name, uid },
      },
      status: { snapshotHandle: id, readyToUse: true },
    });
    return id;
  }

  revert(namespace: string, name: string, spec: VolumeRevert['spec'], metadata: Partial<VolumeRevert['metadata']> = {}): VolumeRevert {
    return this.kubernetes.seed(volumeReverts, { metadata: { namespace, name, uid: this.#uid(), ...metadata }, spec });
  }

  pod(namespace: string, name: string, volume: { readonly claimName: string } | { readonly ephemeral: string }): void {
    const entry =
      'claimName' in volume
        ? { name: 'data', persistentVolumeClaim: { claimName: volume.claimName } }
        : { name: volume.ephemeral, ephemeral: {} };
    this.kubernetes.seed(pods, { metadata: { namespace, name }, spec: { volumes: [entry] }, status: { phase: 'Running' } });
  }

  /** As if it had never been: the claim, its PersistentVolume and, unless it is attached, the volume. */
  deleteClaim(namespace: string, name: string): void {
    const claim = this.kubernetes.object(persistentVolumeClaims, { namespace, name });
    if (claim === null) return;
    this.kubernetes.remove(persistentVolumeClaims, { namespace, name });
    const volumeName = claim.spec.volumeName ?? '';
    const volume = this.kubernetes.object(persistentVolumes, { name: volumeName });
    if (volume?.spec.claimRef?.uid !== claim.metadata.uid) return;
    this.kubernetes.remove(persistentVolumes, { name: volumeName });
    this.store.volumes.delete(volume?.spec.csi?.volumeHandle ?? '');
  }

  /** What the snapshot controller and the sidecar make of the deletion of a VolumeSnapshot. */
  deleteSnapshot(namespace: string, name: string): void {
    const snapshot = this.kubernetes.object(volumeSnapshots, { namespace, name });
    if (snapshot === null) return;
    this.kubernetes.remove(volumeSnapshots, { namespace, name });
    const contentName = snapshot.spec.source.volumeSnapshotContentName ?? snapshot.status?.boundVolumeSnapshotContentName ?? '';
    const content = this.kubernetes.object(volumeSnapshotContents, { name: contentName });
    if (content === null || content.spec.volumeSnapshotRef.namespace !== namespace) return;
    this.kubernetes.remove(volumeSnapshotContents, { name: contentName });
    this.dropSnapshot(content.spec.source.snapshotHandle ?? content.status?.snapshotHandle ?? '');
  }

  /** Deletes it in the store only. */
  dropSnapshot(handle: string): void {
    const snapshot = this.store.snapshots.get(handle);
    if (snapshot?.name.startsWith('revert-') === true) this.spoiled.add(snapshot.name);
    this.store.snapshots.delete(handle);
  }

  object(revert: VolumeRevert): VolumeRevert | null {
    const { namespace, name, uid } = revert.metadata;
    const found = this.kubernetes.object(volumeReverts, { namespace: namespace!, name });
    return found?.metadata.uid === uid ? found : null;
  }

  handle(text: string): string {
    this.#made++;
    return `${POOL}.${fakeId(`${text}${String.fromCharCode(97 + Math.floor(this.#made / 26), 97 + (this.#made % 26))}`)}`;
  }

  #uid(): string {
    this.#made++;
    return `${((this.#made * 0x9e3779b1) >>> 0).toString(16).padStart(8, '0')}-0000-4000-8000-${String(this.#made).padStart(12, '0')}`;
  }
}
