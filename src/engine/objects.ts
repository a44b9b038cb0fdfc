/**
 * The volumes and snapshots of a pool, by number, id and name.
 *
 * An object's number is the sequence of the record that made it, so it is never used again. Its incarnation is raised
 * by a revert: records of writes that began before one are skipped when they are replayed after it.
 */
import { StoreError } from '../util/errors.ts';
import { ERASE_ATTRIBUTE, type ObjectId, type ObjectInfo, type ObjectKind } from './control.ts';
import type { ObjectDescription } from './record.ts';

/** One row of the checkpoint's table `objects`. */
export interface ObjectRow {
  readonly number: number;
  readonly incarnation: number;
  readonly lineage: number;
  readonly rootNumber: number;
  readonly rootLevel: number;
  readonly description: ObjectDescription;
}

export class StoredObject {
  readonly number: number;
  readonly id: ObjectId;
  readonly kind: ObjectKind;
  readonly lineage: number;
  readonly description: ObjectDescription;
  incarnation: number;
  sizeBytes: number;
  /** Page number of the tree's root, 0 for an empty tree, and its level. */
  rootNumber: number;
  rootLevel: number;
  /** What it leaves is overwritten before it is used again. */
  readonly erases: boolean;
  deleted = false;
  /** Changed since the last capture. */
  dirty = true;

  /** Control calls that wait for the writes in flight, or are about to replace the tree: writes do not start. */
  holds = 0;
  /** Writes, merges: from the choice of a slot to the record. */
  writesInFlight = 0;

  constructor(row: ObjectRow) {
    this.number = row.number;
    this.id = row.description.id;
    this.kind = row.description.kind;
    this.lineage = row.lineage;
    this.description = row.description;
    this.erases = row.description.attributes[ERASE_ATTRIBUTE] === 'true';
    this.incarnation = row.incarnation;
    this.sizeBytes = row.description.sizeBytes;
    this.rootNumber = row.rootNumber;
    this.rootLevel = row.rootLevel;
  }

  info(): ObjectInfo {
    return { ...this.description, sizeBytes: this.sizeBytes, lineage: this.lineage, incarnation: this.incarnation };
  }

  row(): ObjectRow {
    return {
      number: this.number,
      incarnation: this.incarnation,
      lineage: this.lineage,
      rootNumber: this.rootNumber,
      rootLevel: this.rootLevel,
      description: { ...this.description, sizeBytes: this.sizeBytes },
    };
  }
}

export class Objects {
  readonly #byNumber = new Map<number, StoredObject>();
  readonly #byId = new Map<ObjectId, StoredObject>();
  readonly #byName = new Map<string, StoredObject>();
  /** Numbers deleted since the last capture. */
  #deleted: number[] = [];
  provisionedBytes = 0;

  get size(): number {
    return this.#byNumber.size;
  }

  all(): IterableIterator<StoredObject> {
    return this.#byNumber.values();
  }

  byNumber(number: number): StoredObject | undefined {
    return this.#byNumber.get(number);
  }

  byId(id: ObjectId): StoredObject | undefined {
    return this.#byId.get(id);
  }

  byName(kind: ObjectKind, name: string): StoredObject | undefined {
    return this.#byName.get(`${kind}/${name}`);
  }

  /** @throws StoreError not-found */
  require(id: ObjectId, kind?: ObjectKind): StoredObject {
    const object = this.#byId.get(id);
    if (object === undefined || (kind !== undefined && object.kind !== kind))
      throw new StoreError('not-found', `there is no ${kind ?? 'volume or snapshot'} ${id} in this pool`);
    return object;
  }

  add(object: StoredObject): void {
    this.#byNumber.set(object.number, object);
    this.#byId.set(object.id, object);
    this.#byName.set(`${object.kind}/${object.description.name}`, object);
    if (object.kind === 'volume') this.provisionedBytes += object.sizeBytes;
  }

  remove(object: StoredObject): void {
    object.deleted = true;
    this.#byNumber.delete(object.number);
    this.#byId.delete(object.id);
    this.#byName.delete(`${object.kind}/${object.description.name}`);
    this.#deleted.push(object.number);
    if (object.kind === 'volume') this.provisionedBytes -= object.sizeBytes;
  }

  resize(object: StoredObject, sizeBytes: number): void {
    this.provisionedBytes += sizeBytes - object.sizeBytes;
    object.sizeBytes = sizeBytes;
    object.dirty = true;
  }

  takeDeleted(): number[] {
    const deleted = this.#deleted;
    this.#deleted = [];
    return deleted;
  }
}
