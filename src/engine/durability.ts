/**
 * What is durable, and the cycle that makes it so: sync the data, then write and sync the records that existed when the
 * data sync started (design rule 1). Flushes that arrive during a cycle share the next one.
 *
 * Invariants: no record is on disk before the data it speaks of; data written in place counts as dirty from the start
 * of a sync on; all is dirty after recovery; nothing is synced when nothing changed. After a failed sync nothing is ever
 * called durable again: the kernel may have dropped the pages that failed.
 *
 * A cycle may begin before anybody asks, when a flush is foretold (flush-forecast.ts): it is the same cycle, and a flush
 * that comes while it runs shares it if nothing has landed and nothing was recorded since it began.
 */
import type { Disk } from './ports.ts';
import type { DiskCalls } from './disk-calls.ts';
import { FlushForecast } from './flush-forecast.ts';
import type { LogPosition, RecordLog } from './record-log.ts';
import type { RecordRing } from './record-ring.ts';

export interface DurabilityOptions {
  readonly data: Disk;
  readonly calls: DiskCalls;
  readonly ring: RecordRing;
  readonly log: RecordLog;
  readonly sequence: () => number;
  /** The durable sequence has advanced. */
  readonly advanced: () => void;
  /** The log has no room: a checkpoint is needed now. */
  readonly checkpointWanted: () => void;
  readonly failed: (errno: number, what: string) => void;
  /** How often a pattern of flushes must come before it is acted on. */
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

  /** No write is under way any more: if a flush is foretold, its cycle begins. */
  quiet(): void {
    if (this.#cycle !== null || this.#brokenErrno !== 0 || !this.#forecast.isDue(this.#landed)) return;
    this.#forecast.guessed(this.#landed);
    this.#begin();
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

  #begin(): void {
    this.#cycle = this.#next;
    this.#next = [];
    this.cycles++;
    const target = this.#options.sequence();
    this.#cycleLanded = this.#landed;
    this.#cycleTarget = target;
    const afterData = (): void => {
      if (this.#durable >= target) this.#finish(target);
      else this.#writeLog(target);
    };
    if (this.#landed === this.#synced) return afterData();
    this.syncData((errno) => {
      if (errno === 0) afterData();
    });
  }

  #writeLog(target: number): void {
    if (this.#brokenErrno !== 0) return;
    if (this.#logged >= target) {
      this.#options.log.sync((errno) => {
        if (errno !== 0) this.#break(errno, 'syncing the record log');
        else this.#finish(target);
      });
      return;
    }
    this.#options.log.writeBatch(this.#options.ring, this.#loggedPosition, target, (reached, errno) => {
      if (errno !== 0) return void this.#break(errno, 'writing the record log');
      if (reached === null) {
        this.#waitsForRoom = () => this.#writeLog(target);
        return this.#options.checkpointWanted();
      }
      if (reached.sequence > this.#logged) {
        this.#logged = reached.sequence;
        this.#loggedPosition = reached.position;
      }
      this.#writeLog(target);
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
    this.#options.advanced();
  }

  #break(errno: number, what: string): number {
    this.#options.failed(errno, what);
    this.fail(errno);
    return errno;
  }
}
