/** Marks what is to be erased before it is written in place. */
import type { Entry } from './entry.ts';
import type { StoredObject } from './objects.ts';
import type { EngineState } from './state.ts';

/**
 * An object that erases may have got this slot from one that does not, and no record says yet that it is to be erased: a write
 * in place that changes no entry would make none. `entry` is the chunk's, its path is in memory, nothing is in flight in it.
 */
export function markBeforeWriting(state: EngineState, object: StoredObject, chunk: number, slot: number, entry: Entry): void {
  if (!object.erases || state.erasures.has(slot)) return;
  state.tree.setEntry(object, chunk, entry, state.journal.entry(object, chunk, entry));
}
