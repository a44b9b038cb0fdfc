/**
 * Defragmenting: walks through a volume in its own order, and moves what lies scattered, so that neighbouring chunks lie in
 * neighbouring slots and each in one layer. What snapshots share is moved too: the volume gets a copy of its own.
 *
 * Leaf by leaf: a plan says what is worth moving (defragment-plan.ts), a search finds free slots in a row (free-runs.ts), and
 * the chunks move there one by one (chunk-moves.ts), a few at a time.
 *
 * Invariants:
 * - a plan is advice: each chunk is moved with what it holds then, by the rules of every move;
 * - slots are claimed for one stretch at a time, and every one of them is in a move or given back in the end;
 * - it takes no slot below the mark from which on the pool is short of them, and waits for those in limbo before it gives up;
 * - nothing of it is stored: a restart ends it, and what is in place stays so.
 */
import { assert } from '../util/assert.ts';
import { StoreError } from '../util/errors.ts';
import type { Checkpointer } from './checkpointer.ts';
import type { ChunkMoves } from './chunk-moves.ts';
import { type DefragmentState, type DefragmentStatus, NEVER_DEFRAGMENTED, type ObjectId } from './control.ts';
import {
  chunksIn,
  cutStretch,
  endOf,
  type LeafEnd,
  NO_LEAF_END,
  piecesIn,
  planStretches,
  type Segment,
  segmentsOf,
  slotsToGain,
  type Stretch,
} from './defragment-plan.ts';
import { Entry } from './entry.ts';
import { FreeRunSearch, type FreeRun, freeSlotsFrom } from './free-runs.ts';
import { FANOUT, HEADER_SLOT } from './geometry.ts';
import type { StoredObject } from './objects.ts';
import { PageVisits } from './page-visits.ts';
import type { Requests } from './requests.ts';
import { leastFreeSlots } from './shortage.ts';
import type { EngineState } from './state.ts';
import { EMPTY, indexAt, MISSING } from './tree.ts';

/** What lies in a row for so long stays: a reader in order asks for no more at a time. */
const LONG_BYTES = 2 ** 20;
/** A run of so many free slots is taken without looking for a longer one. */
const ENOUGH_SLOTS = 64;
/** Chunks that are being moved at a time. */
const MOVES = 3;
/** Buffers that are left to merges and scrubs. */
const BUFFERS_LEFT = 1;
/** Empty leaves that are passed over in one slice. */
const LEAVES_A_SLICE = 64;
/** A chunk that is in use whenever it is looked at stays where it is. */
const TRIES_LIMIT = 64;
/** Somebody else took the run that was found, so often. */
const CLAIMS_LIMIT = 3;
/** How long slots in limbo are waited for. */
const ROOM_WAIT_MS = 60_000;
/** Of so many volumes it is kept how their last pass ended. */
const ENDED_LIMIT = 256;

export interface DefragmenterOptions {
  readonly state: EngineState;
  readonly moves: ChunkMoves;
  readonly requests: Requests;
  readonly checkpointer: Checkpointer;
  /** Others wait for the background. */
  readonly isUrgent: () => boolean;
}

/** What a pass has come to, in one leaf. */
interface LeafWork {
  readonly stretches: Stretch[];
  search: FreeRunSearch | null;
  /** Runs that were found, and taken by somebody else. */
  lostClaims: number;
}

interface Pass {
  readonly object: StoredObject;
  readonly startedAtMs: number;
  state: DefragmentState;
  endedAtMs: number;
  incarnation: number;
  /** The first chunk of the leaf that it has come to. */
  chunk: number;
  before: LeafEnd;
  leaf: LeafWork | null;
  /** Chunks before this one are part of `foundPieces`. */
  countedChunks: number;
  /** Chunks with the slots that were claimed for them; `next` is the first that has not begun. */
  targets: { readonly chunk: number; readonly slot: number }[];
  next: number;
  tries: number;
  running: number;
  /** Where the next search begins. */
  searchFrom: number;
  /** Since when so many slots to claim are waited for, without a break. */
  roomAwaited: { readonly sinceMs: number; readonly slots: number } | null;
  moved: number;
  foundPieces: number;
  leftPieces: number;
}

export class Defragmenter {
  readonly #options: DefragmenterOptions;
  readonly #entry = new Entry();
  readonly #visits: PageVisits;
  /** The one under way, or the last one. */
  #pass: Pass | null = null;
  #isQuiet = false;
  /** How earlier passes ended, one a volume, the oldest first: who waits for one looks perhaps after the next has begun. */
  readonly #ended = new Map<ObjectId, DefragmentStatus>();

  constructor(options: DefragmenterOptions) {
    this.#options = options;
    this.#visits = new PageVisits(options.state.pages);
  }

  /** Begins, or goes on when it is under way. One volume at a time: two would take the free runs from each other. */
  start(object: StoredObject): void {
    const running = this.#running;
    if (running?.object === object) return;
    if (running !== null) {
      const { description } = running.object;
      throw new StoreError(
        'failed-precondition',
        `volume ${description.name} (${description.id}) is being defragmented; wait for its end, or stop it`,
      );
    }
    this.#keepEnded();
    this.#pass = {
      object,
      startedAtMs: this.#options.state.ports.clock.nowMs(),
      state: 'running',
      endedAtMs: 0,
      incarnation: object.incarnation,
      chunk: 0,
      before: NO_LEAF_END,
      leaf: null,
      countedChunks: 0,
      targets: [],
      next: 0,
      tries: 0,
      running: 0,
      searchFrom: 1,
      roomAwaited: null,
      moved: 0,
      foundPieces: 0,
      leftPieces: 0,
    };
  }

  /** Ends it where it is, if it is under way for this volume. Chunks that are being moved still are. */
  stop(id: ObjectId): void {
    const pass = this.#running;
    if (pass !== null && pass.object.id === id) this.#end(pass, 'stopped');
  }

  /** Of this volume; with null of the volume that was defragmented last, or is. */
  status(id: ObjectId | null): DefragmentStatus {
    const pass = this.#pass;
    if (pass !== null && (id === null || pass.object.id === id)) return this.#statusOf(pass);
    return (id === null ? undefined : this.#ended.get(id)) ?? { ...NEVER_DEFRAGMENTED, id };
  }

  /** Before the end of the process: no move is begun any more. To the outside it goes on, until the next process knows nothing of it. */
  quiesce(): void {
    this.#isQuiet = true;
    if (this.#running !== null) this.#giveBack(this.#running);
  }

  /** One slice of work; true when there may be more to do at once. */
  step(): boolean {
    const { state, isUrgent } = this.#options;
    const pass = this.#running;
    if (pass === null || this.#isQuiet) return false;
    if (state.broken !== null) return this.#end(pass, 'failed');
    if (pass.object.deleted) return this.#end(pass, 'deleted');
    if (!state.slots.counted || !state.slots.settled) return false;
    if (pass.object.incarnation !== pass.incarnation) this.#beginAnew(pass);
    if (this.#isInTheWay) return this.#makeRoom(pass, 1);
    if (pass.roomAwaited !== null && this.#room >= pass.roomAwaited.slots) pass.roomAwaited = null;
    if (this.#visits.isLoading || isUrgent()) return false;
    if (pass.next < pass.targets.length) return this.#moveNext(pass);
    if (pass.leaf !== null && pass.leaf.stretches.length > 0) return this.#findRoom(pass, pass.leaf);
    // What is being moved would be planned as it was before.
    if (pass.running > 0) return false;
    return pass.leaf === null ? this.#plan(pass) : this.#endLeaf(pass);
  }

  #statusOf(pass: Pass): DefragmentStatus {
    const { chunkSizeBytes } = this.#options.state.geometry;
    const { object, state, startedAtMs, endedAtMs, chunk, moved, foundPieces, leftPieces } = pass;
    const { sizeBytes } = object;
    return {
      id: object.id,
      state,
      startedAtMs,
      endedAtMs,
      positionBytes: Math.min(sizeBytes, chunk * chunkSizeBytes),
      sizeBytes,
      movedBytes: moved * chunkSizeBytes,
      foundPieces,
      leftPieces,
    };
  }

  #keepEnded(): void {
    if (this.#pass === null) return;
    const { id } = this.#pass.object;
    this.#ended.delete(id);
    this.#ended.set(id, this.#statusOf(this.#pass));
    for (const oldest of this.#ended.keys()) {
      if (this.#ended.size <= ENDED_LIMIT) break;
      this.#ended.delete(oldest);
    }
  }

  get #running(): Pass | null {
    return this.#pass?.state === 'running' ? this.#pass : null;
  }

  /** Writes wait for slots, or nearly do: those that are claimed and not yet needed belong to them. */
  get #isInTheWay(): boolean {
    const { state, requests } = this.#options;
    return requests.parkedWrites > 0 || state.slots.available < leastFreeSlots(state) / 2;
  }

  /** Slots that may be claimed now. */
  get #room(): number {
    const { state } = this.#options;
    return Math.max(0, state.slots.available - Math.ceil(leastFreeSlots(state)));
  }

  /** The volume was reverted: it is another one now. */
  #beginAnew(pass: Pass): void {
    this.#giveBack(pass);
    const nothing = { chunk: 0, before: NO_LEAF_END, leaf: null, countedChunks: 0, foundPieces: 0, leftPieces: 0 };
    Object.assign(pass, { ...nothing, roomAwaited: null, incarnation: pass.object.incarnation } satisfies Partial<Pass>);
  }

  // ---- leaves ----------------------------------------------------------------------------------------------

  #plan(pass: Pass): boolean {
    const { state } = this.#options;
    const { geometry } = state;
    for (let leaves = 0; leaves < LEAVES_A_SLICE; leaves++, pass.chunk += FANOUT) {
      if (pass.chunk >= geometry.chunksOf(pass.object.sizeBytes)) return this.#end(pass, 'done');
      const segments = this.#segments(pass);
      if (segments === null) return false;
      if (segments.length === 0) continue;
      if (pass.countedChunks <= pass.chunk) pass.foundPieces += piecesIn(segments);
      pass.countedChunks = pass.chunk + FANOUT;
      const longChunks = Math.ceil(LONG_BYTES / geometry.chunkSizeBytes);
      pass.leaf = { stretches: planStretches(segments, { before: pass.before, longChunks }), search: null, lostClaims: 0 };
      return true;
    }
    return true;
  }

  /** Its moves are over. What a leaf looks like now is where the next one goes on. */
  #endLeaf(pass: Pass): boolean {
    const segments = this.#segments(pass);
    if (segments === null) return false;
    pass.leftPieces += piecesIn(segments);
    pass.before = endOf(segments, pass.before);
    const leaf = this.#options.state.tree.find(pass.object, pass.chunk);
    if (leaf !== EMPTY && leaf !== MISSING) this.#visits.leave(leaf);
    pass.roomAwaited = null;
    pass.chunk += FANOUT;
    pass.leaf = null;
    return true;
  }

  /** Of the leaf that the pass has come to; null when it has to be brought first. */
  #segments(pass: Pass): Segment[] | null {
    const { tree, seals } = this.#options.state;
    const leaf = tree.find(pass.object, pass.chunk);
    if (leaf === EMPTY) return [];
    if (leaf !== MISSING) return segmentsOf(leaf, { firstChunk: pass.chunk, before: pass.before, damaged: seals.damaged });
    this.#visits.load();
    return null;
  }

  // ---- room ------------------------------------------------------------------------------------------------

  /** Finds slots in a row for the first stretch of the leaf, or for the beginning of it, and claims them. */
  #findRoom(pass: Pass, leaf: LeafWork): boolean {
    const { slots } = this.#options.state;
    const [stretch] = leaf.stretches;
    assert(stretch !== undefined, 'room is looked for when there is something to move');
    const least = slotsToGain(stretch);
    if (least === Infinity) {
      leaf.stretches.shift();
      return true;
    }
    if (this.#room < least) return this.#makeRoom(pass, least);
    pass.roomAwaited = null;
    const most = Math.min(chunksIn(stretch.segments), this.#room);
    const enough = Math.min(most, ENOUGH_SLOTS);
    if (leaf.search === null) {
      // Best of all it goes on where the chunk before it lies.
      const after = stretch.afterSlot + 1;
      const length = stretch.afterSlot === HEADER_SLOT ? 0 : freeSlotsFrom(slots, after, most);
      if (length >= enough) return this.#claim(pass, leaf, { slot: after, length });
      leaf.search = new FreeRunSearch(slots, { from: pass.searchFrom, enough, most });
    }
    const run = leaf.search.step();
    if (run === null) return true;
    leaf.search = null;
    return this.#claim(pass, leaf, { slot: run.slot, length: Math.min(run.length, most) });
  }

  #claim(pass: Pass, leaf: LeafWork, run: FreeRun): boolean {
    const { slots } = this.#options.state;
    const { moved, rest } = cutStretch(leaf.stretches[0]!, run.length);
    const chunks = moved.flatMap((segment) => segment.chunks);
    if (freeSlotsFrom(slots, run.slot, chunks.length) < chunks.length && ++leaf.lostClaims < CLAIMS_LIMIT) return true;
    leaf.lostClaims = 0;
    leaf.stretches.shift();
    assert(pass.next === pass.targets.length, 'one stretch is moved after another');
    pass.targets = [];
    pass.next = 0;
    for (const [index, chunk] of chunks.entries()) {
      const slot = run.slot + index;
      if (!slots.claim(slot)) break;
      pass.targets.push({ chunk, slot });
    }
    const last = pass.targets.at(-1);
    if (last === undefined) return true; // nothing would be gained: it stays where it is
    pass.searchFrom = last.slot + 1;
    if (rest !== null) leaf.stretches.unshift({ ...rest, afterSlot: last.slot });
    return true;
  }

  /** There are fewer than `wanted` slots to claim: those in limbo are waited for, if they are enough, else this is the end. */
  #makeRoom(pass: Pass, wanted: number): boolean {
    const { state, checkpointer } = this.#options;
    const { slots, durability, seals, erasures, ports } = state;
    this.#giveBack(pass);
    pass.leaf = null; // what lost its slots is planned again
    if (pass.running > 0) return false;
    const nowMs = ports.clock.elapsedMs();
    pass.roomAwaited = { sinceMs: pass.roomAwaited?.sinceMs ?? nowMs, slots: wanted };
    const isInSight = slots.available + slots.inLimbo >= Math.ceil(leastFreeSlots(state)) + wanted;
    if (!isInSight || nowMs - pass.roomAwaited.sinceMs >= ROOM_WAIT_MS) return this.#end(pass, 'out-of-space');
    if (slots.wantsDurability) {
      if (!durability.running) durability.request(() => undefined);
    } else if (seals.openingCount + erasures.writtenCount > 0 && !checkpointer.running) checkpointer.want();
    return false;
  }

  /** Slots that were claimed and are in no move. */
  #giveBack(pass: Pass): void {
    const { state, requests } = this.#options;
    const left = pass.targets.slice(pass.next);
    pass.targets = [];
    pass.next = 0;
    if (left.length === 0) return;
    for (const { slot } of left) state.slots.giveBack(slot);
    requests.slotsFreed();
  }

  // ---- moves -----------------------------------------------------------------------------------------------

  #moveNext(pass: Pass): boolean {
    const { state, moves } = this.#options;
    if (pass.running >= MOVES || moves.available <= BUFFERS_LEFT || !state.journal.hasRoom || pass.object.holds > 0) return false;
    const { object } = pass;
    const { chunk, slot } = pass.targets[pass.next]!;
    if (moves.isBusy(object, chunk)) {
      if (++pass.tries >= TRIES_LIMIT) this.#skip(pass);
      return false;
    }
    const leaf = state.tree.find(object, chunk);
    if (leaf === MISSING) {
      this.#visits.load();
      return false;
    }
    const entry = this.#entry;
    if (leaf === EMPTY) entry.clear();
    else leaf.read(indexAt(chunk, 0), entry);
    const layers = 2 ** entry.count - 1;
    if (entry.count === 0 || moves.sound(entry, layers) !== layers) {
      this.#skip(pass);
      return true;
    }
    pass.next++;
    pass.tries = 0;
    pass.running++;
    moves.begin({
      object,
      chunk,
      entry,
      target: slot,
      fresh: true,
      mask: entry.covered(),
      recorded: () => void pass.moved++,
      ended: () => void pass.running--,
    });
    return true;
  }

  /** The chunk stays where it is: it is empty by now, or damaged, or always in use. */
  #skip(pass: Pass): void {
    const { state, requests } = this.#options;
    state.slots.giveBack(pass.targets[pass.next++]!.slot);
    pass.tries = 0;
    requests.slotsFreed();
  }

  #end(pass: Pass, state: DefragmentState): false {
    this.#giveBack(pass);
    pass.leaf = null;
    pass.state = state;
    pass.endedAtMs = this.#options.state.ports.clock.nowMs();
    return false;
  }
}
