/**
 * The engine: volumes and snapshots of one pool over the ports in ports.ts. It lives on a thread without an event loop:
 * everything happens inside its methods and the callbacks of its ports, and nothing inside waits.
 *
 * Its parts: objects (what there is), tree and page-table (what maps where), slots (what is free and what may be written
 * in place), journal, record-ring, record-log, durability and flush-forecast (records and when they are durable),
 * checkpointer, recovery and counter (how a start goes), requests (reads and writes), controls (snapshots and so on),
 * dismantler and merger (what the background tidies up), defragmenter (what is read in order lies in order again),
 * inspector (usage and check), scrubber and seals (what the disk still returns).
 */
import { StoreError } from '../util/errors.ts';
import { assert } from '../util/assert.ts';
import { ChunkBuffers } from './chunk-buffers.ts';
import { Checkpointer } from './checkpointer.ts';
import { decodeObjectRow, decodePoolRow, NO_SCRUB, type PoolRow, type ScrubProgress, type ScrubRow } from './checkpoint-rows.ts';
import { ChunkMoves } from './chunk-moves.ts';
import { ChunkParts } from './chunk-parts.ts';
import type { ControlRequest, ObjectId } from './control.ts';
import { type ControlDone, Controls } from './controls.ts';
import { Counter } from './counter.ts';
import { Defragmenter } from './defragmenter.ts';
import { DiskCalls, FIRST_CALL_TAG } from './disk-calls.ts';
import { Dismantler } from './dismantler.ts';
import { Durability } from './durability.ts';
import { Eraser } from './eraser.ts';
import { Erasures } from './erasures.ts';
import { Geometry } from './geometry.ts';
import type { Walker } from './frozen-walk.ts';
import { Journal } from './journal.ts';
import { engineMemoryLayout } from './memory-layout.ts';
import { Merger } from './merger.ts';
import { Prewriter } from './prewriter.ts';
import { Objects, StoredObject } from './objects.ts';
import { PageTable } from './page-table.ts';
import { Flights } from './part-lists.ts';
import { newObjectId } from './object-id.ts';
import type { PoolHeader } from './pool-format.ts';
import type { EnginePorts, MetadataImage } from './ports.ts';
import { RecordLog } from './record-log.ts';
import { RecordRing } from './record-ring.ts';
import { readLogs, type Recovered, Replay, slotsNamed } from './recovery.ts';
import { Errno } from './request-table.ts';
import { Requests } from './requests.ts';
import { Scrubber } from './scrubber.ts';
import { Seals } from './seals.ts';
import { isShortOfSlots } from './shortage.ts';
import { Slots } from './slots.ts';
import type { EngineState } from './state.ts';
import { Tree } from './tree.ts';
import { WitnessReader } from './witness.ts';

export interface EngineOptions {
  /** What the header of the pool's data says; the metadata must belong to it. */
  readonly pool: PoolHeader;
  /** Request numbers of `submit` are below this. */
  readonly maximumRequests: number;
  /** The largest read or write. */
  readonly maximumRequestBytes: number;
  /** How long a write waits for space in a full pool before it fails with ENOSPC. */
  readonly parkTimeoutMs: number;
  /** Leaf pages kept in memory, about 4 KiB each; each maps 256 chunks. */
  readonly leafLimit: number;
  /** Records of 64 bytes that fit into the shared memory: a power of two. */
  readonly ringUnits: number;
  /** A checkpoint is written at the latest this long after a change. */
  readonly checkpointAgeMs: number;
  /** A checkpoint is written when this many pages are dirty. */
  readonly checkpointPages: number;
  /** After so many ticks without a request zeros are written ahead into slots that were never written; null: never. */
  readonly prewriteAfterTicks: number | null;
  /** How often a pattern of flushes must come before a sync is begun ahead of the next one; by default that of
   * flush-forecast.ts. */
  readonly flushesToLearn?: number;
  /** A sync or the metadata failed: the pool serves reads only from now on. Called once. */
  readonly failed: (error: Error) => void;
}

/** Slots that are free but for a checkpoint: with more of them one is written. */
const WAITING_SLOTS_LIMIT = 65536;

/** Operations of `submit`; the same numbers as src/block/ports.ts. */
const READ = 1;
const WRITE = 2;
const ZERO = 3;
const FLUSH = 4;

export class Engine {
  readonly #ports: EnginePorts;
  readonly #options: EngineOptions;
  readonly #devices: (StoredObject | null)[] = [];
  #parts: {
    readonly state: EngineState;
    readonly requests: Requests;
    readonly controls: Controls;
    readonly checkpointer: Checkpointer;
    readonly dismantler: Dismantler;
    readonly merger: Merger;
    readonly defragmenter: Defragmenter;
    readonly prewriter: Prewriter | null;
    readonly scrubber: Scrubber;
    readonly eraser: Eraser;
  } | null = null;
  readonly #calls = new DiskCalls();
  #counter: Counter | null = null;
  #walk: { readonly walker: Walker; readonly failed: () => void } | null = null;
  readonly #walksWaiting: { readonly make: () => Walker; readonly failed: () => void }[] = [];
  #checkpointedAtMs = 0;
  /** Told when the metadata fails before requests are served. */
  #startFailed: ((error: Error) => void) | null = null;

  constructor(ports: EnginePorts, options: EngineOptions) {
    this.#ports = ports;
    this.#options = options;
  }

  /** Recovers the pool and begins to serve. `ready` is called when devices can be opened and requests submitted. */
  start(ready: (error: Error | null) => void): void {
    this.#startFailed = ready;
    this.#ports.metadata.load((error, image) => {
      try {
        if (error !== null) throw error;
        if (image?.pool === null || image === null)
          throw new StoreError(
            'failed-precondition',
            'the pool has no checkpoint: its creation did not finish. Nothing is stored in it; remove the folder and create it again',
          );
        const row = decodePoolRow(image.pool);
        this.#compare(row);
        this.#recover(row, image, ready);
      } catch (cause) {
        ready(cause as Error);
      }
    });
  }

  /** Runs a control call; `done` is called once, when what it says is durable. */
  control(request: ControlRequest, done: ControlDone): void {
    this.#running.controls.run(request, done);
  }

  /** @throws StoreError not-found */
  openDevice(id: ObjectId): number {
    const object = this.#running.state.objects.require(id);
    const free = this.#devices.indexOf(null);
    const device = free < 0 ? this.#devices.length : free;
    this.#devices[device] = object;
    return device;
  }

  /** No request of the device is under way. */
  closeDevice(device: number): void {
    this.#devices[device] = null;
  }

  /** See RequestTarget in src/block/ports.ts. */
  submit(request: number, operation: number, device: number, offsetBytes: number, lengthBytes: number, memoryOffset: number): void {
    const { requests } = this.#running;
    const object = this.#devices[device];
    assert(object !== null && object !== undefined, 'requests go to open devices');
    const invalid =
      offsetBytes < 0 ||
      lengthBytes < 0 ||
      offsetBytes + lengthBytes > object.sizeBytes ||
      (operation <= WRITE && lengthBytes > this.#options.maximumRequestBytes);
    if (operation !== FLUSH && invalid) this.#ports.listener.completed(request, Errno.invalid);
    else if (operation === READ) requests.read(request, object, offsetBytes, lengthBytes, memoryOffset);
    else if (operation === FLUSH) requests.flush(request);
    else if (object.kind === 'snapshot') this.#ports.listener.completed(request, Errno.readOnly);
    else if (operation === WRITE) requests.write(request, object, offsetBytes, lengthBytes, memoryOffset);
    else if (operation === ZERO) requests.zero(request, object, offsetBytes, lengthBytes);
    else assert(false, `unknown operation ${operation}`);
  }

  /** A disk operation is over: `result` is its length in bytes (0 for a sync) or a negative errno. */
  diskCompleted(tag: number, result: number): void {
    if (tag >= FIRST_CALL_TAG) this.#calls.completed(tag, result);
    else this.#running.requests.diskCompleted(tag, result);
  }

  /** Time-driven work; call at least every 100 ms. */
  tick(): void {
    if (this.#parts === null) return;
    const { state, requests, checkpointer, merger, prewriter, scrubber } = this.#parts;
    const elapsedMs = this.#ports.clock.elapsedMs();
    requests.expire(elapsedMs);
    state.slots.advance();
    state.pages.evict();
    merger.tick();
    prewriter?.tick();
    requests.slotsFreed({ all: true });
    const { slots, durability } = state;
    if (slots.wantsDurability && isShortOfSlots(state) && !durability.running) durability.request(() => undefined);
    const { seals, erasures } = state;
    const isAged = elapsedMs - this.#checkpointedAtMs >= this.#options.checkpointAgeMs;
    const aged =
      isAged && (checkpointer.sequence < state.journal.sequence || seals.dirtyCount + erasures.dirtyCount > 0 || scrubber.running);
    const waiting = seals.openingCount + erasures.writtenCount;
    const unseal = waiting > WAITING_SLOTS_LIMIT || (waiting > 0 && isShortOfSlots(state));
    if (!checkpointer.running && (aged || isHalfFull(state) || unseal || state.pages.dirtyCount > this.#options.checkpointPages))
      checkpointer.want();
  }

  /** Requests or calls wait for what the background does, or soon will. */
  get isBackgroundUrgent(): boolean {
    if (this.#parts === null || this.#counter !== null) return true;
    const { state, requests, checkpointer } = this.#parts;
    const isCallWaiting = checkpointer.isAwaited || this.#walksWaiting.length > 0;
    return isCallWaiting || requests.parkedWrites > 0 || isHalfFull(state) || isShortOfSlots(state);
  }

  /** The process is about to end: nothing is moved or synced any more that nobody waits for, or the disk would not come to
   * rest. After the next checkpoint log and ring hold no witness: programs that know none can go on from there. */
  quiesce(): void {
    this.#parts?.defragmenter.quiesce();
    this.#parts?.state.durability.quiesce();
  }

  /** One slice of background work, well below a millisecond; true when there is more to do at once. */
  background(): boolean {
    if (this.#parts === null) return false;
    const { state, requests, checkpointer, dismantler, merger, defragmenter, prewriter, scrubber, eraser } = this.#parts;
    let more = checkpointer.step();
    if (state.slots.takeSealsOff()) {
      requests.slotsFreed({ all: true });
      more = true;
    }
    if (this.#counter !== null) more = this.#counter.step() || more;
    more = dismantler.step() || more;
    more = this.#walkOn() || more;
    more = merger.step() || more;
    more = scrubber.step() || more;
    more = defragmenter.step() || more;
    eraser.step();
    if (!more) prewriter?.step();
    return more;
  }

  get #running() {
    assert(this.#parts !== null, 'the engine has started');
    return this.#parts;
  }

  // ---- start ---------------------------------------------------------------------------------------------

  #compare(row: PoolRow): void {
    const { poolId, chunkSizeBytes } = this.#options.pool;
    if (row.poolId === poolId && row.chunkSizeBytes === chunkSizeBytes) return;
    throw new StoreError(
      'failed-precondition',
      `the metadata belong to pool ${row.poolId} with chunks of ${row.chunkSizeBytes} bytes, the data to pool ${poolId} with ${chunkSizeBytes}; put back the meta folder of this pool`,
    );
  }

  #recover(row: PoolRow, image: MetadataImage, ready: (error: Error | null) => void): void {
    const { memory, log: disk } = this.#ports;
    const layout = engineMemoryLayout({ ringUnits: this.#options.ringUnits });
    assert(layout.totalBytes <= memory.engineBytes, 'the shared memory has room for the engine');
    const from = memory.engineOffset;
    const ring = new RecordRing(memory.bytes.subarray(from, from + layout.stagingOffset), this.#options.ringUnits);
    const log = new RecordLog({
      disk,
      calls: this.#calls,
      poolId: row.poolId,
      memory: memory.bytes,
      stagingOffset: from + layout.stagingOffset,
    });
    const witnesses = new WitnessReader({
      data: this.#ports.data,
      calls: this.#calls,
      memory: memory.bytes,
      roomOffset: from + layout.stagingOffset,
      chunkSizeBytes: row.chunkSizeBytes,
    });
    readLogs(
      { log, ring, poolId: row.poolId, sequence: row.sequence, checksum: row.checksum, life: row.life, position: row.log, witnesses },
      (error, recovered) => {
        if (error !== null || recovered === null) return ready(error);
        try {
          const state = this.#assemble(row, ring, log, recovered);
          const roots: number[] = [];
          state.seals.load(image.seals, row.scrub?.damaged ?? []);
          state.erasures.load(image.erasures);
          for (const { value } of image.objects) {
            const object = new StoredObject(decodeObjectRow(value));
            object.dirty = false;
            state.objects.add(object);
            if (object.rootNumber !== 0) roots.push(object.rootNumber);
          }
          this.#counter = new Counter(
            state,
            roots,
            row.dropped,
            () => this.#counted(),
            (cause) => this.#fail(cause),
          );
          const replayed = (failure: Error | null): void =>
            failure === null
              ? this.#serve(state, row, { merge: from + layout.mergeOffset, zero: from + layout.zeroOffset }, ready)
              : ready(failure);
          new Replay(state, row.sequence, replayed).run();
        } catch (cause) {
          ready(cause as Error);
        }
      },
    );
  }

  #assemble(row: PoolRow, ring: RecordRing, log: RecordLog, recovered: Recovered): EngineState {
    const ports = this.#ports;
    const geometry = new Geometry(row.chunkSizeBytes);
    const operations = this.#options.maximumRequests + this.#maximumParts(geometry);
    const flights = new Flights(operations);
    const objects = new Objects();
    const durableSequence = (): number => durability.durable;
    const stampNow = (): number => flights.now;
    const oldestStamp = (): number => flights.oldestStamp;
    const journal = new Journal(ring, recovered.last);
    const durability: Durability = new Durability(
      {
        data: ports.data,
        calls: this.#calls,
        ring,
        log,
        sequence: () => journal.sequence,
        mark: () => void journal.control({ change: 'life', life: this.#running.state.life }),
        advanced: () => this.#advanced(),
        checkpointWanted: () => this.#parts?.checkpointer.want(),
        failed: (errno, what) => this.#fail(new Error(`${what} failed (errno ${errno})`)),
        ...(this.#options.flushesToLearn === undefined ? {} : { flushesToLearn: this.#options.flushesToLearn }),
      },
      { durable: row.sequence, logged: recovered.logged.sequence, loggedPosition: recovered.loggedPosition },
    );
    const pages = new PageTable({
      metadata: ports.metadata,
      leafLimit: this.#options.leafLimit,
      durableSequence,
      stampNow,
      oldestStamp,
      failed: (error) => this.#fail(error),
    });
    pages.start(row.nextPageNumber, row.dropped);
    const named = slotsNamed(ring, row.sequence);
    const count = geometry.slotsOf(ports.data.sizeBytes);
    const seals = new Seals(count);
    const erasures = new Erasures(count);
    const slots = new Slots({
      slots: count,
      seals,
      erasures,
      reserve: row.reserve.filter((slot) => !named.has(slot) && slot < count),
      durableSequence,
      stampNow,
      oldestStamp,
    });
    const tree = new Tree(pages, slots);
    return {
      poolId: row.poolId,
      ports,
      geometry,
      calls: this.#calls,
      flights,
      objects,
      pages,
      slots,
      seals,
      erasures,
      tree,
      ring,
      log,
      journal,
      durability,
      life: row.life,
      prewrittenSlots: row.prewrittenSlots,
      scrub: progressOf(row.scrub ?? NO_SCRUB),
      needsVersion2: row.scrub !== undefined,
      broken: null,
    };
  }

  #serve(
    state: EngineState,
    row: PoolRow,
    memory: { readonly merge: number; readonly zero: number },
    ready: (error: Error | null) => void,
  ): void {
    const parts = new ChunkParts(this.#maximumParts(state.geometry));
    const trimmed = (): void => {
      this.#checkpointedAtMs = this.#ports.clock.elapsedMs();
      requests.ringTrimmed();
      // Slots that a volume alone has may have lost their seals: those are for the writes that wait for them.
      requests.slotsFreed({ all: true });
    };
    const checkpointer = new Checkpointer(state, row.sequence, trimmed, (error) => this.#fail(error));
    const requests: Requests = new Requests(state, parts, {
      maximumRequests: this.#options.maximumRequests,
      parkTimeoutMs: this.#options.parkTimeoutMs,
      mergeWanted: (object, chunk) => merger.want(object, chunk),
      checkpointWanted: () => checkpointer.running || checkpointer.want(),
    });
    const buffers = new ChunkBuffers(memory.merge);
    const dismantler = new Dismantler(state, { freed: () => requests.slotsFreed() });
    const moves = new ChunkMoves({ state, parts, requests, firstFlight: this.#options.maximumRequests, buffers });
    const merger: Merger = new Merger({ state, moves, quiet: () => dismantler.idle && this.#walk === null });
    const defragmenter = new Defragmenter({
      state,
      moves,
      requests,
      checkpointer,
      isUrgent: () => checkpointer.isAwaited || isHalfFull(state),
    });
    const opensOf = (object: StoredObject): number => this.#devices.filter((open) => open === object).length;
    const walk = (make: () => Walker, failed: () => void): void => void this.#walksWaiting.push({ make, failed });
    const eraser = new Eraser({ state, checkpointer, zeroOffset: memory.zero });
    const scrubber = new Scrubber({ state, buffers, checkpointer, walk });
    const controls = new Controls({ state, requests, merger, defragmenter, checkpointer, scrubber, opensOf, walk });
    this.#checkpointedAtMs = this.#ports.clock.elapsedMs();
    const { prewriteAfterTicks: afterTicks } = this.#options;
    const freed = (): void => requests.slotsFreed();
    const prewriter = afterTicks === null ? null : new Prewriter(state, { zeroOffset: memory.zero, freed, afterTicks });
    this.#parts = { state, requests, controls, checkpointer, dismantler, merger, defragmenter, prewriter, scrubber, eraser };
    this.#settle(state);
    ready(null);
  }

  /** Makes durable what recovery found, together with the record of a new life; only then are slots taken. */
  #settle(state: EngineState): void {
    const life = newObjectId(this.#ports.random);
    state.journal.control({ change: 'life', life });
    state.life = life;
    state.durability.request((errno) => {
      if (errno !== 0) return;
      state.slots.settle();
      this.#running.requests.slotsFreed();
    });
  }

  // ---- events --------------------------------------------------------------------------------------------

  #advanced(): void {
    if (this.#parts === null) return;
    this.#parts.state.slots.advance();
    this.#parts.requests.slotsFreed();
  }

  #counted(): void {
    this.#counter = null;
    const { state, requests, merger } = this.#running;
    // What the last process meant to merge is not written down anywhere.
    for (const object of state.objects.all()) merger.sweep(object);
    requests.counted();
    state.durability.request(() => requests.slotsFreed());
  }

  #walkOn(): boolean {
    if (this.#walk?.walker.over === true) this.#walk = null;
    if (this.#walk === null && this.#walksWaiting.length > 0) {
      const { state, dismantler } = this.#running;
      if (!state.slots.counted || !dismantler.idle) return false;
      const { make, failed } = this.#walksWaiting.shift()!;
      this.#walk = { walker: make(), failed };
    }
    return this.#walk !== null && this.#walk.walker.step();
  }

  #fail(error: Error): void {
    const state = this.#parts?.state;
    if (state === undefined) this.#startFailed?.(error);
    else if (state.broken !== null) return;
    else {
      state.broken = error;
      state.durability.fail(Errno.io);
      this.#parts?.requests.fail();
      this.#parts?.checkpointer.abandon();
      // A walk that is over has been answered, though nobody has looked since.
      const walks = this.#walk === null || this.#walk.walker.over ? [] : [this.#walk];
      for (const { failed } of [...walks, ...this.#walksWaiting.splice(0)]) failed();
      this.#walk = null;
    }
    this.#options.failed(error);
  }

  /** Enough for every request, cut at chunk borders, and the moves of the background. */
  #maximumParts(geometry: Geometry): number {
    const perRequest = Math.ceil(this.#options.maximumRequestBytes / geometry.chunkSizeBytes) + 1;
    return this.#options.maximumRequests * perRequest + 16;
  }
}

/** Of the places for records, ring and log. */
function isHalfFull({ ring, log }: EngineState): boolean {
  return ring.usedUnits > ring.capacityUnits / 2 || log.usedBlocks > log.blocks / 2;
}

function progressOf(row: ScrubRow): ScrubProgress {
  const { damaged: _, ...progress } = row;
  return progress;
}
