/**
 * The moment at which a snapshot or clone was cut: somewhere between the call and its answer, but one moment for all
 * granules. Collects what each granule may have been, and checks that what was found fits one moment.
 */
import { GranuleHistory, newEntry, type Entry } from './granule-history.ts';
import { zeros } from './stamped-content.ts';
import { Violation } from './violation.ts';

export class Cut {
  readonly sourceId: string;
  readonly #candidates = new Map<number, Set<Entry>>();
  #open = true;
  #verified = false;

  constructor(sourceId: string) {
    this.sourceId = sourceId;
  }

  /** Not answered yet: the source's new writes may be in it. */
  get open(): boolean {
    return this.#open;
  }

  add(granule: number, entry: Entry): void {
    const known = this.#candidates.get(granule);
    if (known) known.add(entry);
    else this.#candidates.set(granule, new Set([entry]));
  }

  /** The cut is over: what each granule may be from now on. */
  close(time: number): Map<number, GranuleHistory> {
    this.#open = false;
    const granules = new Map<number, GranuleHistory>();
    for (const [granule, entries] of this.#candidates) {
      const values = new Set([...entries].map((entry) => entry.value));
      granules.set(granule, new GranuleHistory([...values].map((value) => newEntry(value, -1, time, true))));
    }
    return granules;
  }

  /**
   * Holds two facts of every granule against each other: the write it shows was submitted before the cut, and every
   * write that replaced it for certain was not answered before the cut. `valueOf` is null for what is not known.
   */
  verify(name: string, valueOf: (granule: number) => number | null): void {
    if (this.#open || this.#verified) return;
    this.#verified = true;
    let latest = { time: -1, granule: -1 };
    let earliest = { time: Infinity, granule: -1 };
    for (const [granule, entries] of this.#candidates) {
      const value = valueOf(granule);
      const shown = [...entries].filter((entry) => entry.value === value);
      // Zeros may have been written more than once, so they say nothing of the time.
      if (value === null || value === zeros || shown.length !== 1) continue;
      if (shown[0]!.submitted > latest.time) latest = { time: shown[0]!.submitted, granule };
      for (const other of entries) {
        if (other.uncertain || other.submitted <= shown[0]!.answered) continue;
        if (other.answered < earliest.time) earliest = { time: other.answered, granule };
      }
    }
    if (latest.time > earliest.time) {
      throw new Violation(
        `${name} is no cut: it has the write of granule ${latest.granule}, but not the older one of granule ${earliest.granule}`,
      );
    }
  }
}
