/**
 * The way of a request: it is read into a slot, goes to the target, its reply goes out, the slot is free again. In the
 * hot path (READ and WRITE) nothing is allocated.
 *
 * Requests are read by read(2), not through the ring: the ring makes a read that finds nothing wait (also of a descriptor
 * with O_NONBLOCK), and each request then wakes all reads that wait. A waiting read would also hold a slot.
 *
 * A request's number and its slot differ once it is parked: the numbers are a permutation of the slots, and parking
 * swaps two of them.
 */
import { performance } from 'node:perf_hooks';
import { assert } from '../util/assert.ts';
import { rawSystemCall, systemCallNumber } from '../linux/libc.ts';
import type { Ring } from '../linux/ring.ts';
import type { Arena } from './arena.ts';
import * as fuse from './fuse.ts';
import { Errno, Opcode } from './fuse.ts';
import { addHandle, removeHandle } from './open-handles.ts';
import { Operation, type OperationCode, type RequestTarget } from './ports.ts';
import type { Session } from './session.ts';
import type { SlotShares } from './slot-shares.ts';
import type { Statistics } from './statistics.ts';
import { Kind } from './user-data.ts';

export interface RequestsOptions {
  readonly arena: Arena;
  readonly ring: Pick<Ring, 'write'>;
  readonly shares: SlotShares;
  readonly statistics: Statistics;
  /** A reply is on its way: the kernel may have more requests soon. */
  readonly answered: (session: Session) => void;
  /** The session holds a slot less. */
  readonly released: (session: Session) => void;
}

export class Requests {
  /** Requests that were read and are not answered yet, and how many of those are parked. */
  inFlight = 0;
  parkedCount = 0;
  /** Requests read since the start, modulo 2^31. */
  taken = 0;
  /** When the target got the last request, by the performance clock. */
  lastSubmittedMs = -Infinity;

  readonly #arena: Arena;
  readonly #ring: Pick<Ring, 'write'>;
  readonly #shares: SlotShares;
  readonly #statistics: Statistics;
  readonly #answered: (session: Session) => void;
  readonly #released: (session: Session) => void;
  #target: RequestTarget | null = null;

  readonly #slotOf: Int32Array;
  readonly #requestOf: Int32Array;
  readonly #sessionOf: (Session | null)[];
  readonly #operationOf: Uint8Array;
  /** In granules: a range to be zeroed may have more than 2 GiB. */
  readonly #granulesOf: Uint32Array;
  /** When the target got it, by the performance clock. */
  readonly #startOf: Float64Array;
  readonly #isRequest: Uint8Array;
  readonly #isParked: Uint8Array;
  /** Stacks of free slots. */
  readonly #active: Int32Array;
  #activeCount = 0;
  readonly #parking: Int32Array;
  #parkingCount = 0;

  /** All slots begin as taken: `discard` or recovery frees them. */
  constructor(options: RequestsOptions) {
    this.#arena = options.arena;
    this.#ring = options.ring;
    this.#shares = options.shares;
    this.#statistics = options.statistics;
    this.#answered = options.answered;
    this.#released = options.released;
    const { slots, activeSlots, parkingSlots } = options.arena;
    this.#slotOf = Int32Array.from({ length: slots }, (_, index) => index);
    this.#requestOf = Int32Array.from({ length: slots }, (_, index) => index);
    this.#sessionOf = Array.from({ length: slots }, () => null);
    this.#operationOf = new Uint8Array(slots);
    this.#granulesOf = new Uint32Array(slots);
    this.#startOf = new Float64Array(slots);
    this.#isRequest = new Uint8Array(slots);
    this.#isParked = new Uint8Array(slots);
    this.#active = new Int32Array(activeSlots);
    this.#parking = new Int32Array(parkingSlots);
  }

  setTarget(target: RequestTarget): void {
    this.#target = target;
  }

  /** Frees a slot that nobody uses. */
  discard(slot: number): void {
    this.#arena.markFree(slot);
    if (slot < this.#arena.activeSlots) this.#active[this.#activeCount++] = slot;
    else this.#parking[this.#parkingCount++] = slot;
  }

  /** Takes over a slot of a dead predecessor that holds a request or a reply of this session. */
  adopt(slot: number, session: Session): void {
    this.#sessionOf[slot] = session;
    session.held++;
    this.#isRequest[slot] = 1;
    this.inFlight++;
    if (slot < this.#arena.activeSlots) this.#shares.take(session.index);
  }

  /** Reads one request of the session's connection, without waiting, and does it. False: there was none, or no slot. */
  take(session: Session): boolean {
    if (!this.mayTake(session)) return false;
    this.#shares.take(session.index);
    const slot = this.#active[--this.#activeCount]!;
    this.#sessionOf[slot] = session;
    session.held++;
    const arena = this.#arena;
    arena.markPosted(slot, session.connection, session.incarnation);
    const result = rawSystemCall(readNumber, session.fuseDescriptor, arena.requestAddresses[slot + 1] as number, requestBytes, 0, 0, 0);
    if (result < 0) {
      if (isGone(result)) session.gone = true;
      this.#free(slot, session);
      return false;
    }
    if (result < fuse.headerBytes) {
      // No request: what stands in the slot is an earlier one's.
      this.#free(slot, session);
      return false;
    }
    this.inFlight++;
    this.taken = (this.taken + 1) & 0x7fffffff;
    this.#isRequest[slot] = 1;
    if (result === fuse.requestLength(arena.words, arena.request(slot))) this.serve(slot);
    else this.#reply(slot, Errno.invalid, 0);
    return true;
  }

  /** Whether the session may have a slot now. */
  mayTake(session: Session): boolean {
    return this.#activeCount > 0 && this.#shares.mayTake(session.index);
  }

  /** Does the request in a slot. */
  serve(slot: number): void {
    const session = this.#sessionOf[slot]!;
    const arena = this.#arena;
    const words = arena.words;
    const at = arena.request(slot);
    arena.markRead(slot);
    const opcode = fuse.requestOpcode(words, at);
    // Behind a request's end stand the words of an earlier one.
    if (fuse.requestLength(words, at) < fuse.leastLength(opcode)) this.#reply(slot, Errno.invalid, 0);
    else if (opcode === Opcode.read) this.#read(slot, session, at);
    else if (opcode === Opcode.write) this.#write(slot, session, at);
    else this.#serveOther(slot, session, at, opcode);
  }

  /** Part of the listener: the target is done with a request. */
  completed(request: number, errno: number): void {
    const slot = this.#slotOf[request]!;
    const operation = this.#operationOf[slot]! as OperationCode | 0;
    assert(operation !== 0, `request ${request} completed twice`);
    this.#operationOf[slot] = 0;
    const { index } = this.#sessionOf[slot]!;
    const lengthBytes = this.#granulesOf[slot]! * fuse.granuleBytes;
    this.#statistics.record(index, operation, lengthBytes, errno, this.#startOf[slot]!, performance.now());
    if (errno !== 0) this.#reply(slot, errno, 0);
    else if (operation === Operation.read) this.#replyData(slot, lengthBytes);
    else if (operation === Operation.write) {
      this.#reply(slot, 0, fuse.writeWritten(this.#arena.words, this.#arena.reply(slot), lengthBytes));
    } else this.#reply(slot, 0, 0);
  }

  /** Part of the listener: moves a write's payload to a parking slot if one is free; answers where it is now. */
  parked(request: number): number {
    const slot = this.#slotOf[request]!;
    const arena = this.#arena;
    if (this.#isParked[slot] === 0) {
      this.#isParked[slot] = 1;
      this.parkedCount++;
    }
    if (slot >= arena.activeSlots || this.#parkingCount === 0) return arena.dataOffsets[slot]!;
    const session = this.#sessionOf[slot]!;
    const parking = this.#parking[--this.#parkingCount]!;
    arena.move(slot, parking, this.#granulesOf[slot]! * fuse.granuleBytes);
    const other = this.#requestOf[parking]!;
    this.#slotOf[request] = parking;
    this.#requestOf[parking] = request;
    this.#slotOf[other] = slot;
    this.#requestOf[slot] = other;
    this.#sessionOf[parking] = session;
    this.#operationOf[parking] = this.#operationOf[slot]!;
    this.#granulesOf[parking] = this.#granulesOf[slot]!;
    this.#startOf[parking] = this.#startOf[slot]!;
    this.#isRequest[parking] = 1;
    this.#isParked[parking] = 1;
    this.#operationOf[slot] = 0;
    this.#isRequest[slot] = 0;
    this.#isParked[slot] = 0;
    this.#sessionOf[slot] = null;
    this.#active[this.#activeCount++] = slot;
    this.#shares.giveBack(session.index);
    // The slot that is free now may be what the session's next read waits for.
    this.#answered(session);
    return arena.dataOffsets[parking]!;
  }

  /** Sends the reply of a slot that is done. */
  answer(slot: number): void {
    const session = this.#sessionOf[slot]!;
    const arena = this.#arena;
    if (session.gone) return this.#free(slot, session);
    if (arena.repliesWithData(slot)) {
      const length = fuse.requestLength(arena.words, arena.dataReply(slot));
      this.#ring.write(session.index, 0, 0, arena.dataReplyLow[slot]!, arena.dataReplyHigh[slot]!, length, Kind.reply | slot);
    } else {
      const length = fuse.requestLength(arena.words, arena.reply(slot));
      this.#ring.write(session.index, 0, 0, arena.replyLow[slot]!, arena.replyHigh[slot]!, length, Kind.reply | slot);
    }
    this.#answered(session);
  }

  /** Takes the completion of a reply. One that the kernel no longer waits for (ENOENT) is as good as taken. */
  replied(slot: number, result: number): void {
    if (result === -Errno.again || result === -Errno.interrupted || result === -Errno.outOfMemory) this.answer(slot);
    else this.#free(slot, this.#sessionOf[slot]!);
  }

  #read(slot: number, session: Session, at: number): void {
    const words = this.#arena.words;
    const offset = fuse.offsetOf(words, at);
    let length = fuse.lengthOf(words, at);
    if (((offset | length) & (fuse.granuleBytes - 1)) !== 0 || length > fuse.maximumDataBytes) return this.#reply(slot, Errno.invalid, 0);
    if (offset + length > session.sizeBytes) length = Math.max(0, session.sizeBytes - offset);
    if (length === 0) return this.#replyData(slot, 0);
    this.#submit(slot, session, Operation.read, offset, length);
  }

  #write(slot: number, session: Session, at: number): void {
    const words = this.#arena.words;
    const offset = fuse.offsetOf(words, at);
    const length = fuse.lengthOf(words, at);
    if (session.readOnly) return this.#reply(slot, Errno.readOnly, 0);
    // Or bytes would be written that were left in the slot by another volume.
    if (fuse.requestLength(words, at) !== fuse.requestHeaderBytes + length) return this.#reply(slot, Errno.invalid, 0);
    if (((offset | length) & (fuse.granuleBytes - 1)) !== 0 || length > fuse.maximumDataBytes) return this.#reply(slot, Errno.invalid, 0);
    if (offset + length > session.sizeBytes) return this.#reply(slot, Errno.inputOutput, 0);
    if (length === 0) return this.#reply(slot, 0, fuse.writeWritten(words, this.#arena.reply(slot), 0));
    this.#submit(slot, session, Operation.write, offset, length);
  }

  #zero(slot: number, session: Session, at: number): void {
    const words = this.#arena.words;
    const offset = fuse.offsetOf(words, at);
    const length = fuse.allocationLengthOf(words, at);
    if (session.readOnly) return this.#reply(slot, Errno.readOnly, 0);
    if (!fuse.isZeroing(words, at)) return this.#reply(slot, Errno.notSupported, 0);
    if (length === 0 || ((offset | length) & (fuse.granuleBytes - 1)) !== 0) return this.#reply(slot, Errno.invalid, 0);
    if (offset + length > session.sizeBytes) return this.#reply(slot, Errno.inputOutput, 0);
    this.#submit(slot, session, Operation.zero, offset, length);
  }

  #submit(slot: number, session: Session, operation: OperationCode, offsetBytes: number, lengthBytes: number): void {
    this.#operationOf[slot] = operation;
    this.#granulesOf[slot] = lengthBytes / fuse.granuleBytes;
    const nowMs = performance.now();
    this.#startOf[slot] = nowMs;
    this.lastSubmittedMs = nowMs;
    this.#target!.submit(this.#requestOf[slot]!, operation, session.device, offsetBytes, lengthBytes, this.#arena.dataOffsets[slot]!);
  }

  #serveOther(slot: number, session: Session, at: number, opcode: number): void {
    const arena = this.#arena;
    const reply = arena.reply(slot);
    switch (opcode) {
      case Opcode.sync:
        return this.#submit(slot, session, Operation.flush, 0, 0);
      case Opcode.allocate:
        return this.#zero(slot, session, at);
      case Opcode.initialize:
        return this.#reply(slot, 0, fuse.writeInitialized(arena.words, reply));
      case Opcode.getAttributes:
        return this.#reply(slot, 0, fuse.writeAttributes(arena.words, reply, session.sizeBytes, session));
      case Opcode.statistics:
        return this.#reply(slot, 0, fuse.writeStatistics(arena.words, reply, session.sizeBytes));
      case Opcode.open: {
        const handle = addHandle(arena, session.index, fuse.uniqueLow(arena.words, at));
        if (handle === 0) return this.#reply(slot, Errno.tooManyFiles, 0);
        return this.#reply(slot, 0, fuse.writeOpened(arena.words, reply, handle));
      }
      case Opcode.release:
        removeHandle(arena, session.index, fuse.handleOf(arena.words, at));
        return this.#reply(slot, 0, 0);
      case Opcode.flush:
      case Opcode.destroy:
        return this.#reply(slot, 0, 0);
      case Opcode.forget:
      case Opcode.batchForget:
      case Opcode.interrupt:
        return this.#free(slot, session);
      default:
        return this.#reply(slot, Errno.notImplemented, 0);
    }
  }

  /** The body, if any, is in its place already. */
  #reply(slot: number, errno: number, bodyBytes: number): void {
    const arena = this.#arena;
    fuse.writeReplyHeader(arena.words, arena.reply(slot), arena.request(slot), errno, bodyBytes);
    arena.markDone(slot, errno, plain);
    this.answer(slot);
  }

  #replyData(slot: number, lengthBytes: number): void {
    const arena = this.#arena;
    fuse.writeReplyHeader(arena.words, arena.dataReply(slot), arena.request(slot), 0, lengthBytes);
    arena.markDone(slot, 0, data);
    this.answer(slot);
  }

  #free(slot: number, session: Session): void {
    this.#sessionOf[slot] = null;
    session.held--;
    if (slot < this.#arena.activeSlots) this.#shares.giveBack(session.index);
    if (this.#isRequest[slot] === 1) {
      this.#isRequest[slot] = 0;
      this.inFlight--;
    }
    if (this.#isParked[slot] === 1) {
      this.#isParked[slot] = 0;
      this.parkedCount--;
    }
    this.discard(slot);
    this.#released(session);
  }
}

/** ENODEV: unmounted; ECONNABORTED: aborted; EPERM: not mounted yet or no more. */
function isGone(result: number): boolean {
  return (
    result === -Errno.noDevice || result === -Errno.connectionAborted || result === -Errno.notPermitted || result === -Errno.badDescriptor
  );
}

const plain = { withData: false } as const;
const data = { withData: true } as const;
const readNumber = systemCallNumber('read');
const requestBytes = fuse.requestHeaderBytes + fuse.maximumDataBytes;
