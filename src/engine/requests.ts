/**
 * Block requests: read, write, zero, flush. A write is cut into parts, one a chunk; each part chooses a slot, writes,
 * and records the entry that is right at that moment.
 *
 * Invariants (design rules 2 to 5):
 * - two operations that change the same chunk never overlap, except writes in place of different granules of one slot;
 * - a part is in flight from the choice of its slot until its record is made, whatever becomes of its request;
 * - the record holds the entry computed when it is made;
 * - while an object is held (a cut is near), no part of it starts.
 * Nothing is allocated per read or write, except on the cold paths: a page to load, a full pool.
 */
import { assert } from '../util/assert.ts';
import { ChunkParts } from './chunk-parts.ts';
import { Entry } from './entry.ts';
import { GRANULE_BYTES, granulesIn, HEADER_SLOT, maskOf } from './geometry.ts';
import type { StoredObject } from './objects.ts';
import { NONE, type PartList, emptyList } from './part-lists.ts';
import type { EngineState } from './state.ts';
import { EMPTY, indexAt, MISSING } from './tree.ts';

/** Errors of requests (Linux errno). */
export const Errno = { io: 5, invalid: 22, noSpace: 28, readOnly: 30 } as const;

export interface RequestsOptions {
  readonly maximumRequests: number;
  /** How long a write waits for space before it fails with ENOSPC. */
  readonly parkTimeoutMs: number;
  /** An entry has more layers than a read should visit. */
  readonly mergeWanted: (object: StoredObject, chunk: number) => void;
  readonly checkpointWanted: () => void;
}

export class Requests {
  readonly #state: EngineState;
  readonly #options: RequestsOptions;
  readonly #entry = new Entry();
  readonly #after = new Entry();

  readonly #objects: (StoredObject | null)[];
  readonly #offset: Float64Array;
  readonly #length: Float64Array;
  readonly #memory: Float64Array;
  readonly #pending: Int32Array;
  readonly #errno: Int32Array;
  /** Bytes of a read that have been issued. */
  readonly #progress: Float64Array;
  /** Bytes that a read's disk operations have still to bring. */
  readonly #missing: Float64Array;
  readonly #parkedAtMs: Float64Array;
  /** Parts of a request that wait for space, and those in flight. */
  readonly #parkedOf: Int32Array;
  readonly #flyingOf: Int32Array;
  /** The front-end was asked to move the payload out of its request buffers. */
  readonly #moved: Uint8Array;

  readonly #parts: ChunkParts;
  readonly #parked: PartList = emptyList();
  #parkedParts = 0;
  readonly #waitingForRing: PartList = emptyList();
  readonly #zerosWaitingForRing: number[] = [];
  readonly #held = new Map<StoredObject, { parts: PartList; zeros: number[]; quiet: (() => void)[] }>();

  constructor(state: EngineState, parts: ChunkParts, options: RequestsOptions) {
    this.#state = state;
    this.#options = options;
    this.#parts = parts;
    const count = options.maximumRequests;
    this.#objects = new Array<StoredObject | null>(count).fill(null);
    this.#offset = new Float64Array(count);
    this.#length = new Float64Array(count);
    this.#memory = new Float64Array(count);
    this.#pending = new Int32Array(count);
    this.#errno = new Int32Array(count);
    this.#progress = new Float64Array(count);
    this.#missing = new Float64Array(count);
    this.#parkedAtMs = new Float64Array(count);
    this.#parkedOf = new Int32Array(count);
    this.#flyingOf = new Int32Array(count);
    this.#moved = new Uint8Array(count);
  }

  get parkedWrites(): number {
    return this.#parkedParts;
  }

  // ---- entry points --------------------------------------------------------------------------------------

  read(request: number, object: StoredObject, offsetBytes: number, lengthBytes: number, memoryOffset: number): void {
    this.#begin(request, object, offsetBytes, lengthBytes, memoryOffset);
    this.#progress[request] = 0;
    this.#missing[request] = 0;
    this.#state.flights.begin(request);
    this.#continueRead(request);
  }

  write(request: number, object: StoredObject, offsetBytes: number, lengthBytes: number, memoryOffset: number): void {
    this.#begin(request, object, offsetBytes, lengthBytes, memoryOffset);
    if (this.#state.broken !== null) this.#errno[request] = Errno.io;
    const { chunkSizeBytes } = this.#state.geometry;
    let at = 0;
    while (at < lengthBytes && this.#errno[request] === 0) {
      const offset = offsetBytes + at;
      const chunk = Math.floor(offset / chunkSizeBytes);
      const within = offset - chunk * chunkSizeBytes;
      const length = Math.min(lengthBytes - at, chunkSizeBytes - within);
      this.#pending[request]!++;
      const part = this.#parts.allocate();
      this.#parts.set(part, object, request, chunk, maskOf(within / GRANULE_BYTES, length / GRANULE_BYTES), at);
      this.#startWrite(part);
      at += length;
    }
    this.#finished(request);
  }

  /** Discard and write-zeroes. Waits for writes in flight in its range, then happens at once. */
  zero(request: number, object: StoredObject, offsetBytes: number, lengthBytes: number): void {
    this.#begin(request, object, offsetBytes, lengthBytes, 0);
    this.#startZero(request);
  }

  flush(request: number): void {
    this.#errno[request] = 0;
    this.#state.durability.request((errno) => this.#state.ports.listener.completed(request, errno === 0 ? 0 : Errno.io));
  }

  /** Completion of the disk read or write with this tag (below FIRST_CALL_TAG). */
  diskCompleted(tag: number, result: number): void {
    if (tag >= this.#options.maximumRequests) {
      this.#written(tag - this.#options.maximumRequests, result);
      return;
    }
    if (result < 0) this.#errno[tag] = Errno.io;
    else this.#missing[tag]! -= result;
    this.#finishedRead(tag);
  }

  // ---- holds ---------------------------------------------------------------------------------------------

  /** No write of the object starts until `release`; `quiet` is called when those in flight are over. */
  hold(object: StoredObject, quiet: () => void): void {
    object.holds++;
    if (object.writesInFlight === 0) return quiet();
    this.#waitersOf(object).quiet.push(quiet);
  }

  release(object: StoredObject): void {
    object.holds--;
    if (object.holds > 0) return;
    const waiters = this.#held.get(object);
    if (waiters === undefined) return;
    this.#held.delete(object);
    assert(waiters.quiet.length === 0, 'a hold is released after it was quiet');
    for (let part = this.#parts.links.take(waiters.parts); part !== NONE; part = this.#parts.links.take(waiters.parts))
      this.#startWrite(part);
    for (const request of waiters.zeros.splice(0)) this.#startZero(request);
  }

  // ---- wake-ups ------------------------------------------------------------------------------------------

  /** Slots may have become free: starts parked writes in their order, until one finds none. With `all` every one is tried:
   * a later one may have come to own the slot that it writes. */
  slotsFreed(options: { readonly all?: boolean } = {}): void {
    const still = emptyList();
    while (this.#parked.head !== NONE) {
      const part = this.#parts.links.take(this.#parked);
      this.#unpark(part);
      const parkedBefore = this.#parkedParts;
      this.#startWrite(part, true);
      if (this.#parkedParts === parkedBefore) continue;
      if (options.all !== true) return;
      assert(this.#parts.links.take(this.#parked) === part, 'a part that parks again is the first');
      this.#parts.links.append(still, part);
    }
    this.#parked.head = still.head;
    this.#parked.tail = still.tail;
  }

  /** The count after the start is over: what waits now waits for space, and its time begins. */
  counted(): void {
    const nowMs = this.#state.ports.clock.nowMs();
    for (let part = this.#parked.head; part !== NONE; part = this.#parts.links.next(part))
      this.#parkedAtMs[this.#parts.request[part]!] = nowMs;
  }

  /** The pool has failed: what waits for space or for room in the ring ends with an error. */
  fail(): void {
    for (const list of [this.#parked, this.#waitingForRing]) {
      for (let part = this.#parts.links.take(list); part !== NONE; part = this.#parts.links.take(list)) {
        if (list === this.#parked) this.#unpark(part);
        this.#giveUp(part);
      }
    }
    for (const request of this.#zerosWaitingForRing.splice(0)) this.#startZero(request);
  }

  /** The ring has room again. */
  ringTrimmed(): void {
    while (this.#state.journal.hasRoom) {
      const part = this.#parts.links.take(this.#waitingForRing);
      if (part === NONE) break;
      this.#startWrite(part);
    }
    if (this.#state.journal.hasRoom) for (const request of this.#zerosWaitingForRing.splice(0)) this.#startZero(request);
  }

  /** Fails writes that have waited too long for space. */
  expire(nowMs: number): void {
    if (this.#parked.head === NONE || !this.#state.slots.counted) return;
    const kept = emptyList();
    for (let part = this.#parts.links.take(this.#parked); part !== NONE; part = this.#parts.links.take(this.#parked)) {
      const request = this.#parts.request[part]!;
      if (this.#parkedAtMs[request]! + this.#options.parkTimeoutMs > nowMs) {
        this.#parts.links.append(kept, part);
        continue;
      }
      this.#unpark(part);
      this.#errno[request] = Errno.noSpace;
      this.#parts.free(part);
      this.#finished(request);
    }
    this.#parked.head = kept.head;
    this.#parked.tail = kept.tail;
  }

  // ---- reads ---------------------------------------------------------------------------------------------

  #continueRead(request: number): void {
    const { tree, pages, ports, geometry } = this.#state;
    const object = this.#objects[request]!;
    const { chunkSizeBytes } = geometry;
    const start = this.#offset[request]!;
    const length = this.#length[request]!;
    const memory = this.#memory[request]!;
    // Runs that lie in a row on disk and in memory become one disk read.
    let runDisk = 0;
    let runMemory = 0;
    let runLength = 0;
    let at = this.#progress[request]!;
    while (at < length) {
      const offset = start + at;
      const chunk = Math.floor(offset / chunkSizeBytes);
      const leaf = tree.find(object, chunk);
      if (leaf === MISSING) {
        this.#progress[request] = at;
        if (runLength > 0) this.#issueRead(request, runDisk, runLength, runMemory);
        const failed = (): void => {
          this.#errno[request] = Errno.io;
          this.#finishedRead(request);
        };
        return pages.load(pages.missing, () => this.#continueRead(request), failed);
      }
      const within = offset - chunk * chunkSizeBytes;
      const end = Math.min(chunkSizeBytes, within + length - at);
      if (leaf === EMPTY) this.#entry.clear();
      else leaf.read(indexAt(chunk, 0), this.#entry);
      const chunkMemory = memory + at - within;
      let granule = within / GRANULE_BYTES;
      const last = end / GRANULE_BYTES;
      while (granule < last) {
        const slot = this.#slotOf(granule);
        let to = granule + 1;
        while (to < last && this.#slotOf(to) === slot) to++;
        const runAt = chunkMemory + granule * GRANULE_BYTES;
        const bytes = (to - granule) * GRANULE_BYTES;
        if (slot === HEADER_SLOT) ports.memory.bytes.fill(0, runAt, runAt + bytes);
        else {
          const disk = slot * chunkSizeBytes + granule * GRANULE_BYTES;
          if (runLength > 0 && runDisk + runLength === disk && runMemory + runLength === runAt) runLength += bytes;
          else {
            if (runLength > 0) this.#issueRead(request, runDisk, runLength, runMemory);
            runDisk = disk;
            runMemory = runAt;
            runLength = bytes;
          }
        }
        granule = to;
      }
      at += end - within;
    }
    if (runLength > 0) this.#issueRead(request, runDisk, runLength, runMemory);
    this.#finishedRead(request);
  }

  /** The slot of a granule in the scratch entry, or 0. */
  #slotOf(granule: number): number {
    const entry = this.#entry;
    for (let layer = 0; layer < entry.count; layer++) if ((entry.masks[layer]! >> granule) & 1) return entry.slots[layer]!;
    return HEADER_SLOT;
  }

  #issueRead(request: number, diskOffset: number, length: number, memory: number): void {
    this.#pending[request]!++;
    this.#missing[request]! += length;
    this.#state.ports.data.read(diskOffset, length, memory, request);
  }

  #finishedRead(request: number): void {
    if (this.#pending[request]! > 1) {
      this.#pending[request]!--;
      return;
    }
    // A read that came up short has not filled its buffer, whatever its result says.
    if (this.#missing[request] !== 0) this.#errno[request] = Errno.io;
    this.#state.flights.end(request);
    this.#finished(request);
    this.#slotsMayBeFree();
  }

  // ---- writes --------------------------------------------------------------------------------------------

  #startWrite(part: number, fromParked = false): void {
    const { tree, pages, slots, ports, geometry, journal } = this.#state;
    const parts = this.#parts;
    const object = parts.object[part]!;
    if (this.#state.broken !== null) return this.#giveUp(part);
    if (object.holds > 0) return parts.links.append(this.#waitersOf(object).parts, part);
    if (!journal.hasRoom) {
      parts.links.append(this.#waitingForRing, part);
      return this.#options.checkpointWanted();
    }
    const chunk = parts.chunk[part]!;
    const mask = parts.mask[part]!;
    const leaf = tree.find(object, chunk);
    if (leaf === MISSING)
      return pages.load(
        pages.missing,
        () => this.#startWrite(part),
        () => this.#giveUp(part),
      );
    const other = parts.findInFlight(object, chunk);
    let slot = HEADER_SLOT;
    let fresh = false;
    if (other !== NONE) {
      // Only writes in place of one slot run side by side.
      if (parts.mustWait(object, chunk, mask)) return parts.waitForChunk(part);
      slot = parts.slot[other]!;
    } else {
      if (leaf === EMPTY) this.#entry.clear();
      else leaf.read(indexAt(chunk, 0), this.#entry);
      slot = this.#chooseInPlace(object, chunk, mask);
      if (slot === HEADER_SLOT) {
        slot = slots.take();
        if (slot === HEADER_SLOT) return this.#park(part, fromParked);
        fresh = true;
      }
    }
    parts.begin(part, slot, fresh);
    object.writesInFlight++;
    this.#state.flights.begin(this.#options.maximumRequests + part);
    const first = 31 - Math.clz32(mask & -mask);
    const request = parts.request[part]!;
    this.#flyingOf[request]!++;
    ports.data.write(
      slot * geometry.chunkSizeBytes + first * GRANULE_BYTES,
      granulesIn(mask) * GRANULE_BYTES,
      this.#memory[request]! + parts.memoryAt[part]!,
      this.#options.maximumRequests + part,
    );
  }

  /** The layer to write in place: one that holds all these granules already (no record is needed then), else any. */
  #chooseInPlace(object: StoredObject, chunk: number, mask: number): number {
    const entry = this.#entry;
    if (entry.count === 0) return HEADER_SLOT;
    const owned = this.#state.tree.ownedLayers(object, chunk, entry);
    if (owned === 0) return HEADER_SLOT;
    let chosen = HEADER_SLOT;
    for (let layer = 0; layer < entry.count; layer++) {
      if (!((owned >> layer) & 1)) continue;
      if ((entry.masks[layer]! & mask) === mask) return entry.slots[layer]!;
      if (chosen === HEADER_SLOT) chosen = entry.slots[layer]!;
    }
    return chosen;
  }

  #written(part: number, result: number): void {
    const parts = this.#parts;
    if (result !== granulesIn(parts.mask[part]!) * GRANULE_BYTES) {
      if (parts.fresh[part]) this.#state.slots.giveBack(parts.slot[part]!);
      this.#errno[parts.request[part]!] = Errno.io;
      return this.#endWrite(part);
    }
    this.#state.durability.landed();
    this.#record(part);
  }

  #record(part: number): void {
    const { tree, pages, slots, journal } = this.#state;
    const parts = this.#parts;
    const object = parts.object[part]!;
    const slot = parts.slot[part]!;
    if (object.deleted || object.incarnation !== parts.incarnation[part]) {
      if (parts.fresh[part]) slots.giveBack(slot);
      return this.#endWrite(part);
    }
    const chunk = parts.chunk[part]!;
    const leaf = tree.find(object, chunk);
    if (leaf === MISSING) {
      const failed = (): void => {
        this.#errno[parts.request[part]!] = Errno.io;
        this.#endWrite(part);
      };
      return pages.load(pages.missing, () => this.#record(part), failed);
    }
    const before = this.#entry;
    const after = this.#after;
    if (leaf === EMPTY) before.clear();
    else leaf.read(indexAt(chunk, 0), before);
    after.copyFrom(before);
    after.withLayer(slot, parts.mask[part]!);
    if (!after.equals(before)) {
      const sequence = journal.entry(object, chunk, after);
      tree.setEntry(object, chunk, after, sequence);
      if (after.count > 2 || (after.count === 2 && parts.fresh[part] === 1 && slots.soonOwned(after.slots[0]!)))
        this.#options.mergeWanted(object, chunk);
    }
    this.#endWrite(part);
  }

  /** Ends a part that is not in flight with an error. */
  #giveUp(part: number): void {
    const request = this.#parts.request[part]!;
    this.#errno[request] = Errno.io;
    this.#parts.free(part);
    this.#finished(request);
  }

  #endWrite(part: number): void {
    const parts = this.#parts;
    const object = parts.object[part]!;
    const request = parts.request[part]!;
    this.#flyingOf[request]!--;
    if (this.#parkedOf[request]! > 0) this.#movePayload(request);
    this.endInFlight(part, object);
    parts.free(part);
    this.#finished(request);
    this.#slotsMayBeFree();
  }

  /** An operation on a chunk is over: those that waited for it go on. */
  endInFlight(part: number, object: StoredObject): void {
    const parts = this.#parts;
    this.#state.flights.end(this.#options.maximumRequests + part);
    object.writesInFlight--;
    const waiting = parts.end(part);
    for (let next = parts.links.take(waiting); next !== NONE; next = parts.links.take(waiting)) this.#startWrite(next);
    const waiters = this.#held.get(object);
    if (waiters === undefined) return;
    if (object.writesInFlight === 0) for (const quiet of waiters.quiet.splice(0)) quiet();
  }

  #park(part: number, again: boolean): void {
    const { slots, ports, durability, broken } = this.#state;
    const request = this.#parts.request[part]!;
    if (again) this.#parts.links.prepend(this.#parked, part);
    else {
      if (this.#parkedAtMs[request] === 0) this.#parkedAtMs[request] = ports.clock.nowMs();
      this.#parts.links.append(this.#parked, part);
    }
    this.#parkedParts++;
    this.#parkedOf[request]!++;
    if (slots.wantsDurability && !durability.running && broken === null) durability.request(() => undefined);
    this.#movePayload(request);
  }

  #unpark(part: number): void {
    this.#parkedParts--;
    this.#parkedOf[this.#parts.request[part]!]!--;
  }

  /** A waiting payload must not hold a request buffer; it moves once no part of it is being written from there. */
  #movePayload(request: number): void {
    if (this.#moved[request] === 1 || this.#flyingOf[request]! > 0) return;
    this.#moved[request] = 1;
    this.#memory[request] = this.#state.ports.listener.parked(request);
  }

  #slotsMayBeFree(): void {
    if (this.#state.slots.wantsAdvance) this.#state.slots.advance();
    if (this.#parked.head !== NONE) this.slotsFreed();
  }

  // ---- zero ----------------------------------------------------------------------------------------------

  #startZero(request: number): void {
    const { geometry, journal, broken } = this.#state;
    const object = this.#objects[request]!;
    if (broken !== null || object.deleted) return this.#zeroNow(request, { held: false });
    if (object.holds > 0) return void this.#waitersOf(object).zeros.push(request);
    if (!journal.hasRoom) {
      this.#zerosWaitingForRing.push(request);
      return this.#options.checkpointWanted();
    }
    const from = this.#offset[request]!;
    const firstChunk = Math.floor(from / geometry.chunkSizeBytes);
    const lastChunk = Math.floor((from + this.#length[request]! - 1) / geometry.chunkSizeBytes);
    if (!this.#parts.anyInFlight(object, firstChunk, lastChunk)) return this.#zeroNow(request, { held: false });
    // Holding the others back keeps a stream of writes from starving a discard of the whole device.
    this.hold(object, () => this.#zeroNow(request, { held: true }));
  }

  #zeroNow(request: number, options: { readonly held: boolean }): void {
    const { geometry, tree, pages, broken } = this.#state;
    const object = this.#objects[request]!;
    const { chunkSizeBytes } = geometry;
    const end = (): void => {
      if (options.held) this.release(object);
      this.#finished(request);
      this.#slotsMayBeFree();
    };
    if (broken !== null) this.#errno[request] = Errno.io;
    if (broken !== null || object.deleted) return end();
    const from = this.#offset[request]!;
    const to = from + this.#length[request]!;
    const firstChunk = Math.floor(from / chunkSizeBytes);
    const lastChunk = Math.floor((to - 1) / chunkSizeBytes);
    const wholeFrom = Math.ceil(from / chunkSizeBytes);
    const wholeTo = Math.floor(to / chunkSizeBytes);
    const again = (): void => (options.held ? this.#zeroNow(request, options) : this.#startZero(request));
    const load = (): void => pages.load(pages.missing, again, again); // broken by then, if it failed
    if (wholeFrom < wholeTo && !tree.canTrim(object, wholeFrom, wholeTo - wholeFrom)) return load();
    if (tree.find(object, firstChunk) === MISSING || tree.find(object, lastChunk) === MISSING) return load();
    if (wholeFrom > wholeTo) this.#zeroPart(object, firstChunk, from - firstChunk * chunkSizeBytes, to - firstChunk * chunkSizeBytes);
    else {
      if (firstChunk < wholeFrom) this.#zeroPart(object, firstChunk, from - firstChunk * chunkSizeBytes, chunkSizeBytes);
      if (wholeFrom < wholeTo) this.#zeroWhole(object, wholeFrom, wholeTo - wholeFrom);
      if (lastChunk >= wholeTo) this.#zeroPart(object, lastChunk, 0, to - lastChunk * chunkSizeBytes);
    }
    end();
  }

  #zeroPart(object: StoredObject, chunk: number, fromBytes: number, toBytes: number): void {
    const { tree, journal } = this.#state;
    const leaf = tree.find(object, chunk);
    assert(leaf !== MISSING, 'a discard begins with its pages in memory');
    if (leaf === EMPTY) return;
    leaf.read(indexAt(chunk, 0), this.#entry);
    this.#after.copyFrom(this.#entry);
    this.#after.without(maskOf(fromBytes / GRANULE_BYTES, (toBytes - fromBytes) / GRANULE_BYTES));
    if (this.#after.equals(this.#entry)) return;
    tree.setEntry(object, chunk, this.#after, journal.entry(object, chunk, this.#after));
  }

  #zeroWhole(object: StoredObject, firstChunk: number, chunks: number): void {
    const { tree, journal } = this.#state;
    if (object.rootNumber === 0) return;
    if (chunks === 1) return this.#zeroPart(object, firstChunk, 0, this.#state.geometry.chunkSizeBytes);
    tree.trim(object, firstChunk, chunks, journal.trim(object, firstChunk, chunks));
  }

  // ---- helpers -------------------------------------------------------------------------------------------

  /** One token is held while a request is being cut, so that it cannot end before. */
  #begin(request: number, object: StoredObject, offsetBytes: number, lengthBytes: number, memoryOffset: number): void {
    assert(offsetBytes % GRANULE_BYTES === 0 && lengthBytes % GRANULE_BYTES === 0 && lengthBytes > 0, 'requests are multiples of 4 KiB');
    assert(offsetBytes + lengthBytes <= object.sizeBytes, 'requests lie inside their device');
    this.#objects[request] = object;
    this.#offset[request] = offsetBytes;
    this.#length[request] = lengthBytes;
    this.#memory[request] = memoryOffset;
    this.#pending[request] = 1;
    this.#errno[request] = 0;
    this.#parkedAtMs[request] = 0;
    this.#parkedOf[request] = 0;
    this.#flyingOf[request] = 0;
    this.#moved[request] = 0;
  }

  #finished(request: number): void {
    if (--this.#pending[request]! > 0) return;
    this.#objects[request] = null;
    this.#state.ports.listener.completed(request, this.#errno[request]!);
  }

  #waitersOf(object: StoredObject): { parts: PartList; zeros: number[]; quiet: (() => void)[] } {
    let waiters = this.#held.get(object);
    if (waiters === undefined) {
      waiters = { parts: emptyList(), zeros: [], quiet: [] };
      this.#held.set(object, waiters);
    }
    return waiters;
  }
}
