/**
 * Records: every change of the engine's state is one of these, in one order over all volumes of the pool. They stand
 * in shared memory (record-ring.ts) and in the log on disk (record-log.ts) in the same form (docs/format.md, "Records").
 *
 * A record is a multiple of 64 bytes. Its values are absolute, so that replaying one twice changes nothing:
 *
 *   0  u32  checksum of bytes 4 to the end        24  u48  incarnation of the object
 *   4  u32  checksum of the record before it      30  u16  0
 *   8  u48  sequence                              32  entry: u32 chunk, then layers of {u32 slot, u8 slot, u8 0, u16 mask}
 *   14 u8   kind                                      trim:  u32 first chunk, u32 chunks
 *   15 u8   length in units of 64 bytes               control: u32 length, then JSON
 *   16 u48  object number
 *   22 u16  layers (entry)                        witness: u32 slot, u16 0, u16 mask, u32 checksum of each granule
 */
import { assert } from '../util/assert.ts';
import { StoreError } from '../util/errors.ts';
import { checksum } from './checksum.ts';
import type { Entry } from './entry.ts';
import { granulesIn, MAXIMUM_LAYERS } from './geometry.ts';
import type { ObjectId, ObjectKind } from './control.ts';
import { isControlChange } from './stored-shapes.ts';

export const RECORD_UNIT_BYTES = 64;
const FIXED_BYTES = 36;
const LAYER_BYTES = 8;
const WITNESS_BYTES = 40;
const CHECKSUM_BYTES = 4;
/** JSON of a control record; keeps a record below 255 units. */
export const MAXIMUM_CONTROL_BYTES = 12288;
/** Units of the largest record. */
export const MAXIMUM_UNITS = Math.ceil((FIXED_BYTES + MAXIMUM_CONTROL_BYTES) / RECORD_UNIT_BYTES);

export const RecordKind = { entry: 1, trim: 2, control: 3, witness: 4, skip: 255 } as const;

/** A volume or snapshot as it is written down when it is made. */
export interface ObjectDescription {
  readonly id: ObjectId;
  readonly kind: ObjectKind;
  readonly name: string;
  readonly sizeBytes: number;
  readonly createdAtMs: number;
  readonly sourceId: ObjectId | null;
  readonly sourceKind: ObjectKind | null;
  readonly attributes: Readonly<Record<string, string>>;
}

/** Object numbers are the sequences of the records that made them. */
export type ControlChange =
  | { readonly change: 'create'; readonly object: ObjectDescription }
  /** A snapshot or a clone: shares the tree of the object `sourceNumber` as it is at this record. */
  | { readonly change: 'share'; readonly object: ObjectDescription; readonly sourceNumber: number }
  /** The volume takes the snapshot's tree; its old one goes to the safety snapshot, if one is wanted. */
  | { readonly change: 'revert'; readonly volumeNumber: number; readonly snapshotNumber: number; readonly safety: ObjectDescription | null }
  | { readonly change: 'delete'; readonly number: number }
  | { readonly change: 'resize'; readonly number: number; readonly sizeBytes: number }
  /** A process has begun to serve the pool. Shared memory belongs to the pool's present when it names the last life. */
  | { readonly change: 'life'; readonly life: string };

/** What granules of a slot held when the record was made (witness.ts). */
export interface Witness {
  readonly slot: number;
  readonly mask: number;
  /** One for each granule of the mask, in their order. */
  readonly checksums: readonly number[];
}

/** What every record says about itself. */
export interface RecordHead {
  sequence: number;
  kind: number;
  units: number;
  objectNumber: number;
  incarnation: number;
}

/** A head to be filled. */
export function newHead(): RecordHead {
  return { sequence: 0, kind: 0, units: 0, objectNumber: 0, incarnation: 0 };
}

/** Bytes with a view, so that fields are read without allocating. */
export class RecordBuffer {
  readonly bytes: Uint8Array;
  readonly view: DataView;

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }
}

export function entryUnits(layers: number): number {
  return Math.ceil((FIXED_BYTES + layers * LAYER_BYTES) / RECORD_UNIT_BYTES);
}

export function writeHead(buffer: RecordBuffer, at: number, head: RecordHead, layers: number): void {
  const view = buffer.view;
  put48(view, at + 8, head.sequence);
  view.setUint8(at + 14, head.kind);
  view.setUint8(at + 15, head.units);
  put48(view, at + 16, head.objectNumber);
  view.setUint16(at + 22, layers, true);
  put48(view, at + 24, head.incarnation);
  view.setUint16(at + 30, 0, true);
}

export function writeEntry(buffer: RecordBuffer, at: number, chunk: number, entry: Entry): void {
  const view = buffer.view;
  view.setUint32(at + 32, chunk, true);
  let to = at + FIXED_BYTES;
  for (let layer = 0; layer < entry.count; layer++) {
    view.setUint32(to, entry.slots[layer]!, true);
    view.setUint16(to + 4, 0, true);
    view.setUint16(to + 6, entry.masks[layer]!, true);
    to += LAYER_BYTES;
  }
  zero(buffer.bytes, to, at + entryUnits(entry.count) * RECORD_UNIT_BYTES);
}

export function writeTrim(buffer: RecordBuffer, at: number, firstChunk: number, chunks: number): void {
  buffer.view.setUint32(at + 32, firstChunk, true);
  buffer.view.setUint32(at + 36, chunks, true);
  zero(buffer.bytes, at + 40, at + RECORD_UNIT_BYTES);
}

export function witnessUnits({ checksums }: Witness): number {
  return Math.ceil((WITNESS_BYTES + checksums.length * CHECKSUM_BYTES) / RECORD_UNIT_BYTES);
}

export function writeWitness(buffer: RecordBuffer, at: number, witness: Witness): void {
  const { slot, mask, checksums } = witness;
  const view = buffer.view;
  view.setUint32(at + 32, slot, true);
  view.setUint16(at + 36, 0, true);
  view.setUint16(at + 38, mask, true);
  let to = at + WITNESS_BYTES;
  for (const sum of checksums) {
    view.setUint32(to, sum, true);
    to += CHECKSUM_BYTES;
  }
  zero(buffer.bytes, to, at + witnessUnits(witness) * RECORD_UNIT_BYTES);
}

/** @throws StoreError data-loss when it cannot be a witness that this program wrote */
export function readWitness({ view }: RecordBuffer, at: number): Witness {
  const mask = view.getUint16(at + 38, true);
  const units = view.getUint8(at + 15);
  const count = granulesIn(mask);
  if (WITNESS_BYTES + count * CHECKSUM_BYTES > units * RECORD_UNIT_BYTES)
    throw new StoreError('data-loss', `a witness of ${units} units speaks of ${count} granules`);
  const checksums = Array.from({ length: count }, (_, index) => view.getUint32(at + WITNESS_BYTES + index * CHECKSUM_BYTES, true));
  return { slot: view.getUint32(at + 32, true), mask, checksums };
}

export function encodeControl(change: ControlChange): Uint8Array {
  const json = new TextEncoder().encode(JSON.stringify(change));
  assert(json.length <= MAXIMUM_CONTROL_BYTES, 'names and attributes are limited before a record is made');
  return json;
}

export function controlUnits(json: Uint8Array): number {
  return Math.ceil((FIXED_BYTES + json.length) / RECORD_UNIT_BYTES);
}

export function writeControl(buffer: RecordBuffer, at: number, json: Uint8Array): void {
  buffer.view.setUint32(at + 32, json.length, true);
  buffer.bytes.set(json, at + FIXED_BYTES);
  zero(buffer.bytes, at + FIXED_BYTES + json.length, at + controlUnits(json) * RECORD_UNIT_BYTES);
}

/** Writes predecessor and checksum: the record is whole now. Returns its checksum. */
export function seal(buffer: RecordBuffer, at: number, units: number, predecessor: number): number {
  buffer.view.setUint32(at + 4, predecessor, true);
  const sum = checksum(buffer.bytes, at + 4, at + units * RECORD_UNIT_BYTES);
  buffer.view.setUint32(at, sum, true);
  return sum;
}

/** Reads a head if a whole record with the right checksum stands at `at`, inside [at, end). */
export function readHead(buffer: RecordBuffer, at: number, end: number, head: RecordHead): boolean {
  if (at + RECORD_UNIT_BYTES > end) return false;
  const view = buffer.view;
  head.kind = view.getUint8(at + 14);
  head.units = view.getUint8(at + 15);
  const length = head.units * RECORD_UNIT_BYTES;
  if (head.units === 0 || at + length > end) return false;
  if (view.getUint32(at, true) !== checksum(buffer.bytes, at + 4, at + length)) return false;
  head.sequence = get48(view, at + 8);
  head.objectNumber = get48(view, at + 16);
  head.incarnation = get48(view, at + 24);
  return true;
}

export function readChecksum(buffer: RecordBuffer, at: number): number {
  return buffer.view.getUint32(at, true);
}

/** The chunk of an entry record, or the first chunk of a trim. */
export function readChunk(buffer: RecordBuffer, at: number): number {
  return buffer.view.getUint32(at + 32, true);
}

export function readTrimChunks(buffer: RecordBuffer, at: number): number {
  return buffer.view.getUint32(at + 36, true);
}

/** @throws StoreError data-loss when it cannot be an entry that this program wrote */
export function readEntry(buffer: RecordBuffer, at: number, entry: Entry): void {
  const view = buffer.view;
  const layers = view.getUint16(at + 22, true);
  const units = view.getUint8(at + 15);
  if (layers > MAXIMUM_LAYERS || entryUnits(layers) !== units)
    throw new StoreError('data-loss', `an entry record of ${units} units says that it has ${layers} layers`);
  entry.clear();
  for (let layer = 0; layer < layers; layer++) {
    const from = at + FIXED_BYTES + layer * LAYER_BYTES;
    const slot = view.getUint32(from, true);
    const mask = view.getUint16(from + 6, true);
    if (!entry.accepts(slot, mask)) throw new StoreError('data-loss', 'an entry record has layers that cannot be');
    entry.push(slot, mask);
  }
}

/** @throws StoreError data-loss when it cannot be a control record that this program wrote */
export function readControl(buffer: RecordBuffer, at: number): ControlChange {
  const length = buffer.view.getUint32(at + 32, true);
  let cause: unknown;
  if (length <= MAXIMUM_CONTROL_BYTES) {
    try {
      const change: unknown = JSON.parse(new TextDecoder().decode(buffer.bytes.subarray(at + FIXED_BYTES, at + FIXED_BYTES + length)));
      if (isControlChange(change)) return change as ControlChange;
    } catch (error) {
      cause = error;
    }
  }
  throw new StoreError('data-loss', `a control record of ${length} bytes says nothing that this program knows`, { cause });
}

function put48(view: DataView, at: number, value: number): void {
  view.setUint32(at, value >>> 0, true);
  view.setUint16(at + 4, Math.floor(value / 4294967296), true);
}

function get48(view: DataView, at: number): number {
  return view.getUint32(at, true) + view.getUint16(at + 4, true) * 4294967296;
}

function zero(bytes: Uint8Array, from: number, to: number): void {
  for (let at = from; at < to; at++) bytes[at] = 0;
}
