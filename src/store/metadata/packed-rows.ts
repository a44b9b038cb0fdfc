/** Rows one after another in `bytes`; `lengths[i]` is the size of the value of `keys[i]`, -1 where there is none. */
export interface PackedRows {
  readonly keys: readonly number[];
  readonly lengths: readonly number[];
  readonly bytes: Uint8Array<ArrayBuffer>;
}
