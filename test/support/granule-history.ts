/**
 * What one granule may read as: every write to it that still matters, with the times of its submission and its answer.
 *
 * - A write that was submitted after another one was answered replaces it; writes that overlapped in time may have
 *   happened in either order.
 * - An answered flush makes older answers irrelevant for a power loss, not before.
 */
export interface Entry {
  readonly value: number;
  readonly submitted: number;
  /** Infinity while it is under way. */
  answered: number;
  /** It ended without success: it may have happened or not, so it replaces nothing. */
  uncertain: boolean;
  /** One of several values the granule may have had from the start; reading it decides. */
  readonly alternative: boolean;
  /** A read has shown that another of the concurrent writes came last. */
  hidden: boolean;
}

export function newEntry(value: number, submitted: number, answered = Infinity, alternative = false): Entry {
  return { value, submitted, answered, uncertain: false, alternative, hidden: false };
}

export class GranuleHistory {
  #entries: Entry[];

  constructor(entries: readonly Entry[]) {
    this.#entries = [...entries];
  }

  get entries(): readonly Entry[] {
    return this.#entries;
  }

  add(entry: Entry): void {
    this.#entries.push(entry);
  }

  /** What a read that begins and ends now may return. */
  current(): Entry[] {
    return this.#standing(Infinity).filter((entry) => !entry.hidden);
  }

  /** What may come back after a power loss now. */
  afterPowerLoss(): number[] {
    return this.#entries.map((entry) => entry.value);
  }

  /** A flush that was submitted at `time` is answered. */
  flushed(time: number): void {
    const standing = new Set(this.#standing(time));
    this.#entries = this.#entries.filter((entry) => standing.has(entry));
  }

  /** A read that nothing overlapped returned `value`. */
  observed(value: number): void {
    const current = this.current();
    if (current.length < 2) return;
    const kept = current.find((entry) => entry.value === value);
    for (const entry of current) {
      if (entry === kept || entry.answered === Infinity) continue;
      if (entry.alternative && kept?.alternative) this.#entries = this.#entries.filter((other) => other !== entry);
      else if (!entry.uncertain) entry.hidden = true;
    }
  }

  /** Entries that nothing answered before `time` had certainly replaced by then, and later ones. */
  #standing(time: number): Entry[] {
    let replacedBefore = -Infinity;
    for (const entry of this.#entries) {
      if (!entry.uncertain && entry.answered !== Infinity && entry.answered <= time)
        replacedBefore = Math.max(replacedBefore, entry.submitted);
    }
    return this.#entries.filter((entry) => entry.answered >= replacedBefore);
  }
}
