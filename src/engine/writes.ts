/**
 * Writes: cut into parts, one a chunk; each part chooses a slot, writes, and records the entry that is right at that moment.
 *
 * Invariants (design rules 2 to 4):
 * - two operations that change the same chunk never overlap, except writes in place of different granules of one slot;
 * - a part is in flight from the choice of its slot until its record is made, whatever becomes of its request;
 * - the record holds the entry computed when it is made.
 */
import type { ChunkParts } from './chunk-parts.ts';
import { Entry } from './entry.ts';
import { GRANULE_BYTES, granulesIn, HEADER_SLOT, maskOf } from './geometry.ts';
import { markBeforeWriting } from './erase-first.ts';
import type { Holds } from './holds.ts';
import type { StoredObject } from './objects.ts';
import { emptyList, NONE, type PartList } from './part-lists.ts';
import type { Parking } from './parking.ts';
import { Errno, type RequestTable } from './request-table.ts';
import type { EngineState } from './state.ts';
import { EMPTY, indexAt, MISSING } from './tree.ts';
import { witnessOf, type PlacedWitness } from './witness.ts';

export interface WritesOptions {
  readonly state: EngineState;
  readonly table: RequestTable;
  readonly parts: ChunkParts;
  readonly holds: Holds;
  readonly parking: Parking;
  /** An entry has more layers than a read should visit. */
  readonly mergeWanted: (object: StoredObject, chunk: number) => void;
  readonly checkpointWanted: () => void;
  /** Called when a write is over. */
  readonly ended: () => void;
}

export class Writes {
  readonly #options: WritesOptions;
  readonly #entry = new Entry();
  readonly #after = new Entry();
  readonly #waitingForRing: PartList = emptyList();

  constructor(options: WritesOptions) {
    this.#options = options;
  }

  /** The request stands in the table, with one token. */
  start(request: number): void {
    const { state, table, parts, parking } = this.#options;
    const { chunkSizeBytes } = state.geometry;
    const object = table.objects[request]!;
    const start = table.offset[request]!;
    const length = table.length[request]!;
    parking.begin(request);
    let at = 0;
    while (at < length) {
      const chunk = Math.floor((start + at) / chunkSizeBytes);
      const within = start + at - chunk * chunkSizeBytes;
      const bytes = Math.min(length - at, chunkSizeBytes - within);
      const part = parts.allocate();
      table.expect(request);
      parts.set(part, object, request, chunk, maskOf(within / GRANULE_BYTES, bytes / GRANULE_BYTES), at);
      this.startPart(part);
      at += bytes;
    }
    table.done(request);
  }

  /** Starts a part, or lets it wait for what it needs. */
  startPart(part: number): void {
    if (!this.tryPart(part)) this.#options.parking.park(part);
  }

  /** As `startPart`, but answers false when there is no slot for it now. */
  tryPart(part: number): boolean {
    const { state, parts, holds, checkpointWanted } = this.#options;
    const object = parts.object[part]!;
    if (state.broken !== null) this.giveUp(part, Errno.io);
    else if (object.holds > 0) holds.waitWithWrite(object, part);
    else if (!state.journal.hasRoom) {
      parts.links.append(this.#waitingForRing, part);
      checkpointWanted();
    } else return this.#choose(part, object);
    return true;
  }

  /** The ring has room again. */
  ringTrimmed(): void {
    const { state, parts } = this.#options;
    while (state.journal.hasRoom) {
      const part = parts.links.take(this.#waitingForRing);
      if (part === NONE) return;
      this.startPart(part);
    }
  }

  /** The pool has failed. */
  fail(): void {
    const { links } = this.#options.parts;
    for (let part = links.take(this.#waitingForRing); part !== NONE; part = links.take(this.#waitingForRing)) this.giveUp(part, Errno.io);
  }

  /** Ends a part that is not in flight with an error. */
  giveUp(part: number, errno: number): void {
    const { table, parts } = this.#options;
    const request = parts.request[part]!;
    table.errno[request] = errno;
    parts.free(part);
    table.done(request);
  }

  diskCompleted(part: number, result: number): void {
    const { state, table, parts } = this.#options;
    // A write that failed may have changed the disk all the same: what is read now must stay so through a power loss.
    state.durability.landed();
    if (result === granulesIn(parts.mask[part]!) * GRANULE_BYTES) return this.#record(part);
    if (parts.fresh[part]) state.slots.giveBack(parts.slot[part]!, parts.object[part]!);
    table.errno[parts.request[part]!] = Errno.io;
    this.#end(part);
  }

  /** An operation on a chunk is over, a merge too: those that waited for it go on. */
  endInFlight(part: number, object: StoredObject): void {
    const { state, table, parts, holds } = this.#options;
    state.flights.end(table.count + part);
    object.writesInFlight--;
    const waiting = parts.end(part);
    for (let next = parts.links.take(waiting); next !== NONE; next = parts.links.take(waiting)) this.startPart(next);
    holds.writeEnded(object);
  }

  #choose(part: number, object: StoredObject): boolean {
    const { state, parts } = this.#options;
    const chunk = parts.chunk[part]!;
    const mask = parts.mask[part]!;
    const leaf = state.tree.find(object, chunk);
    if (leaf === MISSING) {
      const failed = (): void => this.giveUp(part, Errno.io);
      state.pages.load(state.pages.missing, () => this.startPart(part), failed);
      return true;
    }
    const other = parts.findInFlight(object, chunk);
    if (other !== NONE) {
      // Only writes in place of one slot run side by side, and none begins on one that was sealed since.
      if (parts.mustWait(object, chunk, mask) || state.seals.has(parts.slot[other]!)) parts.waitForChunk(part);
      else if (!this.#waitsForConfirmation(part, parts.slot[other]!)) this.#issue(part, object, parts.slot[other]!, false);
      return true;
    }
    if (leaf === EMPTY) this.#entry.clear();
    else leaf.read(indexAt(chunk, 0), this.#entry);
    const inPlace = this.#chooseInPlace(object, chunk, mask);
    if (inPlace !== HEADER_SLOT && this.#waitsForConfirmation(part, inPlace)) return true;
    if (inPlace !== HEADER_SLOT) markBeforeWriting(state, object, chunk, inPlace, this.#entry);
    const slot = inPlace === HEADER_SLOT ? state.slots.take() : inPlace;
    if (slot === HEADER_SLOT) {
      this.#unseal(object, chunk);
      return false;
    }
    this.#issue(part, object, slot, inPlace === HEADER_SLOT);
    return true;
  }

  /** True when recovery may examine what the part would overwrite: it starts again when that is over. */
  #waitsForConfirmation(part: number, slot: number): boolean {
    const { state, parts } = this.#options;
    if (!state.durability.isWitnessed(slot, parts.mask[part]!)) return false;
    state.durability.confirm((errno) => (errno === 0 ? this.startPart(part) : this.giveUp(part, Errno.io)));
    return true;
  }

  #issue(part: number, object: StoredObject, slot: number, fresh: boolean): void {
    const { state, table, parts, parking } = this.#options;
    const mask = parts.mask[part]!;
    const request = parts.request[part]!;
    const tag = table.count + part;
    parts.begin(part, slot, fresh);
    object.writesInFlight++;
    state.flights.begin(tag);
    parking.flightBegan(request);
    const first = 31 - Math.clz32(mask & -mask);
    const disk = slot * state.geometry.chunkSizeBytes + first * GRANULE_BYTES;
    state.ports.data.write(disk, granulesIn(mask) * GRANULE_BYTES, table.memory[request]! + parts.memoryAt[part]!, tag);
  }

  /** The layer to write in place: one that holds all these granules already (no record is needed then), else any. */
  #chooseInPlace(object: StoredObject, chunk: number, mask: number): number {
    const entry = this.#entry;
    if (entry.count === 0) return HEADER_SLOT;
    const { tree } = this.#options.state;
    const owned = tree.unsealedLayers(entry, tree.ownedLayers(object, chunk, entry));
    let chosen = HEADER_SLOT;
    for (let layer = 0; layer < entry.count; layer++) {
      if (!((owned >> layer) & 1)) continue;
      if ((entry.masks[layer]! & mask) === mask) return entry.slots[layer]!;
      if (chosen === HEADER_SLOT) chosen = entry.slots[layer]!;
    }
    return chosen;
  }

  /** There is no new slot: what the volume alone has is all that can be written, once it is not sealed any more. */
  #unseal(object: StoredObject, chunk: number): void {
    const { tree, seals } = this.#options.state;
    const entry = this.#entry;
    if (entry.count === 0) return;
    const owned = tree.ownedLayers(object, chunk, entry);
    const sealed = owned & ~tree.unsealedLayers(entry, owned);
    for (let layer = 0; layer < entry.count; layer++) if ((sealed >> layer) & 1) seals.open(entry.slots[layer]!);
  }

  #record(part: number): void {
    const { state, table, parts, mergeWanted } = this.#options;
    const { tree, pages, slots, journal } = state;
    const object = parts.object[part]!;
    const slot = parts.slot[part]!;
    const fresh = parts.fresh[part] === 1;
    if (object.deleted || object.incarnation !== parts.incarnation[part]) {
      if (fresh) slots.giveBack(slot, object);
      return this.#end(part);
    }
    const chunk = parts.chunk[part]!;
    const leaf = tree.find(object, chunk);
    if (leaf === MISSING) {
      const failed = (): void => {
        table.errno[parts.request[part]!] = Errno.io;
        this.#end(part);
      };
      return pages.load(pages.missing, () => this.#record(part), failed);
    }
    const before = this.#entry;
    const after = this.#after;
    if (leaf === EMPTY) before.clear();
    else leaf.read(indexAt(chunk, 0), before);
    after.copyFrom(before);
    after.withLayer(slot, parts.mask[part]!);
    let recorded = 0;
    if (!after.equals(before)) {
      recorded = journal.entry(object, chunk, after);
      tree.setEntry(object, chunk, after, recorded);
      if (after.count > 2 || (after.count === 2 && fresh && slots.soonOwned(after.slots[0]!))) mergeWanted(object, chunk);
    }
    this.#end(part, recorded);
  }

  /** `recorded`: the sequence of the record that the part made, or 0. */
  #end(part: number, recorded = 0): void {
    const { state, table, parts, parking, ended } = this.#options;
    const request = parts.request[part]!;
    parking.flightEnded(request);
    this.endInFlight(part, parts.object[part]!);
    if (parts.inFlight === 0 && state.durability.isFlushDue) state.durability.beginAhead(this.#witness(part, recorded));
    parts.free(part);
    table.done(request);
    ended();
  }

  /** A record of what the part wrote, if that and the record of it are all that is to be made durable. */
  #witness(part: number, recorded: number): PlacedWitness | null {
    const { state, table, parts } = this.#options;
    const { durability, journal, ports } = state;
    if (recorded !== journal.sequence || !journal.hasRoom || !durability.isOnlyChange(recorded)) return null;
    const mask = parts.mask[part]!;
    const from = table.memory[parts.request[part]!]! + parts.memoryAt[part]!;
    const payload = ports.memory.bytes.subarray(from, from + granulesIn(mask) * GRANULE_BYTES);
    const witness = witnessOf(parts.slot[part]!, mask, payload);
    return { ...witness, sequence: journal.witness(witness) };
  }
}
