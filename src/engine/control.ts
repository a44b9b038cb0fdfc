/**
 * The control calls of the engine: plain messages, so that they can cross a thread. Each is answered once what it says
 * is durable, also when it says "there already" or "gone already".
 */

/** 26 characters of lower-case base32 (a-z, 2-7): 128 random bits. */
export type ObjectId = string & { readonly __brand?: 'ObjectId' };

export type ObjectKind = 'volume' | 'snapshot';

/**
 * The one attribute that the engine heeds: with the value `true`, what the object writes is overwritten with zeros when nobody
 * refers to it any more, before its space is used again. Whoever takes a snapshot or makes a clone hands it on.
 */
export const ERASE_ATTRIBUTE = 'erase';

/** A volume or a snapshot as the outside sees it. */
export interface ObjectInfo {
  readonly id: ObjectId;
  readonly kind: ObjectKind;
  /** Unique among the objects of its kind in this pool. */
  readonly name: string;
  readonly sizeBytes: number;
  readonly createdAtMs: number;
  /** The volume a snapshot was cut from, or the snapshot or volume a clone was made from. It may be deleted since. */
  readonly sourceId: ObjectId | null;
  readonly sourceKind: ObjectKind | null;
  /** Objects with the same lineage descend from one volume that was created empty. */
  readonly lineage: number;
  /** Raised by each revert of a volume, and by nothing else. */
  readonly incarnation: number;
  /** What the creator wanted to remember, for instance the file system; compared by the caller when a name comes again. */
  readonly attributes: Readonly<Record<string, string>>;
}

export type ControlRequest =
  | {
      readonly kind: 'create';
      readonly id: ObjectId;
      readonly name: string;
      readonly sizeBytes: number;
      readonly attributes: Readonly<Record<string, string>>;
    }
  | {
      readonly kind: 'snapshot';
      readonly id: ObjectId;
      readonly name: string;
      readonly sourceId: ObjectId;
      readonly attributes: Readonly<Record<string, string>>;
    }
  /** sourceId names a snapshot or a volume; sizeBytes 0 means the source's. */
  | {
      readonly kind: 'clone';
      readonly id: ObjectId;
      readonly name: string;
      readonly sourceId: ObjectId;
      readonly sizeBytes: number;
      readonly attributes: Readonly<Record<string, string>>;
    }
  | {
      readonly kind: 'revert';
      readonly id: ObjectId;
      readonly snapshotId: ObjectId;
      readonly safety: { readonly id: ObjectId; readonly name: string; readonly attributes: Readonly<Record<string, string>> } | null;
    }
  | { readonly kind: 'delete'; readonly id: ObjectId }
  /** Grows a volume; the present size is fine, a smaller one is out-of-range. */
  | { readonly kind: 'resize'; readonly id: ObjectId; readonly sizeBytes: number }
  | { readonly kind: 'list' }
  /** The object with this id, or of this kind and name; null when there is none. */
  | { readonly kind: 'find'; readonly id: ObjectId }
  | { readonly kind: 'named'; readonly objectKind: ObjectKind; readonly name: string }
  | { readonly kind: 'usage'; readonly id: ObjectId }
  | { readonly kind: 'pool' }
  | { readonly kind: 'statistics' }
  | { readonly kind: 'check' }
  /** Begins a pass, or goes on with the one that is under way or was left unfinished; answers ScrubStatus at once. */
  | { readonly kind: 'scrub-start'; readonly mode: ScrubMode; readonly bytesPerSecond: number }
  /** Stops the pass under way; the next start goes on with it. Answers ScrubStatus. */
  | { readonly kind: 'scrub-stop' }
  | { readonly kind: 'scrub-status' }
  /** Answers DamageReport. */
  | { readonly kind: 'damage' }
  /** Begins to defragment a volume, or does nothing when that is under way; answers DefragmentStatus at once. Refused while
   * another volume is being defragmented. */
  | { readonly kind: 'defragment-start'; readonly id: ObjectId }
  /** Ends it where it is, if it is under way for this volume. Answers DefragmentStatus. */
  | { readonly kind: 'defragment-stop'; readonly id: ObjectId }
  /** Answers DefragmentStatus: of this volume; with null of the one that was defragmented last, or is. */
  | { readonly kind: 'defragment-status'; readonly id: ObjectId | null }
  /** Writes a checkpoint now; used before a clean stop. */
  | { readonly kind: 'checkpoint' };

/** Answer of create, snapshot, clone, revert and resize. `existed`: an object of this kind and name was there already
 * and is described as it is; the caller compares. For revert, `object` is the volume and `safety` the safety snapshot. */
export interface ObjectAnswer {
  readonly object: ObjectInfo;
  readonly existed: boolean;
  readonly safety: ObjectInfo | null;
}

/** Space of one object, in bytes: slots times chunk size. */
export interface Usage {
  /** Slots that the object refers to. */
  readonly usedBytes: number;
  /** Of those, the ones nobody else refers to: what deleting it would free. */
  readonly exclusiveBytes: number;
}

export interface PoolInfo {
  readonly id: ObjectId;
  readonly chunkSizeBytes: number;
  /** What the slots can hold. */
  readonly sizeBytes: number;
  /** Slots referred to, times chunk size. Until the count after a start is over: an upper bound. */
  readonly usedBytes: number;
  /** Slots that a write can take now or after a flush. */
  readonly freeBytes: number;
  /** Sum of the sizes of all volumes. */
  readonly provisionedBytes: number;
  readonly volumes: number;
  readonly snapshots: number;
  /** The background count after a start is over. */
  readonly counted: boolean;
  /** Space that was written at least once, or taken by writes: first writes to the rest cost the file system below more. */
  readonly prewrittenBytes: number;
  /** Writes that wait because no slot is free. */
  readonly parkedWrites: number;
  readonly sequence: number;
  readonly durableSequence: number;
}

/** What the engine is busy with, for a person who looks after it. Counts begin at the start of the process. */
export interface EngineStatistics {
  /** Records since the last checkpoint in the shared memory, and how many bytes of them there may be. */
  readonly ringUsedBytes: number;
  readonly ringBytes: number;
  /** The same of the record log on disk. */
  readonly logUsedBytes: number;
  readonly logBytes: number;
  readonly dirtyPages: number;
  readonly residentPages: number;
  readonly checkpoints: number;
  /** When the last durable checkpoint of this process was complete; 0: none yet. */
  readonly checkpointedAtMs: number;
  /** Cycles of data sync and log sync. */
  readonly syncs: number;
  /** Slots that lost their last reference and wait for the record of it to be durable. */
  readonly slotsInLimbo: number;
}

/** What `check` found. An empty list of problems means: every count equals what the trees say. */
export interface CheckReport {
  readonly objects: number;
  readonly pages: number;
  readonly slotsUsed: number;
  readonly problems: readonly string[];
}

/**
 * What a pass over the pool does with the chunks that snapshots hold. `verify` reads all of them, compares those with a
 * checksum and gives one to the rest; `seal` reads only those without one.
 */
export type ScrubMode = 'verify' | 'seal';

/** Times are milliseconds since the epoch, 0 for never. Bytes are chunks times the chunk size. */
export interface ScrubStatus {
  /** The pass under way; null when none is. */
  readonly running: ScrubMode | null;
  /** When the verifying pass that is under way, or was stopped before its end, began; 0 when there is none. */
  readonly startedAtMs: number;
  /** How far that pass came, of PoolInfo.sizeBytes. */
  readonly positionBytes: number;
  /** What it read and compared, and what it gave a checksum, so far. */
  readonly verifiedBytes: number;
  readonly sealedBytes: number;
  /** The last verifying pass that came to its end: when that was, and what it compared. */
  readonly completedAtMs: number;
  readonly completedBytes: number;
  /** When the last pass that left no chunk of a snapshot without a checksum, of either mode, began. */
  readonly sealedAtMs: number;
  /** Everything that has a checksum now. */
  readonly protectedBytes: number;
  /** Chunks that did not equal their checksum, or could not be read, when they were last looked at. */
  readonly damagedChunks: number;
}

/**
 * How a pass over a volume ended. `done`: it came to the volume's end; `out-of-space`: the pool would have had less than a
 * sixteenth of its space free; `failed`: the pool did. `never`: not since the start of this process.
 */
export type DefragmentState = 'never' | 'running' | 'done' | 'stopped' | 'out-of-space' | 'deleted' | 'failed';

/** Times are milliseconds since the epoch, 0 for never. Nothing of it outlives the process. */
export interface DefragmentStatus {
  /** The volume; null when none was asked for, and none was ever defragmented. */
  readonly id: ObjectId | null;
  readonly state: DefragmentState;
  readonly startedAtMs: number;
  readonly endedAtMs: number;
  /** How far it came, of the volume's size. */
  readonly positionBytes: number;
  readonly sizeBytes: number;
  /** Chunks that were moved, times the chunk size. */
  readonly movedBytes: number;
  /** In how many pieces what it passed over lay on the disk before, and in how many when it went on. */
  readonly foundPieces: number;
  readonly leftPieces: number;
}

/** Of a volume that was not defragmented since the start of the process. */
export const NEVER_DEFRAGMENTED: DefragmentStatus = {
  id: null,
  state: 'never',
  startedAtMs: 0,
  endedAtMs: 0,
  positionBytes: 0,
  sizeBytes: 0,
  movedBytes: 0,
  foundPieces: 0,
  leftPieces: 0,
};

/** One place in an object that a damaged chunk is part of. */
export interface DamagedPlace {
  readonly id: ObjectId;
  readonly kind: ObjectKind;
  readonly name: string;
  /** Where the chunk begins in the object; it is one chunk long. */
  readonly offsetBytes: number;
}

export interface DamagedChunk {
  /** Where it begins in the pool's data. */
  readonly dataOffsetBytes: number;
  /** `changed`: its bytes do not equal the checksum; `unreadable`: the disk fails. */
  readonly damage: 'changed' | 'unreadable';
  readonly places: readonly DamagedPlace[];
}

/** Up to 1,000 damaged chunks, and up to 10,000 places beside the first of each. */
export interface DamageReport {
  readonly chunks: readonly DamagedChunk[];
  /** The lists above are not whole. */
  readonly more: boolean;
}
