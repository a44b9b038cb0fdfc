/** An object as the naive model knows it. */
import type { ObjectInfo, ObjectKind } from '../../src/engine/control.ts';
import type { Cut } from './cut.ts';
import { GranuleHistory, newEntry, type Entry } from './granule-history.ts';
import { zeros } from './stamped-content.ts';

/** `perhaps`: not answered; `sure`: answered; `going`: its deletion is not answered. */
export type Existence = 'perhaps' | 'sure' | 'going';

export interface ModelObject {
  readonly id: string;
  readonly kind: ObjectKind;
  readonly name: string;
  readonly stamp: number;
  readonly sourceId: string | null;
  readonly sourceKind: ObjectKind | null;
  readonly attributes: Readonly<Record<string, string>>;
  existence: Existence;
  /** Whether the engine shows it; an object that is `going` may be out of sight and still come back. */
  present: boolean;
  sizeBytes: number;
  /** Sizes that a crash may bring. */
  possibleSizes: number[];
  granules: Map<number, GranuleHistory>;
  /** Granules that a power loss may have torn and that were not read since. */
  unread: Set<number>;
  cut: Cut | null;
  revert: PendingRevert | null;
  /** As the engine first described it: these never change. */
  described: Pick<ObjectInfo, 'createdAtMs' | 'lineage'> | null;
}

export interface PendingRevert {
  readonly started: number;
  readonly after: ReadonlyMap<number, readonly number[]>;
  readonly safetyId: string | null;
  /** Granules of the snapshot that may be torn. */
  readonly unread: ReadonlySet<number>;
  /** Set once a crash has left the call without an answer: the entries that stand for "it happened". */
  entries: Map<number, Entry[]> | null;
  seenBefore: number | null;
  seenAfter: number | null;
}

/** What is known of one granule; what was never written is zeros. */
export function historyOf(object: ModelObject, granule: number): GranuleHistory {
  let history = object.granules.get(granule);
  if (!history) {
    history = new GranuleHistory([newEntry(zeros, -1, -1)]);
    object.granules.set(granule, history);
  }
  return history;
}

export function label(object: ModelObject): string {
  return `${object.kind} ${object.name} (${object.existence})`;
}
