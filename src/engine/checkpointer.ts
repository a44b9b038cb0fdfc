/**
 * Checkpoints: one transaction that stores every dirty page and object as they were at one sequence, after a data sync;
 * then ring and log are trimmed up to there.
 *
 * Invariants: the stored sequence is the one of the capture, not of the commit; nothing is trimmed before the commit is
 * durable; requests go on all the while (page-table.ts keeps what was captured).
 */
import { CHECKPOINT_VERSION, encodeRow, FIRST_CHECKPOINT_VERSION } from './checkpoint-rows.ts';
import type { LogPosition } from './record-log.ts';
import type { MetadataChange } from './ports.ts';
import type { EngineState } from './state.ts';

const PAGES_A_SLICE = 16;
const ROWS_A_SLICE = 16;
/** Slots that the next start can give to writes before its count is over. */
const RESERVE_SLOTS = 4096;

interface Capture {
  readonly sequence: number;
  readonly ringPosition: number;
  readonly logPosition: LogPosition;
  readonly life: string;
  readonly changes: MetadataChange[];
}

export class Checkpointer {
  readonly #state: EngineState;
  readonly #trimmed: () => void;
  readonly #failed: (error: Error) => void;
  #capture: Capture | null = null;
  #encoding = false;
  #waiting: (() => void)[] = [];
  #next: (() => void)[] = [];
  #wanted = false;
  #sequence: number;
  /** Checkpoints of this process that are durable, and when the last of them was. */
  count = 0;
  completedAtMs = 0;

  /** @param trimmed called when ring and log have room again */
  constructor(state: EngineState, sequence: number, trimmed: () => void, failed: (error: Error) => void) {
    this.#state = state;
    this.#sequence = sequence;
    this.#trimmed = trimmed;
    this.#failed = failed;
  }

  /** Sequence of the last durable checkpoint. */
  get sequence(): number {
    return this.#sequence;
  }

  get running(): boolean {
    return this.#capture !== null;
  }

  /** A call waits for a checkpoint. */
  get isAwaited(): boolean {
    return this.#waiting.length + this.#next.length > 0;
  }

  /** A checkpoint is needed soon; one that runs will be followed by another. */
  want(): void {
    if (this.#capture === null) this.#begin();
    else this.#wanted = true;
  }

  /** Calls back when a checkpoint that began now or later is durable, or when the pool has failed. */
  request(done: () => void): void {
    if (this.#state.broken !== null) return done();
    if (this.#capture === null) {
      this.#waiting.push(done);
      this.#begin();
    } else {
      this.#next.push(done);
      this.#wanted = true;
    }
  }

  /** One slice of encoding; true when there is more to do at once. */
  step(): boolean {
    if (!this.#encoding) return false;
    const { seals, erasures, pages } = this.#state;
    if (seals.encodeSome(ROWS_A_SLICE) || erasures.encodeSome(ROWS_A_SLICE) || pages.encodeSome(PAGES_A_SLICE)) return true;
    this.#encoding = false;
    this.#commit();
    return false;
  }

  #begin(): void {
    const state = this.#state;
    if (state.broken !== null) return;
    const { journal, ring, log, objects, pages, slots, seals, erasures, geometry } = state;
    const changes: MetadataChange[] = objects.takeDeleted().map((number) => ({ table: 'objects', key: number, value: null }));
    for (const object of objects.all()) {
      state.needsVersion2 ||= object.erases;
      if (!object.dirty) continue;
      object.dirty = false;
      changes.push({ table: 'objects', key: object.number, value: encodeRow(object.row()) });
    }
    // Also of an object that is gone by now.
    state.needsVersion2 ||= erasures.dirtyCount > 0;
    const { sequence, checksum } = journal.last;
    const logPosition = log.position;
    const pool = encodeRow({
      version: state.needsVersion2 ? CHECKPOINT_VERSION : FIRST_CHECKPOINT_VERSION,
      poolId: state.poolId,
      chunkSizeBytes: geometry.chunkSizeBytes,
      sequence,
      checksum,
      log: logPosition,
      nextPageNumber: pages.nextNumber,
      life: state.life,
      reserve: slots.nameReserve(RESERVE_SLOTS),
      prewrittenSlots: state.prewrittenSlots,
      dropped: pages.droppedNumbers(),
      ...(state.needsVersion2 ? { scrub: { ...state.scrub, damaged: [...seals.damaged] } } : {}),
    });
    changes.push({ table: 'pool', key: 0, value: pool });
    seals.capture();
    erasures.capture();
    pages.capture();
    this.#capture = { sequence, ringPosition: ring.tail, logPosition, life: state.life, changes };
    state.durability.syncData((errno) => {
      if (errno === 0) this.#encoding = true;
      else this.abandon();
    });
  }

  #commit(): void {
    const capture = this.#capture!;
    const state = this.#state;
    state.ports.metadata.commit(
      [...capture.changes, ...state.seals.takeCaptured(), ...state.erasures.takeCaptured(), ...state.pages.takeCaptured()],
      (error) => {
        if (error !== null) {
          this.#failed(error);
          return this.abandon();
        }
        this.#sequence = capture.sequence;
        this.count++;
        this.completedAtMs = state.ports.clock.nowMs();
        state.pages.committed();
        state.seals.committed();
        state.slots.takeSealsOff();
        for (const slot of state.erasures.committed()) state.slots.erased(slot);
        state.ring.rebase(capture.life);
        // Whoever asks for a checkpoint in here gets the next one: this one counts as running to the end.
        state.durability.checkpointed(capture.sequence, capture.ringPosition, capture.logPosition);
        const waiting = this.#waiting;
        this.#capture = null;
        this.#waiting = this.#next;
        this.#next = [];
        if (this.#wanted) {
          this.#wanted = false;
          this.#begin();
        }
        this.#trimmed();
        for (const done of waiting) done();
      },
    );
  }

  /** The pool has failed: whoever waits is called and finds out. */
  abandon(): void {
    const waiting = [...this.#waiting, ...this.#next];
    this.#waiting = [];
    this.#next = [];
    for (const done of waiting) done();
  }
}
