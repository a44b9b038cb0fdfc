/**
 * A volume of a StoreBed that writers (volume-writer.ts) write to without end, and whose snapshots, clones and reverts are
 * held against what was acknowledged (written-model.ts). Calls are repeated while no store serves.
 */
import fs from 'node:fs';
import path from 'node:path';
import { Worker } from 'node:worker_threads';
import { blockDeviceSize } from '../../src/linux/files.ts';
import { Structure } from '../../src/linux/structure.ts';
import { eventually } from './eventually.ts';
import type { SeededRandom } from './seeded-random.ts';
import type { StoreBed } from './store-bed.ts';
import { MAXIMUM_STALLS, type VolumeWriterData } from './volume-writer-data.ts';
import { CutKeeper, faultOfCut, makeModelMemory, statesOf, Wish, WRITERS, WrittenModel } from './written-model.ts';

const REST_LIMIT_MS = 120_000;
const READ_BYTES = 2 ** 20;

/** A snapshot, and what it was found to hold: it must hold that for ever. */
export interface KnownSnapshot {
  readonly id: string;
  readonly name: string;
  readonly states: Int32Array;
}

/** An operation of a writer that took long. */
export interface Stall {
  readonly atMs: number;
  readonly tookMs: number;
}

export class ModelledVolume {
  readonly #bed: StoreBed;
  readonly #name: string;
  readonly #id: string;
  readonly #model: WrittenModel;
  readonly #cuts: CutKeeper;
  readonly #workers: Worker[] = [];
  readonly #stalls: Float64Array[] = [];
  readonly #ended: Promise<void>[] = [];
  readonly #faults: string[] = [];

  private constructor(bed: StoreBed, volume: { readonly id: string; readonly name: string; readonly sizeBytes: number }, salt: number) {
    this.#bed = bed;
    this.#id = volume.id;
    this.#name = volume.name;
    this.#model = new WrittenModel(makeModelMemory({ sizeBytes: volume.sizeBytes, salt }));
    this.#cuts = new CutKeeper(this.#model);
  }

  static async make(bed: StoreBed, options: { name: string; sizeBytes: number; random: SeededRandom }): Promise<ModelledVolume> {
    const { name, sizeBytes, random } = options;
    const { volume } = await bed.client.createVolume({ name, sizeBytes, source: null, attributes: {} });
    const modelled = new ModelledVolume(bed, volume, random.bits() | 1);
    modelled.#model.devicePath = await bed.attachAgain(volume.id);
    modelled.#startWriters(random);
    return modelled;
  }

  #startWriters(random: SeededRandom): void {
    for (let writer = 0; writer < WRITERS; writer++) {
      const stalls = new SharedArrayBuffer(16 * (MAXIMUM_STALLS + 1));
      this.#stalls.push(new Float64Array(stalls));
      const workerData: VolumeWriterData = { memory: this.#model.memory, writer, seed: random.bits(), stalls };
      const worker = new Worker(path.join(import.meta.dirname, 'volume-writer.ts'), { workerData, execArgv: [] });
      this.#workers.push(worker);
      this.#ended.push(
        new Promise((resolve) => {
          worker.once('message', (fault: string | null) => {
            if (fault !== null) this.#faults.push(`volume ${this.#name}: ${fault}`);
            resolve();
          });
          worker.once('error', (error) => {
            this.#faults.push(`volume ${this.#name}: writer ${writer} ended: ${error.message}`);
            resolve();
          });
        }),
      );
    }
  }

  /** What the writers met that must not be. */
  get faults(): readonly string[] {
    return this.#faults;
  }

  get operations(): number {
    return Array.from({ length: WRITERS }, (_, writer) => this.#model.acknowledged(writer)).reduce((sum, count) => sum + count, 0);
  }

  get stalls(): Stall[] {
    return this.#stalls.flatMap((pairs) =>
      Array.from({ length: pairs[0]! }, (_, index) => ({ atMs: pairs[2 * index + 2]!, tookMs: pairs[2 * index + 3]! })),
    );
  }

  /** Cuts a snapshot while the writers write, and reads what it holds. */
  async snapshot(name: string): Promise<KnownSnapshot> {
    const answered = this.#cuts.begin();
    const request = { name, sourceVolumeId: this.#id, attributes: {} };
    const { snapshot } = await this.#bed.again((client) => client.createSnapshot(request));
    const cut = answered();
    const states = await this.#read(snapshot.id, `snapshot ${name} of ${this.#name}`);
    const fault = faultOfCut(this.#model, cut, states);
    if (fault !== null) throw new Error(`snapshot ${name} of ${this.#name}: ${fault}`);
    return { id: snapshot.id, name, states };
  }

  /** A snapshot holds what it held. */
  async verify(known: KnownSnapshot): Promise<void> {
    const states = await this.#read(known.id, `snapshot ${known.name}`);
    requireSame(states, known.states, `snapshot ${known.name} of ${this.#name}`);
  }

  /** A clone of the volume as it is just now, or of a snapshot, holds what it must; the caller deletes it. */
  async clone(name: string, source: KnownSnapshot | null): Promise<string> {
    const answered = this.#cuts.begin();
    const from = source === null ? { kind: 'volume' as const, id: this.#id } : { kind: 'snapshot' as const, id: source.id };
    const request = { name, sizeBytes: this.#model.memory.blocks * 4096, source: from, attributes: {} };
    const { volume } = await this.#bed.again((client) => client.createVolume(request));
    const cut = answered();
    const states = await this.#read(volume.id, `clone ${name}`);
    if (source !== null) requireSame(states, source.states, `clone ${name} of snapshot ${source.name}`);
    else {
      const fault = faultOfCut(this.#model, cut, states);
      if (fault !== null) throw new Error(`clone ${name} of ${this.#name}: ${fault}`);
    }
    return volume.id;
  }

  /** Reverts the volume while its writers rest; answers the snapshot of what it held before. */
  async revert(known: KnownSnapshot, safetyName: string): Promise<KnownSnapshot> {
    await this.#rest();
    await this.#bed.detachAgain(this.#id);
    const before = this.#model.states.map((state) => Math.max(0, state));
    const request = { id: this.#id, snapshotId: known.id, safety: { name: safetyName, attributes: {} } };
    const { safety } = await this.#bed.again((client) => client.revertVolume(request));
    this.#cuts.replace(known.states);
    this.#model.devicePath = await this.#bed.attachAgain(this.#id);
    this.#model.wish = Wish.run;
    return { id: safety!.id, name: safetyName, states: before };
  }

  /** All that was acknowledged is there. */
  async verifyAll(): Promise<void> {
    await this.#rest();
    const states = statesOf(this.#model, await readAll(this.#model.devicePath));
    requireSame(
      states,
      this.#model.states.map((state) => Math.max(0, state)),
      `volume ${this.#name}`,
    );
  }

  /** The writers end after the operation that they are at. */
  abandon(): void {
    this.#model.wish = Wish.stop;
  }

  /** Ends the writers; they wait for as long as no store serves and a keeper lives. */
  async stop(): Promise<void> {
    this.#model.wish = Wish.stop;
    await Promise.all(this.#ended);
    await Promise.all(this.#workers.map((worker) => worker.terminate()));
  }

  async #rest(): Promise<void> {
    this.#model.wish = Wish.pause;
    const atRest = (): boolean => this.#faults.length > 0 || this.#workers.every((_, writer) => this.#model.isAtRest(writer));
    await eventually(`the writers of ${this.#name} rest`, atRest, REST_LIMIT_MS);
    if (this.#faults.length > 0) throw new Error(this.#faults.join('\n'));
  }

  async #read(id: string, what: string): Promise<Int32Array> {
    const devicePath = await this.#bed.attachAgain(id);
    const bytes = await readAll(devicePath);
    await this.#bed.detachAgain(id);
    try {
      return statesOf(this.#model, bytes);
    } catch (error) {
      throw new Error(what, { cause: error });
    }
  }
}

async function readAll(devicePath: string): Promise<Uint8Array> {
  const file = await fs.promises.open(devicePath, fs.constants.O_RDONLY | fs.constants.O_DIRECT);
  try {
    const sizeBytes = blockDeviceSize(file.fd);
    const all = new Uint8Array(sizeBytes);
    const { bytes } = new Structure(READ_BYTES, { alignmentBytes: 4096 });
    for (let at = 0; at < sizeBytes; at += READ_BYTES) {
      const { bytesRead } = await file.read(bytes, 0, READ_BYTES, at);
      if (bytesRead !== Math.min(READ_BYTES, sizeBytes - at)) throw new Error(`only ${bytesRead} bytes of ${devicePath} read at ${at}`);
      all.set(bytes.subarray(0, bytesRead), at);
    }
    return all;
  } finally {
    await file.close();
  }
}

function requireSame(found: Int32Array, wanted: Int32Array, what: string): void {
  const wrong = found.findIndex((state, block) => state !== wanted[block]);
  if (wrong >= 0) throw new Error(`${what}: block ${wrong} holds operation ${found[wrong]!}, it should hold ${wanted[wrong]!}`);
}
