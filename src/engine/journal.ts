/** Gives every change of state its sequence and puts its record into the shared memory. */
import type { Entry } from './entry.ts';
import type { StoredObject } from './objects.ts';
import {
  type ControlChange,
  controlUnits,
  encodeControl,
  entryUnits,
  newHead,
  RecordKind,
  seal,
  type Witness,
  witnessUnits,
  writeControl,
  writeEntry,
  writeHead,
  writeTrim,
  writeWitness,
} from './record.ts';
import type { RecordRing } from './record-ring.ts';

export class Journal {
  readonly #ring: RecordRing;
  readonly #head = newHead();
  #sequence: number;
  #predecessor: number;

  /** Continues after the record with this sequence and checksum. */
  constructor(ring: RecordRing, last: { sequence: number; checksum: number }) {
    this.#ring = ring;
    this.#sequence = last.sequence;
    this.#predecessor = last.checksum;
  }

  /** Sequence of the last record. */
  get sequence(): number {
    return this.#sequence;
  }

  get last(): { sequence: number; checksum: number } {
    return { sequence: this.#sequence, checksum: this.#predecessor };
  }

  /** Whether requests may start: what is in flight and control calls find room in any case. */
  get hasRoom(): boolean {
    return this.#ring.freeUnits > this.#ring.capacityUnits / 4;
  }

  entry(object: StoredObject, chunk: number, entry: Entry): number {
    const units = entryUnits(entry.count);
    const at = this.#begin(RecordKind.entry, units, object, entry.count);
    writeEntry(this.#ring.buffer, at, chunk, entry);
    return this.#end(at, units);
  }

  trim(object: StoredObject, firstChunk: number, chunks: number): number {
    const at = this.#begin(RecordKind.trim, 1, object, 0);
    writeTrim(this.#ring.buffer, at, firstChunk, chunks);
    return this.#end(at, 1);
  }

  witness(witness: Witness): number {
    const units = witnessUnits(witness);
    const at = this.#begin(RecordKind.witness, units, null, 0);
    writeWitness(this.#ring.buffer, at, witness);
    return this.#end(at, units);
  }

  control(change: ControlChange): number {
    const json = encodeControl(change);
    const units = controlUnits(json);
    const at = this.#begin(RecordKind.control, units, null, 0);
    writeControl(this.#ring.buffer, at, json);
    return this.#end(at, units);
  }

  #begin(kind: number, units: number, object: StoredObject | null, layers: number): number {
    const at = this.#ring.place(units);
    const head = this.#head;
    head.sequence = this.#sequence + 1;
    head.kind = kind;
    head.units = units;
    head.objectNumber = object === null ? 0 : object.number;
    head.incarnation = object === null ? 0 : object.incarnation;
    writeHead(this.#ring.buffer, at, head, layers);
    return at;
  }

  #end(at: number, units: number): number {
    this.#predecessor = seal(this.#ring.buffer, at, units, this.#predecessor);
    this.#ring.append(units);
    this.#sequence++;
    return this.#sequence;
  }
}
