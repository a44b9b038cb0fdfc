/**
 * What a ChunkStorePool's status says, worked out from what the store says: a pure function. What a person would not see is
 * left out, so that a busy pool does not become a busy API.
 */
import type { Condition } from '../api.ts';
import { conditionAfter, conditionOf, type ConditionVerdict } from '../conditions.ts';
import { quantity } from '../quantity.ts';
import type { ChunkStorePool } from '../resources.ts';
import { timestamp } from '../times.ts';

export type PoolStatus = NonNullable<ChunkStorePool['status']>;

/** `starting`: the pool is ours and not served yet. `handing-over`: another store of this node takes it. */
export type PoolPhase = 'starting' | 'serving' | 'handing-over' | 'stopped';

export interface PoolFigures {
  readonly chunkSizeBytes: number;
  readonly sizeBytes: number;
  readonly usedBytes: number;
  readonly freeBytes: number;
  /** When less is free, nothing new is made. */
  readonly reserveBytes: number;
  readonly provisionedBytes: number;
  readonly provisionLimitBytes: number;
  readonly volumes: number;
  readonly snapshots: number;
  /** Volumes and snapshots whose block device is set up. */
  readonly attached: number;
  readonly parkedWrites: number;
  /** False while the background count after a start runs: used and free are bounds until then. */
  readonly counted: boolean;
  readonly scrub: ScrubFigures;
}

/** Passes over the chunks that snapshots hold. */
export interface ScrubFigures {
  /** How far the verifying pass came that is under way; null: none is. */
  readonly runningPercent: number | null;
  /** When the last verifying pass came to its end; 0: never. */
  readonly completedAtMs: number;
  /** What has a checksum. */
  readonly protectedBytes: number;
  readonly damagedChunks: number;
  /** The first volumes and snapshots that these are part of. */
  readonly damaged: readonly { readonly kind: 'volume' | 'snapshot'; readonly name: string }[];
  /** There are more. */
  readonly moreDamaged: boolean;
}

export interface PoolProblem {
  /** One word in CamelCase. */
  readonly reason: string;
  readonly message: string;
}

export interface PoolView {
  readonly phase: PoolPhase;
  readonly lost: boolean;
  /** Null while they cannot be had: what was said before stays. */
  readonly figures: PoolFigures | null;
  /** What makes it worse than it should be, the worst first. */
  readonly problems: readonly PoolProblem[];
}

/** A pool is full when it is down to its reserve, and no longer so when this many times the reserve is free again. */
const ROOM_AGAIN = 2;

export function poolStatus(
  view: PoolView,
  context: {
    readonly before: PoolStatus | undefined;
    readonly generation: number | undefined;
    readonly version: string;
    readonly nowMs: number;
  },
): PoolStatus {
  const { before, generation, version, nowMs } = context;
  const condition = (type: string, verdict: ConditionVerdict): Condition =>
    conditionAfter(before, { type, ...verdict }, { generation, nowMs });
  return {
    ...(view.figures === null ? before : figuresForPeople(view.figures)),
    version,
    conditions: [
      condition('Ready', readiness(view)),
      condition('Full', fullness(view.figures, conditionOf(before, 'Full'))),
      condition('Degraded', degradation(view)),
      condition('Damaged', damage(view.figures, conditionOf(before, 'Damaged'))),
    ],
  };
}

/** `conditions`: a condition has another status or reason, or no device is in use any more: people and their tools wait for that. */
export function differenceOf(before: PoolStatus | undefined, after: PoolStatus): 'none' | 'figures' | 'conditions' {
  const verdicts = (status: PoolStatus | undefined): string =>
    JSON.stringify((status?.conditions ?? []).map(({ type, status: verdict, reason }) => [type, verdict, reason]));
  if (verdicts(before) !== verdicts(after)) return 'conditions';
  // Whoever uninstalls or repairs waits until nothing is in use.
  if (after.attached === 0 && before?.attached !== 0) return 'conditions';
  return canonical(before) === canonical(after) ? 'none' : 'figures';
}

function figuresForPeople(figures: PoolFigures): PoolStatus {
  const { sizeBytes, usedBytes, volumes, snapshots, attached, parkedWrites } = figures;
  return {
    size: quantity(sizeBytes),
    used: quantity(usedBytes),
    free: quantity(figures.freeBytes),
    provisioned: quantity(figures.provisionedBytes),
    provisionLimit: quantity(figures.provisionLimitBytes),
    usedPercent: sizeBytes === 0 ? 0 : Math.round((100 * usedBytes) / sizeBytes),
    chunkSize: quantity(figures.chunkSizeBytes),
    volumes,
    snapshots,
    attached,
    parkedWrites,
    scrub: scrubForPeople(figures.scrub),
  };
}

function scrubForPeople({ runningPercent, completedAtMs, protectedBytes, damagedChunks }: ScrubFigures): NonNullable<PoolStatus['scrub']> {
  return {
    ...(completedAtMs === 0 ? {} : { lastCompleted: timestamp(completedAtMs) }),
    ...(runningPercent === null ? {} : { runningPercent }),
    damagedChunks,
    protected: quantity(protectedBytes),
  };
}

/** Also said of a pool by the controller, when no store can say it. */
export const LOST: ConditionVerdict = {
  status: 'False',
  reason: 'Lost',
  message: 'declared lost: its volumes and snapshots can be deleted, nothing is made or attached; set spec.lost to false to take it back',
};

/** The reason of Ready when the controller says that the store does not answer. */
export const UNREACHABLE = 'Unreachable';

const READINESS: Readonly<Record<PoolPhase, ConditionVerdict>> = {
  serving: { status: 'True', reason: 'Serving', message: 'its volumes are served' },
  starting: { status: 'False', reason: 'Starting', message: 'the store has the pool and recovers it; I/O waits' },
  'handing-over': { status: 'False', reason: 'HandingOver', message: 'a newer store of this node takes over; I/O waits a moment' },
  stopped: { status: 'False', reason: 'Stopped', message: 'the store was stopped; I/O waits until one is started again' },
};

function readiness({ lost, phase }: PoolView): ConditionVerdict {
  return lost ? LOST : READINESS[phase];
}

function fullness(figures: PoolFigures | null, former: Condition | null): ConditionVerdict {
  if (figures === null) {
    if (former !== null) return { status: former.status, reason: former.reason, message: former.message };
    return { status: 'Unknown', reason: 'NotCounted', message: 'the store has not said yet how much is free' };
  }
  const { parkedWrites, freeBytes, reserveBytes, sizeBytes, counted } = figures;
  if (parkedWrites > 0) {
    return { status: 'True', reason: 'WritesWait', message: 'writes wait for room: delete snapshots or volumes, or enlarge the pool' };
  }
  // Until the count is over, less seems to be free than is.
  if (!counted && freeBytes < ROOM_AGAIN * reserveBytes) {
    if (former?.status === 'True') return { status: former.status, reason: former.reason, message: former.message };
    return { status: 'Unknown', reason: 'NotCounted', message: 'what is free is still being counted' };
  }
  if (freeBytes < (former?.status === 'True' ? ROOM_AGAIN : 1) * reserveBytes) {
    const message = `little of ${quantity(sizeBytes)} is free, and the last ${quantity(reserveBytes)} are kept for what exists: delete snapshots or volumes, or enlarge the pool`;
    return { status: 'True', reason: 'LowSpace', message };
  }
  return { status: 'False', reason: 'RoomLeft', message: 'there is room' };
}

function degradation({ problems, figures }: PoolView): ConditionVerdict {
  const counting: readonly PoolProblem[] =
    figures === null || figures.counted
      ? []
      : [{ reason: 'Counting', message: 'what is used is counted after a start; until then new space is taken from a small reserve' }];
  const all = [...problems, ...counting];
  const [worst] = all;
  if (worst === undefined) return { status: 'False', reason: 'AsItShouldBe', message: 'nothing is known to be wrong' };
  return { status: 'True', reason: worst.reason, message: all.map(({ message }) => message).join('; ') };
}

function damage(figures: PoolFigures | null, former: Condition | null): ConditionVerdict {
  if (figures === null) {
    if (former !== null) return { status: former.status, reason: former.reason, message: former.message };
    return { status: 'Unknown', reason: 'NotAsked', message: 'the store has not said yet whether anything is damaged' };
  }
  const { damagedChunks, damaged, moreDamaged } = figures.scrub;
  if (damagedChunks === 0) return { status: 'False', reason: 'NoneKnown', message: 'no damage is known to what snapshots hold' };
  const names = damaged.map(({ kind, name }) => `${kind} ${name}`);
  if (moreDamaged) names.push('others');
  const where = names.length === 0 ? '' : ` in ${names.join(', ')}`;
  const chunks = `${damagedChunks} chunk${damagedChunks === 1 ? '' : 's'}`;
  const message = `the disk has changed or lost ${chunks}${where}: "chunkstore scrub status" in the store's pod lists every place, and says what to do`;
  return { status: 'True', reason: 'ChunksDamaged', message };
}

/** Whatever the order in which the API gives the fields back. */
function canonical(value: unknown): string {
  return JSON.stringify(value, (_, part: unknown) =>
    typeof part === 'object' && part !== null && !Array.isArray(part)
      ? Object.fromEntries(Object.entries(part).toSorted(([left], [right]) => (left < right ? -1 : 1)))
      : part,
  );
}
