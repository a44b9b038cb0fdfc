/**
 * A store as reverts see it, with the rules of src/store/service.ts, and a memory that forgets nothing: what was reverted
 * for which VolumeRevert. It throws a Violation at once when a revert was not to happen.
 */
import type { RevertRequest, RevertStore, RevertStoreSnapshot, RevertStoreVolume } from '../../src/k8s/reverts/ports.ts';
import { StoreError } from '../../src/util/errors.ts';
import { Violation } from './violation.ts';

export interface ModelVolume extends RevertStoreVolume {
  readonly namespace: string;
  readonly claimUid: string;
  attached: boolean;
  incarnation: number;
  /** Stands for all its bytes. */
  content: string;
}

export interface ModelSnapshot extends RevertStoreSnapshot {
  readonly name: string;
  readonly content: string;
}

export class RevertModelStore implements RevertStore {
  readonly volumes = new Map<string, ModelVolume>();
  readonly snapshots = new Map<string, ModelSnapshot>();
  /** Reverts that were committed, by the name of the safety snapshot. */
  readonly committed = new Map<string, { readonly volumeId: string; readonly before: string }>();
  /** Asked at each commit: why it must not be, or null. */
  objection: (request: RevertRequest, volume: ModelVolume) => string | null = () => null;
  #sequence = 0;

  addVolume(volume: Omit<ModelVolume, 'incarnation' | 'attached' | 'attributes'>): ModelVolume {
    const added = { ...volume, incarnation: ++this.#sequence, attached: false, attributes: { fileSystem: 'ext4' } };
    this.volumes.set(added.id, added);
    return added;
  }

  addSnapshot(id: string, volume: ModelVolume): void {
    this.snapshots.set(id, { id, name: `snapshot-${id}`, sourceVolumeId: volume.id, content: volume.content });
  }

  async getVolume(id: string): Promise<ModelVolume> {
    return { ...this.#volume(id) };
  }

  async getSnapshot(id: string): Promise<ModelSnapshot> {
    return this.#snapshot(id);
  }

  async deleteSnapshot(id: string): Promise<void> {
    this.snapshots.delete(id);
  }

  async revertVolume(request: RevertRequest): Promise<{ safety: ModelSnapshot | null }> {
    const volume = this.#volume(request.id);
    const { name, objectId } = request.safety;
    const made = [...this.snapshots.values()].find((snapshot) => snapshot.name === name);
    if (made !== undefined) return { safety: made };
    if (request.expectedIncarnation !== 0 && request.expectedIncarnation !== volume.incarnation) {
      throw new StoreError('failed-precondition', 'the volume has been reverted since');
    }
    const snapshot = this.#snapshot(request.snapshotId);
    if (volume.attached) throw new StoreError('failed-precondition', 'the volume is attached');
    const objection = this.#objection(request, volume, snapshot);
    if (objection !== null) throw new Violation(`${name}: ${objection}`);

    const safety = { id: `${request.id.split('.')[0]}.${objectId}`, name, sourceVolumeId: volume.id, content: volume.content };
    this.committed.set(name, { volumeId: volume.id, before: volume.content });
    this.snapshots.set(safety.id, safety);
    volume.content = snapshot.content;
    volume.incarnation = ++this.#sequence;
    return { safety };
  }

  #objection(request: RevertRequest, volume: ModelVolume, snapshot: ModelSnapshot): string | null {
    if (this.committed.has(request.safety.name)) return 'reverted a second time';
    if (snapshot.sourceVolumeId !== volume.id) return 'reverted to a snapshot of another volume';
    return this.objection(request, volume);
  }

  #volume(id: string): ModelVolume {
    const volume = this.volumes.get(id);
    if (volume === undefined) throw new StoreError('not-found', `there is no volume ${id}`);
    return volume;
  }

  #snapshot(id: string): ModelSnapshot {
    const snapshot = this.snapshots.get(id);
    if (snapshot === undefined) throw new StoreError('not-found', `there is no snapshot ${id}`);
    return snapshot;
  }
}
