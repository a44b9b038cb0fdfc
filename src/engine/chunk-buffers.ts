/** The buffers in the shared memory for chunks that the background reads: of the merger, and one at a time of the scrubber. */
import { MERGE_BUFFER_BYTES, MERGE_BUFFERS } from './memory-layout.ts';

export class ChunkBuffers {
  readonly #free: number[] = [];

  /** @param memoryOffset of the buffers in the shared memory */
  constructor(memoryOffset: number) {
    for (let buffer = 0; buffer < MERGE_BUFFERS; buffer++) this.#free.push(memoryOffset + buffer * MERGE_BUFFER_BYTES);
  }

  get available(): number {
    return this.#free.length;
  }

  /** Offset of a buffer in the shared memory; null when all are in use. */
  take(): number | null {
    return this.#free.pop() ?? null;
  }

  give(buffer: number): void {
    this.#free.push(buffer);
  }
}
