/**
 * The data thread: composes the shared memory, the data loop, the engine and the metadata client, and runs the loop. It
 * never returns to JavaScript's event loop while it serves; an eventfd brings it out of the kernel when a message waits.
 *
 * It is started before the pool is this process's, so that a hand-over does not wait for modules, memory and ring: until
 * its opening it only looks at the shared memory, which another process may be using.
 */
import { randomFillSync } from 'node:crypto';
import { receiveMessageOnPort, workerData } from 'node:worker_threads';
import { DataLoop } from '../../block/data-loop.ts';
import { maximumDataBytes } from '../../block/fuse.ts';
import type { ControlRequest, ObjectId } from '../../engine/control.ts';
import { Engine } from '../../engine/engine.ts';
import { engineMemoryLayout, RING_UNITS } from '../../engine/memory-layout.ts';
import { RecordRing } from '../../engine/record-ring.ts';
import { SharedMemory } from '../../linux/memory.ts';
import { assert } from '../../util/assert.ts';
import { StoreError } from '../../util/errors.ts';
import { MetadataStoreClient } from '../metadata/client.ts';
import { CallTimes } from './call-times.ts';
import type { DeviceConnection, DeviceStatistics } from './control.ts';
import { type MemoryLayout, memoryLayoutOf } from './memory-layout.ts';
import type { DataThreadMessage, DataThreadOpening, DataThreadRequest, DataThreadSetup, MessageError } from './messages.ts';

/** About 64 MiB of pages: the map of 256 GiB at 64 KiB a chunk. */
const LEAF_LIMIT = 16_384;
const CHECKPOINT_AGE_MS = 30_000;
/** About a second. */
const PREWRITE_AFTER_TICKS = 10;
const CHECKPOINT_PAGES = 1_024;
/** Data and log. */
const DISKS = 2;

type Reply = (error: MessageError | null, answer: unknown) => void;

class DataThread {
  readonly #setup: DataThreadSetup;
  readonly #metadata: MetadataStoreClient;
  readonly #memory: SharedMemory;
  readonly #layout: MemoryLayout;
  readonly #loop: DataLoop;
  #running: Engine | null = null;
  /** The engine's device of each connection. */
  readonly #devices = new Map<number, number>();
  readonly #objects = new Map<number, ObjectId>();
  readonly #callTimes = new CallTimes();

  constructor(setup: DataThreadSetup) {
    this.#setup = setup;
    const memory = SharedMemory.map(setup.memoryDescriptor);
    this.#memory = memory;
    this.#layout = memoryLayoutOf(memory.bytes);
    this.#demandKnownLayout();
    this.#metadata = new MetadataStoreClient(setup.metadataPort);
    this.#loop = new DataLoop({
      memory,
      arena: { ...this.#layout.arena, offsetBytes: this.#layout.arenaOffset, lengthBytes: this.#layout.arenaBytes },
      disks: DISKS,
      wakeDescriptor: setup.wakeDescriptor,
      onWake: () => this.#woken(),
      onTick: () => this.#engine.tick(),
      background: () => this.#engine.background(),
      isBackgroundUrgent: () => this.#engine.isBackgroundUrgent,
      diskCompleted: (tag, result) => this.#engine.diskCompleted(tag, result),
    });
  }

  /** Before the pool is asked for: its holder must not give it to somebody who cannot take it. The arena looks for itself. */
  #demandKnownLayout(): void {
    const { bytes } = this.#memory;
    const { totalBytes, engineOffset } = this.#layout;
    if (bytes.length < totalBytes) {
      throw new StoreError(
        'failed-precondition',
        `the shared memory of this pool has ${bytes.length} bytes, this program wants ${totalBytes}: another version made it. Detach all volumes first`,
      );
    }
    const { stagingOffset } = engineMemoryLayout({ ringUnits: RING_UNITS });
    new RecordRing(bytes.subarray(engineOffset, engineOffset + stagingOffset), RING_UNITS).demandKnownLayout();
  }

  /** What the kernel refused and can be done without. */
  get warnings(): readonly string[] {
    return this.#loop.warnings;
  }

  get #engine(): Engine {
    assert(this.#running !== null, 'the pool is open');
    return this.#running;
  }

  /** Serves until it is told to stop. */
  run(opening: DataThreadOpening): void {
    this.#running = this.#makeEngine(opening);
    this.#loop.setTarget(this.#running);
    this.#running.start((error) => this.#send({ kind: 'started', error: error === null ? null : messageError(error) }));
    this.#loop.run();
    this.#send({ kind: 'ended' });
    this.#loop.close();
    this.#memory.unmap();
  }

  #makeEngine(opening: DataThreadOpening): Engine {
    const setup = this.#setup;
    const { bytes } = this.#memory;
    const { engineOffset, engineBytes } = this.#layout;
    return new Engine(
      {
        data: this.#loop.openDisk(opening.data),
        log: this.#loop.openDisk(opening.log),
        metadata: this.#metadata,
        memory: { bytes, engineOffset, engineBytes },
        clock: { nowMs: Date.now, elapsedMs: () => performance.now() },
        random: { fill: (target) => void randomFillSync(target) },
        listener: this.#loop.listener,
      },
      {
        pool: opening.pool,
        maximumRequests: this.#loop.maximumRequests,
        maximumRequestBytes: maximumDataBytes,
        parkTimeoutMs: setup.parkTimeoutMs,
        prewriteAfterTicks: setup.prewrite ? PREWRITE_AFTER_TICKS : null,
        leafLimit: LEAF_LIMIT,
        ringUnits: RING_UNITS,
        checkpointAgeMs: CHECKPOINT_AGE_MS,
        checkpointPages: CHECKPOINT_PAGES,
        failed: (error) => this.#send({ kind: 'failed', reason: error.message }),
      },
    );
  }

  #woken(): void {
    this.#metadata.drain();
    const { port } = this.#setup;
    for (let received = receiveMessageOnPort(port); received !== undefined; received = receiveMessageOnPort(port)) {
      const { id, request } = received.message as { id: number; request: DataThreadRequest };
      this.#serve(request, (error, answer) => this.#send({ kind: 'answer', id, error, answer }));
    }
  }

  #serve(request: DataThreadRequest, reply: Reply): void {
    try {
      this.#dispatch(request, reply);
    } catch (error) {
      // What is not a StoreError is a bug: it ends the thread, and with it the process.
      if (!(error instanceof StoreError)) throw error;
      reply(messageError(error), null);
    }
  }

  #dispatch(request: DataThreadRequest, reply: Reply): void {
    switch (request.kind) {
      case 'control':
        return this.#control(request.request, reply);
      case 'recover': {
        for (const connection of request.connections) this.#add(connection);
        return reply(null, this.#loop.recover());
      }
      case 'add':
        this.#add(request.connection);
        return reply(null, null);
      case 'remove':
        return this.#remove(request.connection, reply);
      case 'resize':
        this.#loop.setDeviceSize(request.connection, request.sizeBytes);
        return reply(null, null);
      case 'open':
        return reply(
          null,
          [...this.#devices.keys()].filter((connection) => this.#loop.isOpen(connection)),
        );
      case 'statistics':
        return reply(null, this.#statistics());
      case 'metadataSpace':
        return this.#metadataSpace(request, reply);
      case 'quiesce':
        this.#engine.quiesce();
        return reply(null, null);
      case 'stop':
        this.#loop.stop();
        return reply(null, null);
    }
  }

  #metadataSpace({ fresh }: { readonly fresh: boolean }, reply: Reply): void {
    const last = this.#metadata.lastSpace;
    if (!fresh && last !== null) return reply(null, last);
    this.#metadata.space((error, space) => reply(error === null ? null : messageError(error), space));
  }

  #control(request: ControlRequest, reply: Reply): void {
    const begunMs = performance.now();
    this.#engine.control(request, (error, answer) => {
      this.#callTimes.record(request.kind, performance.now() - begunMs);
      reply(error === null ? null : messageError(error), answer);
    });
  }

  #add(connection: DeviceConnection): void {
    const device = this.#engine.openDevice(connection.objectId);
    try {
      this.#loop.addDevice({ ...connection, device });
    } catch (error) {
      this.#engine.closeDevice(device);
      throw error;
    }
    this.#devices.set(connection.connection, device);
    this.#objects.set(connection.connection, connection.objectId);
  }

  #remove(connection: number, reply: Reply): void {
    const device = this.#devices.get(connection);
    if (device === undefined) return reply(null, null);
    if (this.#loop.isOpen(connection)) throw new StoreError('in-use', 'a loop device is set up over it: detach that first');
    this.#devices.delete(connection);
    this.#objects.delete(connection);
    this.#loop.removeDevice(connection, () => {
      this.#engine.closeDevice(device);
      reply(null, null);
    });
  }

  #statistics(): DeviceStatistics {
    const devices = [...this.#devices.keys()].flatMap((connection) => {
      const counts = this.#loop.countsOf(connection);
      const objectId = this.#objects.get(connection);
      return counts === null || objectId === undefined ? [] : [{ objectId, counts }];
    });
    return { devices, latency: this.#loop.latency(), calls: this.#callTimes.sums() };
  }

  #send(message: DataThreadMessage): void {
    this.#setup.port.postMessage(message);
  }
}

function messageError(error: Error): MessageError {
  return { code: error instanceof StoreError ? error.code : null, message: error.message };
}

/** Null when it cannot be: the main thread has been told why. */
function prepare(setup: DataThreadSetup): DataThread | null {
  const tell = (message: DataThreadMessage): void => setup.port.postMessage(message);
  try {
    const thread = new DataThread(setup);
    tell({ kind: 'prepared', error: null, warnings: thread.warnings });
    return thread;
  } catch (error) {
    if (!(error instanceof StoreError)) throw error;
    tell({ kind: 'prepared', error: messageError(error), warnings: [] });
    return null;
  }
}

const setup = workerData as DataThreadSetup;
const thread = prepare(setup);
setup.port.once('message', (opening: DataThreadOpening) => thread?.run(opening));
