/**
 * Memory that is handed to the kernel by its address: it is never moved, because it lies outside V8's heap. Whoever
 * passes the address on must keep the structure reachable until the system call is over.
 */
import koffi from 'koffi';

export class Structure {
  readonly bytes: Uint8Array;
  readonly view: DataView;
  readonly address: number;

  /** Zeroed memory. `alignmentBytes` is a power of two; direct I/O wants 4,096. */
  constructor(sizeBytes: number, options: { readonly alignmentBytes?: number } = {}) {
    const alignment = options.alignmentBytes ?? 8;
    const buffer = new ArrayBuffer(sizeBytes + alignment);
    const start = addressOf(new Uint8Array(buffer));
    const skip = (alignment - (start % alignment)) % alignment;
    this.bytes = new Uint8Array(buffer, skip, sizeBytes);
    this.view = new DataView(buffer, skip, sizeBytes);
    this.address = start + skip;
  }
}

/** A string as C wants it: UTF-8 with a zero byte at its end. */
export function cString(text: string): Structure {
  const encoded = Buffer.from(text, 'utf8');
  const structure = new Structure(encoded.length + 1);
  structure.bytes.set(encoded);
  return structure;
}

/** Where the bytes lie. User addresses are below 2^47 (x86-64) or 2^48 (arm64), so a number holds them exactly. */
export function addressOf(bytes: Uint8Array): number {
  return Number(koffi.address(bytes));
}
