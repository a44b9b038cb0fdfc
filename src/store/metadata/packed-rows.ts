/** Rows that are asked for in one message: the data thread takes one answer in one go, and a page costs it some microseconds. */
export const READS_A_MESSAGE = 64;

/** Rows one after another in `bytes`; `lengths[i]` is the size of the value of `keys[i]`, -1 where there is none. */
export interface PackedRows {
  readonly keys: readonly number[];
  readonly lengths: readonly number[];
  readonly bytes: Uint8Array<ArrayBuffer>;
}
