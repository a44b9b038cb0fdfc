/** A block device that is a plain memory: what the contract suite must pass over before it says anything of others. */
import type { BlockDevice } from './block-contract.ts';

export class MemoryDevice implements BlockDevice {
  readonly sizeBytes: number;
  readonly #bytes: Uint8Array;

  constructor(sizeBytes: number) {
    this.sizeBytes = sizeBytes;
    this.#bytes = new Uint8Array(sizeBytes);
  }

  async read(offsetBytes: number, lengthBytes: number): Promise<Uint8Array> {
    this.#refuseOutside(offsetBytes, lengthBytes);
    return this.#bytes.slice(offsetBytes, offsetBytes + lengthBytes);
  }

  async write(offsetBytes: number, bytes: Uint8Array): Promise<void> {
    this.#refuseOutside(offsetBytes, bytes.length);
    this.#bytes.set(bytes, offsetBytes);
  }

  async zero(offsetBytes: number, lengthBytes: number): Promise<void> {
    this.#refuseOutside(offsetBytes, lengthBytes);
    this.#bytes.fill(0, offsetBytes, offsetBytes + lengthBytes);
  }

  async flush(): Promise<void> {
    // Memory has no cache.
  }

  async close(): Promise<void> {
    // Nothing is held.
  }

  #refuseOutside(offsetBytes: number, lengthBytes: number): void {
    if (offsetBytes + lengthBytes > this.sizeBytes)
      throw new Error(`${lengthBytes} bytes at ${offsetBytes} lie outside the device of ${this.sizeBytes}`);
  }
}
