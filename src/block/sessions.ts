/**
 * The FUSE connections of a data thread, and which of them is read from when.
 *
 * A connection is at any time queued to be read from in the next round, or a poll waits for it, or both. It is queued when
 * its poll fires, when its last reads brought a request, and when a reply goes out (who gets a reply often asks again).
 * Reads that bring nothing end in a poll.
 */
import { assert } from '../util/assert.ts';
import { closeDescriptor } from '../linux/files.ts';
import type { Ring } from '../linux/ring.ts';
import { StoreError } from '../util/errors.ts';
import type { Arena } from './arena.ts';
import { hasHandles } from './open-handles.ts';
import { planRecovery } from './recovery.ts';
import { Requests } from './requests.ts';
import { Session, type SessionOptions } from './session.ts';
import { SlotShares } from './slot-shares.ts';
import { Statistics, type CountsOfDevice } from './statistics.ts';
import { Kind } from './user-data.ts';

export interface SessionsOptions {
  readonly arena: Arena;
  readonly ring: Pick<Ring, 'write' | 'pollReadable' | 'cancelPoll' | 'setFile'>;
  /** The most reads of one connection that a round tries. */
  readonly readsPerTurn: number;
}

export class Sessions {
  readonly requests: Requests;
  readonly statistics: Statistics;
  /** False ends the reading of new requests. */
  accepting = true;

  readonly #arena: Arena;
  readonly #ring: SessionsOptions['ring'];
  readonly #readsPerTurn: number;
  readonly #shares: SlotShares;
  readonly #sessions: (Session | null)[];
  /** Circular queue of the sessions to read from. */
  readonly #queue: Int32Array;
  #queueStart = 0;
  #queueLength = 0;

  constructor(options: SessionsOptions) {
    this.#arena = options.arena;
    this.#ring = options.ring;
    this.#readsPerTurn = options.readsPerTurn;
    const { devices, activeSlots } = options.arena;
    this.#shares = new SlotShares({ slots: activeSlots, devices });
    this.#sessions = Array.from({ length: devices }, () => null);
    this.#queue = new Int32Array(devices);
    this.statistics = new Statistics({ devices });
    this.requests = new Requests({
      arena: options.arena,
      ring: options.ring,
      shares: this.#shares,
      statistics: this.statistics,
      answered: (session) => this.#enqueue(session),
      released: (session) => this.#settle(session),
    });
  }

  /** Serves a connection from now on. Throws `out-of-range` when the arena's device table is full. */
  add(options: SessionOptions): void {
    assert(options.connection > 0, 'connection numbers begin at 1');
    assert(this.#find(options.connection) === null, `connection ${options.connection} is served already`);
    const index = this.#arena.claimDevice(options.connection, options.incarnation);
    if (index < 0)
      throw new StoreError('out-of-range', `no more than ${this.#arena.devices} volumes can be attached here: detach one first`);
    assert(this.#sessions[index] === null, `device entry ${index} is taken`);
    const session = new Session({ ...options, index });
    this.#ring.setFile(index, options.fuseDescriptor);
    this.statistics.reset(index);
    this.#sessions[index] = session;
    this.#shares.addDevice(index);
    this.#enqueue(session);
  }

  setSize(connection: number, sizeBytes: number): void {
    const session = this.#find(connection);
    assert(session !== null, `no connection ${connection}`);
    session.sizeBytes = sizeBytes;
  }

  /** Reads no more requests of the connection, waits for those in flight, closes the descriptor, then calls `done`. */
  remove(connection: number, done: () => void): void {
    const session = this.#find(connection);
    assert(session !== null && session.removed === null, `no connection ${connection}, or it is being removed`);
    session.removed = done;
    if (session.polling) this.#ring.cancelPoll(Kind.ready | session.index, Kind.cancel);
    this.#settle(session);
  }

  isOpen(connection: number): boolean {
    const session = this.#find(connection);
    return session !== null && !session.gone && hasHandles(this.#arena, session.index);
  }

  /** What was done on a connection since it is served here; null when there is none of this number. */
  countsOf(connection: number): CountsOfDevice | null {
    const session = this.#find(connection);
    return session === null ? null : this.statistics.ofDevice(session.index);
  }

  /** Closes all connections as they are: the kernel's requests stay with their other holders. After the last round. */
  close(): void {
    for (const session of this.#sessions) if (session !== null) closeDescriptor(session.fuseDescriptor);
    this.#sessions.fill(null);
  }

  /** Finishes what a predecessor left in the arena; once, after all its connections were added, before the first round. */
  recover(): { readonly answered: number; readonly submitted: number } {
    const plan = planRecovery(this.#arena, (connection, incarnation) => this.#find(connection)?.incarnation === incarnation);
    for (const slot of plan.discard) this.requests.discard(slot);
    for (const slot of [...plan.answer, ...plan.submit]) this.requests.adopt(slot, this.#find(this.#arena.connection(slot))!);
    for (let index = 0; index < this.#sessions.length; index++) if (this.#sessions[index] === null) this.#arena.releaseDevice(index);
    for (const slot of plan.answer) this.requests.answer(slot);
    for (const slot of plan.submit) this.requests.serve(slot);
    return { answered: plan.answer.length, submitted: plan.submit.length };
  }

  /** Reads this round's requests, a part from each connection in turn: what they bring is submitted in one go, so with more
   * connections a round is larger. Answers whether to come back before the loop waits: something was read, or not every
   * connection had its turn. */
  readRequests(): boolean {
    let turns = this.#queueLength;
    if (turns === 0 || !this.accepting) return false;
    const before = this.requests.taken;
    let budget = Math.min(turns * this.#readsPerTurn, MOST_READS_PER_ROUND);
    const part = Math.max(LEAST_READS_PER_TURN, Math.min(this.#readsPerTurn, Math.floor(budget / turns)));
    while (turns > 0 && budget > 0) {
      turns--;
      const session = this.#sessions[this.#dequeue()];
      if (session && session.removed === null) budget -= this.#readFrom(session, Math.min(part, budget));
    }
    return turns > 0 || this.requests.taken !== before;
  }

  /** Answers the number of reads tried. */
  #readFrom(session: Session, limit: number): number {
    if (!this.requests.mayTake(session)) {
      this.#enqueue(session);
      return 0;
    }
    const tries = Math.min(session.expected, limit);
    let got = 0;
    while (got < tries && this.requests.take(session)) got++;
    if (session.gone) return got + 1;
    if (got === tries) session.expected = Math.min(2 * tries, this.#readsPerTurn);
    else session.expected = Math.max(1, got);
    if (got > 0) this.#enqueue(session);
    else if (!session.polling && !session.queued) this.#poll(session);
    return got < tries ? got + 1 : got;
  }

  /** Takes the completion of a poll. */
  ready(index: number): void {
    const session = this.#sessions[index]!;
    session.polling = false;
    if (session.removed !== null) this.#settle(session);
    else this.#enqueue(session);
  }

  #poll(session: Session): void {
    session.polling = true;
    this.#ring.pollReadable(session.index, Kind.ready | session.index);
  }

  #find(connection: number): Session | null {
    for (const session of this.#sessions) if (session !== null && session.connection === connection) return session;
    return null;
  }

  #enqueue(session: Session): void {
    if (session.queued || session.gone || session.removed !== null) return;
    session.queued = true;
    const size = this.#queue.length;
    this.#queue[(this.#queueStart + this.#queueLength) % size] = session.index;
    this.#queueLength++;
  }

  #dequeue(): number {
    const index = this.#queue[this.#queueStart]!;
    this.#queueStart = (this.#queueStart + 1) % this.#queue.length;
    this.#queueLength--;
    const session = this.#sessions[index];
    if (session) session.queued = false;
    return index;
  }

  /** Ends the session if it is to be removed and nothing of it is left. */
  #settle(session: Session): void {
    if (session.removed === null || session.held > 0 || session.polling || this.#sessions[session.index] !== session) return;
    this.#sessions[session.index] = null;
    this.#shares.removeDevice(session.index);
    this.#ring.setFile(session.index, -1);
    closeDescriptor(session.fuseDescriptor);
    this.#arena.releaseDevice(session.index);
    session.removed();
  }
}

/** Reads of one round, over all connections. */
const MOST_READS_PER_ROUND = 32;
/** Reads of a connection that has its turn, however many there are. */
const LEAST_READS_PER_TURN = 2;
