/** What reverting needs from the rest: stores by pool, and a place for events. StoreClient fits `RevertStore` as it is. */
import type { RecordedEvent } from '../events.ts';

export interface RevertStoreVolume {
  readonly id: string;
  /** Its block device is open somewhere. */
  readonly attached: boolean;
  /** Raised by each revert, and by nothing else. */
  readonly incarnation: number;
  readonly attributes: Readonly<Record<string, string>>;
}

export interface RevertStoreSnapshot {
  readonly id: string;
  readonly sourceVolumeId: string;
}

export interface RevertRequest {
  readonly id: string;
  readonly snapshotId: string;
  readonly safety: { readonly name: string; readonly objectId: string; readonly attributes: Readonly<Record<string, string>> };
  readonly expectedIncarnation: number;
}

/** One store. Errors are StoreErrors; `not-found` says that surely nothing of that id exists. */
export interface RevertStore {
  getVolume(id: string): Promise<RevertStoreVolume>;
  getSnapshot(id: string): Promise<RevertStoreSnapshot>;
  /**
   * Makes the volume read as the snapshot did, and what it held a snapshot, both or none. A call whose safety snapshot
   * exists is only answered again; one that expects another incarnation, or finds the volume attached, is
   * `failed-precondition`.
   */
  revertVolume(request: RevertRequest): Promise<{ readonly safety: RevertStoreSnapshot | null }>;
  /** Succeeds when it is gone. */
  deleteSnapshot(id: string): Promise<void>;
}

export interface RevertStores {
  /** Null says that there is surely no such pool (any more); `unavailable` when that is not sure. */
  ofPool(poolId: string): Promise<RevertStore | null>;
}

/** Never fails: an event that cannot be written is lost. */
export type RecordEvent = (event: RecordedEvent) => void;
