/** Walks for scrubbing: which slots do snapshots hold, and who is hit by those that are damaged. */
import type { DamagedChunk, DamagedPlace, DamageReport } from './control.ts';
import { Entry } from './entry.ts';
import { FrozenWalk, type Visit, type Walker } from './frozen-walk.ts';
import { FANOUT } from './geometry.ts';
import type { StoredObject } from './objects.ts';
import { isLeaf, type Page } from './page.ts';
import { DAMAGE_LIMIT, type Damage } from './seals.ts';
import type { EngineState } from './state.ts';
import { EMPTY, indexAt, MISSING } from './tree.ts';

const LOOKUPS_A_SLICE = 64;
/** Places in one report, beside the first of each chunk: an answer has to fit into a message. */
const PLACES_LIMIT = 10_000;

/** Visits each slot of these objects, those of a page that several share once. */
abstract class SlotWalk extends FrozenWalk {
  readonly #pages = new Set<number>();

  constructor(state: EngineState, objects: Iterable<StoredObject>) {
    super(state);
    for (const { rootNumber, lineage } of objects) {
      if (rootNumber === 0 || !this.#isNew(rootNumber)) continue;
      this.pin(rootNumber, { number: rootNumber, firstChunk: 0, exclusive: false, lineage });
    }
  }

  protected abstract slot(slot: number, chunk: number, lineage: number): void;

  protected visit(page: Page, visit: Visit): void {
    if (!isLeaf(page)) {
      this.eachChild(page, visit, (number, firstChunk) => {
        if (this.#isNew(number)) this.push({ ...visit, number, firstChunk });
      });
      return;
    }
    for (let index = 0; index < FANOUT; index++) {
      page.read(index, this.entry);
      for (let layer = 0; layer < this.entry.count; layer++) this.slot(this.entry.slots[layer]!, visit.firstChunk + index, visit.lineage);
    }
  }

  #isNew(number: number): boolean {
    if (this.#pages.has(number)) return false;
    this.#pages.add(number);
    return true;
  }
}

/** The slots that snapshots hold, a bit each. */
export class HeldWalk extends SlotWalk {
  readonly #held: Uint32Array;
  readonly #done: (held: Uint32Array) => void;

  constructor(state: EngineState, done: (held: Uint32Array) => void) {
    super(
      state,
      [...state.objects.all()].filter(({ kind }) => kind === 'snapshot'),
    );
    this.#done = done;
    this.#held = new Uint32Array(Math.ceil(state.slots.counts.slots / 32));
  }

  protected slot(slot: number): void {
    this.#held[slot >>> 5]! |= 1 << (slot & 31);
  }

  protected finish(): void {
    this.#done(this.#held);
  }
}

/** Where a slot is used: every slot is for one chunk number of one lineage. */
interface SlotPlace {
  readonly chunk: number;
  readonly lineage: number;
}

/** Finds the chunk that each damaged slot is for. */
class PlaceWalk extends SlotWalk {
  readonly #wanted: ReadonlyMap<number, Damage>;
  readonly found = new Map<number, SlotPlace>();

  constructor(state: EngineState, wanted: ReadonlyMap<number, Damage>) {
    super(state, state.objects.all());
    this.#wanted = wanted;
  }

  protected slot(slot: number, chunk: number, lineage: number): void {
    if (this.#wanted.has(slot)) this.found.set(slot, { chunk, lineage });
  }

  protected finish(): void {
    // What was found is looked up in the objects next.
  }
}

/** Does this object have this slot at this chunk? */
interface Lookup extends SlotPlace {
  readonly slot: number;
  readonly number: number;
}

/** Which objects damaged slots are part of, and where. */
export class DamageWalk implements Walker {
  readonly #state: EngineState;
  readonly #done: (report: DamageReport) => void;
  readonly #damaged: ReadonlyMap<number, Damage>;
  /** Null when nothing is damaged, as nearly always. */
  readonly #places: PlaceWalk | null;
  readonly #entry = new Entry();
  #lookups: Iterator<Lookup> | null = null;
  #lookup: Lookup | null = null;
  readonly #hits = new Map<number, DamagedPlace[]>();
  #furtherPlaces = 0;
  #more = false;
  #isLoading = false;
  over = false;

  constructor(state: EngineState, done: (report: DamageReport) => void) {
    this.#state = state;
    this.#done = done;
    this.#damaged = new Map(state.seals.damaged);
    this.#more = this.#damaged.size >= DAMAGE_LIMIT;
    this.#places = this.#damaged.size === 0 ? null : new PlaceWalk(state, this.#damaged);
  }

  step(): boolean {
    if (this.#isLoading || this.over) return false;
    const places = this.#places;
    if (places !== null && !places.over) return places.step() || places.over;
    this.#lookups ??= this.#lookupsOf();
    for (let count = 0; count < LOOKUPS_A_SLICE; count++) {
      this.#lookup ??= this.#nextLookup();
      if (this.#lookup === null) return this.#end();
      if (!this.#lookUp(this.#lookup)) return false;
      this.#lookup = null;
    }
    return true;
  }

  #end(): false {
    this.over = true;
    // What nobody has any more is about to be free, or is somebody else's by now.
    const { damaged } = this.#state.seals;
    const still = [...this.#damaged].filter(([slot]) => damaged.has(slot) && this.#hits.has(slot));
    this.#done({ chunks: still.map(([slot, damage]) => this.#chunkOf(slot, damage)), more: this.#more });
    return false;
  }

  #nextLookup(): Lookup | null {
    const next = this.#lookups!.next();
    return next.done === true ? null : next.value;
  }

  /** A slot may be part of any object that descends from the same volume, at the same chunk. */
  *#lookupsOf(): Generator<Lookup, undefined> {
    const numbersOf = new Map<number, number[]>();
    for (const { number, lineage } of this.#state.objects.all()) {
      const numbers = numbersOf.get(lineage);
      if (numbers === undefined) numbersOf.set(lineage, [number]);
      else numbers.push(number);
    }
    for (const [slot, place] of this.#places?.found ?? [])
      for (const number of numbersOf.get(place.lineage) ?? []) yield { slot, ...place, number };
    return undefined;
  }

  /** False when a page has to be brought first. */
  #lookUp({ slot, chunk, number }: Lookup): boolean {
    const { objects, tree, pages, geometry } = this.#state;
    const object = objects.byNumber(number);
    const leaf = object === undefined ? EMPTY : tree.find(object, chunk);
    if (leaf === MISSING) {
      this.#isLoading = true;
      pages.load(pages.missing, () => {
        this.#isLoading = false;
      });
      return false;
    }
    if (leaf === EMPTY || object === undefined) return true;
    leaf.read(indexAt(chunk, 0), this.#entry);
    if (this.#entry.find(slot) < 0) return true;
    let hits = this.#hits.get(slot);
    if (hits === undefined) this.#hits.set(slot, (hits = []));
    const { id, kind, name } = object.info();
    if (hits.length > 0 && ++this.#furtherPlaces > PLACES_LIMIT) this.#more = true;
    else hits.push({ id, kind, name, offsetBytes: chunk * geometry.chunkSizeBytes });
    return true;
  }

  #chunkOf(slot: number, damage: Damage): DamagedChunk {
    return { dataOffsetBytes: slot * this.#state.geometry.chunkSizeBytes, damage, places: this.#hits.get(slot) ?? [] };
  }
}
