/**
 * The data thread's loop: one io_uring for FUSE requests and replies, for the pool's files, for the timer and for the
 * eventfd by which other threads wake it. `run` does not return to JavaScript's event loop until it is told to stop, so
 * nothing here uses promises or timers.
 *
 * A round: read requests, enter the kernel, take every completion. A round that brings nothing gives a slice of time to the
 * background; when that wants none, the loop goes round some more times if waits have been short lately, then it blocks.
 * While requests come, the background gets a share of the time only (background-pace.ts).
 */
import { performance } from 'node:perf_hooks';
import { assert } from '../util/assert.ts';
import type { SharedMemory } from '../linux/memory.ts';
import { Ring } from '../linux/ring.ts';
import { Structure } from '../linux/structure.ts';
import { Arena, type ArenaCounts } from './arena.ts';
import type { RequestListener, RequestTarget } from './ports.ts';
import { BackgroundPace } from './background-pace.ts';
import { DiskOperations, RingDisk } from './ring-disk.ts';
import type { SessionOptions } from './session.ts';
import { Sessions } from './sessions.ts';
import type { CountsOfDevice, Latency, OperationName } from './statistics.ts';
import { Kind, indexMask, kindMask } from './user-data.ts';

export interface DataLoopOptions {
  readonly memory: SharedMemory;
  /** Where in the memory the arena lies; `arenaBytes(counts)` long or longer. */
  readonly arena: ArenaCounts & { readonly offsetBytes: number; readonly lengthBytes: number };
  /** Most disks that are opened. */
  readonly disks: number;
  /** An eventfd. Each time it fires, `onWake` is called. */
  readonly wakeDescriptor: number;
  readonly onWake: () => void;
  /** Called about every 100 ms, under load too. */
  readonly onTick: () => void;
  /** Does one slice of background work, of a millisecond at most; true: there is more. Called when nothing else is to
   * do, but while requests come only for a small share of the time. */
  readonly background: () => boolean;
  /** Requests wait for the background, or soon will: it gets whatever time they leave. */
  readonly isBackgroundUrgent: () => boolean;
  /** Takes the results of disk operations: of the tag given, bytes or a negative errno. */
  readonly diskCompleted: (tag: number, result: number) => void;
  /** Empty rounds before the loop blocks, while waits are short; 1: never spins. */
  readonly spinRounds?: number;
  readonly readsPerTurn?: number;
}

export class DataLoop {
  /** To be given to the target of requests. */
  readonly listener: RequestListener;
  /** Counts since the start, for metrics. */
  rounds = 0;
  waits = 0;
  blocks = 0;
  /** What the kernel refused and can be done without: to be logged. */
  readonly warnings: string[] = [];

  readonly #options: DataLoopOptions;
  readonly #ring: Ring;
  readonly #arena: Arena;
  readonly #sessions: Sessions;
  readonly #operations: DiskOperations;
  readonly #wakeCount = new Structure(8);
  readonly #interval = new Structure(16);
  readonly #spinRounds: number;
  #disks = 0;
  #spinLimit = 1;
  #waitsAtTick = 0;
  #stopping = false;
  readonly #pace = new BackgroundPace();
  #backgroundWanted = true;

  /** Makes the ring and opens the arena, on the thread that will run the loop. */
  constructor(options: DataLoopOptions) {
    this.#options = options;
    this.#spinRounds = Math.max(1, options.spinRounds ?? defaultSpinRounds);
    const { memory, arena } = options;
    this.#arena = new Arena({ ...arena, memory });
    this.#keepPresent();
    this.#ring = new Ring({ entries: 512, completions: 4096, files: arena.devices + options.disks + 1, patienceMicroseconds });
    this.#ring.setFile(this.#wakeFile, options.wakeDescriptor);
    this.#operations = new DiskOperations({
      ring: this.#ring,
      memoryAddress: memory.address,
      registered: this.#register(),
      completed: options.diskCompleted,
    });
    this.#sessions = new Sessions({ arena: this.#arena, ring: this.#ring, readsPerTurn: options.readsPerTurn ?? defaultReadsPerTurn });
    const { requests } = this.#sessions;
    this.listener = {
      completed: (request, errno) => requests.completed(request, errno),
      parked: (request) => requests.parked(request),
    };
    this.#interval.view.setBigUint64(8, BigInt(tickNanoseconds), true);
  }

  /** Requests are numbered below this. */
  get maximumRequests(): number {
    return this.#arena.slots;
  }

  /** A file or block device opened with O_DIRECT. The descriptor stays the caller's, who must not close it. */
  openDisk(options: { readonly descriptor: number; readonly sizeBytes: number }): RingDisk {
    assert(this.#disks < this.#options.disks, 'too many disks');
    const file = this.#arena.devices + this.#disks++;
    this.#ring.setFile(file, options.descriptor);
    return new RingDisk(this.#operations, { file, sizeBytes: options.sizeBytes });
  }

  /** Before `recover` and `run`. */
  setTarget(target: RequestTarget): void {
    this.#sessions.requests.setTarget(target);
  }

  /** Serves a FUSE connection; its descriptor belongs to the loop from now on. `out-of-range` when there are too many. */
  addDevice(options: SessionOptions): void {
    this.#sessions.add(options);
  }

  /** For a device that has grown. */
  setDeviceSize(connection: number, sizeBytes: number): void {
    this.#sessions.setSize(connection, sizeBytes);
  }

  /** Finishes the requests in flight, closes the descriptor, then calls `done` from the loop (or at once). What the kernel
   * still has queued is left there: it fails when the last holder of the connection closes it. */
  removeDevice(connection: number, done: () => void): void {
    this.#sessions.remove(connection, done);
  }

  /** Whether the device's file is open, by a loop device for instance. */
  isOpen(connection: number): boolean {
    return this.#sessions.isOpen(connection);
  }

  /** What was done on a connection since it is served here; null when there is none of this number. */
  countsOf(connection: number): CountsOfDevice | null {
    return this.#sessions.countsOf(connection);
  }

  /** How long the requests of all connections took. */
  latency(): Readonly<Record<OperationName, Latency>> {
    return this.#sessions.statistics.latency();
  }

  /** Must be called once, after the devices of a dead predecessor were added and before the loop's next round (so before
   * `run`, or from `onWake`): answers what it had done and submits what it had not, and frees all other slots. Until then
   * no request is read. */
  recover(): { readonly answered: number; readonly submitted: number } {
    return this.#sessions.recover();
  }

  /** Reads no more requests; `run` returns when those in flight are answered, but for parked ones: they stay in the arena
   * for the successor. */
  stop(): void {
    this.#stopping = true;
    this.#sessions.accepting = false;
  }

  run(): void {
    this.#ring.pollReadable(this.#wakeFile, Kind.wakeReady);
    this.#startTimer();
    let empty = 0;
    let waitCount = 0;
    while (!this.#isFinished()) {
      if (this.#sessions.readRequests()) {
        waitCount = 0;
        empty = 0;
      }
      // While the background waits for its time, the loop does not block for longer than that.
      if (waitCount > 0 && this.#backgroundWanted) this.#ring.enterPatiently(waitCount);
      else if (waitCount === 0 && this.#operations.inFlight >= depthWorthPatience) this.#ring.enterPatiently(patientCount);
      else this.#ring.enter(waitCount);
      this.rounds++;
      if (this.#takeCompletions()) {
        if (waitCount > 0 || empty > 0) this.waits++;
        empty = 0;
        waitCount = 0;
        if (this.#backgroundWanted && (this.rounds & backgroundMask) === 0) this.#giveSlice();
        continue;
      }
      if (this.#giveSlice() || ++empty < this.#spinLimit) continue;
      waitCount = 1;
      this.blocks++;
    }
  }

  /** Ends the ring, and closes the descriptors of the devices. Not while `run` runs. */
  close(): void {
    this.#ring.close();
    this.#sessions.close();
  }

  get #wakeFile(): number {
    return this.#options.arena.devices + this.#options.disks;
  }

  #isFinished(): boolean {
    const { requests } = this.#sessions;
    return this.#stopping && requests.inFlight <= requests.parkedCount && this.#operations.inFlight === 0;
  }

  /** Gives the background a slice if it is its time; true when it did something and there is more. */
  #giveSlice(): boolean {
    const startMs = performance.now();
    if (!this.#pace.isDue(startMs, this.#sessions.requests.lastSubmittedMs) && !this.#options.isBackgroundUrgent()) return false;
    this.#backgroundWanted = this.#options.background();
    this.#pace.took(startMs, performance.now());
    return this.#backgroundWanted;
  }

  #takeCompletions(): boolean {
    const ring = this.#ring;
    let taken = false;
    while (ring.next()) {
      taken = true;
      const index = ring.userData & indexMask;
      switch (ring.userData & kindMask) {
        case Kind.disk:
          this.#operations.complete(index, ring.result);
          break;
        case Kind.reply:
          this.#sessions.requests.replied(index, ring.result);
          break;
        case Kind.ready:
          this.#sessions.ready(index);
          break;
        case Kind.timer:
          this.#tick();
          break;
        case Kind.wakeReady:
          ring.read(this.#wakeFile, 0, 0, this.#wakeCount.address | 0, Math.floor(this.#wakeCount.address / 4294967296), 8, Kind.wakeRead);
          break;
        case Kind.wakeRead:
          ring.pollReadable(this.#wakeFile, Kind.wakeReady);
          this.#options.onWake();
          this.#backgroundWanted = true; // it may be what the background waited for
          break;
        default:
          break;
      }
    }
    return taken;
  }

  #tick(): void {
    this.#startTimer();
    this.#spinLimit = this.waits - this.#waitsAtTick >= waitsWorthSpinning ? this.#spinRounds : 1;
    this.#waitsAtTick = this.waits;
    this.#backgroundWanted = true;
    this.#options.onTick();
  }

  #startTimer(): void {
    this.#ring.timeout(this.#interval.address | 0, Math.floor(this.#interval.address / 4294967296), Kind.timer);
  }

  /** A copy of the kernel's into a page that is not there could fail, and would end the request with EIO. */
  #keepPresent(): void {
    const { memory } = this.#options;
    for (const { offsetBytes, lengthBytes } of [this.#arena.tableRange, this.#arena.activeRange]) {
      memory.prefault(offsetBytes, lengthBytes);
      const refusal = memory.lock(offsetBytes, lengthBytes);
      if (refusal !== null) this.warnings.push(`${lengthBytes} bytes of request buffers could not be locked in memory (${refusal})`);
    }
  }

  #register(): { readonly offsetBytes: number; readonly lengthBytes: number } {
    const range = this.#arena.activeRange;
    const refusal = this.#ring.registerBuffer(this.#options.memory.address + range.offsetBytes, range.lengthBytes);
    if (refusal === null) return range;
    this.warnings.push(`the request buffers could not be registered (${refusal}): disk operations cost more`);
    return { offsetBytes: 0, lengthBytes: 0 };
  }
}

const tickNanoseconds = 100_000_000;
/** Waits between two ticks: from here on a wait is shorter than 500 us on average. */
const waitsWorthSpinning = 200;
/** With so many disk operations in flight, the loop waits for some of them at once. */
const depthWorthPatience = 12;
const patientCount = 4;
const patienceMicroseconds = 60;
const defaultSpinRounds = 200;
const defaultReadsPerTurn = 8;
/** Under load the background is looked after in one of so many rounds, less one; a power of two less one. */
const backgroundMask = 15;
