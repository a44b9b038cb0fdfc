/**
 * Passes over what snapshots hold, as the callers of a store ask for them. Before the first one the version of the pool's
 * format is raised.
 *
 * Invariant: no chunk gets a checksum before the version is durable, because an older program would write into it.
 */
import type { DamageReport, ScrubMode, ScrubStatus } from '../../engine/control.ts';
import { StoreError } from '../../util/errors.ts';
import type { EngineControl } from '../data-thread/control.ts';

export interface ScrubberOptions {
  readonly engine: EngineControl;
  /** Raises the version of the pool's format, which is durable when this returns. Called before each pass. */
  readonly raiseVersion: () => void;
  /** Of a pass that is asked for without a rate. */
  readonly bytesPerSecond: number;
}

/** One chunk of the largest size. */
export const LEAST_SCRUB_BYTES_PER_SECOND = 65_536;

export class Scrubber {
  readonly #options: ScrubberOptions;

  constructor(options: ScrubberOptions) {
    this.#options = options;
  }

  /** Begins a pass or goes on with one. `bytesPerSecond` 0: the store's own rate. */
  async start({ mode, bytesPerSecond }: { readonly mode: ScrubMode; readonly bytesPerSecond: number }): Promise<ScrubStatus> {
    checkRate(bytesPerSecond);
    const { engine, raiseVersion } = this.#options;
    raiseVersion();
    return engine.call({ kind: 'scrub-start', mode, bytesPerSecond: bytesPerSecond || this.#options.bytesPerSecond });
  }

  stop(): Promise<ScrubStatus> {
    return this.#options.engine.call({ kind: 'scrub-stop' });
  }

  status(): Promise<ScrubStatus> {
    return this.#options.engine.call({ kind: 'scrub-status' });
  }

  damage(): Promise<DamageReport> {
    return this.#options.engine.call({ kind: 'damage' });
  }
}

function checkRate(bytesPerSecond: number): void {
  if (bytesPerSecond === 0) return;
  if (Number.isSafeInteger(bytesPerSecond) && bytesPerSecond >= LEAST_SCRUB_BYTES_PER_SECOND) return;
  throw new StoreError(
    'invalid-argument',
    `the rate must be at least ${LEAST_SCRUB_BYTES_PER_SECOND} bytes a second, not ${bytesPerSecond}`,
  );
}
