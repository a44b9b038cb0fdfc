/**
 * A disk with a volatile cache, whose every operation waits until a scheduler picks it.
 *
 * - A write lands (becomes readable) block by block at scheduled points between its issue and its completion; a read
 *   takes its bytes at one such point. Operations end in any order.
 * - Of a block (4 KiB) a power loss keeps what the last sync covered or any version written since, or mixes their
 *   512-byte sectors. A sync covers exactly the writes that were complete when it was issued; others it may cover or
 *   not, which is left open until the power is lost.
 * - The death of the process leaves its operations in flight: they land whole, in part or not at all, at the latest
 *   when `settleOrphans` says that they are over (what the lock on the real file tells a successor).
 * - An operation may be made to fail: with an error after some of it took effect, short (a prefix took effect, and the
 *   result says how much), or torn (as an error, with single sectors of a block written). Of what
 *   a failed sync was to cover some stays in doubt: no later sync of the same process covers it, whatever it says.
 * - Memory is checked too: a write's bytes must not change and a read's target must not be shared while in flight;
 *   two writes in flight at the same block are a violation, because nobody could say which one stays.
 */
import type { DataDisk } from '../../src/engine/ports.ts';
import { UNWANTED, type Pieces } from '../../src/util/pieces.ts';
import { takeFault, type InjectedFault } from './injected-faults.ts';
import type { SeededRandom } from './seeded-random.ts';
import { Violation } from './violation.ts';

export const blockSizeBytes = 4096;
export const sectorSizeBytes = 512;

export type DiskOperationKind = 'read' | 'write' | 'sync';

/** What a power loss does to what was not synced: `lose` it all, `keep` it all, or draw each block (with torn ones). */
export type PowerLossStyle = 'lose' | 'keep' | 'draw';

/** How an operation fails; a sync that is to be short or torn ends with an error. */
export type DiskFailure = 'error' | 'short' | 'torn';

/** The next operations of this kind fail: the first `skip` pass, then `times` of them end with `errno`, or short. */
export interface DiskFault {
  readonly kind: DiskOperationKind;
  readonly skip: number;
  readonly times: number;
  readonly errno: number;
  readonly how?: DiskFailure;
}

export interface SimulatedDiskOptions {
  readonly name: string;
  readonly sizeBytes: number;
  readonly memory: Uint8Array;
  readonly random: SeededRandom;
  /** What the disk holds at first; what was never written must not look like zeros. */
  readonly initialByte?: number;
}

export type Pace = 'normal' | 'slow' | 'stuck';

interface Version {
  readonly bytes: Uint8Array;
  readonly write: DiskOperation;
  /** A sync that was to cover it has failed. */
  doubtful: boolean;
}

interface DiskOperation {
  readonly kind: DiskOperationKind;
  readonly offsetBytes: number;
  readonly lengthBytes: number;
  /** Where each block lies in memory, or UNWANTED. */
  readonly places: readonly number[];
  readonly tag: number;
  readonly issuedAt: number;
  readonly errno: number;
  readonly how: DiskFailure;
  /** Of a short one: what takes effect. */
  readonly shortBlocks: number;
  /** How long it takes beside others: much can happen around a slow operation, nearly everything around a stuck one. */
  readonly pace: Pace;
  /** A write's bytes as they were when it was issued. */
  readonly bytes: Uint8Array | null;
  /** Reported to the process, or null when that is dead. */
  report: ((tag: number, result: number) => void) | null;
  landedBlocks: number;
  completedAt: number;
}

/** A fault that was injected. */
export type FaultState = InjectedFault<DiskFault>;

const paces: readonly Pace[] = [...new Array<Pace>(33).fill('normal'), ...new Array<Pace>(6).fill('slow'), 'stuck'];

export class SimulatedDisk {
  readonly sizeBytes: number;
  readonly counts = { read: 0, write: 0, sync: 0 };
  /** A planted bug: syncs are reported and do nothing. */
  dropsSyncs = false;
  readonly #name: string;
  readonly #memory: Uint8Array;
  readonly #random: SeededRandom;
  readonly #durable: Uint8Array;
  readonly #view: Uint8Array;
  readonly #unsynced = new Map<number, Version[]>();
  #operations: DiskOperation[] = [];
  #faults: FaultState[] = [];
  #now = 0;

  constructor(options: SimulatedDiskOptions) {
    if (options.sizeBytes % blockSizeBytes !== 0) throw new Error('a disk is made of whole blocks');
    this.sizeBytes = options.sizeBytes;
    this.#name = options.name;
    this.#memory = options.memory;
    this.#random = options.random;
    this.#durable = new Uint8Array(options.sizeBytes).fill(options.initialByte ?? 0xdb);
    this.#view = this.#durable.slice();
  }

  /** The disk as one process sees it. `report` is called from `fire` only. */
  open(report: (tag: number, result: number) => void): DataDisk {
    const issue = (kind: DiskOperationKind, offsetBytes: number, lengthBytes: number, memoryOffset: number, tag: number): void => {
      this.#issue(kind, { offsetBytes, lengthBytes, places: placesOf(lengthBytes, memoryOffset) }, tag, report);
    };
    return {
      sizeBytes: this.sizeBytes,
      read: (offsetBytes, lengthBytes, memoryOffset, tag) => issue('read', offsetBytes, lengthBytes, memoryOffset, tag),
      readPieces: (offsetBytes, pieces, tag) => {
        // Now and then it cannot, as the real one.
        if (this.#random.chance(0.1)) return false;
        this.#issue('read', { offsetBytes, lengthBytes: pieces.totalBytes, places: placesOfPieces(pieces) }, tag, report);
        return true;
      },
      write: (offsetBytes, lengthBytes, memoryOffset, tag) => issue('write', offsetBytes, lengthBytes, memoryOffset, tag),
      sync: (tag) => issue('sync', 0, 0, 0, tag),
    };
  }

  /** Operations that wait for the scheduler. */
  get pending(): number {
    return this.#operations.length;
  }

  paceOf(index: number): Pace {
    return this.#at(index).pace;
  }

  /** What waits at `index`, for schedules written by hand. */
  describe(index: number): {
    readonly kind: DiskOperationKind;
    readonly offsetBytes: number;
    readonly lengthBytes: number;
    readonly tag: number;
    readonly landed: boolean;
  } {
    const operation = this.#at(index);
    return {
      kind: operation.kind,
      offsetBytes: operation.offsetBytes,
      lengthBytes: operation.lengthBytes,
      tag: operation.tag,
      landed: operation.landedBlocks * blockSizeBytes >= operation.lengthBytes,
    };
  }

  /** Moves the operation at `index` on by one stage: some of it lands, or it completes. */
  fire(index: number): void {
    const operation = this.#at(index);
    const blocks = operation.lengthBytes / blockSizeBytes;
    if (operation.kind !== 'sync' && operation.landedBlocks < blocks) {
      const left = blocks - operation.landedBlocks;
      this.#land(operation, this.#random.chance(0.7) ? left : this.#random.between(1, left));
      if (operation.landedBlocks < blocks || this.#random.chance(0.5)) return;
    }
    this.#complete(index);
  }

  /** Lands the whole of the operation at `index` without completing it. */
  land(index: number): void {
    const operation = this.#at(index);
    this.#land(operation, operation.lengthBytes / blockSizeBytes - operation.landedBlocks);
  }

  /** Lands the whole of the operation at `index` and completes it. */
  finish(index: number): void {
    this.land(index);
    this.#complete(index);
  }

  /** The process is dead: nothing is reported any more, what it issued goes on. */
  kill(): void {
    for (const operation of this.#operations) operation.report = null;
    this.#operations = this.#operations.filter((operation) => operation.kind !== 'sync');
    this.#faults = [];
    for (const versions of this.#unsynced.values()) for (const version of versions) version.doubtful = false;
  }

  /** The operations of dead processes are over now: each landed, landed in part, or was cancelled. */
  settleOrphans(): void {
    const orphans = this.#operations.filter((operation) => operation.report === null);
    this.#operations = this.#operations.filter((operation) => operation.report !== null);
    for (const operation of shuffled(orphans, this.#random)) {
      const left = operation.lengthBytes / blockSizeBytes - operation.landedBlocks;
      this.#land(operation, this.#random.chance(0.7) ? left : this.#random.between(0, left));
      this.#now += 1;
      operation.completedAt = this.#now;
    }
  }

  /** The power is gone: what no sync covered is treated as `style` says, all operations vanish. */
  powerLoss(style: PowerLossStyle): void {
    for (const operation of this.#operations) {
      if (operation.kind !== 'write' || style === 'lose') continue;
      const left = operation.lengthBytes / blockSizeBytes - operation.landedBlocks;
      this.#land(operation, style === 'keep' ? left : this.#random.between(0, left));
    }
    this.#operations = [];
    this.#faults = [];
    for (const [block, versions] of this.#unsynced) {
      const durable = this.#durable.subarray(block * blockSizeBytes, (block + 1) * blockSizeBytes);
      if (style === 'keep') durable.set(versions[versions.length - 1]!.bytes);
      else if (style === 'draw') durable.set(this.#draw(durable, versions));
    }
    this.#unsynced.clear();
    this.#view.set(this.#durable);
  }

  inject(fault: DiskFault): FaultState {
    const state = { fault, skip: fault.skip, times: fault.times, hits: 0 };
    this.#faults.push(state);
    return state;
  }

  /** No operation from now on is hit by what was injected. */
  endFaults(): void {
    this.#faults = [];
  }

  /** What a read would return now. */
  peek(offsetBytes: number, lengthBytes: number): Uint8Array {
    return this.#view.slice(offsetBytes, offsetBytes + lengthBytes);
  }

  /** The disk loses a bit, of what is durable too. */
  flipBit(offsetBytes: number): void {
    this.#view[offsetBytes]! ^= 1;
    this.#durable[offsetBytes]! ^= 1;
  }

  /** What is safe from any power loss. */
  peekDurable(offsetBytes: number, lengthBytes: number): Uint8Array {
    return this.#durable.slice(offsetBytes, offsetBytes + lengthBytes);
  }

  #at(index: number): DiskOperation {
    const operation = this.#operations[index];
    if (!operation) throw new Error(`${this.#name}: no operation ${index} waits`);
    return operation;
  }

  #issue(
    kind: DiskOperationKind,
    where: { readonly offsetBytes: number; readonly lengthBytes: number; readonly places: readonly number[] },
    tag: number,
    report: (tag: number, result: number) => void,
  ): void {
    const { offsetBytes, lengthBytes, places } = where;
    const inMemory = (place: number): boolean =>
      place === UNWANTED || (place % blockSizeBytes === 0 && place >= 0 && place + blockSizeBytes <= this.#memory.length);
    const onDisk = offsetBytes % blockSizeBytes === 0 && offsetBytes >= 0 && offsetBytes + lengthBytes <= this.sizeBytes;
    if (!onDisk || lengthBytes !== places.length * blockSizeBytes || !places.every(inMemory) || (kind !== 'sync' && lengthBytes === 0)) {
      throw new Violation(
        `${this.#name}: ${kind} of ${lengthBytes} bytes at ${offsetBytes}, memory ${places.join(', ')}, is not aligned or not inside`,
      );
    }
    if (places[0] === UNWANTED || places.at(-1) === UNWANTED) throw new Violation(`${this.#name}: a ${kind} begins or ends with a gap`);
    if (kind !== 'sync') this.#refuseSharing(kind, offsetBytes, places);
    this.counts[kind] += 1;
    this.#now += 1;
    const fault = takeFault(this.#faults, kind);
    this.#operations.push({
      kind,
      offsetBytes,
      lengthBytes,
      places,
      tag,
      issuedAt: this.#now,
      errno: fault?.errno ?? 0,
      how: fault?.how ?? 'error',
      shortBlocks: fault?.how === 'short' ? this.#random.below(Math.max(1, lengthBytes / blockSizeBytes)) : 0,
      pace: this.#random.pick(paces),
      bytes: kind === 'write' ? this.#memory.slice(places[0]!, places[0]! + lengthBytes) : null,
      report,
      landedBlocks: 0,
      completedAt: Infinity,
    });
  }

  #refuseSharing(kind: DiskOperationKind, offsetBytes: number, places: readonly number[]): void {
    const lengthBytes = places.length * blockSizeBytes;
    const wanted = new Set(places);
    wanted.delete(UNWANTED);
    if (wanted.size !== places.filter((place) => place !== UNWANTED).length)
      throw new Violation(`${this.#name}: a ${kind} uses the same memory twice: ${places.join(', ')}`);
    for (const other of this.#operations) {
      if (other.kind === 'sync') continue;
      const sameDisk = offsetBytes < other.offsetBytes + other.lengthBytes && other.offsetBytes < offsetBytes + lengthBytes;
      const shared = other.places.find((place) => wanted.has(place));
      if (kind === 'write' && other.kind === 'write' && sameDisk) {
        throw new Violation(
          `${this.#name}: a write at ${offsetBytes} while another one at ${other.offsetBytes} (${other.lengthBytes} bytes) is in flight`,
        );
      }
      if (shared !== undefined && (kind === 'read' || other.kind === 'read')) {
        throw new Violation(`${this.#name}: a ${kind} uses memory ${shared} while a ${other.kind} in flight uses it`);
      }
    }
  }

  /** The next `blocks` blocks of a read or write take effect. Of an operation that will fail only some do. */
  #land(operation: DiskOperation, blocks: number): void {
    for (let count = 0; count < blocks; count += 1) {
      const at = operation.landedBlocks * blockSizeBytes;
      operation.landedBlocks += 1;
      if (operation.errno !== 0 && !this.#tookEffect(operation, at)) continue;
      const disk = operation.offsetBytes + at;
      const memory = operation.places[at / blockSizeBytes]!;
      if (operation.kind === 'read') {
        if (memory !== UNWANTED) this.#memory.set(this.#view.subarray(disk, disk + blockSizeBytes), memory);
        continue;
      }
      let bytes = operation.bytes!.subarray(at, at + blockSizeBytes);
      if (operation.report && Buffer.compare(bytes, this.#memory.subarray(memory, memory + blockSizeBytes)) !== 0) {
        throw new Violation(`${this.#name}: the memory at ${memory} changed while it was being written to ${disk}`);
      }
      if (operation.errno !== 0 && operation.how === 'torn') bytes = this.#mix([this.#view.subarray(disk, disk + blockSizeBytes), bytes]);
      this.#view.set(bytes, disk);
      const block = disk / blockSizeBytes;
      const versions = this.#unsynced.get(block);
      if (versions) versions.push({ bytes, write: operation, doubtful: false });
      else this.#unsynced.set(block, [{ bytes, write: operation, doubtful: false }]);
    }
  }

  #tookEffect(operation: DiskOperation, at: number): boolean {
    return operation.how === 'short' ? at < operation.shortBlocks * blockSizeBytes : this.#random.chance(0.5);
  }

  #complete(index: number): void {
    const operation = this.#at(index);
    this.#operations.splice(index, 1);
    this.#now += 1;
    operation.completedAt = this.#now;
    if (operation.kind === 'sync' && !this.dropsSyncs) this.#sync(operation);
    operation.report?.(operation.tag, resultOf(operation));
  }

  /** Makes durable what the sync covers. */
  #sync(sync: DiskOperation): void {
    for (const [block, versions] of this.#unsynced) {
      let covered = -1;
      versions.forEach((version, index) => {
        if (version.write.completedAt >= sync.issuedAt) return;
        if (sync.errno !== 0) version.doubtful ||= this.#random.chance(0.5);
        else if (!version.doubtful) covered = index;
      });
      if (covered < 0) continue;
      this.#durable.set(versions[covered]!.bytes, block * blockSizeBytes);
      const rest = versions.slice(covered + 1);
      if (rest.length > 0) this.#unsynced.set(block, rest);
      else this.#unsynced.delete(block);
    }
  }

  /** One block after a power loss: one of its versions whole, or sectors of several. */
  #draw(durable: Uint8Array, versions: readonly Version[]): Uint8Array {
    const choices = [durable, ...versions.map((version) => version.bytes)];
    if (!this.#random.chance(0.2)) return this.#random.pick(choices).slice();
    return this.#mix(choices);
  }

  /** A block whose every sector is that of one of the choices. */
  #mix(choices: readonly Uint8Array[]): Uint8Array {
    const torn = new Uint8Array(blockSizeBytes);
    for (let at = 0; at < blockSizeBytes; at += sectorSizeBytes) {
      torn.set(this.#random.pick(choices).subarray(at, at + sectorSizeBytes), at);
    }
    return torn;
  }
}

/** Bytes that are wanted, or a negative errno. */
function resultOf(operation: DiskOperation): number {
  const { errno, how, kind, places, shortBlocks } = operation;
  if (errno !== 0 && (how !== 'short' || kind === 'sync')) return -errno;
  const done = errno === 0 ? places : places.slice(0, shortBlocks);
  return done.filter((place) => place !== UNWANTED).length * blockSizeBytes;
}

function placesOf(lengthBytes: number, memoryOffset: number): number[] {
  return Array.from({ length: lengthBytes / blockSizeBytes }, (_, block) => memoryOffset + block * blockSizeBytes);
}

function placesOfPieces(pieces: Pieces): number[] {
  const places: number[] = [];
  for (let index = 0; index < pieces.count; index += 1) {
    const memory = pieces.memoryOffsets[index]!;
    const blocks = placesOf(pieces.lengths[index]!, memory);
    places.push(...(memory === UNWANTED ? blocks.map(() => UNWANTED) : blocks));
  }
  return places;
}

function shuffled<T>(list: readonly T[], random: SeededRandom): T[] {
  const rest = [...list];
  const result: T[] = [];
  while (rest.length > 0) result.push(...rest.splice(random.below(rest.length), 1));
  return result;
}
