/**
 * Messages between the data thread and the metadata worker. Values travel packed in one buffer whose ownership moves:
 * cloning a small view would copy the whole memory that it lies in.
 */
import type { MetadataChange, MetadataRow, MetadataTable } from '../../engine/ports.ts';
import { assert } from '../../util/assert.ts';
import type { MetadataSpace } from './environment.ts';
import type { PackedRows } from './packed-rows.ts';

/** What is read row by row. */
export type ReadableTable = Extract<MetadataTable, 'pages' | 'checksums'>;

export type MetadataRequest =
  | { readonly kind: 'load'; readonly id: number }
  | {
      readonly kind: 'read';
      readonly id: number;
      readonly table: ReadableTable;
      readonly keys: readonly number[];
      /** Of an earlier answer, to be used for this one. */
      readonly memory: ArrayBuffer | null;
    }
  | { readonly kind: 'commit'; readonly id: number; readonly tables: readonly MetadataTable[]; readonly rows: PackedRows }
  | { readonly kind: 'space'; readonly id: number }
  | { readonly kind: 'close'; readonly id: number };

/** `error` is null, or why it failed in words for the operator. */
export type MetadataReply =
  | { readonly id: number; readonly error: string }
  | {
      readonly id: number;
      readonly error: null;
      readonly pool: Uint8Array | null;
      readonly objects: PackedRows;
      readonly seals: PackedRows;
      readonly erasures: PackedRows;
    }
  /** A row for each key that was asked for, in their order. */
  | { readonly id: number; readonly error: null; readonly rows: PackedRows }
  /** After a commit: null when it could not be told. */
  | { readonly id: number; readonly error: null; readonly space: MetadataSpace | null }
  | { readonly id: number; readonly error: null };

export function packRows(rows: readonly { readonly key: number; readonly value: Uint8Array | null }[]): PackedRows {
  let totalBytes = 0;
  for (const row of rows) totalBytes += row.value?.length ?? 0;
  const bytes = new Uint8Array(totalBytes);
  let offset = 0;
  for (const { value } of rows) {
    if (value === null) continue;
    bytes.set(value, offset);
    offset += value.length;
  }
  return { keys: rows.map((row) => row.key), lengths: rows.map((row) => row.value?.length ?? -1), bytes };
}

export function unpackRows(rows: PackedRows): { key: number; value: Uint8Array | null }[] {
  assert(rows.keys.length === rows.lengths.length, 'packed rows have one length a key');
  let offset = 0;
  return rows.keys.map((key, index) => {
    const length = rows.lengths[index]!;
    if (length < 0) return { key, value: null };
    const value = rows.bytes.subarray(offset, offset + length);
    assert(value.length === length, 'packed rows end with their bytes');
    offset += length;
    return { key, value };
  });
}

export function packChanges(changes: readonly MetadataChange[]): { tables: MetadataTable[]; rows: PackedRows } {
  return { tables: changes.map((change) => change.table), rows: packRows(changes) };
}

/** Rows that were read, so each has a value. */
export function unpackRead(rows: PackedRows): MetadataRow[] {
  return unpackRows(rows).map(({ key, value }) => {
    assert(value !== null, 'a row that was read has a value');
    return { key, value };
  });
}
