/**
 * What a look at the pool tells of its scrubs: few figures, and the names of what damage touches. To find those the engine
 * walks trees, so nobody waits for that for long. It never tells of none while there is damage: whoever reads it would take
 * the rest for a new finding.
 */
import type { DamageReport, ObjectKind } from '../../engine/control.ts';
import type { Clock } from '../../util/clock.ts';
import type { Logger } from '../../util/log.ts';
import { pause } from '../../util/pause.ts';
import type { Scrubber } from './scrubber.ts';

export interface ScrubView {
  /** How far the verifying pass came that is under way; null: none is. */
  readonly runningPercent: number | null;
  /** When the last verifying pass came to its end; 0: never. */
  readonly completedAtMs: number;
  readonly protectedBytes: number;
  readonly damagedChunks: number;
  /** The first volumes and snapshots that these are part of. */
  readonly damaged: readonly NamedObject[];
  /** There are more. */
  readonly moreDamaged: boolean;
}

interface NamedObject {
  readonly kind: ObjectKind;
  readonly name: string;
}

type KnownDamage = Pick<ScrubView, 'damagedChunks' | 'damaged' | 'moreDamaged'>;

const NAMES = 3;
/** Names change without a new finding when something is deleted or made. */
const REFRESH_MS = 60_000;
/** How long the first look at damage waits for the names. */
const NAMES_LIMIT_MS = 2_000;
const NO_DAMAGE: KnownDamage = { damagedChunks: 0, damaged: [], moreDamaged: false };

export class ScrubWatch {
  readonly #options: { readonly scrubber: Pick<Scrubber, 'status' | 'damage'>; readonly clock: Clock; readonly log: Logger };
  #known: KnownDamage = NO_DAMAGE;
  #askedAtMs = Number.NEGATIVE_INFINITY;
  #asking: Promise<void> | null = null;

  constructor(options: { readonly scrubber: Pick<Scrubber, 'status' | 'damage'>; readonly clock: Clock; readonly log: Logger }) {
    this.#options = options;
  }

  async look(pool: { readonly sizeBytes: number }): Promise<ScrubView> {
    const status = await this.#options.scrubber.status();
    const { running, positionBytes, completedAtMs, protectedBytes, damagedChunks } = status;
    if (damagedChunks === 0) this.#known = NO_DAMAGE;
    else if (damagedChunks !== this.#known.damagedChunks || this.#isOld) await this.#refresh(damagedChunks);
    const percent = Math.floor((100 * positionBytes) / Math.max(1, pool.sizeBytes));
    return { ...this.#known, runningPercent: running === 'verify' ? Math.min(100, percent) : null, completedAtMs, protectedBytes };
  }

  get #isOld(): boolean {
    return Math.abs(this.#options.clock.nowMs() - this.#askedAtMs) >= REFRESH_MS;
  }

  async #refresh(damagedChunks: number): Promise<void> {
    const answered = new AbortController();
    if (this.#asking === null) {
      this.#askedAtMs = this.#options.clock.nowMs();
      this.#asking = this.#ask(damagedChunks).finally(() => (this.#asking = null));
    }
    if (this.#known.damagedChunks > 0) return;
    void this.#asking.finally(() => answered.abort());
    await pause(this.#options.clock, NAMES_LIMIT_MS, [answered.signal]);
    if (this.#known.damagedChunks === 0) this.#known = { damagedChunks, damaged: [], moreDamaged: true };
  }

  /** Never fails: damage is told without names rather than not at all. */
  async #ask(damagedChunks: number): Promise<void> {
    const { scrubber, log } = this.#options;
    try {
      this.#known = { damagedChunks, ...namesIn(await scrubber.damage()) };
    } catch (error) {
      this.#known = { ...this.#known, damagedChunks, moreDamaged: true };
      log.warn({ err: error }, 'what the damage touches is not known');
    }
  }
}

/** Snapshots first: all damage is in what some snapshot held. */
function namesIn({ chunks, more }: DamageReport): Pick<ScrubView, 'damaged' | 'moreDamaged'> {
  const objects = new Map<string, NamedObject>();
  for (const { places } of chunks) for (const { id, kind, name } of places) objects.set(id, { kind, name });
  const sorted = [...objects.values()].toSorted((left, right) => Number(left.kind === 'volume') - Number(right.kind === 'volume'));
  return { damaged: sorted.slice(0, NAMES), moreDamaged: more || sorted.length > NAMES };
}
