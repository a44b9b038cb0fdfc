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
import { historyOf, label, type ModelObject } from './model-object.ts';
import { ModelRecovery, type Crash } from './model-recovery.ts';
import { granuleBytes, StampedContent, zeros } from './stamped-content.ts';
import { Violation } from './violation.ts';
import type { Window } from './walk-windows.ts';

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
  /** Writes that fail may leave sectors of the old and the new content in one granule. */
  tears = false;
  readonly #recovery = new ModelRecovery(this);
  readonly #reads = new Set<ReadToken>();
  readonly #changes = new Set<ChangeToken>();
  #clock = 0;
  #stamps = 0;

  /** A time later than all before. */
  now(): number {
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
    const time = this.now();
    const followed = new Set(object.granules.keys());
    for (const window of windows)
      for (let at = Math.max(granule, window.start); at < Math.min(granule + count, window.end); at += 1) followed.add(at);
    for (const at of followed) {
      if (at < granule || at >= granule + count) continue;
      token.entries.push(this.#addEntry(object, at, historyOf(object, at), newEntry(zeros, time)));
    }
    this.#changes.add(token);
    return token;
  }

  answerChange(token: ChangeToken, errno: number): void {
    this.#changes.delete(token);
    const time = this.now();
    for (const entry of token.entries) {
      entry.answered = time;
      entry.uncertain = errno !== 0;
    }
  }

  beginFlush(id: string): FlushToken {
    return { object: this.get(id), time: this.now() };
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
      const current = historyOf(object, granule + index).current();
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
      historyOf(object, granule).observed(value);
      this.#recovery.noteRead(object, granule, value);
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
    const time = this.now();
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

  /** After a start: `list` is what the engine shows. */
  reconcile(list: readonly ObjectInfo[], crash: Crash): void {
    this.#recovery.reconcile(list, crash);
  }

  powerLost(): void {
    for (const token of this.#changes) this.answerChange(token, 1);
    this.#reads.clear();
  }

  /** Everything was read: a revert without an answer must have happened whole or not at all, a cut at one moment. */
  finishVerification(): void {
    for (const object of this.visible()) {
      const { revert } = object;
      if (revert?.entries) this.#recovery.resolveRevert(object, revert, revert.entries);
      object.cut?.verify(label(object), (granule) => {
        const current = historyOf(object, granule).current();
        return object.kind === 'snapshot' && current.length === 1 ? current[0]!.value : null;
      });
    }
  }

  // ---- the rest -----------------------------------------------------------------------------------------------

  #beginChange(object: ModelObject, granule: number, values: readonly number[]): ChangeToken {
    const time = this.now();
    const entries = values.map((value, index) =>
      this.#addEntry(object, granule + index, historyOf(object, granule + index), newEntry(value, time)),
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
    const history = historyOf(object, granule);
    // Another read of the same granule may have found out meanwhile what the power loss left.
    for (const { value } of history.current()) if (this.content.isValue(bytes, value)) return value;
    if (torn && this.content.isMixOf(bytes, history.afterPowerLoss())) {
      const value = this.content.literal(bytes);
      object.granules.set(granule, new GranuleHistory([newEntry(value, -1, -1)]));
      return value;
    }
    if (this.tears && history.current().length > 1 && this.content.isMixOf(bytes, history.afterPowerLoss())) {
      const value = this.content.literal(bytes);
      const time = this.now();
      history.add({ ...newEntry(value, time, time), uncertain: true });
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
    this.becomePresent(object);
    object.existence = 'sure';
  }

  /** The engine shows the object: its cut is over. */
  becomePresent(object: ModelObject): void {
    object.present = true;
    if (!object.cut?.open) return;
    object.granules = object.cut.close(this.now());
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
        historyOf(snapshot, granule)
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
    const time = this.now();
    for (const [granule, values] of revert.after) {
      const history = historyOf(object, granule);
      for (const value of values) this.#addEntry(object, granule, history, newEntry(value, revert.started, time, true));
      history.flushed(time);
    }
  }
}
