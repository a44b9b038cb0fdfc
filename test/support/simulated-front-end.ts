/**
 * The front-end of a simulated run: requests whose headers and payloads live in the shared memory, so that they
 * outlive the process. A request is done for good when `completed` was called; what is not done when the process dies
 * is submitted again to its successor. A power loss makes all of them vanish.
 */
import { Operation, type OperationCode } from '../../src/block/ports.ts';
import type { RequestListener } from '../../src/engine/ports.ts';
import type { SeededRandom } from './seeded-random.ts';
import { Violation } from './violation.ts';

export interface DeviceTarget {
  openDevice(id: string): number;
  closeDevice(device: number): void;
  submit(request: number, operation: OperationCode, device: number, offsetBytes: number, lengthBytes: number, memoryOffset: number): void;
}

export interface FrontEndRequest {
  readonly operation: OperationCode;
  readonly deviceId: string;
  readonly offsetBytes: number;
  readonly lengthBytes: number;
  /** A write's bytes. */
  readonly payload?: Uint8Array;
}

/** `bytes` are a read's, valid during the call. */
export type RequestDone = (errno: number, bytes: Uint8Array) => void;

interface Entry {
  readonly request: FrontEndRequest;
  readonly done: RequestDone;
  memoryOffset: number;
  parked: boolean;
}

export interface FrontEndOptions {
  readonly memory: Uint8Array;
  readonly random: SeededRandom;
  readonly maximumRequests: number;
  readonly bufferBytes: number;
  readonly buffers: number;
  readonly parkBuffers: number;
}

export class SimulatedFrontEnd implements RequestListener {
  readonly #options: FrontEndOptions;
  readonly #entries: (Entry | undefined)[];
  readonly #freeBuffers: number[] = [];
  readonly #freeParkBuffers: number[] = [];
  readonly #attached = new Map<string, number | null>();
  #target: DeviceTarget | null = null;

  constructor(options: FrontEndOptions) {
    this.#options = options;
    this.#entries = new Array<Entry | undefined>(options.maximumRequests).fill(undefined);
    this.#reset();
  }

  static memoryBytes(options: Pick<FrontEndOptions, 'bufferBytes' | 'buffers' | 'parkBuffers'>): number {
    return (options.buffers + options.parkBuffers) * options.bufferBytes;
  }

  /** Requests not answered yet. */
  get outstanding(): number {
    return this.#entries.reduce((count, entry) => count + (entry ? 1 : 0), 0);
  }

  get parkedRequests(): number {
    return this.#entries.reduce((count, entry) => count + (entry?.parked ? 1 : 0), 0);
  }

  outstandingOf(deviceId: string): number {
    return this.#entries.reduce((count, entry) => count + (entry?.request.deviceId === deviceId ? 1 : 0), 0);
  }

  isAttached(deviceId: string): boolean {
    return this.#attached.has(deviceId);
  }

  get canSubmit(): boolean {
    return this.#target !== null && this.#freeBuffers.length > 0 && this.#entries.includes(undefined);
  }

  attach(deviceId: string): void {
    if (this.#attached.has(deviceId)) return;
    if (!this.#target) throw new Error('no process to attach to');
    this.#attached.set(deviceId, this.#target.openDevice(deviceId));
  }

  /** Closes the device. Its requests under way are forgotten: their callers are never answered. */
  detach(deviceId: string): void {
    const device = this.#attached.get(deviceId);
    if (device === undefined) return;
    this.#attached.delete(deviceId);
    this.#entries.forEach((entry, index) => {
      if (entry?.request.deviceId === deviceId) this.#release(index, entry);
    });
    if (device !== null) this.#target?.closeDevice(device);
  }

  submit(request: FrontEndRequest, done: RequestDone): void {
    const buffer = this.#freeBuffers.pop();
    const index = this.#entries.indexOf(undefined);
    const device = this.#attached.get(request.deviceId);
    if (buffer === undefined || index < 0 || !this.#target || device === undefined || device === null)
      throw new Error('the front-end cannot take the request now');
    const memoryOffset = buffer;
    const { bufferBytes, memory } = this.#options;
    memory.fill(0xcd, memoryOffset, memoryOffset + bufferBytes);
    if (request.operation !== Operation.zero && request.lengthBytes > bufferBytes) throw new Error('the request is longer than a buffer');
    if (request.payload) memory.set(request.payload, memoryOffset);
    this.#entries[index] = { request, done, memoryOffset, parked: false };
    this.#target.submit(index, request.operation, device, request.offsetBytes, request.lengthBytes, memoryOffset);
  }

  completed(index: number, errno: number): void {
    const entry = this.#entries[index];
    if (!entry) throw new Violation(`request ${index} was answered twice, or never asked, or its device is closed`);
    const { lengthBytes, operation } = entry.request;
    const bytes =
      operation === Operation.read ? this.#options.memory.slice(entry.memoryOffset, entry.memoryOffset + lengthBytes) : new Uint8Array(0);
    this.#release(index, entry);
    entry.done(errno, bytes);
  }

  parked(index: number): number {
    const entry = this.#entries[index];
    if (!entry) throw new Violation(`request ${index} was parked, but is not under way`);
    if (entry.request.operation !== Operation.write) throw new Violation(`request ${index} was parked, but is not a write`);
    const first = !entry.parked;
    entry.parked = true;
    const target = first && this.#options.random.chance(0.7) ? this.#freeParkBuffers.pop() : undefined;
    if (target === undefined) return entry.memoryOffset;
    const { memory } = this.#options;
    memory.copyWithin(target, entry.memoryOffset, entry.memoryOffset + entry.request.lengthBytes);
    memory.fill(0xee, entry.memoryOffset, entry.memoryOffset + entry.request.lengthBytes);
    this.#giveBack(entry.memoryOffset);
    entry.memoryOffset = target;
    return target;
  }

  /** A new process serves: devices are opened again, what is not done is submitted again in any order. */
  connect(target: DeviceTarget): void {
    this.#target = target;
    for (const id of this.#attached.keys()) this.#attached.set(id, target.openDevice(id));
    const again = this.#entries.map((_, index) => index).filter((index) => this.#entries[index]);
    while (again.length > 0) {
      const index = again.splice(this.#options.random.below(again.length), 1)[0]!;
      const entry = this.#entries[index];
      if (!entry) continue;
      entry.parked = false;
      const { operation, deviceId, offsetBytes, lengthBytes } = entry.request;
      target.submit(index, operation, this.#attached.get(deviceId)!, offsetBytes, lengthBytes, entry.memoryOffset);
    }
  }

  /** The process is dead; requests and devices wait for the next one. */
  disconnect(): void {
    this.#target = null;
    for (const id of this.#attached.keys()) this.#attached.set(id, null);
  }

  /** The power is gone: no request, no device. */
  powerLoss(): void {
    this.#target = null;
    this.#attached.clear();
    this.#reset();
  }

  #reset(): void {
    const { buffers, parkBuffers, bufferBytes } = this.#options;
    this.#entries.fill(undefined);
    this.#freeBuffers.length = 0;
    this.#freeParkBuffers.length = 0;
    for (let index = 0; index < buffers + parkBuffers; index += 1) {
      (index < buffers ? this.#freeBuffers : this.#freeParkBuffers).push(index * bufferBytes);
    }
  }

  #release(index: number, entry: Entry): void {
    this.#entries[index] = undefined;
    this.#giveBack(entry.memoryOffset);
  }

  #giveBack(memoryOffset: number): void {
    const { buffers, bufferBytes } = this.#options;
    (memoryOffset < buffers * bufferBytes ? this.#freeBuffers : this.#freeParkBuffers).unshift(memoryOffset);
  }
}
