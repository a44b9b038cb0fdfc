/** What a thread of volume-writer.ts is given. */
import type { ModelMemory } from './written-model.ts';

export interface VolumeWriterData {
  readonly memory: ModelMemory;
  readonly writer: number;
  readonly seed: number;
  /** Longest operations: pairs of begin and length in milliseconds (Unix time), the first pair counts them. */
  readonly stalls: SharedArrayBuffer;
}

export const STALL_MS = 20;
export const MAXIMUM_STALLS = 16_384;
