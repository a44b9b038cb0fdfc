/**
 * A pool in real files, with the real checks of its folder and the real LMDB, and the engine over it in this thread: small,
 * and quick to open. What the disks are told happens at once, and in order. There is no shared memory that outlives it:
 * every opening is one after a power cut.
 */
import fs from 'node:fs';
import path from 'node:path';
import { Operation, type OperationCode } from '../../src/block/ports.ts';
import type { ControlRequest, ObjectInfo } from '../../src/engine/control.ts';
import { Engine } from '../../src/engine/engine.ts';
import { engineMemoryLayout } from '../../src/engine/memory-layout.ts';
import { encodePoolHeader, formatPool } from '../../src/engine/pool-format.ts';
import type { DataDisk, EnginePorts, MetadataStore, Random } from '../../src/engine/ports.ts';
import { MetadataEnvironment } from '../../src/store/metadata/environment.ts';
import { checkHeader } from '../../src/store/pool/header.ts';
import { encodePoolIdentity, inspectPool, metadataFolderOf, readPoolIdentity } from '../../src/store/pool/pool.ts';
import { StoreError } from '../../src/util/errors.ts';

export const granuleBytes = 4096;
/** What space holds that was never written: not zeros. */
export const unwrittenByte = 0xdb;
const ringUnits = 4096;
const requestBytes = 64 * granuleBytes;
const requests = 4;
/** Rounds without which nothing of this size comes to rest. */
const patience = 100_000;

export interface FilePoolShape {
  readonly id: string;
  readonly chunkSizeBytes: number;
  readonly dataBytes: number;
  readonly logBytes: number;
}

/** A request that was answered. */
export interface FileAnswer {
  readonly errno: number;
  readonly bytes: Uint8Array;
}

export class FilePool {
  /** Why the engine has stopped, as it says. */
  failure: Error | null = null;
  readonly #engine: Engine;
  readonly #environment: MetadataEnvironment;
  readonly #descriptors: readonly number[];
  readonly #memory: Uint8Array;
  readonly #done: (() => void)[] = [];
  readonly #answers = new Map<number, number>();
  readonly #devices = new Map<string, number>();
  #nowMs = 1_800_000_000_000;

  private constructor(folder: string, identity: FilePoolShape) {
    const engineBytes = engineMemoryLayout({ ringUnits }).totalBytes;
    this.#memory = new Uint8Array(requests * requestBytes + engineBytes);
    const data = fs.openSync(path.join(folder, 'data'), 'r+');
    const log = fs.openSync(path.join(folder, 'log'), 'r+');
    this.#descriptors = [data, log];
    this.#environment = new MetadataEnvironment(metadataFolderOf(folder));
    const ports: EnginePorts = {
      data: this.#disk(data, identity.dataBytes),
      log: this.#disk(log, identity.logBytes),
      metadata: metadataStore(this.#environment, (done) => void this.#done.push(done)),
      memory: { bytes: this.#memory, engineOffset: requests * requestBytes, engineBytes },
      clock: { nowMs: () => this.#nowMs, elapsedMs: () => this.#nowMs },
      random: countingRandom(),
      listener: { completed: (request, errno) => void this.#answers.set(request, errno), parked: (request) => request * requestBytes },
    };
    this.#engine = new Engine(ports, {
      pool: { poolId: identity.id, chunkSizeBytes: identity.chunkSizeBytes },
      maximumRequests: requests,
      maximumRequestBytes: requestBytes,
      parkTimeoutMs: 1000,
      leafLimit: 64,
      ringUnits,
      checkpointAgeMs: 600_000,
      checkpointPages: 10_000,
      prewriteAfterTicks: null,
      failed: (error) => void (this.failure ??= error),
    });
  }

  static create(folder: string, shape: FilePoolShape): void {
    fs.mkdirSync(metadataFolderOf(folder), { recursive: true });
    const data = Buffer.alloc(shape.dataBytes, unwrittenByte);
    data.set(encodePoolHeader({ poolId: shape.id, chunkSizeBytes: shape.chunkSizeBytes }), 0);
    fs.writeFileSync(path.join(folder, 'data'), data);
    fs.writeFileSync(path.join(folder, 'log'), Buffer.alloc(shape.logBytes));
    const environment = new MetadataEnvironment(metadataFolderOf(folder));
    formatPool(
      { metadata: metadataStore(environment, (done) => done()), random: countingRandom() },
      { ...shape, poolId: shape.id },
      (error) => {
        if (error) throw error;
      },
    );
    closeNow(environment);
    fs.writeFileSync(path.join(folder, 'pool.json'), encodePoolIdentity({ ...shape, version: 1 }));
  }

  /** As a store does it, but for the locks. @throws StoreError */
  static open(folder: string): FilePool {
    inspectPool(folder, { sizeBytes: null, check: checkHeader });
    const identity = readPoolIdentity(folder);
    if (identity === null) throw new StoreError('not-found', `there is no pool in ${folder}`);
    const pool = new FilePool(folder, identity);
    try {
      pool.#start();
    } catch (error) {
      pool.abandon();
      throw error;
    }
    return pool;
  }

  /** The power goes, or an end without a checkpoint: the same here. */
  abandon(): void {
    for (const descriptor of this.#descriptors) fs.closeSync(descriptor);
    closeNow(this.#environment);
  }

  /** @throws what the engine answers */
  control<T>(request: ControlRequest): T {
    let result: { readonly error: Error | null; readonly answer: unknown } | null = null;
    const taken = (): { readonly error: Error | null; readonly answer: unknown } | null => result;
    this.#engine.control(request, (error, answer) => {
      if (result !== null) throw new Error(`${request.kind} was answered twice`);
      result = { error, answer };
    });
    this.settle(() => taken() !== null);
    const answered = taken()!;
    if (answered.error !== null) throw answered.error;
    return answered.answer as T;
  }

  objects(): readonly ObjectInfo[] {
    return this.control<ObjectInfo[]>({ kind: 'list' });
  }

  read(id: string, granule: number, count: number): FileAnswer {
    return this.#submit(Operation.read, id, granule, count);
  }

  write(id: string, granule: number, bytes: Uint8Array): number {
    this.#memory.set(bytes, 0);
    return this.#submit(Operation.write, id, granule, bytes.length / granuleBytes).errno;
  }

  flush(id: string): number {
    return this.#submit(Operation.flush, id, 0, 0).errno;
  }

  detach(id: string): void {
    const device = this.#devices.get(id);
    if (device !== undefined) this.#engine.closeDevice(device);
    this.#devices.delete(id);
  }

  /** Everything that waits happens, until `over`, or until nothing more does. */
  settle(over: () => boolean = () => false): void {
    for (let round = 0, quiet = 0; round < patience; round += 1) {
      if (over()) return;
      const done = this.#done.shift();
      if (done) done();
      else if (!this.#engine.background()) {
        if (quiet++ === 5) return;
        this.#nowMs += 200;
        this.#engine.tick();
      } else quiet = 0;
    }
    throw new Error('the engine does not come to rest');
  }

  #start(): void {
    let started: { readonly error: Error | null } | null = null;
    const taken = (): { readonly error: Error | null } | null => started;
    this.#engine.start((error) => {
      started = { error };
    });
    for (let round = 0; taken() === null && round < patience; round += 1) {
      const done = this.#done.shift();
      if (!done) break;
      done();
    }
    const { error } = taken() ?? { error: new Error('the engine does not say whether it started') };
    if (error !== null) throw error;
  }

  #submit(operation: OperationCode, id: string, granule: number, count: number): FileAnswer {
    let device = this.#devices.get(id);
    if (device === undefined) {
      device = this.#engine.openDevice(id);
      this.#devices.set(id, device);
    }
    const lengthBytes = count * granuleBytes;
    this.#answers.delete(0);
    this.#engine.submit(0, operation, device, granule * granuleBytes, lengthBytes, 0);
    this.settle(() => this.#answers.has(0));
    const errno = this.#answers.get(0);
    if (errno === undefined) throw new Error(`request of ${id} at ${granule} was never answered`);
    return { errno, bytes: operation === Operation.read ? this.#memory.slice(0, lengthBytes) : new Uint8Array(0) };
  }

  #disk(descriptor: number, sizeBytes: number): DataDisk {
    const later = (tag: number, result: number): void => void this.#done.push(() => this.#engine.diskCompleted(tag, result));
    const inside = (offsetBytes: number, lengthBytes: number): void => {
      if (offsetBytes < 0 || offsetBytes + lengthBytes > sizeBytes)
        throw new Error(`${lengthBytes} bytes at ${offsetBytes} are not in the file`);
    };
    return {
      sizeBytes,
      read: (offsetBytes, lengthBytes, memoryOffset, tag) => {
        inside(offsetBytes, lengthBytes);
        later(tag, fs.readSync(descriptor, this.#memory, memoryOffset, lengthBytes, offsetBytes));
      },
      readPieces: () => false,
      write: (offsetBytes, lengthBytes, memoryOffset, tag) => {
        inside(offsetBytes, lengthBytes);
        later(tag, fs.writeSync(descriptor, this.#memory, memoryOffset, lengthBytes, offsetBytes));
      },
      sync: (tag) => later(tag, 0),
    };
  }
}

/** LMDB, with errors as the worker gives them. */
function metadataStore(environment: MetadataEnvironment, later: (done: () => void) => void): MetadataStore {
  const attempt = <T>(action: () => T): [Error, null] | [null, T] => {
    try {
      return [null, action()];
    } catch (error) {
      return [new StoreError('unavailable', `metadata: ${(error as Error).message}`), null];
    }
  };
  return {
    load: (done) => {
      const [error, image] = attempt(() => ({
        pool: environment.read('pool', 0),
        objects: environment.readAll('objects'),
        seals: environment.readAll('seals'),
        erasures: environment.readAll('erasures'),
      }));
      later(() => done(error, image));
    },
    readPage: (key, done) => {
      const [error, page] = attempt(() => environment.read('pages', key));
      later(() => (error === null ? done(null, page) : done(error, null)));
    },
    readChecksums: (key, done) => {
      const [error, row] = attempt(() => environment.read('checksums', key));
      later(() => (error === null ? done(null, row) : done(error, null)));
    },
    commit: (changes, done) => {
      const [error] = attempt(() => environment.commit(changes));
      later(() => done(error));
    },
  };
}

/** Closing has nothing left to wait for: every transaction was synchronous. */
function closeNow(environment: MetadataEnvironment): void {
  environment.close().catch(() => undefined);
}

function countingRandom(): Random {
  let next = 0;
  return {
    fill: (target) => {
      for (let at = 0; at < target.length; at += 1) target[at] = (next++ * 37) & 255;
    },
  };
}
