/**
 * The main thread's view of the data thread: its calls as promises. The death of the data or of the metadata thread is
 * the death of the process: `died` is told, and nothing more is answered.
 *
 * A life has three parts: prepared (threads, memory and ring are there, and nothing of the pool is touched), open, and
 * ended. Only an open one takes calls; those that its end cuts off are `unavailable`.
 */
import { MessageChannel, Worker, type MessagePort } from 'node:worker_threads';
import type { ControlRequest } from '../../engine/control.ts';
import { duplicateDescriptor } from '../../linux/duplicate.ts';
import { createEventDescriptor, signalEvent } from '../../linux/eventfd.ts';
import { closeDescriptor } from '../../linux/files.ts';
import { assert } from '../../util/assert.ts';
import { StoreError } from '../../util/errors.ts';
import type { MetadataSpace } from '../metadata/environment.ts';
import type { PoolFolder } from '../pool/pool.ts';
import type {
  ControlAnswer,
  DataDevices,
  DataStatistics,
  DeviceConnection,
  DeviceStatistics,
  EngineControl,
  MetadataWatch,
} from './control.ts';
import { ARENA_COUNTS } from './memory-layout.ts';
import type { DataThreadMessage, DataThreadOpening, DataThreadRequest, DataThreadSetup, MessageError } from './messages.ts';
import { workerFile } from './worker-file.ts';

export interface DataThreadOptions {
  /** Where the pool's metadata are. */
  readonly metadataFolder: string;
  readonly memoryDescriptor: number;
  /** How long a write waits for room in a full pool. */
  readonly parkTimeoutMs: number;
  readonly prewrite: boolean;
  /** A thread ended that should not have. */
  readonly died: (error: Error) => void;
  /** A disk failed: the pool can only be read from now on. */
  readonly failed: (reason: string) => void;
  readonly warned: (warning: string) => void;
}

interface Waiting {
  readonly resolve: (answer: unknown) => void;
  readonly reject: (error: Error) => void;
}

export class DataThreadClient implements EngineControl, DataDevices, DataStatistics, MetadataWatch {
  readonly maximumConnections = ARENA_COUNTS.devices;
  readonly #options: DataThreadOptions;
  readonly #port: MessagePort;
  readonly #wakeDescriptor: number;
  readonly #data: Worker;
  readonly #metadata: Worker;
  /** The metadata thread has its modules. */
  readonly #loaded = Promise.withResolvers<void>();
  readonly #prepared = Promise.withResolvers<void>();
  readonly #started = Promise.withResolvers<void>();
  readonly #ended = Promise.withResolvers<void>();
  readonly #waiting = new Map<number, Waiting>();
  #lastId = 0;
  #stopping = false;
  #discarded: Promise<void> | null = null;

  private constructor(options: DataThreadOptions) {
    this.#options = options;
    this.#wakeDescriptor = createEventDescriptor({ blocking: false });
    const control = new MessageChannel();
    const metadata = new MessageChannel();
    this.#port = control.port1;
    this.#port.on('message', (message: DataThreadMessage) => this.#received(message));
    this.#metadata = startWorker(workerFile(import.meta.url, '../metadata/worker'), {
      name: 'metadata-worker',
      data: { folder: options.metadataFolder, port: metadata.port2, wakeDescriptor: this.#wakeDescriptor },
      ports: [metadata.port2],
    });
    const setup: DataThreadSetup = {
      port: control.port2,
      metadataPort: metadata.port1,
      wakeDescriptor: this.#wakeDescriptor,
      memoryDescriptor: options.memoryDescriptor,
      parkTimeoutMs: options.parkTimeoutMs,
      prewrite: options.prewrite,
    };
    this.#data = startWorker(workerFile(import.meta.url, './data-thread'), {
      name: 'data-thread',
      data: setup,
      ports: [control.port2, metadata.port1],
    });
    this.#metadata.once('message', () => this.#loaded.resolve());
    // Nobody waits for them when preparing fails.
    this.#loaded.promise.catch(() => {});
    this.#started.promise.catch(() => {});
    for (const [name, worker] of [
      ['data', this.#data],
      ['metadata', this.#metadata],
    ] as const) {
      worker.on('error', (error) => this.#died(name, error as Error));
      worker.on('exit', () => this.#died(name, new Error('it ended')));
    }
  }

  /** Resolves when all is there that does not need the pool. StoreError when the shared memory is of another kind, or the
   * kernel refuses what is needed. */
  static async prepare(options: DataThreadOptions): Promise<DataThreadClient> {
    const client = new DataThreadClient(options);
    try {
      await Promise.all([client.#prepared.promise, client.#loaded.promise]);
      return client;
    } catch (error) {
      await client.discard();
      throw error;
    }
  }

  /** Opens a pool whose locks are taken. Resolves when the engine has recovered; `recover` must follow. Fails with the
   * engine's StoreError; then only `discard` is left. */
  async open(pool: PoolFolder): Promise<void> {
    const opening: DataThreadOpening = {
      data: { descriptor: pool.dataDescriptor, sizeBytes: pool.dataBytes },
      log: { descriptor: pool.logDescriptor, sizeBytes: pool.logBytes },
      pool: { poolId: pool.id, chunkSizeBytes: pool.chunkSizeBytes },
    };
    this.#port.postMessage(opening);
    await this.#started.promise;
  }

  async call<Kind extends ControlRequest['kind']>(request: Extract<ControlRequest, { kind: Kind }>): Promise<ControlAnswer<Kind>> {
    return (await this.#ask({ kind: 'control', request })) as ControlAnswer<Kind>;
  }

  async recover(devices: readonly DeviceConnection[]): Promise<{ readonly answered: number; readonly submitted: number }> {
    const connections = devices.map(withOwnDescriptor);
    return (await this.#ask({ kind: 'recover', connections })) as { answered: number; submitted: number };
  }

  async add(device: DeviceConnection): Promise<void> {
    const connection = withOwnDescriptor(device);
    try {
      await this.#ask({ kind: 'add', connection });
    } catch (error) {
      closeDescriptor(connection.fuseDescriptor);
      throw error;
    }
  }

  async remove(connection: number): Promise<void> {
    await this.#ask({ kind: 'remove', connection });
  }

  async openConnections(): Promise<ReadonlySet<number>> {
    return new Set((await this.#ask({ kind: 'open' })) as number[]);
  }

  async statistics(): Promise<DeviceStatistics> {
    return (await this.#ask({ kind: 'statistics' })) as DeviceStatistics;
  }

  async metadataSpace(options: { readonly fresh: boolean }): Promise<MetadataSpace> {
    return (await this.#ask({ kind: 'metadataSpace', ...options })) as MetadataSpace;
  }

  async resize(connection: number, sizeBytes: number): Promise<void> {
    await this.#ask({ kind: 'resize', connection, sizeBytes });
  }

  /**
   * Writes a checkpoint, answers the requests under way and ends the threads. When it resolves nothing of this process
   * reads or writes the pool any more. A checkpoint that fails changes nothing of that: the successor recovers.
   */
  async stop(): Promise<void> {
    try {
      await this.#ask({ kind: 'quiesce' });
      await this.call({ kind: 'checkpoint' });
    } catch (error) {
      this.#options.warned(`no checkpoint at the end: ${(error as Error).message}`);
    }
    this.#stopping = true;
    const exited = new Promise<void>((resolve) => this.#data.once('exit', () => resolve()));
    await Promise.all([this.#ask({ kind: 'stop' }), this.#ended.promise]);
    // A commit under way ends with the thread.
    await this.#metadata.terminate();
    // Ring and memory take longer, and nobody needs to wait for them. The thread's ports would keep it alive.
    this.#port.close();
    this.#discarded ??= exited.then(() => this.#discard());
  }

  /** Ends the threads as they are. */
  discard(): Promise<void> {
    this.#discarded ??= this.#discard();
    return this.#discarded;
  }

  async #discard(): Promise<void> {
    this.#stopping = true;
    this.#port.close();
    await Promise.all([this.#data.terminate(), this.#metadata.terminate()]);
    closeDescriptor(this.#wakeDescriptor);
    const error = new StoreError('unavailable', 'the store is stopping; ask again');
    this.#started.reject(error);
    for (const { reject } of this.#waiting.values()) reject(error);
    this.#waiting.clear();
  }

  #ask(request: DataThreadRequest): Promise<unknown> {
    if (this.#stopping && request.kind !== 'stop') return Promise.reject(new StoreError('unavailable', 'the store is stopping; ask again'));
    const id = ++this.#lastId;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      this.#port.postMessage({ id, request });
      signalEvent(this.#wakeDescriptor);
    });
  }

  #received(message: DataThreadMessage): void {
    if (message.kind === 'ended') return this.#ended.resolve();
    if (message.kind === 'failed') return this.#options.failed(message.reason);
    if (message.kind === 'prepared') {
      for (const warning of message.warnings) this.#options.warned(warning);
      if (message.error === null) this.#prepared.resolve();
      else this.#prepared.reject(errorOf(message.error));
      return;
    }
    if (message.kind === 'started') {
      if (message.error === null) this.#started.resolve();
      else this.#started.reject(errorOf(message.error));
      return;
    }
    const waiting = this.#waiting.get(message.id);
    assert(waiting !== undefined, 'every answer of the data thread has a request');
    this.#waiting.delete(message.id);
    if (message.error === null) waiting.resolve(message.answer);
    else waiting.reject(errorOf(message.error));
  }

  #died(name: string, cause: Error): void {
    if (this.#stopping) return;
    this.#stopping = true;
    const error = new Error(`the ${name} thread died: ${cause.message}`, { cause });
    for (const part of [this.#loaded, this.#prepared, this.#started]) part.reject(error);
    this.#options.died(error);
  }
}

/** The data thread closes what it serves; the keeper's client needs the descriptor for longer. */
function withOwnDescriptor(device: DeviceConnection): DeviceConnection {
  const { objectId, connection, incarnation, sizeBytes, readOnly } = device;
  return { objectId, connection, incarnation, sizeBytes, readOnly, fuseDescriptor: duplicateDescriptor(device.fuseDescriptor) };
}

/** Pages that were read are garbage at once, and of a large young generation a lot of it stays when reading is over. */
const RESOURCE_LIMITS = { maxYoungGenerationSizeMb: 12 };

function startWorker(file: URL, options: { readonly name: string; readonly data: unknown; readonly ports: MessagePort[] }): Worker {
  const { name, data, ports } = options;
  return new Worker(file, { workerData: data, transferList: ports, execArgv: [], name, resourceLimits: RESOURCE_LIMITS });
}

function errorOf({ code, message }: MessageError): Error {
  return code === null ? new Error(message) : new StoreError(code, message);
}
