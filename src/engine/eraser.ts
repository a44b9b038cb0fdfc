/**
 * Overwrites with zeros what is to be erased, some slots at a time (erasures.ts has the rules).
 *
 * Invariant: it begins nothing while something of it is under way. A thread that ends waits for the moment when nothing is in
 * flight, which would not come before the last slot was erased.
 */
import type { Checkpointer } from './checkpointer.ts';
import type { EngineState } from './state.ts';

const SLOTS_AT_A_TIME = 16;
/** After a write that failed the disk is left alone for so long. */
const REST_MS = 5000;
/** Overwritten slots that may wait for a checkpoint. */
const WAITING_LIMIT = 65536;

export interface EraserOptions {
  readonly state: EngineState;
  readonly checkpointer: Checkpointer;
  /** Offset in the shared memory of a chunk of zeros. */
  readonly zeroOffset: number;
}

export class Eraser {
  readonly #options: EraserOptions;
  #pending = 0;
  #restsUntilMs = 0;

  constructor(options: EraserOptions) {
    this.#options = options;
  }

  /** Begins the next few writes when the last ones are over. */
  step(): void {
    const { state, checkpointer, zeroOffset } = this.#options;
    const { erasures, geometry, calls, ports } = state;
    if (this.#pending > 0 || erasures.leavingCount === 0 || this.#restsUntilMs > ports.clock.elapsedMs()) return;
    while (this.#pending < SLOTS_AT_A_TIME && state.broken === null) {
      if (erasures.writtenCount >= WAITING_LIMIT) return checkpointer.running ? undefined : checkpointer.want();
      const slot = erasures.next();
      if (slot === null) return;
      this.#pending++;
      const tag = calls.tag((result) => this.#completed(slot, result));
      ports.data.write(slot * geometry.chunkSizeBytes, geometry.chunkSizeBytes, zeroOffset, tag);
    }
  }

  #completed(slot: number, result: number): void {
    const { state } = this.#options;
    this.#pending--;
    // The next checkpoint syncs what landed.
    state.durability.landed();
    if (result === state.geometry.chunkSizeBytes) state.erasures.written(slot);
    else {
      state.erasures.failed(slot);
      this.#restsUntilMs = state.ports.clock.elapsedMs() + REST_MS;
    }
  }
}
