/**
 * What is durable, and the cycle that makes it so: sync the data, then write and sync the records that existed when the
 * data sync started (design rule 1). A flush that arrives during a cycle shares the next one, or this one if nothing has
 * landed and nothing was recorded since it began.
 *
 * Invariants: no record is on disk before the data it speaks of; data written in place counts as dirty from the start
 * of a sync on; all is dirty after recovery; nothing is synced when nothing changed. After a failed sync nothing is ever
 * called durable again: the kernel may have dropped the pages that failed.
 *
 * A cycle may begin before anybody asks, when a flush is foretold (flush-forecast.ts). If it covers no more than one write,
 * and a witness of that (witness.ts), it syncs data and log at once.
 */
import type { Disk } from './ports.ts';
import type { DiskCalls } from './disk-calls.ts';
import { FlushForecast } from './flush-forecast.ts';
import type { LogPosition, RecordLog } from './record-log.ts';
import type { RecordRing } from './record-ring.ts';
import type { PlacedWitness } from './witness.ts';

export interface DurabilityOptions {
  readonly data: Disk;
  readonly calls: DiskCalls;
  readonly ring: RecordRing;
  readonly log: RecordLog;
  readonly sequence: () => number;
  /** Makes a record that changes nothing. */
  readonly mark: () => void;
  /** The durable sequence has advanced. */
  readonly advanced: () => void;
  /** The log has no room: a checkpoint is needed now. */
  readonly checkpointWanted: () => void;
  readonly failed: (errno: number, what: string) => void;
  /** How often a pattern of flushes must come before it is acted on; with 0 each write is taken for the last before one. */
  readonly flushesToLearn?: number;
}

/** Called with 0 or an errno. */
export type Durable = (errno: number) => void;

export class Durability {
  readonly #options: DurabilityOptions;
  #durable: number;
  /** The last sequence that the log on disk has, and the ring position behind it. */
  #logged: number;
  #loggedPosition: number;
  /** Data writes that have landed, and how many of them a sync has covered. */
  #landed = 1;
  #synced = 0;
  #cycle: Durable[] | null = null;
  /** What the cycle covers: writes that had landed and records that existed when it began. */
  #cycleLanded = 0;
  #cycleTarget = 0;
  #next: Durable[] = [];
  #waitsForRoom: (() => void) | null = null;
  #brokenErrno = 0;
  readonly #forecast: FlushForecast;
  /** What recovery may examine after a power cut: of the log's last batch, and of the one before it while that is written. */
  #witnesses: readonly PlacedWitness[] = [];
  #isQuiesced = false;
  /** Cycles begun since the start. */
  cycles = 0;

  constructor(options: DurabilityOptions, recovered: { durable: number; logged: number; loggedPosition: number }) {
    this.#options = options;
    this.#forecast = new FlushForecast(options.flushesToLearn);
    this.#durable = recovered.durable;
    this.#logged = recovered.logged;
    this.#loggedPosition = recovered.loggedPosition;
  }

  get durable(): number {
    return this.#durable;
  }

  get running(): boolean {
    return this.#cycle !== null;
  }

  /** A write to the pool's data has landed. */
  landed(): void {
    this.#landed++;
  }

  /** A flush is foretold: once no write is under way, its cycle may begin. */
  get isFlushDue(): boolean {
    return this.#cycle === null && this.#brokenErrno === 0 && !this.#isQuiesced && this.#forecast.isDue(this.#landed);
  }

  /** No cycle begins any more before it is asked for, and no witness is made. */
  quiesce(): void {
    this.#isQuiesced = true;
  }

  /** Whether nothing is to be made durable but one data write and the record with this sequence, the last one. */
  isOnlyChange(sequence: number): boolean {
    return this.#landed - this.#synced === 1 && this.#durable === sequence - 1 && this.#logged === sequence - 1;
  }

  /** The cycle begins of a flush that is due. `witness`: the last record is this one, of the only change. */
  beginAhead(witness: PlacedWitness | null): void {
    this.#forecast.guessed(this.#landed);
    if (witness !== null) this.#witnesses = [...this.#witnesses, witness];
    this.#begin({ witnessed: witness !== null });
  }

  /** Whether recovery may examine some of these granules: before they are overwritten, `confirm` must have called back. */
  isWitnessed(slot: number, mask: number): boolean {
    for (const witness of this.#witnesses) if (witness.slot === slot && (witness.mask & mask) !== 0) return true;
    return false;
  }

  /** Calls back when no witness that there is now will be examined. */
  confirm(done: Durable): void {
    const sequence = this.#options.sequence();
    if (this.#witnesses.some((witness) => witness.sequence === sequence)) this.#options.mark();
    this.request(done);
  }

  /** A device's flush: as `request`, and the forecast learns of it. */
  flush(done: Durable): void {
    this.#forecast.flushed(this.#landed);
    this.request(done);
  }

  /** Calls back when everything up to now is durable. */
  request(done: Durable): void {
    if (this.#brokenErrno !== 0) return done(this.#brokenErrno);
    const sequence = this.#options.sequence();
    if (this.#cycle === null) {
      if (this.#landed === this.#synced && this.#durable === sequence) return done(0);
      this.#next.push(done);
      this.#begin();
    } else if (this.#cycleLanded === this.#landed && this.#cycleTarget === sequence) this.#cycle.push(done);
    else this.#next.push(done);
  }

  /** Syncs the data alone, for a checkpoint. */
  syncData(done: Durable): void {
    const landed = this.#landed;
    this.#options.data.sync(
      this.#options.calls.tag((result) => {
        if (this.#brokenErrno !== 0) return done(this.#brokenErrno);
        if (result < 0) return done(this.#break(-result, "syncing the pool's data"));
        this.#synced = Math.max(this.#synced, landed);
        done(0);
      }),
    );
  }

  /** A checkpoint is durable that contains every record up to `sequence`; ring and log before it are free. */
  checkpointed(sequence: number, ringPosition: number, logPosition: LogPosition): void {
    if (this.#logged < sequence) {
      this.#logged = sequence;
      this.#loggedPosition = ringPosition;
    }
    this.#options.ring.trim(ringPosition);
    this.#options.log.trim(logPosition);
    this.#witnesses = this.#witnesses.filter((witness) => witness.sequence > sequence);
    this.#advance(sequence);
    const waiting = this.#waitsForRoom;
    this.#waitsForRoom = null;
    waiting?.();
  }

  /** The pool has failed elsewhere: nothing is called durable any more. */
  fail(errno: number): void {
    if (this.#brokenErrno !== 0) return;
    this.#brokenErrno = errno;
    this.#waitsForRoom = null;
    const waiters = [...(this.#cycle ?? []), ...this.#next];
    this.#cycle = null;
    this.#next = [];
    for (const waiter of waiters) waiter(errno);
  }

  #begin(options: { readonly witnessed: boolean } = { witnessed: false }): void {
    this.#cycle = this.#next;
    this.#next = [];
    this.cycles++;
    const target = this.#options.sequence();
    this.#cycleLanded = this.#landed;
    this.#cycleTarget = target;
    const finish = (): void => this.#finish(target);
    const afterData = (): void => {
      if (this.#durable >= target) finish();
      else this.#writeLog(target, finish);
    };
    if (this.#landed === this.#synced) return afterData();
    if (options.witnessed) return this.#syncBoth(target, finish);
    this.syncData((errno) => {
      if (errno === 0) afterData();
    });
  }

  /** The log is written while the data is being synced. */
  #syncBoth(target: number, done: () => void): void {
    let pending = 2;
    const over = (): void => {
      pending--;
      if (pending === 0) done();
    };
    this.syncData((errno) => {
      if (errno === 0) over();
    });
    this.#writeLog(target, over);
  }

  #writeLog(target: number, done: () => void): void {
    if (this.#brokenErrno !== 0) return;
    if (this.#logged >= target) {
      this.#options.log.sync((errno) => {
        if (errno !== 0) this.#break(errno, 'syncing the record log');
        else done();
      });
      return;
    }
    this.#options.log.writeBatch(this.#options.ring, this.#loggedPosition, target, (reached, errno) => {
      if (errno !== 0) return void this.#break(errno, 'writing the record log');
      if (reached === null) {
        this.#waitsForRoom = () => this.#writeLog(target, done);
        return this.#options.checkpointWanted();
      }
      if (reached.sequence > this.#logged) {
        this.#logged = reached.sequence;
        this.#loggedPosition = reached.position;
      }
      this.#writeLog(target, done);
    });
  }

  #finish(target: number): void {
    if (this.#brokenErrno !== 0) return;
    this.#advance(target);
    const waiters = this.#cycle!;
    this.#cycle = null;
    if (this.#next.length > 0) this.#begin();
    for (const waiter of waiters) waiter(0);
  }

  #advance(sequence: number): void {
    if (sequence <= this.#durable) return;
    this.#durable = sequence;
    // What follows a witness in the log stands in a later batch.
    if (this.#witnesses.length > 0) this.#witnesses = this.#witnesses.filter((witness) => witness.sequence >= sequence);
    this.#options.advanced();
  }

  #break(errno: number, what: string): number {
    this.#options.failed(errno, what);
    this.fail(errno);
    return errno;
  }
}
