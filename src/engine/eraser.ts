/** Overwrites with zeros what is to be erased, some slots at a time (erasures.ts has the rules). */
import type { Checkpointer } from './checkpointer.ts';
import type { EngineState } from './state.ts';

const SLOTS_AT_A_TIME = 16;
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
  /** A write failed: the disk is left alone until the next tick. */
  #rests = false;

  constructor(options: EraserOptions) {
    this.#options = options;
  }

  tick(): void {
    this.#rests = false;
  }

  /** Begins as many writes as may be under way; there is more to do when they are over. */
  step(): void {
    const { state, checkpointer, zeroOffset } = this.#options;
    const { erasures, geometry, calls, ports } = state;
    while (this.#pending < SLOTS_AT_A_TIME && !this.#rests && state.broken === null) {
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
      this.#rests = true;
    }
  }
}
