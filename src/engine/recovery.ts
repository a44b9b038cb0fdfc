/**
 * Recovery (design rule 6): the checkpoint, then the record log along its chain until it breaks, then the records in
 * shared memory if it belongs to this pool's present life. Requests are served when this is over; slots are taken only
 * when all of it is durable again (engine.ts, `settle`).
 */
import { assert } from '../util/assert.ts';
import { StoreError } from '../util/errors.ts';
import { applyChange } from './changes.ts';
import { Entry } from './entry.ts';
import type { EngineState } from './state.ts';
import {
  newHead,
  readChecksum,
  readChunk,
  readControl,
  readEntry,
  readHead,
  readTrimChunks,
  readWitness,
  RecordBuffer,
  RecordKind,
  RECORD_UNIT_BYTES,
  type ControlChange,
  type Witness,
} from './record.ts';
import type { RecordLog, LogPosition } from './record-log.ts';
import type { RecordRing } from './record-ring.ts';
import { MISSING } from './tree.ts';
import type { WitnessReader } from './witness.ts';

/** What the logs hold beyond a checkpoint. */
export interface Recovered {
  /** Sequence and checksum of the last record that the log on disk has (or of the checkpoint). */
  readonly logged: { readonly sequence: number; readonly checksum: number };
  /** The same for the last record of all. */
  readonly last: { readonly sequence: number; readonly checksum: number };
  /** Ring position behind the last record that the log on disk has. */
  readonly loggedPosition: number;
}

export interface RecoveryInput {
  readonly log: RecordLog;
  readonly ring: RecordRing;
  readonly poolId: string;
  /** Sequence, record checksum, life and log position of the checkpoint. */
  readonly sequence: number;
  readonly checksum: number;
  readonly life: string;
  readonly position: LogPosition;
  readonly witnesses: WitnessReader;
}

/** Reads both logs and makes the ring hold everything since the checkpoint. */
export function readLogs(input: RecoveryInput, done: (error: Error | null, recovered: Recovered | null) => void): void {
  const batches: RecordBuffer[] = [];
  const head = newHead();
  let logged = { sequence: input.sequence, checksum: input.checksum };
  let loggedBefore = logged;
  /** What the last batch ends with, if that is a witness. */
  let witness: Witness | null = null;
  let life = input.life;
  let failure: unknown = null;
  const take = (buffer: RecordBuffer, at: number, end: number): void => {
    // Called by the disk: whoever waits for the logs is to hear of it, not the loop that completes the read.
    try {
      if (failure === null) takeBatch(buffer, at, end);
    } catch (error) {
      failure = error;
    }
  };
  const takeBatch = (buffer: RecordBuffer, at: number, end: number): void => {
    const copy = new RecordBuffer(buffer.bytes.slice(at, end));
    loggedBefore = logged;
    witness = null;
    for (let from = 0; readHead(copy, from, copy.bytes.length, head); from += head.units * RECORD_UNIT_BYTES) {
      if (head.sequence <= logged.sequence) continue;
      if (head.sequence !== logged.sequence + 1)
        throw new StoreError('data-loss', `the record log goes on with record ${head.sequence} after record ${logged.sequence}`);
      logged = { sequence: head.sequence, checksum: readChecksum(copy, from) };
      witness = head.kind === RecordKind.witness ? readWitness(copy, from) : null;
      if (head.kind !== RecordKind.control) continue;
      const change = readControl(copy, from);
      if (change.change === 'life') life = change.life;
    }
    batches.push(copy);
  };
  const leaveOutLast = (finish: () => void): void => {
    // The log has every change that memory has, so memory is made anew from it; a start after this one must not believe the old.
    input.ring.forget();
    // Before anything else is remembered: the next start may have memory, and would take the batch for a part of its past.
    input.log.eraseLast((errno) => {
      if (errno !== 0)
        return done(
          new StoreError('data-loss', `a batch that lost its data could not be taken out of the record log (errno ${errno})`),
          null,
        );
      batches.pop();
      logged = loggedBefore;
      finish();
    });
  };
  input.log.recover(input.position, take, (errno) => {
    if (errno !== 0) return done(new StoreError('data-loss', `the pool's record log could not be read (errno ${errno})`), null);
    if (failure !== null) return done(failure as Error, null);
    const finish = (): void => {
      try {
        done(null, combine(input, batches, logged, life));
      } catch (error) {
        done(error as Error, null);
      }
    };
    try {
      // What memory goes on from has landed. But memory with nothing new, or a new life only, may be that of a start which
      // could not read what it compared.
      if (witness === null || (input.ring.belongsTo(input.poolId, life) && input.ring.lastChange() > logged.sequence)) return finish();
      input.witnesses.compare(witness, (error, isTrue) => {
        if (error !== null) done(error, null);
        else if (isTrue) finish();
        else leaveOutLast(finish);
      });
    } catch (error) {
      done(error as Error, null);
    }
  });
}

function combine(input: RecoveryInput, batches: RecordBuffer[], logged: { sequence: number; checksum: number }, life: string): Recovered {
  const { ring } = input;
  const head = newHead();
  if (!ring.belongsTo(input.poolId, life)) {
    ring.initialize(input.poolId, life);
    for (const batch of batches) {
      for (let at = 0; readHead(batch, at, batch.bytes.length, head); at += head.units * RECORD_UNIT_BYTES) {
        if (head.sequence <= input.sequence) continue;
        const place = ring.place(head.units);
        ring.buffer.bytes.set(batch.bytes.subarray(at, at + head.units * RECORD_UNIT_BYTES), place);
        ring.append(head.units);
      }
    }
    ring.publish();
    return { logged, last: logged, loggedPosition: ring.tail };
  }
  let last = logged;
  let loggedPosition = ring.head;
  let position = ring.head;
  for (const at of ring.records(head)) {
    position = (position + head.units) >>> 0;
    if (head.sequence <= logged.sequence) loggedPosition = position;
    if (head.sequence <= last.sequence) continue;
    if (head.sequence !== last.sequence + 1)
      throw new StoreError('data-loss', `records ${last.sequence + 1} to ${head.sequence - 1} are neither in the log nor in shared memory`);
    last = { sequence: head.sequence, checksum: readChecksum(ring.buffer, at) };
  }
  return { logged, last, loggedPosition };
}

/** Applies what the logs hold beyond the checkpoint. */
export class Replay {
  readonly #state: EngineState;
  readonly #from: number;
  readonly #head = newHead();
  readonly #entry = new Entry();
  #position: number;
  /** Sequence of the last record applied. */
  #applied: number;
  readonly #done: (error: Error | null) => void;

  /** @param from sequence of the checkpoint */
  constructor(state: EngineState, from: number, done: (error: Error | null) => void) {
    this.#state = state;
    this.#from = from;
    this.#applied = from;
    this.#position = state.ring.head;
    this.#done = done;
  }

  /** The ring holds everything since the checkpoint, so it alone is replayed. */
  run(): void {
    let finished: boolean;
    try {
      finished = this.#run();
    } catch (error) {
      return this.#done(error as Error);
    }
    if (finished) this.#done(null);
    else this.#state.pages.load(this.#state.pages.missing, () => this.run());
  }

  /** False when a page is missing. */
  #run(): boolean {
    const { ring } = this.#state;
    for (let at = ring.read(this.#position, this.#head); at !== null; at = ring.read(this.#position, this.#head)) {
      if (this.#head.sequence > this.#from) {
        assert(this.#head.sequence === this.#applied + 1, 'the ring holds every record since the checkpoint');
        if (!this.#apply(ring.buffer, at)) return false;
        this.#applied = this.#head.sequence;
      }
      this.#position = (this.#position + this.#head.units) >>> 0;
    }
    return true;
  }

  /** False when a page is missing. */
  #apply(buffer: RecordBuffer, at: number): boolean {
    const { objects, tree } = this.#state;
    const { kind, sequence, objectNumber, incarnation } = this.#head;
    if (kind === RecordKind.control) {
      const change = readControl(buffer, at);
      for (const number of objectsNamed(change)) {
        if (objects.byNumber(number) === undefined)
          throw new StoreError('data-loss', `record ${sequence} names object ${number}, which is not there at its sequence`);
      }
      applyChange(this.#state, change, sequence);
      return true;
    }
    if (kind === RecordKind.witness) return true;
    if (kind !== RecordKind.entry && kind !== RecordKind.trim) {
      throw new StoreError(
        'failed-precondition',
        `record ${sequence} is of kind ${kind}, which this program does not know. Use the version that wrote it, or a newer one`,
      );
    }
    const object = objects.byNumber(objectNumber);
    if (object === undefined || object.incarnation !== incarnation) return true;
    const chunk = readChunk(buffer, at);
    if (kind === RecordKind.trim) {
      const chunks = readTrimChunks(buffer, at);
      if (!tree.canTrim(object, chunk, chunks)) return false;
      tree.trim(object, chunk, chunks, sequence);
      return true;
    }
    if (tree.find(object, chunk) === MISSING) return false;
    readEntry(buffer, at, this.#entry);
    tree.setEntry(object, chunk, this.#entry, sequence);
    return true;
  }
}

/** Numbers of the objects that must be there before the change. */
function objectsNamed(change: ControlChange): readonly number[] {
  switch (change.change) {
    case 'create':
    case 'life':
      return [];
    case 'share':
      return [change.sourceNumber];
    case 'revert':
      return [change.volumeNumber, change.snapshotNumber];
    case 'delete':
    case 'resize':
      return [change.number];
  }
}

/** Slots that records after a checkpoint name: they are not in its reserve any more. */
export function slotsNamed(ring: RecordRing, from: number): Set<number> {
  const named = new Set<number>();
  const head = newHead();
  const entry = new Entry();
  for (const at of ring.records(head)) {
    if (head.sequence <= from || head.kind !== RecordKind.entry) continue;
    readEntry(ring.buffer, at, entry);
    for (let layer = 0; layer < entry.count; layer++) named.add(entry.slots[layer]!);
  }
  return named;
}
