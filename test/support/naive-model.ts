/**
 * The oracle: what volumes and snapshots must hold, told only by what was asked and answered.
 *
 * - After the death of a process, what was answered reads back; what was under way may have happened or not.
 * - After a power loss each granule reads as of the last answered flush or anything written since, or as sectors of
 *   several of them; from then on it stays what it was first seen to be.
 * - A snapshot (or clone) holds what the source read as at one moment between the call and its answer, and never
 *   changes. A control call that was not answered may have happened or not, as a whole; an answered one is durable.
 */
import type { ControlRequest, ObjectAnswer, ObjectInfo, ObjectKind } from '../../src/engine/control.ts';
import type { StoreError } from '../../src/util/errors.ts';
import { Cut } from './cut.ts';
import { GranuleHistory, newEntry, type Entry } from './granule-history.ts';
import { granuleBytes, StampedContent, zeros } from './stamped-content.ts';
import { Violation } from './violation.ts';
import type { Window } from './walk-windows.ts';

/** `perhaps`: not answered; `sure`: answered; `going`: its deletion is not answered. */
export type Existence = 'perhaps' | 'sure' | 'going';

export interface ModelObject {
  readonly id: string;
  readonly kind: ObjectKind;
  readonly name: string;
  readonly stamp: number;
  readonly sourceId: string | null;
  readonly sourceKind: ObjectKind | null;
  readonly attributes: Readonly<Record<string, string>>;
  existence: Existence;
  /** Whether the engine shows it; an object that is `going` may be out of sight and still come back. */
  present: boolean;
  sizeBytes: number;
  /** Sizes that a crash may bring. */
  possibleSizes: number[];
  granules: Map<number, GranuleHistory>;
  /** Granules that a power loss may have torn and that were not read since. */
  unread: Set<number>;
  cut: Cut | null;
  revert: PendingRevert | null;
  /** As the engine first described it: these never change. */
  described: Pick<ObjectInfo, 'createdAtMs' | 'lineage'> | null;
}

interface PendingRevert {
  readonly started: number;
  readonly after: ReadonlyMap<number, readonly number[]>;
  readonly safetyId: string | null;
  /** Granules of the snapshot that may be torn. */
  readonly unread: ReadonlySet<number>;
  /** Set once a crash has left the call without an answer: the entries that stand for "it happened". */
  entries: Map<number, Entry[]> | null;
  seenBefore: number | null;
  seenAfter: number | null;
}

interface ReadToken {
  readonly object: ModelObject;
  readonly granule: number;
  readonly count: number;
  readonly allowed: Set<number>[];
  /** Something changed during the read, so it proves nothing about the order of writes. */
  readonly overlapped: boolean[];
}

interface ChangeToken {
  readonly object: ModelObject;
  readonly entries: readonly Entry[];
}

interface FlushToken {
  readonly object: ModelObject;
  readonly time: number;
}

interface ControlToken {
  readonly request: ControlRequest;
  readonly time: number;
}

export class NaiveModel {
  readonly content = new StampedContent();
  readonly objects = new Map<string, ModelObject>();
  readonly #reads = new Set<ReadToken>();
  readonly #changes = new Set<ChangeToken>();
  #clock = 0;
  #stamps = 0;

  #now(): number {
    this.#clock += 1;
    return this.#clock;
  }

  get(id: string): ModelObject {
    const object = this.objects.get(id);
    if (!object) throw new Error(`the model has no object ${id}`);
    return object;
  }

  /** The objects that the engine must show, perhaps also those that it may show. */
  visible(): ModelObject[] {
    return [...this.objects.values()].filter((object) => object.present);
  }

  // ---- requests on a device -----------------------------------------------------------------------------------

  beginWrite(id: string, granule: number, count: number): { readonly payload: Uint8Array; readonly token: ChangeToken } {
    const object = this.get(id);
    const payload = new Uint8Array(count * granuleBytes);
    const values: number[] = [];
    for (let index = 0; index < count; index += 1) {
      const value = this.content.newValue({ volume: object.stamp, granule: granule + index });
      payload.set(this.content.bytesOf(value), index * granuleBytes);
      values.push(value);
    }
    return { payload, token: this.#beginChange(object, granule, values) };
  }

  /** Of a huge range only what lies in the windows is followed; the rest was never written. */
  beginZero(id: string, granule: number, count: number, windows: readonly Window[]): ChangeToken {
    const object = this.get(id);
    const token: { object: ModelObject; entries: Entry[] } = { object, entries: [] };
    const time = this.#now();
    const followed = new Set(object.granules.keys());
    for (const window of windows)
      for (let at = Math.max(granule, window.start); at < Math.min(granule + count, window.end); at += 1) followed.add(at);
    for (const at of followed) {
      if (at < granule || at >= granule + count) continue;
      token.entries.push(this.#addEntry(object, at, this.#history(object, at), newEntry(zeros, time)));
    }
    this.#changes.add(token);
    return token;
  }

  answerChange(token: ChangeToken, errno: number): void {
    this.#changes.delete(token);
    const time = this.#now();
    for (const entry of token.entries) {
      entry.answered = time;
      entry.uncertain = errno !== 0;
    }
  }

  beginFlush(id: string): FlushToken {
    return { object: this.get(id), time: this.#now() };
  }

  answerFlush(token: FlushToken, errno: number): void {
    if (errno !== 0) return;
    for (const history of token.object.granules.values()) history.flushed(token.time);
    if (token.object.existence === 'perhaps') token.object.existence = 'sure';
  }

  beginRead(id: string, granule: number, count: number): ReadToken {
    const object = this.get(id);
    const allowed: Set<number>[] = [];
    const overlapped: boolean[] = [];
    for (let index = 0; index < count; index += 1) {
      const current = this.#history(object, granule + index).current();
      allowed.push(new Set(current.map((entry) => entry.value)));
      overlapped.push(current.some((entry) => entry.answered === Infinity));
    }
    const token: ReadToken = { object, granule, count, allowed, overlapped };
    this.#reads.add(token);
    return token;
  }

  answerRead(token: ReadToken, errno: number, bytes: Uint8Array): void {
    this.#reads.delete(token);
    const { object } = token;
    if (errno !== 0) throw new Violation(`a read of ${label(object)} at granule ${token.granule} failed with error ${errno}`);
    for (let index = 0; index < token.count; index += 1) {
      const granule = token.granule + index;
      const content = bytes.subarray(index * granuleBytes, (index + 1) * granuleBytes);
      const value = this.#recognise(object, granule, content, token.allowed[index]!);
      if (token.overlapped[index]!) continue;
      this.#history(object, granule).observed(value);
      this.#noteRevert(object, granule, value);
    }
  }

  /** A read ended with an injected error: it shows nothing. */
  failRead(token: ReadToken): void {
    this.#reads.delete(token);
  }

  /** The device was closed with these requests under way: they are never answered. */
  abandon(id: string): void {
    for (const token of this.#changes) if (token.object.id === id) this.answerChange(token, 1);
    for (const token of this.#reads) if (token.object.id === id) this.#reads.delete(token);
  }

  // ---- control calls ------------------------------------------------------------------------------------------

  beginControl(request: ControlRequest): ControlToken {
    const time = this.#now();
    if (request.kind === 'create') {
      this.#expect(request.id, 'volume', request.name, request.sizeBytes, null, request.attributes);
    } else if (request.kind === 'snapshot' || request.kind === 'clone') {
      const source = this.get(request.sourceId);
      const sizeBytes = request.kind === 'clone' && request.sizeBytes > 0 ? request.sizeBytes : source.sizeBytes;
      const kind = request.kind === 'snapshot' ? 'snapshot' : 'volume';
      const made = this.#expect(request.id, kind, request.name, sizeBytes, source, request.attributes);
      if (made && !made.cut) {
        made.cut = new Cut(source.id);
        made.unread = new Set(source.unread);
        for (const [granule, history] of source.granules) for (const entry of history.current()) made.cut.add(granule, entry);
      }
    } else if (request.kind === 'delete') {
      const object = this.objects.get(request.id);
      if (object) object.existence = 'going';
    } else if (request.kind === 'resize') {
      const object = this.get(request.id);
      if (!object.possibleSizes.includes(request.sizeBytes)) object.possibleSizes.push(request.sizeBytes);
    } else if (request.kind === 'revert') {
      this.#beginRevert(request.id, request.snapshotId, request.safety, time);
    }
    return { request, time };
  }

  /** What an answer without an error promises. */
  answerControl(token: ControlToken, answer: unknown): void {
    const { request } = token;
    if (request.kind === 'delete') {
      this.objects.delete(request.id);
      return;
    }
    if (
      request.kind !== 'create' &&
      request.kind !== 'snapshot' &&
      request.kind !== 'clone' &&
      request.kind !== 'resize' &&
      request.kind !== 'revert'
    )
      return;
    const { object: info, safety, existed } = answer as ObjectAnswer;
    const object = this.get(request.id);
    if (request.kind === 'resize') {
      object.sizeBytes = request.sizeBytes;
      object.possibleSizes = [request.sizeBytes];
    }
    if (request.kind === 'revert') this.#endRevert(object, request.safety !== null && existed);
    this.#becomeSure(object);
    this.compare(object, info);
    if (request.kind === 'revert' && request.safety) {
      const kept = this.get(request.safety.id);
      this.#becomeSure(kept);
      if (!safety) throw new Violation(`the revert of ${label(object)} does not name its safety snapshot`);
      this.compare(kept, safety);
    }
  }

  /** The call was refused: nothing happened. */
  refuseControl(token: ControlToken, error: StoreError): void {
    const { request } = token;
    if (request.kind === 'delete') {
      const object = this.objects.get(request.id);
      if (object && object.present) object.existence = 'sure';
      else if (error.code === 'not-found') this.objects.delete(request.id);
    } else if (request.kind === 'resize') {
      const object = this.get(request.id);
      object.possibleSizes = object.possibleSizes.filter((size) => size !== request.sizeBytes || size === object.sizeBytes);
    } else if (request.kind === 'revert') {
      this.get(request.id).revert = null;
      if (request.safety) this.#forgetUnmade(request.safety.id);
    } else if (request.kind === 'create' || request.kind === 'snapshot' || request.kind === 'clone') {
      this.#forgetUnmade(request.id);
    }
  }

  /** Compares what the engine says of an object with the model. */
  compare(object: ModelObject, info: ObjectInfo): void {
    const sizes = [object.sizeBytes, ...object.possibleSizes];
    const wanted = { id: object.id, kind: object.kind, name: object.name, sourceId: object.sourceId, sourceKind: object.sourceKind };
    for (const [field, value] of Object.entries(wanted)) {
      const found = info[field as keyof ObjectInfo];
      if (found !== value) throw new Violation(`${label(object)}: ${field} is ${JSON.stringify(found)}, expected ${JSON.stringify(value)}`);
    }
    if (!sizes.includes(info.sizeBytes)) throw new Violation(`${label(object)}: size is ${info.sizeBytes}, expected ${sizes.join(' or ')}`);
    if (JSON.stringify(info.attributes) !== JSON.stringify(object.attributes))
      throw new Violation(`${label(object)}: its attributes changed`);
    const { createdAtMs, lineage } = info;
    object.described ??= { createdAtMs, lineage };
    if (object.described.createdAtMs !== createdAtMs || object.described.lineage !== lineage) {
      throw new Violation(`${label(object)}: creation time or lineage changed`);
    }
  }

  // ---- crashes ------------------------------------------------------------------------------------------------

  /** The process died. Requests under way are done again by the next one; control calls are not. */
  killed(): void {
    for (const token of this.#reads) {
      token.overlapped.fill(true);
    }
  }

  powerLost(): void {
    for (const token of this.#changes) this.answerChange(token, 1);
    this.#reads.clear();
  }

  /** After a start: `list` is what the engine shows; everything is decided by it, contents by reading them. */
  reconcile(list: readonly ObjectInfo[], crash: 'kill' | 'power' | 'none'): void {
    const shown = new Map(list.map((info) => [info.id as string, info]));
    for (const info of list) {
      if (!this.objects.has(info.id))
        throw new Violation(`${info.kind} ${info.name} (${info.id}) is shown, but was never made or was deleted`);
    }
    for (const object of [...this.objects.values()]) {
      const info = shown.get(object.id);
      if (info) this.#reconcilePresent(object, info, crash);
      else this.#reconcileAbsent(object, crash);
    }
    if (crash === 'none') return;
    for (const object of this.objects.values()) if (object.present) this.#reconcileRevert(object, crash);
  }

  /** Everything was read: a revert without an answer must have happened whole or not at all, a cut at one moment. */
  finishVerification(): void {
    for (const object of this.visible()) {
      const { revert } = object;
      if (revert?.entries) this.#resolveRevert(object, revert, revert.entries);
      object.cut?.verify(label(object), (granule) => {
        const current = this.#history(object, granule).current();
        return object.kind === 'snapshot' && current.length === 1 ? current[0]!.value : null;
      });
    }
  }

  // ---- the rest -----------------------------------------------------------------------------------------------

  #history(object: ModelObject, granule: number): GranuleHistory {
    let history = object.granules.get(granule);
    if (!history) {
      history = new GranuleHistory([newEntry(zeros, -1, -1)]);
      object.granules.set(granule, history);
    }
    return history;
  }

  #beginChange(object: ModelObject, granule: number, values: readonly number[]): ChangeToken {
    const time = this.#now();
    const entries = values.map((value, index) =>
      this.#addEntry(object, granule + index, this.#history(object, granule + index), newEntry(value, time)),
    );
    const token = { object, entries };
    this.#changes.add(token);
    return token;
  }

  #addEntry(object: ModelObject, granule: number, history: GranuleHistory, entry: Entry): Entry {
    for (const made of this.objects.values()) {
      if (made.cut?.open && made.cut.sourceId === object.id) {
        for (const standing of history.current()) made.cut.add(granule, standing);
        made.cut.add(granule, entry);
      }
    }
    history.add(entry);
    for (const read of this.#reads) {
      if (read.object !== object || granule < read.granule || granule >= read.granule + read.count) continue;
      read.allowed[granule - read.granule]!.add(entry.value);
      read.overlapped[granule - read.granule] = true;
    }
    return entry;
  }

  #recognise(object: ModelObject, granule: number, bytes: Uint8Array, allowed: ReadonlySet<number>): number {
    const torn = object.unread.delete(granule);
    for (const value of allowed) if (this.content.isValue(bytes, value)) return value;
    const history = this.#history(object, granule);
    // Another read of the same granule may have found out meanwhile what the power loss left.
    for (const { value } of history.current()) if (this.content.isValue(bytes, value)) return value;
    if (torn && this.content.isMixOf(bytes, history.afterPowerLoss())) {
      const value = this.content.literal(bytes);
      object.granules.set(granule, new GranuleHistory([newEntry(value, -1, -1)]));
      return value;
    }
    const wanted = [...allowed].map((value) => this.content.describe(this.content.bytesOf(value))).join(' or ');
    throw new Violation(`${label(object)}, granule ${granule} reads ${this.content.describe(bytes)}, expected ${wanted}`);
  }

  #expect(
    id: string,
    kind: ObjectKind,
    name: string,
    sizeBytes: number,
    source: ModelObject | null,
    attributes: Readonly<Record<string, string>>,
  ): ModelObject | null {
    const known = this.objects.get(id);
    if (known) return known;
    this.#stamps += 1;
    const object: ModelObject = {
      id,
      kind,
      name,
      stamp: this.#stamps,
      sourceId: source?.id ?? null,
      sourceKind: source?.kind ?? null,
      attributes,
      existence: 'perhaps',
      present: false,
      sizeBytes,
      possibleSizes: [sizeBytes],
      granules: new Map(),
      unread: new Set(),
      cut: null,
      revert: null,
      described: null,
    };
    this.objects.set(id, object);
    return object;
  }

  #forgetUnmade(id: string): void {
    const object = this.objects.get(id);
    if (object && object.existence === 'perhaps' && !object.present) this.objects.delete(id);
  }

  #becomeSure(object: ModelObject): void {
    this.#becomePresent(object);
    object.existence = 'sure';
  }

  #becomePresent(object: ModelObject): void {
    object.present = true;
    if (!object.cut?.open) return;
    object.granules = object.cut.close(this.#now());
  }

  #beginRevert(
    id: string,
    snapshotId: string,
    safety: { readonly id: string; readonly name: string; readonly attributes: Readonly<Record<string, string>> } | null,
    time: number,
  ): void {
    // With its safety snapshot there, the call is a repetition of one that happened, and does nothing.
    if (safety && this.objects.get(safety.id)?.present) return;
    const object = this.get(id);
    const snapshot = this.get(snapshotId);
    const after = new Map<number, number[]>();
    for (const granule of new Set([...object.granules.keys(), ...snapshot.granules.keys()])) {
      after.set(
        granule,
        this.#history(snapshot, granule)
          .current()
          .map((entry) => entry.value),
      );
    }
    object.revert = {
      started: time,
      unread: new Set(snapshot.unread),
      after,
      safetyId: safety?.id ?? null,
      entries: null,
      seenBefore: null,
      seenAfter: null,
    };
    if (!safety) return;
    const kept = this.#expect(safety.id, 'snapshot', safety.name, object.sizeBytes, object, safety.attributes);
    if (kept && !kept.cut) {
      kept.cut = new Cut(id);
      kept.unread = new Set(object.unread);
      for (const [granule, history] of object.granules) for (const entry of history.current()) kept.cut.add(granule, entry);
    }
  }

  #endRevert(object: ModelObject, existed: boolean): void {
    const { revert } = object;
    object.revert = null;
    if (!revert || existed) return;
    object.unread = new Set(revert.unread);
    const time = this.#now();
    for (const [granule, values] of revert.after) {
      const history = this.#history(object, granule);
      for (const value of values) this.#addEntry(object, granule, history, newEntry(value, revert.started, time, true));
      history.flushed(time);
    }
  }

  #reconcilePresent(object: ModelObject, info: ObjectInfo, crash: 'kill' | 'power' | 'none'): void {
    if (object.existence === 'going' && crash !== 'none' && (object.present || crash === 'power')) object.existence = 'sure';
    if (object.existence === 'going' && crash === 'kill' && !object.present)
      throw new Violation(`${label(object)} was out of sight and is back after the death of a process`);
    const fresh = !object.present;
    this.#becomePresent(object);
    this.compare(object, info);
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
    this.objects.delete(object.id);
  }

  /** A revert without an answer: until everything is read, each granule may be as before or as after it. */
  #reconcileRevert(object: ModelObject, crash: 'kill' | 'power' | 'none'): void {
    const { revert } = object;
    if (!revert || crash === 'none') return;
    const entries = new Map<number, Entry[]>();
    const time = this.#now();
    for (const [granule, values] of revert.after) {
      if (granule >= object.sizeBytes / granuleBytes) continue;
      const history = this.#history(object, granule);
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

  #noteRevert(object: ModelObject, granule: number, value: number): void {
    const { revert } = object;
    if (!revert?.entries) return;
    const values = revert.after.get(granule);
    if (!values) return;
    const added = revert.entries.get(granule) ?? [];
    if (added.some((entry) => entry.value === value)) revert.seenAfter = granule;
    else if (!values.includes(value)) revert.seenBefore = granule;
  }

  #resolveRevert(object: ModelObject, revert: PendingRevert, entries: ReadonlyMap<number, readonly Entry[]>): void {
    if (revert.seenAfter !== null && revert.seenBefore !== null) {
      throw new Violation(`${label(object)} is half reverted: granule ${revert.seenAfter} is, granule ${revert.seenBefore} is not`);
    }
    const safety = revert.safetyId ? this.objects.get(revert.safetyId) : undefined;
    if (revert.seenAfter !== null && revert.safetyId && !safety?.present)
      throw new Violation(`${label(object)} was reverted without its safety snapshot`);
    if (revert.seenBefore !== null && safety?.present) throw new Violation(`${label(object)} has a safety snapshot, but was not reverted`);
    object.revert = null;
    const happened = revert.seenAfter !== null || (revert.safetyId !== null && safety?.present === true);
    const time = this.#now();
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

function label(object: ModelObject): string {
  return `${object.kind} ${object.name} (${object.existence})`;
}
