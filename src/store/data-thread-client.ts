/**
 * The main thread's view of the data thread: its calls as promises. The death of the data or of the metadata thread is
 * the death of the process: `died` is told, and nothing more is answered.
 */
import { MessageChannel, Worker, type MessagePort } from 'node:worker_threads';
import { duplicateDescriptor } from '../linux/duplicate.ts';
import { createEventDescriptor, signalEvent } from '../linux/eventfd.ts';
import { closeDescriptor } from '../linux/files.ts';
import { assert } from '../util/assert.ts';
import { StoreError } from '../util/errors.ts';
import type { ControlRequest } from '../engine/control.ts';
import type { ControlAnswer, DataDevices, DataStatistics, DeviceConnection, DeviceStatistics, EngineControl } from './control.ts';
import type {
  DataThreadMessage,
  DataThreadRequest,
  DataThreadSetup,
  MemoryLayout,
  MessageError,
  ServedConnection,
} from './data-thread-messages.ts';
import { ARENA_COUNTS } from './memory-layout.ts';
import type { PoolFolder } from './pool.ts';
import { workerFile } from './worker-file.ts';

export interface DataThreadOptions {
  readonly pool: PoolFolder;
  readonly memoryDescriptor: number;
  readonly memory: MemoryLayout;
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

export class DataThreadClient implements EngineControl, DataDevices, DataStatistics {
  readonly maximumConnections = ARENA_COUNTS.devices;
  readonly #options: DataThreadOptions;
  readonly #port: MessagePort;
  readonly #wakeDescriptor: number;
  readonly #data: Worker;
  readonly #metadata: Worker;
  readonly #started = Promise.withResolvers<void>();
  readonly #waiting = new Map<number, Waiting>();
  #lastId = 0;
  #stopping = false;

  private constructor(options: DataThreadOptions) {
    this.#options = options;
    this.#wakeDescriptor = createEventDescriptor({ blocking: false });
    const control = new MessageChannel();
    const metadata = new MessageChannel();
    this.#port = control.port1;
    this.#port.on('message', (message: DataThreadMessage) => this.#received(message));
    this.#metadata = startWorker(
      'metadata-worker',
      { folder: options.pool.metadataFolder, port: metadata.port2, wakeDescriptor: this.#wakeDescriptor },
      [metadata.port2],
    );
    const { pool } = options;
    const setup: DataThreadSetup = {
      port: control.port2,
      metadataPort: metadata.port1,
      wakeDescriptor: this.#wakeDescriptor,
      memoryDescriptor: options.memoryDescriptor,
      memory: options.memory,
      data: { descriptor: pool.dataDescriptor, sizeBytes: pool.dataBytes },
      log: { descriptor: pool.logDescriptor, sizeBytes: pool.logBytes },
      parkTimeoutMs: options.parkTimeoutMs,
      prewrite: options.prewrite,
      pool: { poolId: pool.id, chunkSizeBytes: pool.chunkSizeBytes },
    };
    this.#data = startWorker('data-thread', setup, [control.port2, metadata.port1]);
    for (const [name, worker] of [
      ['data', this.#data],
      ['metadata', this.#metadata],
    ] as const) {
      worker.on('error', (error) => this.#died(name, error as Error));
      worker.on('exit', () => this.#died(name, new Error('it ended')));
    }
  }

  /** Resolves when the engine has recovered; fails with its StoreError. `recover` must follow. */
  static async start(options: DataThreadOptions): Promise<DataThreadClient> {
    const client = new DataThreadClient(options);
    try {
      await client.#started.promise;
      return client;
    } catch (error) {
      await client.#end();
      throw error;
    }
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

  async resize(connection: number, sizeBytes: number): Promise<void> {
    await this.#ask({ kind: 'resize', connection, sizeBytes });
  }

  /** Writes a checkpoint, answers the requests under way and ends the threads. */
  async stop(): Promise<void> {
    await this.call({ kind: 'checkpoint' });
    this.#stopping = true;
    const ended = new Promise<void>((resolve) => this.#data.once('exit', () => resolve()));
    await this.#ask({ kind: 'stop' });
    // The thread's ports would keep it alive once its loop has returned.
    this.#port.close();
    await ended;
    await this.#end();
  }

  #ask(request: DataThreadRequest): Promise<unknown> {
    const id = ++this.#lastId;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      this.#port.postMessage({ id, request });
      signalEvent(this.#wakeDescriptor);
    });
  }

  #received(message: DataThreadMessage): void {
    if (message.kind === 'failed') return this.#options.failed(message.reason);
    if (message.kind === 'started') {
      for (const warning of message.warnings) this.#options.warned(warning);
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
    this.#started.reject(error);
    this.#options.died(error);
  }

  async #end(): Promise<void> {
    this.#stopping = true;
    this.#port.close();
    await Promise.all([this.#data.terminate(), this.#metadata.terminate()]);
    closeDescriptor(this.#wakeDescriptor);
  }
}

/** The data thread closes what it serves; the keeper's client needs the descriptor for longer. */
function withOwnDescriptor(device: DeviceConnection): ServedConnection {
  const { objectId, connection, incarnation, sizeBytes, readOnly } = device;
  return { objectId, connection, incarnation, sizeBytes, readOnly, fuseDescriptor: duplicateDescriptor(device.fuseDescriptor) };
}

function startWorker(name: string, data: unknown, ports: MessagePort[]): Worker {
  return new Worker(workerFile(import.meta.url, name), { workerData: data, transferList: ports, execArgv: [], name });
}

function errorOf({ code, message }: MessageError): Error {
  return code === null ? new Error(message) : new StoreError(code, message);
}
