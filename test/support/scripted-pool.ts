/**
 * A pool under a schedule written by hand: everything happens at once and in order, except what `hold` says must wait.
 * Granules are told apart by one byte.
 */
import { Operation } from '../../src/block/ports.ts';
import type { CheckReport, ControlRequest, ObjectInfo, PoolInfo } from '../../src/engine/control.ts';
import type { StoreError } from '../../src/util/errors.ts';
import { engineSubject, makeEngine } from './engine-subject.ts';
import { makeId } from './walk-actions.ts';
import { sectorSizeBytes, type DiskOperationKind } from './simulated-disk.ts';
import { SimulatedWorld, type PortsWrapper } from './simulated-world.ts';

const granuleBytes = 4096;

export interface WaitingOperation {
  readonly disk: 'data' | 'log';
  readonly kind: DiskOperationKind;
  readonly offsetBytes: number;
}

/** A request or call under way: its result once it is answered. */
export interface Pending<T = unknown> {
  answered: boolean;
  /** Of a request. */
  errno: number;
  /** Of a control call. */
  error: StoreError | null;
  answer: T | null;
  /** Of a read: the byte that fills each granule, or -1 where they differ. */
  values: number[];
}

export interface ScriptedPoolOptions {
  /** Slots that can hold chunks: one more is the pool's header. */
  readonly usableSlots: number;
  readonly chunkSizeBytes?: number;
  readonly logSizeBytes?: number;
  /** Picks the engine's tuning, see engine-subject.ts. */
  readonly seed?: number;
  readonly wrapPorts?: PortsWrapper;
  /** How often a pattern of flushes must come before a sync is begun ahead of the next one. */
  readonly flushesToLearn?: number;
  /** Told when the engine gives the pool up; without it that is an error. */
  readonly failed?: (error: Error) => void;
}

export class ScriptedPool {
  readonly world: SimulatedWorld;
  readonly chunkSizeBytes: number;
  /** Disk operations that must not go on. */
  hold: (operation: WaitingOperation) => boolean = () => false;
  /** Commits that must not go on. */
  holdMetadata = false;
  backgroundStops = false;
  #nextId = 1;
  readonly #ids = new Map<string, string>();

  constructor(options: ScriptedPoolOptions) {
    const subject = engineSubject();
    const setup = {
      seed: options.seed ?? 2 + 18,
      chunkSizeBytes: options.chunkSizeBytes ?? 16_384,
      slots: options.usableSlots + 1,
      logSizeBytes: options.logSizeBytes ?? 262_144,
    };
    this.chunkSizeBytes = setup.chunkSizeBytes;
    this.world = new SimulatedWorld({
      seed: setup.seed,
      dataSizeBytes: setup.slots * setup.chunkSizeBytes,
      logSizeBytes: setup.logSizeBytes,
      engineMemoryBytes: subject.engineMemoryBytes,
      makeEngine: (ports) => makeEngine(ports, setup, { flushesToLearn: 1, ...options }),
      requestBytes: subject.maximumGranules * granuleBytes,
      ...(options.wrapPorts ? { wrapPorts: options.wrapPorts } : {}),
    });
    subject.format(this.world, setup);
    this.start();
  }

  /** Starts a process and waits until it serves; its settling and counting too, unless they are held. */
  start(): void {
    this.world.start();
    this.settle();
    if (this.world.startError) throw this.world.startError;
    if (!this.world.ready) throw new Error('the engine does not start');
  }

  kill(): void {
    this.world.kill();
  }

  /** Loses the power; then the pool is started again. */
  powerLossAndStart(style: Parameters<SimulatedWorld['powerLoss']>[0]): void {
    this.world.powerLoss(style);
    this.hold = () => false;
    this.holdMetadata = false;
    this.backgroundStops = false;
    this.start();
  }

  /** Everything that is not held happens, oldest first. */
  settle(): void {
    for (let count = 0; ; count += 1) {
      if (count > 200_000) throw new Error('the pool does not come to rest');
      if (this.#one('data') || this.#one('log') || this.#oneOfMetadata()) continue;
      if (!this.world.alive || this.backgroundStops || !this.world.background()) {
        if (!this.#anything()) return;
      }
    }
  }

  id(name: string): string {
    return this.#ids.get(name) ?? name;
  }

  create(name: string, granules = 32, attributes: Readonly<Record<string, string>> = {}): Pending {
    return this.#make(name, (id) => ({ kind: 'create', id, name, sizeBytes: granules * granuleBytes, attributes }));
  }

  snapshot(name: string, from: string): Pending {
    return this.#make(name, (id) => ({ kind: 'snapshot', id, name, sourceId: this.id(from), attributes: {} }));
  }

  clone(name: string, from: string): Pending {
    return this.#make(name, (id) => ({ kind: 'clone', id, name, sourceId: this.id(from), sizeBytes: 0, attributes: {} }));
  }

  revert(name: string, to: string): Pending {
    this.detach(name);
    return this.control({ kind: 'revert', id: this.id(name), snapshotId: this.id(to), safety: null });
  }

  delete(name: string): Pending {
    this.detach(name);
    return this.control({ kind: 'delete', id: this.id(name) });
  }

  control<T = unknown>(request: ControlRequest): Pending<T> {
    const pending = newPending<T>();
    this.world.control(request, (error, answer) => {
      Object.assign(pending, { answered: true, error, answer });
    });
    return pending;
  }

  /** The answer of a call that nothing may hold up. */
  ask<T>(request: ControlRequest): T {
    const pending = this.control<T>(request);
    this.settle();
    if (!pending.answered || pending.error) throw new Error(`${request.kind}: ${pending.error?.message ?? 'no answer'}`);
    return pending.answer!;
  }

  pool(): PoolInfo {
    return this.ask<PoolInfo>({ kind: 'pool' });
  }

  problems(): readonly string[] {
    return this.ask<CheckReport>({ kind: 'check' }).problems;
  }

  names(): string[] {
    return this.ask<ObjectInfo[]>({ kind: 'list' })
      .map((info) => info.name)
      .sort();
  }

  write(name: string, granule: number, value: number, count = 1): Pending {
    return this.#submit(name, Operation.write, granule, count, new Uint8Array(count * granuleBytes).fill(value));
  }

  zero(name: string, granule: number, count = 1): Pending {
    return this.#submit(name, Operation.zero, granule, count);
  }

  flush(name: string): Pending {
    return this.#submit(name, Operation.flush, 0, 0);
  }

  startRead(name: string, granule: number, count = 1): Pending {
    return this.#submit(name, Operation.read, granule, count);
  }

  /** What one granule reads as; nothing may hold the read up. */
  read(name: string, granule: number): number {
    const pending = this.startRead(name, granule);
    this.settle();
    if (!pending.answered || pending.errno !== 0) throw new Error(`no answer to the read of ${name} (error ${pending.errno})`);
    return pending.values[0]!;
  }

  /** The bytes that begin the sectors of one granule, each once; nothing may hold the read up. */
  readSectors(name: string, granule: number): number[] {
    let found: number[] = [];
    const { world } = this;
    const deviceId = this.id(name);
    world.call(() => world.frontEnd.attach(deviceId));
    const request = { operation: Operation.read, deviceId, offsetBytes: granule * granuleBytes, lengthBytes: granuleBytes };
    world.call(() =>
      world.frontEnd.submit(request, (errno, bytes) => {
        if (errno === 0)
          found = [...new Set(Array.from({ length: granuleBytes / sectorSizeBytes }, (_, at) => bytes[at * sectorSizeBytes]!))];
      }),
    );
    this.settle();
    if (found.length === 0) throw new Error(`no answer to the read of ${name}`);
    return found;
  }

  detach(name: string): void {
    this.world.call(() => this.world.frontEnd.detach(this.id(name)));
  }

  #make(name: string, request: (id: string) => ControlRequest): Pending {
    const id = makeId(name[0]!, this.#nextId);
    this.#nextId += 1;
    this.#ids.set(name, id);
    return this.control(request(id));
  }

  #submit(
    name: string,
    operation: (typeof Operation)[keyof typeof Operation],
    granule: number,
    count: number,
    payload?: Uint8Array,
  ): Pending {
    const { world } = this;
    const pending = newPending();
    const deviceId = this.id(name);
    world.call(() => world.frontEnd.attach(deviceId));
    const request = {
      operation,
      deviceId,
      offsetBytes: granule * granuleBytes,
      lengthBytes: count * granuleBytes,
      ...(payload ? { payload } : {}),
    };
    world.call(() =>
      world.frontEnd.submit(request, (errno, bytes) => {
        Object.assign(pending, { answered: true, errno });
        for (let at = 0; at < bytes.length; at += granuleBytes) pending.values.push(valueOf(bytes.subarray(at, at + granuleBytes)));
      }),
    );
    return pending;
  }

  #one(disk: 'data' | 'log'): boolean {
    const simulated = this.world[disk];
    for (let index = 0; index < simulated.pending; index += 1) {
      const { kind, offsetBytes } = simulated.describe(index);
      if (this.hold({ disk, kind, offsetBytes })) continue;
      this.world.happen(() => simulated.finish(index));
      return true;
    }
    return false;
  }

  #oneOfMetadata(): boolean {
    const { metadata } = this.world;
    if (metadata.pending === 0 || (this.holdMetadata && metadata.describe(0).kind === 'commit')) return false;
    this.world.happen(() => metadata.fire(0));
    return true;
  }

  #anything(): boolean {
    for (const disk of ['data', 'log'] as const) {
      const simulated = this.world[disk];
      for (let index = 0; index < simulated.pending; index += 1) if (!this.hold({ disk, ...simulated.describe(index) })) return true;
    }
    return this.world.metadata.pending > 0 && !(this.holdMetadata && this.world.metadata.describe(0).kind === 'commit');
  }
}

function newPending<T>(): Pending<T> {
  return { answered: false, errno: 0, error: null, answer: null, values: [] };
}

function valueOf(granule: Uint8Array): number {
  return granule.every((byte) => byte === granule[0]) ? granule[0]! : -1;
}
