/**
 * Control calls: each makes at most one record and is answered when that record is durable (design rule 5), also when it
 * only says that something is there, or gone, already. (`usage`, `pool`, `statistics`, `check`, and what scrubs and defragmenting
 * tell, describe the present and do not wait.)
 */
import { assert } from '../util/assert.ts';
import { StoreError } from '../util/errors.ts';
import { applyChange } from './changes.ts';
import type { Checkpointer } from './checkpointer.ts';
import type { ControlRequest, EngineStatistics, ObjectAnswer, ObjectKind, PoolInfo } from './control.ts';
import { GRANULE_BYTES, MAXIMUM_CHUNKS } from './geometry.ts';
import type { Walker } from './frozen-walk.ts';
import { CheckWalk, UsageWalk } from './inspector.ts';
import type { Defragmenter } from './defragmenter.ts';
import type { Merger } from './merger.ts';
import type { StoredObject } from './objects.ts';
import { type ControlChange, MAXIMUM_CONTROL_BYTES, MAXIMUM_UNITS, type ObjectDescription, RECORD_UNIT_BYTES } from './record.ts';
import { LOG_BLOCK_BYTES } from './record-log.ts';
import type { Requests } from './requests.ts';
import { DamageWalk } from './held-walk.ts';
import type { Scrubber } from './scrubber.ts';
import type { EngineState } from './state.ts';

export type ControlDone = (error: StoreError | null, answer: unknown) => void;

export interface ControlsOptions {
  readonly state: EngineState;
  readonly requests: Requests;
  readonly merger: Merger;
  readonly defragmenter: Defragmenter;
  readonly checkpointer: Checkpointer;
  readonly scrubber: Scrubber;
  /** Devices that have the object open. */
  readonly opensOf: (object: StoredObject) => number;
  /** Starts a walk when no other runs and the counts are known; `failed` is called when the pool fails before its end. */
  readonly walk: (make: () => Walker, failed: () => void) => void;
}

/** Bytes of JSON around the parts of a control record that users choose. */
const CONTROL_OVERHEAD_BYTES = 1024;

export class Controls {
  readonly #options: ControlsOptions;
  /** Sequence of the last record that answers may speak of. */
  #lastChange: number;

  constructor(options: ControlsOptions) {
    this.#options = options;
    this.#lastChange = options.state.journal.sequence;
  }

  run(request: ControlRequest, done: ControlDone): void {
    const { state, checkpointer } = this.#options;
    if (state.broken !== null) return done(poolFailed(state), null);
    if (!this.#hasRoom) return checkpointer.request(() => this.run(request, done));
    try {
      this.#dispatch(request, done);
    } catch (error) {
      if (!(error instanceof StoreError)) throw error;
      done(error, null);
    }
  }

  #dispatch(request: ControlRequest, done: ControlDone): void {
    const { state, checkpointer, defragmenter, scrubber, walk } = this.#options;
    const failed = (): void => done(poolFailed(state), null);
    switch (request.kind) {
      case 'create':
        return this.#create(request, done);
      case 'snapshot':
      case 'clone':
        return this.#share(request, done);
      case 'revert':
        return this.#revert(request, done);
      case 'delete':
        return this.#delete(request, done);
      case 'resize':
        return this.#resize(request, done);
      case 'list':
        return this.#whenDurable(
          done,
          [...state.objects.all()].map((object) => object.info()),
        );
      case 'find':
        return this.#whenDurable(done, state.objects.byId(request.id)?.info() ?? null);
      case 'named':
        return this.#whenDurable(done, state.objects.byName(request.objectKind, request.name)?.info() ?? null);
      case 'usage': {
        const object = state.objects.require(request.id);
        return walk(() => new UsageWalk(state, object, (usage) => done(null, usage)), failed);
      }
      case 'check':
        return walk(() => new CheckWalk(state, (report) => done(null, report)), failed);
      case 'scrub-start':
        if (!(request.bytesPerSecond > 0 && Number.isFinite(request.bytesPerSecond)))
          throw new StoreError('invalid-argument', `a scrub needs a rate above 0 bytes a second, not ${request.bytesPerSecond}`);
        scrubber.start(request.mode, request.bytesPerSecond);
        return done(null, scrubber.status());
      case 'scrub-stop':
        scrubber.stop();
        return done(null, scrubber.status());
      case 'scrub-status':
        return done(null, scrubber.status());
      case 'defragment-start':
        defragmenter.start(state.objects.require(request.id, 'volume'));
        return done(null, defragmenter.status(request.id));
      case 'defragment-stop':
        defragmenter.stop(request.id);
        return done(null, defragmenter.status(request.id));
      case 'defragment-status':
        return done(null, defragmenter.status(request.id));
      case 'damage':
        return walk(() => new DamageWalk(state, (report) => done(null, report)), failed);
      case 'pool':
        return done(null, this.#pool());
      case 'statistics':
        return done(null, this.#statistics());
      case 'checkpoint':
        return checkpointer.request(() => (state.broken === null ? done(null, null) : failed()));
    }
  }

  #create(request: ControlRequest & { kind: 'create' }, done: ControlDone): void {
    if (this.#existing('volume', request.name, done)) return;
    this.#checkSize(request.sizeBytes);
    const object = this.#describe(request, 'volume', request.sizeBytes, null);
    const made = this.#apply({ change: 'create', object });
    this.#whenDurable(done, answerOf(this.#made(made)));
  }

  #share(request: ControlRequest & { kind: 'snapshot' | 'clone' }, done: ControlDone): void {
    const { state, requests } = this.#options;
    const kind = request.kind === 'snapshot' ? 'snapshot' : 'volume';
    if (this.#existing(kind, request.name, done)) return;
    const source = state.objects.require(request.sourceId, request.kind === 'snapshot' ? 'volume' : undefined);
    const sizeBytes = request.kind === 'clone' && request.sizeBytes !== 0 ? request.sizeBytes : source.sizeBytes;
    this.#checkSize(sizeBytes);
    if (sizeBytes < source.sizeBytes)
      throw new StoreError(
        'out-of-range',
        `a clone of ${source.id} needs at least its ${source.sizeBytes} bytes, ${sizeBytes} were asked for`,
      );
    this.#describe(request, kind, sizeBytes, source);
    requests.holds.hold(source, () => {
      if (source.deleted || state.objects.byName(kind, request.name) !== undefined || source.sizeBytes > sizeBytes || !this.#hasRoom) {
        requests.holds.release(source);
        return this.run(request, done); // the state changed while the writes in flight were awaited
      }
      const object = this.#describe(request, kind, sizeBytes, source);
      const made = this.#apply({ change: 'share', object, sourceNumber: source.number });
      requests.holds.release(source);
      this.#whenDurable(done, answerOf(this.#made(made)));
    });
  }

  #revert(request: ControlRequest & { kind: 'revert' }, done: ControlDone): void {
    const { state, requests, merger } = this.#options;
    const volume = state.objects.require(request.id, 'volume');
    if (request.safety !== null) {
      const safety = state.objects.byName('snapshot', request.safety.name);
      if (safety !== undefined) return this.#whenDurable(done, { ...answerOf(volume), existed: true, safety: safety.info() });
    }
    const snapshot = state.objects.require(request.snapshotId, 'snapshot');
    if (snapshot.lineage !== volume.lineage)
      throw new StoreError(
        'failed-precondition',
        `snapshot ${snapshot.id} is not of the descent of volume ${volume.id}; make a clone of it instead`,
      );
    if (snapshot.sizeBytes > volume.sizeBytes) {
      throw new StoreError(
        'failed-precondition',
        `snapshot ${snapshot.id} has ${snapshot.sizeBytes} bytes and volume ${volume.id} only ${volume.sizeBytes}; grow the volume first`,
      );
    }
    const safety = request.safety === null ? null : this.#describe(request.safety, 'snapshot', volume.sizeBytes, volume);
    requests.holds.hold(volume, () => {
      if (
        volume.deleted ||
        snapshot.deleted ||
        !this.#hasRoom ||
        (safety !== null && state.objects.byName('snapshot', safety.name) !== undefined)
      ) {
        requests.holds.release(volume);
        return this.run(request, done);
      }
      const sequence = this.#apply({ change: 'revert', volumeNumber: volume.number, snapshotNumber: snapshot.number, safety });
      const answer = { ...answerOf(volume), safety: safety === null ? null : this.#made(sequence).info() };
      // The volume stays held until the revert is durable: nobody writes to a content that may not last.
      state.durability.request((errno) => {
        requests.holds.release(volume);
        if (errno !== 0) return done(syncFailed(errno), null);
        this.#sweepLineage(volume.lineage, merger);
        done(null, answer);
      });
    });
  }

  #delete(request: ControlRequest & { kind: 'delete' }, done: ControlDone): void {
    const { state, merger, opensOf } = this.#options;
    const object = state.objects.byId(request.id);
    if (object === undefined) return this.#whenDurable(done, null);
    if (opensOf(object) > 0) throw new StoreError('in-use', `${object.kind} ${object.id} is attached; detach it first`);
    this.#apply({ change: 'delete', number: object.number });
    const swept: ControlDone = (error, answer) => {
      if (error === null) this.#sweepLineage(object.lineage, merger);
      done(error, answer);
    };
    this.#whenDurable(swept, null);
  }

  #resize(request: ControlRequest & { kind: 'resize' }, done: ControlDone): void {
    const volume = this.#options.state.objects.require(request.id, 'volume');
    this.#checkSize(request.sizeBytes);
    if (request.sizeBytes < volume.sizeBytes)
      throw new StoreError('out-of-range', `volume ${volume.id} has ${volume.sizeBytes} bytes and cannot shrink to ${request.sizeBytes}`);
    if (request.sizeBytes > volume.sizeBytes) this.#apply({ change: 'resize', number: volume.number, sizeBytes: request.sizeBytes });
    this.#whenDurable(done, answerOf(volume));
  }

  #pool(): PoolInfo {
    const { state, requests } = this.#options;
    const { slots, geometry, objects, journal, durability } = state;
    const total = slots.counts.slots - 1;
    const free = slots.available + (slots.counted ? slots.inLimbo : 0);
    let volumes = 0;
    for (const object of objects.all()) if (object.kind === 'volume') volumes++;
    return {
      id: state.poolId,
      chunkSizeBytes: geometry.chunkSizeBytes,
      sizeBytes: total * geometry.chunkSizeBytes,
      usedBytes: (slots.counted ? slots.counts.used : total - free) * geometry.chunkSizeBytes,
      freeBytes: free * geometry.chunkSizeBytes,
      provisionedBytes: objects.provisionedBytes,
      volumes,
      snapshots: objects.size - volumes,
      counted: slots.counted,
      prewrittenBytes: Math.min(total, state.prewrittenSlots) * geometry.chunkSizeBytes,
      parkedWrites: requests.parkedWrites,
      sequence: journal.sequence,
      durableSequence: durability.durable,
    };
  }

  #statistics(): EngineStatistics {
    const { state, checkpointer } = this.#options;
    const { ring, log, pages, durability, slots } = state;
    return {
      ringUsedBytes: ring.usedUnits * RECORD_UNIT_BYTES,
      ringBytes: ring.capacityUnits * RECORD_UNIT_BYTES,
      logUsedBytes: log.usedBlocks * LOG_BLOCK_BYTES,
      logBytes: log.blocks * LOG_BLOCK_BYTES,
      dirtyPages: pages.dirtyCount,
      residentPages: pages.residentCount,
      checkpoints: checkpointer.count,
      checkpointedAtMs: checkpointer.completedAtMs,
      syncs: durability.cycles,
      slotsInLimbo: slots.inLimbo,
    };
  }

  // ---- helpers -------------------------------------------------------------------------------------------

  /** Answers by what exists under this name, if something does. */
  #existing(kind: ObjectKind, name: string, done: ControlDone): boolean {
    const object = this.#options.state.objects.byName(kind, name);
    if (object === undefined) return false;
    this.#whenDurable(done, { ...answerOf(object), existed: true });
    return true;
  }

  #describe(
    request: { readonly id: string; readonly name: string; readonly attributes: Readonly<Record<string, string>> },
    kind: ObjectKind,
    sizeBytes: number,
    source: StoredObject | null,
  ): ObjectDescription {
    const { id, name, attributes } = request;
    const { state } = this.#options;
    if (state.objects.byId(id) !== undefined) throw new StoreError('already-exists', `the id ${id} is taken`);
    if (name === '' || JSON.stringify([name, attributes]).length > MAXIMUM_CONTROL_BYTES - CONTROL_OVERHEAD_BYTES) {
      throw new StoreError('invalid-argument', `the name or the attributes of ${kind} ${name.slice(0, 64)} are empty or too long`);
    }
    return {
      id,
      kind,
      name,
      sizeBytes,
      createdAtMs: state.ports.clock.nowMs(),
      sourceId: source?.id ?? null,
      sourceKind: source?.kind ?? null,
      attributes,
    };
  }

  #checkSize(sizeBytes: number): void {
    const largest = MAXIMUM_CHUNKS * this.#options.state.geometry.chunkSizeBytes;
    if (!Number.isSafeInteger(sizeBytes) || sizeBytes <= 0 || sizeBytes % GRANULE_BYTES !== 0) {
      throw new StoreError('invalid-argument', `the size ${sizeBytes} is not a positive multiple of ${GRANULE_BYTES} bytes`);
    }
    if (sizeBytes > largest)
      throw new StoreError('out-of-range', `the size ${sizeBytes} is larger than the largest volume of this pool, ${largest} bytes`);
  }

  /** Whether the ring takes the records of this call, and those that writes in flight will make. */
  get #hasRoom(): boolean {
    return this.#options.state.ring.freeUnits >= 4 * MAXIMUM_UNITS;
  }

  /** Makes the record and applies it. Returns its sequence: the number of what it made. */
  #apply(change: ControlChange): number {
    const { state } = this.#options;
    const sequence = state.journal.control(change);
    applyChange(state, change, sequence);
    this.#lastChange = sequence;
    return sequence;
  }

  #made(sequence: number): StoredObject {
    const object = this.#options.state.objects.byNumber(sequence);
    assert(object !== undefined, 'a record has just made it');
    return object;
  }

  /** Answers when every change of an object up to now is durable. The answer is made before: what comes meanwhile may not
   * be durable. */
  #whenDurable(done: ControlDone, answer: unknown): void {
    const { durability } = this.#options.state;
    if (durability.durable >= this.#lastChange) return done(null, answer);
    durability.request((errno) => (errno === 0 ? done(null, answer) : done(syncFailed(errno), null)));
  }

  #sweepLineage(lineage: number, merger: Merger): void {
    for (const object of this.#options.state.objects.all()) if (object.lineage === lineage) merger.sweep(object);
  }
}

function answerOf(object: StoredObject): ObjectAnswer {
  return { object: object.info(), existed: false, safety: null };
}

function syncFailed(errno: number): StoreError {
  return new StoreError(
    'data-loss',
    `the change could not be made durable (errno ${errno}); look into the disk, then start the store again`,
  );
}

function poolFailed(state: EngineState): StoreError {
  return new StoreError(
    'data-loss',
    `the pool has failed: ${state.broken?.message ?? 'unknown'}. Look into the disk, then start the store again`,
  );
}
