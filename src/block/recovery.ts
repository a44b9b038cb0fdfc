/** What a successor does with each slot that it finds: decided from the arena alone, before anything is done. */
import { type Arena, SlotState } from './arena.ts';
import { uniqueHigh, uniqueLow } from './fuse.ts';

export interface RecoveryPlan {
  /** Slots whose reply may or may not have been sent: it is sent again, and the operation is not done again. */
  readonly answer: readonly number[];
  /** Slots with a request that was never answered: to be done, again or for the first time. */
  readonly submit: readonly number[];
  /** Slots with nothing in them, of connections that are gone, or with a request that another slot holds too. */
  readonly discard: readonly number[];
}

/** `isKnown` says whether that incarnation of the connection is served. */
export function planRecovery(arena: Arena, isKnown: (connection: number, incarnation: number) => boolean): RecoveryPlan {
  const answer: number[] = [];
  const submit: number[] = [];
  const discard: number[] = [];
  const seen = new Set<string>();
  const keep = (slot: number, list: number[]): void => {
    const at = arena.request(slot);
    const key = `${arena.connection(slot)} ${uniqueHigh(arena.words, at)} ${uniqueLow(arena.words, at)}`;
    if (seen.has(key)) return void discard.push(slot);
    seen.add(key);
    list.push(slot);
  };
  const waiting: number[] = [];
  for (let slot = 0; slot < arena.slots; slot++) {
    if (!isKnown(arena.connection(slot), arena.incarnation(slot))) discard.push(slot);
    else if (arena.state(slot) === SlotState.done) keep(slot, answer);
    else if (arena.holdsRequest(slot)) waiting.push(slot);
    else discard.push(slot);
  }
  // After all that is done, so that nothing done is done again.
  for (const slot of waiting) keep(slot, submit);
  return { answer, submit, discard };
}
