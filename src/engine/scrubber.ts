/**
 * Scrubbing: passes over the slots that snapshots hold, in the order of the disk, one chunk at a time and no faster than
 * asked. A slot without a checksum gets one; one with a checksum is read again and compared.
 *
 * Invariants:
 * - a slot is read for its first checksum only when it is sealed (seals.ts) and every operation that was in flight then is
 *   over: nobody writes to it any more. So it does not matter when the pass found out that a snapshot holds it;
 * - what is stored as the position of a pass was looked at, or is not to be looked at;
 * - nothing that a pass finds changes what is read, and no failure of a pass fails anything else.
 */
import { assert } from '../util/assert.ts';
import type { Checkpointer } from './checkpointer.ts';
import type { ChunkBuffers } from './chunk-buffers.ts';
import type { ScrubMode, ScrubStatus } from './control.ts';
import { HeldWalk } from './held-walk.ts';
import type { Walker } from './frozen-walk.ts';
import { checksumOfChunk, DAMAGE_LIMIT, decodeChecksumRow, SLOTS_A_CHECKSUM_ROW } from './seals.ts';
import type { EngineState } from './state.ts';

/** Slots that are passed over in one slice when there is nothing to do about them. */
const SLOTS_A_SLICE = 8192;
/** Rows that may wait for a checkpoint: 4 KiB each. */
const DIRTY_ROWS_LIMIT = 512;
/** Of a pass that was over before its walk began. */
const NO_WALK: Walker = { step: () => true, over: true };
/** A pass may catch up on so much time when it was kept waiting. */
const CATCH_UP_MS = 200;

export interface ScrubberOptions {
  readonly state: EngineState;
  readonly buffers: ChunkBuffers;
  readonly checkpointer: Checkpointer;
  /** Starts a walk when no other runs and the counts are known; `failed` is called when the pool fails before its end. */
  readonly walk: (make: () => Walker, failed: () => void) => void;
}

interface Pass {
  readonly mode: ScrubMode;
  readonly startedAtMs: number;
  bytesPerSecond: number;
  /** The slots that snapshots held when the pass began, a bit each; null until that is known. */
  held: Uint32Array | null;
  slot: number;
  /** What may be read now; below zero after a chunk was read ahead of time. */
  allowanceBytes: number;
  allowedAtMs: number;
}

/** The chunk that is being looked at. */
interface Look {
  readonly pass: Pass;
  readonly slot: number;
  readonly row: Uint32Array;
  readonly buffer: number;
  /** Operations up to this stamp have to be over before the slot is read. */
  readonly stamp: number;
  readonly isSeal: boolean;
  isReading: boolean;
  attempts: number;
}

export class Scrubber {
  readonly #options: ScrubberOptions;
  #pass: Pass | null = null;
  #look: Look | null = null;
  /** The checksums of the group that the pass has come to. */
  #row: { readonly group: number; readonly values: Uint32Array } | null = null;
  #isLoading = false;

  constructor(options: ScrubberOptions) {
    this.#options = options;
  }

  start(mode: ScrubMode, bytesPerSecond: number): void {
    const { state, walk } = this.#options;
    const { clock } = state.ports;
    const running = this.#pass;
    if (running !== null && (running.mode === mode || running.mode === 'verify')) {
      running.bytesPerSecond = bytesPerSecond;
      return;
    }
    const nowMs = clock.nowMs();
    const { scrub } = state;
    if (mode === 'verify' && scrub.startedAtMs === 0) {
      scrub.startedAtMs = nowMs;
      scrub.position = 1;
      scrub.verified = 0;
      scrub.sealed = 0;
    }
    state.needsVersion2 = true;
    const pass: Pass = {
      mode,
      startedAtMs: nowMs,
      bytesPerSecond,
      held: null,
      slot: mode === 'verify' ? Math.max(1, scrub.position) : 1,
      allowanceBytes: (bytesPerSecond * CATCH_UP_MS) / 1000,
      allowedAtMs: clock.elapsedMs(),
    };
    this.#pass = pass;
    const found = (held: Uint32Array): void => {
      pass.held = held;
      pass.allowedAtMs = clock.elapsedMs();
    };
    walk(
      () => (this.#pass === pass ? new HeldWalk(state, found) : NO_WALK),
      () => this.stop(),
    );
  }

  /** The pass ends here; the next one goes on with it. A chunk that is being looked at is still done. */
  stop(): void {
    if (this.#pass !== null) this.#options.checkpointer.want();
    this.#pass = null;
  }

  /** A pass is under way: how far it came is worth a checkpoint now and then. */
  get running(): boolean {
    return this.#pass !== null;
  }

  status(): ScrubStatus {
    const { state } = this.#options;
    const { scrub, seals, geometry } = state;
    const bytesOf = (slots: number): number => slots * geometry.chunkSizeBytes;
    return {
      running: this.#pass?.mode ?? null,
      startedAtMs: scrub.startedAtMs,
      positionBytes: scrub.startedAtMs === 0 ? 0 : bytesOf(scrub.position - 1),
      verifiedBytes: bytesOf(scrub.verified),
      sealedBytes: bytesOf(scrub.sealed),
      completedAtMs: scrub.completedAtMs,
      completedBytes: bytesOf(scrub.completed),
      sealedAtMs: scrub.sealedAtMs,
      protectedBytes: bytesOf(seals.storedCount),
      damagedChunks: seals.damaged.size,
    };
  }

  /** One slice; true when there is more to do at once. */
  step(): boolean {
    const { state } = this.#options;
    if (state.broken !== null) return false;
    if (this.#look !== null) {
      const isOver = !this.#look.isReading && state.flights.oldestStamp > this.#look.stamp;
      if (isOver) this.#read(this.#look);
      return false;
    }
    const pass = this.#pass;
    if (pass === null || pass.held === null || this.#isLoading || !this.#isAllowed(pass)) return false;
    if (state.seals.dirtyCount >= DIRTY_ROWS_LIMIT) {
      this.#hurry();
      return false;
    }
    const slot = this.#next(pass);
    if (slot === null) return true;
    if (slot === state.slots.counts.slots) this.#end(pass);
    else if (state.seals.isOpening(slot)) this.#hurry();
    else this.#begin(pass, slot);
    return false;
  }

  /** The pass goes on when a checkpoint is durable. */
  #hurry(): void {
    const { state, checkpointer } = this.#options;
    if (!checkpointer.running && state.seals.dirtyCount > 0) checkpointer.want();
  }

  #isAllowed(pass: Pass): boolean {
    const nowMs = this.#options.state.ports.clock.elapsedMs();
    const sinceMs = Math.min(CATCH_UP_MS, nowMs - pass.allowedAtMs);
    pass.allowanceBytes = Math.min(pass.allowanceBytes + (sinceMs * pass.bytesPerSecond) / 1000, pass.bytesPerSecond);
    pass.allowedAtMs = nowMs;
    return pass.allowanceBytes > 0;
  }

  /** The next slot to look at, the number of slots when there is none, null when the slice is used up. */
  #next(pass: Pass): number | null {
    const { seals, slots } = this.#options.state;
    const { counts } = slots;
    const to = Math.min(counts.slots, pass.slot + SLOTS_A_SLICE);
    for (let slot = pass.slot; slot < to; slot++) {
      const word = slot >>> 5;
      if ((slot & 31) === 0 && seals.word(word) === 0 && pass.held![word] === 0) {
        slot += 31;
        continue;
      }
      const isHeld = ((pass.held![word]! >>> (slot & 31)) & 1) === 1;
      // A seal that is on its way off is awaited where a snapshot has the slot again.
      if (seals.isStored(slot) ? pass.mode !== 'verify' : !isHeld && (!seals.has(slot) || seals.isOpening(slot))) continue;
      // A new checksum, where the one that told of the damage was lost, would call it sound.
      if (!seals.isStored(slot) && seals.damaged.get(slot) === 'changed') continue;
      if (counts.get(slot) > 0) {
        pass.slot = slot;
        return slot;
      }
    }
    this.#passed(pass, to);
    return to === counts.slots ? to : null;
  }

  /** Nothing before this slot is left to look at. */
  #passed(pass: Pass, slot: number): void {
    pass.slot = slot;
    if (pass.mode === 'verify' && this.#pass === pass) this.#options.state.scrub.position = slot;
  }

  #begin(pass: Pass, slot: number): void {
    const { state, buffers } = this.#options;
    const row = this.#rowOf(slot);
    if (row === null) return;
    const buffer = buffers.take();
    if (buffer === null) return;
    const isSeal = !state.seals.isStored(slot);
    if (isSeal) state.seals.begin(slot);
    pass.allowanceBytes -= state.geometry.chunkSizeBytes;
    this.#look = { pass, slot, row, buffer, stamp: state.flights.now, isSeal, isReading: false, attempts: 0 };
    if (state.flights.oldestStamp > this.#look.stamp) this.#read(this.#look);
  }

  /** The checksums of the slot's group; null while they are being read. */
  #rowOf(slot: number): Uint32Array | null {
    const { state } = this.#options;
    const group = Math.floor(slot / SLOTS_A_CHECKSUM_ROW);
    if (this.#row?.group === group) return this.#row.values;
    const known = state.seals.row(group);
    if (known !== undefined) {
      this.#row = { group, values: known };
      return known;
    }
    this.#isLoading = true;
    state.ports.metadata.readChecksums(group, (error, value) => {
      this.#isLoading = false;
      // Metadata that cannot be read will show it in what matters more.
      if (error !== null) return this.stop();
      const values = decodeChecksumRow(value);
      if (values === null) state.seals.forgetChecksums(group);
      this.#row = { group, values: values ?? new Uint32Array(SLOTS_A_CHECKSUM_ROW) };
    });
    return null;
  }

  #read(look: Look): void {
    const { state } = this.#options;
    const { chunkSizeBytes } = state.geometry;
    look.isReading = true;
    look.attempts++;
    const tag = state.calls.tag((result) => this.#completed(look, result));
    state.ports.data.read(look.slot * chunkSizeBytes, chunkSizeBytes, look.buffer, tag);
  }

  #completed(look: Look, result: number): void {
    const { state, buffers } = this.#options;
    const { seals, scrub, geometry, slots } = state;
    const { pass, slot, row } = look;
    // It may have become free in the meantime, and somebody else's.
    const isStill = seals.has(slot) && !seals.isOpening(slot) && slots.counts.get(slot) > 0 && seals.isStored(slot) !== look.isSeal;
    if (isStill) {
      const bytes = state.ports.memory.bytes.subarray(look.buffer, look.buffer + geometry.chunkSizeBytes);
      const isRead = result === geometry.chunkSizeBytes;
      const checksum = isRead ? checksumOfChunk(bytes) : 0;
      const index = slot % SLOTS_A_CHECKSUM_ROW;
      const isRight = isRead && (look.isSeal || row[index] === checksum);
      // A second time: what the disk returns wrong once, it may have got wrong on the way.
      if (!isRight && look.attempts === 1 && state.broken === null) return this.#read(look);
      if (!isRight) this.#noteDamage(slot, isRead ? 'changed' : 'unreadable');
      else if (look.isSeal) seals.finish(slot, row, checksum);
      else seals.damaged.delete(slot);
      if (pass.mode === 'verify' && this.#pass === pass) {
        if (look.isSeal) scrub.sealed++;
        else scrub.verified++;
      }
    }
    buffers.give(look.buffer);
    this.#look = null;
    this.#passed(pass, slot + 1);
  }

  #noteDamage(slot: number, damage: 'changed' | 'unreadable'): void {
    const { damaged } = this.#options.state.seals;
    if (damaged.has(slot) || damaged.size < DAMAGE_LIMIT) damaged.set(slot, damage);
  }

  #end(pass: Pass): void {
    const { state, checkpointer } = this.#options;
    const { scrub } = state;
    assert(this.#pass === pass, 'the pass that ends is the one that runs');
    this.#pass = null;
    this.#row = null;
    if (pass.mode === 'verify') {
      scrub.completedAtMs = state.ports.clock.nowMs();
      scrub.completed = scrub.verified;
      scrub.sealedAtMs = scrub.startedAtMs;
      scrub.startedAtMs = 0;
      scrub.position = 1;
    } else scrub.sealedAtMs = pass.startedAtMs;
    checkpointer.want();
  }
}
