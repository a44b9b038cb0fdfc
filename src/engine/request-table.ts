/** The requests under way, by the front-end's numbers. Preallocated: nothing is allocated per request. */
import { assert } from '../util/assert.ts';
import { GRANULE_BYTES } from './geometry.ts';
import type { StoredObject } from './objects.ts';
import type { RequestListener } from './ports.ts';

/** Errors of requests (Linux errno). */
export const Errno = { io: 5, invalid: 22, noSpace: 28, readOnly: 30 } as const;

export class RequestTable {
  readonly objects: (StoredObject | null)[];
  readonly offset: Float64Array;
  readonly length: Float64Array;
  /** Where the request's bytes lie in the shared memory. */
  readonly memory: Float64Array;
  /** Errno that the request will end with. */
  readonly errno: Int32Array;
  readonly #pending: Int32Array;
  readonly #listener: RequestListener;

  constructor(count: number, listener: RequestListener) {
    this.objects = new Array<StoredObject | null>(count).fill(null);
    this.offset = new Float64Array(count);
    this.length = new Float64Array(count);
    this.memory = new Float64Array(count);
    this.errno = new Int32Array(count);
    this.#pending = new Int32Array(count);
    this.#listener = listener;
  }

  get count(): number {
    return this.objects.length;
  }

  /** One token is held while a request is being cut, so that it cannot end before: the caller gives it back by `done`. */
  begin(request: number, object: StoredObject, offsetBytes: number, lengthBytes: number, memoryOffset: number): void {
    assert(offsetBytes % GRANULE_BYTES === 0 && lengthBytes % GRANULE_BYTES === 0 && lengthBytes > 0, 'requests are multiples of 4 KiB');
    assert(offsetBytes + lengthBytes <= object.sizeBytes, 'requests lie inside their device');
    this.objects[request] = object;
    this.offset[request] = offsetBytes;
    this.length[request] = lengthBytes;
    this.memory[request] = memoryOffset;
    this.errno[request] = 0;
    this.#pending[request] = 1;
  }

  /** Something more must be done before the request is over. */
  expect(request: number): void {
    this.#pending[request]!++;
  }

  /** Only one thing is left to be done. */
  isLast(request: number): boolean {
    return this.#pending[request] === 1;
  }

  /** One thing is done; with the last one the front-end is told. */
  done(request: number): void {
    if (--this.#pending[request]! > 0) return;
    this.objects[request] = null;
    this.#listener.completed(request, this.errno[request]!);
  }
}
