/** When a pool is short of free slots: the background then has all the time that requests leave, to bring some back. */
import type { EngineState } from './state.ts';

/** With fewer free slots the pool is short of them. Perhaps not a whole number. */
export function leastFreeSlots({ slots }: EngineState): number {
  return slots.counts.slots / 16;
}

export function isShortOfSlots(state: EngineState): boolean {
  return state.slots.available < leastFreeSlots(state);
}
