/**
 * Holds: while a cut of an object is near, none of its writes starts, and the cut is told when those in flight are over
 * (design rule 5).
 */
import { assert } from '../util/assert.ts';
import type { StoredObject } from './objects.ts';
import { emptyList, NONE, type PartLinks, type PartList } from './part-lists.ts';

export interface HoldsOptions {
  readonly links: PartLinks;
  /** Tries a part of a write, or a discard, again. */
  readonly startWrite: (part: number) => void;
  readonly startZero: (request: number) => void;
}

interface Waiting {
  readonly parts: PartList;
  readonly zeros: number[];
  readonly quiet: (() => void)[];
}

export class Holds {
  readonly #options: HoldsOptions;
  readonly #waiting = new Map<StoredObject, Waiting>();

  constructor(options: HoldsOptions) {
    this.#options = options;
  }

  /** No write of the object starts until `release`; `quiet` is called when those in flight are over, perhaps at once. */
  hold(object: StoredObject, quiet: () => void): void {
    object.holds++;
    if (object.writesInFlight === 0) return quiet();
    this.#waitingFor(object).quiet.push(quiet);
  }

  release(object: StoredObject): void {
    object.holds--;
    const waiting = this.#waiting.get(object);
    if (object.holds > 0 || waiting === undefined) return;
    this.#waiting.delete(object);
    assert(waiting.quiet.length === 0, 'a hold is released after it was quiet');
    const { links, startWrite, startZero } = this.#options;
    for (let part = links.take(waiting.parts); part !== NONE; part = links.take(waiting.parts)) startWrite(part);
    for (const request of waiting.zeros) startZero(request);
  }

  /** The object is held: the part waits for the release. */
  waitWithWrite(object: StoredObject, part: number): void {
    this.#options.links.append(this.#waitingFor(object).parts, part);
  }

  waitWithZero(object: StoredObject, request: number): void {
    this.#waitingFor(object).zeros.push(request);
  }

  /** A write of the object is over. */
  writeEnded(object: StoredObject): void {
    if (object.holds === 0 || object.writesInFlight > 0) return;
    const waiting = this.#waiting.get(object);
    if (waiting !== undefined) for (const quiet of waiting.quiet.splice(0)) quiet();
  }

  #waitingFor(object: StoredObject): Waiting {
    let waiting = this.#waiting.get(object);
    if (waiting === undefined) {
      waiting = { parts: emptyList(), zeros: [], quiet: [] };
      this.#waiting.set(object, waiting);
    }
    return waiting;
  }
}
