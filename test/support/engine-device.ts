/** A volume of the engine over simulated ports as a block device: every promise is kept by stepping the world. */
import { Operation, type OperationCode } from '../../src/block/ports.ts';
import type { BlockDevice } from './block-contract.ts';
import { formatSimulatedPool, makeEngine } from './engine-subject.ts';
import { makeId } from './walk-actions.ts';
import { engineMemoryLayout } from '../../src/engine/memory-layout.ts';
import { SimulatedWorld } from './simulated-world.ts';

export interface EngineDeviceOptions {
  readonly seed: number;
  readonly chunkSizeBytes: number;
  readonly sizeBytes: number;
  /** How the device is ended and opened again. */
  readonly ending: 'kill' | 'power';
}

const requestBytes = 1_048_576;

export class EngineDevice implements BlockDevice {
  readonly sizeBytes: number;
  readonly #world: SimulatedWorld;
  readonly #id: string;
  readonly #options: EngineDeviceOptions;
  #pumping = false;

  private constructor(world: SimulatedWorld, id: string, options: EngineDeviceOptions) {
    this.#world = world;
    this.#id = id;
    this.#options = options;
    this.sizeBytes = options.sizeBytes;
    world.call(() => world.frontEnd.attach(id));
  }

  static create(options: EngineDeviceOptions): EngineDevice {
    const { seed, chunkSizeBytes } = options;
    const setup = { seed, chunkSizeBytes, slots: Math.ceil((2 * options.sizeBytes) / chunkSizeBytes), logSizeBytes: 1_048_576 };
    const world = new SimulatedWorld({
      seed,
      dataSizeBytes: setup.slots * chunkSizeBytes,
      logSizeBytes: setup.logSizeBytes,
      engineMemoryBytes: engineMemoryLayout({ ringUnits: 4096 }).totalBytes,
      makeEngine: (ports) => makeEngine(ports, setup, { maximumRequestBytes: requestBytes }),
      requestBytes,
    });
    formatSimulatedPool(world, setup);
    const id = makeId('a', 1);
    world.start();
    world.settle();
    world.control({ kind: 'create', id, name: 'a', sizeBytes: options.sizeBytes, attributes: {} }, (error) => {
      if (error) throw error;
    });
    world.settle();
    return new EngineDevice(world, id, options);
  }

  async read(offsetBytes: number, lengthBytes: number): Promise<Uint8Array> {
    return this.#submit(Operation.read, offsetBytes, lengthBytes);
  }

  async write(offsetBytes: number, bytes: Uint8Array): Promise<void> {
    await this.#submit(Operation.write, offsetBytes, bytes.length, bytes);
  }

  async zero(offsetBytes: number, lengthBytes: number): Promise<void> {
    await this.#submit(Operation.zero, offsetBytes, lengthBytes);
  }

  async flush(): Promise<void> {
    await this.#submit(Operation.flush, 0, 0);
  }

  async reopen(): Promise<BlockDevice> {
    if (this.#options.ending === 'kill') this.#world.kill();
    else this.#world.powerLoss('lose');
    this.#world.start();
    this.#world.settle();
    return new EngineDevice(this.#world, this.#id, this.#options);
  }

  async close(): Promise<void> {
    // The world ends with the test.
  }

  async #submit(operation: OperationCode, offsetBytes: number, lengthBytes: number, payload?: Uint8Array): Promise<Uint8Array> {
    const world = this.#world;
    while (!world.frontEnd.canSubmit) world.step();
    return new Promise((resolve, reject) => {
      const request = { operation, deviceId: this.#id, offsetBytes, lengthBytes, ...(payload ? { payload } : {}) };
      world.call(() =>
        world.frontEnd.submit(request, (errno, bytes) => {
          if (errno === 0) resolve(bytes);
          else reject(new Error(`error ${errno}`));
        }),
      );
      this.#pump();
    });
  }

  /** Lets events happen once the caller has submitted everything that it wanted to submit together. */
  #pump(): void {
    if (this.#pumping) return;
    this.#pumping = true;
    setImmediate(() => {
      this.#pumping = false;
      while (this.#world.frontEnd.outstanding > 0) this.#world.step();
    });
  }
}
