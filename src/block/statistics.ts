/**
 * Counts of what the data thread did since it started: per connection, and how long requests took over all of them.
 * Recording allocates nothing.
 */
import { Operation, type OperationCode } from './ports.ts';

export const OPERATION_NAMES = ['read', 'write', 'zero', 'flush'] as const;
export type OperationName = (typeof OPERATION_NAMES)[number];

/** Upper bounds of the latency classes; a last class without a bound follows. */
export const LATENCY_BOUNDS_SECONDS: readonly number[] = [
  0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 10, 60,
];

/** Of one connection and operation. */
export interface OperationCounts {
  readonly requests: number;
  readonly bytes: number;
  readonly errors: number;
}

/** Of one operation over all connections. */
export interface Latency {
  /** Requests in each class, one more than there are bounds; not summed up. */
  readonly counts: readonly number[];
  readonly sumSeconds: number;
}

export type CountsOfDevice = Readonly<Record<OperationName, OperationCounts>>;

const FIELDS = 3;
const CLASSES = LATENCY_BOUNDS_SECONDS.length + 1;
const OPERATIONS = OPERATION_NAMES.length;
const BOUNDS_MS = Float64Array.from(LATENCY_BOUNDS_SECONDS, (seconds) => seconds * 1_000);

export class Statistics {
  readonly #counts: Float64Array;
  readonly #classes = new Float64Array(OPERATIONS * CLASSES);
  readonly #sumsMs = new Float64Array(OPERATIONS);

  constructor(options: { readonly devices: number }) {
    this.#counts = new Float64Array(options.devices * OPERATIONS * FIELDS);
  }

  /** Another connection has this index now. */
  reset(device: number): void {
    this.#counts.fill(0, device * OPERATIONS * FIELDS, (device + 1) * OPERATIONS * FIELDS);
  }

  /** A request that took from `startedMs` to `endedMs`, of whatever clock. */
  record(device: number, operation: OperationCode, lengthBytes: number, errno: number, startedMs: number, endedMs: number): void {
    const row = operation - Operation.read;
    const at = (device * OPERATIONS + row) * FIELDS;
    this.#counts[at]! += 1;
    if (errno === 0) this.#counts[at + 1]! += lengthBytes;
    else this.#counts[at + 2]! += 1;
    const tookMs = endedMs - startedMs;
    this.#sumsMs[row]! += tookMs;
    let place = 0;
    while (place < BOUNDS_MS.length && tookMs > BOUNDS_MS[place]!) place++;
    this.#classes[row * CLASSES + place]! += 1;
  }

  ofDevice(device: number): CountsOfDevice {
    return byOperation((row) => {
      const [requests = 0, bytes = 0, errors = 0] = this.#counts.subarray((device * OPERATIONS + row) * FIELDS);
      return { requests, bytes, errors };
    });
  }

  latency(): Readonly<Record<OperationName, Latency>> {
    return byOperation((row) => ({
      counts: [...this.#classes.subarray(row * CLASSES, (row + 1) * CLASSES)],
      sumSeconds: this.#sumsMs[row]! / 1_000,
    }));
  }
}

function byOperation<Value>(of: (row: number) => Value): Readonly<Record<OperationName, Value>> {
  const [read, write, zero, flush] = OPERATION_NAMES.map((_, row) => of(row)) as [Value, Value, Value, Value];
  return { read, write, zero, flush };
}
