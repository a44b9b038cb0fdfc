/**
 * What a crash leaves of the model: which objects exist is decided by what the engine shows, contents by reading them.
 * A revert without an answer must have happened whole or not at all.
 */
import type { ObjectInfo } from '../../src/engine/control.ts';
import { GranuleHistory, newEntry, type Entry } from './granule-history.ts';
import { historyOf, label, type ModelObject, type PendingRevert } from './model-object.ts';
import { granuleBytes } from './stamped-content.ts';
import { Violation } from './violation.ts';

export type Crash = 'kill' | 'power' | 'none';

/** What the reconciliation needs of the model. */
export interface CrashedModel {
  readonly objects: Map<string, ModelObject>;
  now(): number;
  becomePresent(object: ModelObject): void;
  compare(object: ModelObject, info: ObjectInfo): void;
}

export class ModelRecovery {
  readonly #model: CrashedModel;

  constructor(model: CrashedModel) {
    this.#model = model;
  }

  /** After a start: `list` is what the engine shows; everything is decided by it, contents by reading them. */
  reconcile(list: readonly ObjectInfo[], crash: 'kill' | 'power' | 'none'): void {
    const shown = new Map(list.map((info) => [info.id as string, info]));
    for (const info of list) {
      if (!this.#model.objects.has(info.id))
        throw new Violation(`${info.kind} ${info.name} (${info.id}) is shown, but was never made or was deleted`);
    }
    for (const object of [...this.#model.objects.values()]) {
      const info = shown.get(object.id);
      if (info) this.#reconcilePresent(object, info, crash);
      else this.#reconcileAbsent(object, crash);
    }
    if (crash === 'none') return;
    for (const object of this.#model.objects.values()) if (object.present) this.#reconcileRevert(object, crash);
  }

  #reconcilePresent(object: ModelObject, info: ObjectInfo, crash: 'kill' | 'power' | 'none'): void {
    if (object.existence === 'going' && crash !== 'none' && (object.present || crash === 'power')) object.existence = 'sure';
    if (object.existence === 'going' && crash === 'kill' && !object.present)
      throw new Violation(`${label(object)} was out of sight and is back after the death of a process`);
    const fresh = !object.present;
    this.#model.becomePresent(object);
    this.#model.compare(object, info);
    if (crash === 'none') return;
    object.sizeBytes = info.sizeBytes;
    if (crash !== 'power') return;
    if (object.existence === 'perhaps') object.existence = 'sure';
    object.possibleSizes = [info.sizeBytes];
    const granules = info.sizeBytes / granuleBytes;
    for (const [granule, history] of object.granules) {
      if (granule >= granules) {
        object.granules.delete(granule);
        continue;
      }
      const values = [...new Set(history.afterPowerLoss())];
      if (object.kind === 'volume' && values.length > 1 && !fresh) object.unread.add(granule);
      object.granules.set(granule, new GranuleHistory(values.map((value) => newEntry(value, -1, -1, true))));
    }
  }

  #reconcileAbsent(object: ModelObject, crash: 'kill' | 'power' | 'none'): void {
    if (object.existence === 'sure') throw new Violation(`${label(object)} was answered and is gone after ${crash}`);
    if (crash === 'none') return;
    if (object.existence === 'going' && crash === 'kill') {
      object.present = false;
      return;
    }
    if (object.existence === 'perhaps' && object.present && crash === 'kill')
      throw new Violation(`${label(object)} was shown and is gone after the death of a process`);
    this.#model.objects.delete(object.id);
  }

  /** A revert without an answer: until everything is read, each granule may be as before or as after it. */
  #reconcileRevert(object: ModelObject, crash: 'kill' | 'power' | 'none'): void {
    const { revert } = object;
    if (!revert || crash === 'none') return;
    const entries = new Map<number, Entry[]>();
    const time = this.#model.now();
    for (const [granule, values] of revert.after) {
      if (granule >= object.sizeBytes / granuleBytes) continue;
      const history = historyOf(object, granule);
      const before = new Set(history.current().map((entry) => entry.value));
      const added = values.filter((value) => !before.has(value)).map((value) => newEntry(value, time, time, true));
      for (const entry of added) {
        entry.uncertain = true; // It replaces nothing: the old value and the new one stand until a read decides.
        history.add(entry);
      }
      entries.set(granule, added);
    }
    revert.entries = entries;
  }

  noteRead(object: ModelObject, granule: number, value: number): void {
    const { revert } = object;
    if (!revert?.entries) return;
    const values = revert.after.get(granule);
    if (!values) return;
    const added = revert.entries.get(granule) ?? [];
    if (added.some((entry) => entry.value === value)) revert.seenAfter = granule;
    else if (!values.includes(value)) revert.seenBefore = granule;
  }

  resolveRevert(object: ModelObject, revert: PendingRevert, entries: ReadonlyMap<number, readonly Entry[]>): void {
    if (revert.seenAfter !== null && revert.seenBefore !== null) {
      throw new Violation(`${label(object)} is half reverted: granule ${revert.seenAfter} is, granule ${revert.seenBefore} is not`);
    }
    const safety = revert.safetyId ? this.#model.objects.get(revert.safetyId) : undefined;
    if (revert.seenAfter !== null && revert.safetyId && !safety?.present)
      throw new Violation(`${label(object)} was reverted without its safety snapshot`);
    if (revert.seenBefore !== null && safety?.present) throw new Violation(`${label(object)} has a safety snapshot, but was not reverted`);
    object.revert = null;
    const happened = revert.seenAfter !== null || (revert.safetyId !== null && safety?.present === true);
    const time = this.#model.now();
    for (const [granule, values] of revert.after) {
      const history = object.granules.get(granule);
      if (!history) continue;
      const added = new Set(entries.get(granule) ?? []);
      const rest = history.entries.filter((entry) => !added.has(entry));
      object.granules.set(granule, new GranuleHistory(rest));
      if (happened && granule < object.sizeBytes / granuleBytes) {
        for (const value of values) object.granules.get(granule)!.add(newEntry(value, time, time, true));
      }
    }
  }
}
