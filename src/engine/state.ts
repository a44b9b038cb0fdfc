/** The parts of a running engine that its components share. */
import type { ScrubProgress } from './checkpoint-rows.ts';
import type { DiskCalls } from './disk-calls.ts';
import type { Durability } from './durability.ts';
import type { Geometry } from './geometry.ts';
import type { Journal } from './journal.ts';
import type { Objects } from './objects.ts';
import type { PageTable } from './page-table.ts';
import type { Erasures } from './erasures.ts';
import type { Flights } from './part-lists.ts';
import type { EnginePorts } from './ports.ts';
import type { RecordLog } from './record-log.ts';
import type { RecordRing } from './record-ring.ts';
import type { Seals } from './seals.ts';
import type { Slots } from './slots.ts';
import type { Tree } from './tree.ts';

export interface EngineState {
  readonly poolId: string;
  readonly ports: EnginePorts;
  readonly geometry: Geometry;
  readonly calls: DiskCalls;
  readonly flights: Flights;
  readonly objects: Objects;
  readonly pages: PageTable;
  readonly slots: Slots;
  readonly seals: Seals;
  readonly erasures: Erasures;
  readonly tree: Tree;
  readonly ring: RecordRing;
  readonly log: RecordLog;
  readonly journal: Journal;
  readonly durability: Durability;
  /** Life of the pool whose record was applied last. */
  life: string;
  /** Slots below this number were written at least once since the pool was made. */
  prewrittenSlots: number;
  readonly scrub: ScrubProgress;
  /** Something was scrubbed, or is to be erased, ever: the checkpoint has version 2. */
  needsVersion2: boolean;
  /** Set when a sync or the metadata failed: nothing may be called durable any more. */
  broken: Error | null;
}
