/**
 * The simplest target of block requests: devices lie one after the other on a disk. Zeroing writes zeros, piece by piece.
 */
import { Operation, type OperationCode, type RequestListener, type RequestTarget } from '../../src/block/ports.ts';

interface Disk {
  read(offsetBytes: number, lengthBytes: number, memoryOffset: number, tag: number): void;
  write(offsetBytes: number, lengthBytes: number, memoryOffset: number, tag: number): void;
  sync(tag: number): void;
}

export interface FileTargetOptions {
  readonly disk: Disk;
  readonly listener: RequestListener;
  readonly maximumRequests: number;
  /** Bytes of the disk for each device. */
  readonly deviceBytes: number;
  /** Where in the shared memory zeros lie. */
  readonly zerosOffset: number;
  readonly zerosBytes: number;
}

export class FileTarget implements RequestTarget {
  readonly #options: FileTargetOptions;
  /** What is left of the zeroing requests. */
  readonly #zeroOffset: Float64Array;
  readonly #zeroLeft: Float64Array;

  constructor(options: FileTargetOptions) {
    this.#options = options;
    this.#zeroOffset = new Float64Array(options.maximumRequests);
    this.#zeroLeft = new Float64Array(options.maximumRequests);
  }

  submit(request: number, operation: OperationCode, device: number, offsetBytes: number, lengthBytes: number, memoryOffset: number): void {
    const { disk } = this.#options;
    const offset = device * this.#options.deviceBytes + offsetBytes;
    if (operation === Operation.read) disk.read(offset, lengthBytes, memoryOffset, request);
    else if (operation === Operation.write) disk.write(offset, lengthBytes, memoryOffset, request);
    else if (operation === Operation.flush) disk.sync(request);
    else {
      this.#zeroOffset[request] = offset;
      this.#zeroLeft[request] = lengthBytes;
      this.#zeroMore(request);
    }
  }

  /** To be called with the results of the disk's operations. */
  diskCompleted(request: number, result: number): void {
    if (result >= 0 && this.#zeroLeft[request]! > 0) return this.#zeroMore(request);
    this.#zeroLeft[request] = 0;
    this.#options.listener.completed(request, result < 0 ? 5 : 0);
  }

  #zeroMore(request: number): void {
    const length = Math.min(this.#zeroLeft[request]!, this.#options.zerosBytes);
    const offset = this.#zeroOffset[request]!;
    this.#zeroOffset[request] = offset + length;
    this.#zeroLeft[request]! -= length;
    this.#options.disk.write(offset, length, this.#options.zerosOffset, request);
  }
}
