/**
 * The whole world of one engine, in one thread and one order: disks, metadata, memory, clock and front-end. Nothing
 * happens by itself; `step` picks one pending event by a seed. A process may be killed between two events or inside a
 * port call, the power may go at any event.
 *
 * Memory survives a kill and is zeroed by a power loss. A new process is started only once the disk operations of the
 * dead one are over, as the lock on the pool's files guarantees.
 */
import type { ControlRequest } from '../../src/engine/control.ts';
import type { Clock, DataDisk, EnginePorts, MetadataStore, Random, RequestListener } from '../../src/engine/ports.ts';
import type { StoreError } from '../../src/util/errors.ts';
import { SeededRandom } from './seeded-random.ts';
import { SimulatedDisk, type DiskFault, type PowerLossStyle } from './simulated-disk.ts';
import { SimulatedFrontEnd, type DeviceTarget } from './simulated-front-end.ts';
import { SimulatedMetadata, type MetadataFault } from './simulated-metadata.ts';
import { ProcessKilled, Violation } from './violation.ts';

/** The engine as the world drives it. */
export interface EngineUnderTest extends DeviceTarget {
  start(ready: (error: Error | null) => void): void;
  control(request: ControlRequest, done: (error: StoreError | null, answer: unknown) => void): void;
  diskCompleted(tag: number, result: number): void;
  tick(): void;
  background(): boolean;
  quiesce?(): void;
}

/** Lets a test put itself between the engine and its ports, to plant a bug or to watch. */
export type PortsWrapper = (ports: EnginePorts) => EnginePorts;

/** What a power loss does to each of the pool's parts, where it is not the same to all. */
export interface PowerLossStyles {
  readonly data: PowerLossStyle;
  readonly log: PowerLossStyle;
  readonly metadata: PowerLossStyle;
}

/** Calls of one kind that fail until the process ends or the power goes. */
export type WorldFault = ({ readonly port: 'data' | 'log' } & DiskFault) | ({ readonly port: 'metadata' } & MetadataFault);

export interface SimulatedWorldOptions {
  readonly seed: number;
  readonly dataSizeBytes: number;
  readonly logSizeBytes: number;
  readonly engineMemoryBytes: number;
  readonly makeEngine: (ports: EnginePorts) => EngineUnderTest;
  readonly wrapPorts?: PortsWrapper;
  readonly maximumRequests?: number;
  readonly requestBytes?: number;
}

const settleLimit = 400_000;
const quietTicks = 3;

export class SimulatedWorld {
  readonly random: SeededRandom;
  readonly data: SimulatedDisk;
  readonly log: SimulatedDisk;
  readonly metadata: SimulatedMetadata;
  readonly frontEnd: SimulatedFrontEnd;
  readonly memory: Uint8Array;
  readonly #options: SimulatedWorldOptions;
  readonly #engineOffset: number;
  #nowMs = 1_800_000_000_000;
  #clockErrorMs = 0;
  #engine: EngineUnderTest | null = null;
  #ready = false;
  #startError: Error | null = null;
  /** Calls of all processes so far. */
  portCalls = 0;
  #portCallsLeft = Infinity;
  #generation = 0;
  #connectTo: EngineUnderTest | null = null;
  steps = 0;
  /** A planted bug: a successor does not wait for the disk operations of the dead process. */
  startsAtOnce = false;
  /** A planted bug: the shared memory dies with the process. */
  forgetsMemory = false;

  constructor(options: SimulatedWorldOptions) {
    this.#options = options;
    this.random = new SeededRandom(options.seed);
    const arena = {
      maximumRequests: options.maximumRequests ?? 24,
      bufferBytes: options.requestBytes ?? 262_144,
      buffers: 12,
      parkBuffers: 12,
    };
    this.#engineOffset = SimulatedFrontEnd.memoryBytes(arena);
    this.memory = new Uint8Array(this.#engineOffset + options.engineMemoryBytes);
    const { memory, random } = this;
    this.data = new SimulatedDisk({ name: 'data', sizeBytes: options.dataSizeBytes, memory, random });
    this.log = new SimulatedDisk({ name: 'log', sizeBytes: options.logSizeBytes, memory, random });
    this.metadata = new SimulatedMetadata({ random });
    this.frontEnd = new SimulatedFrontEnd({ ...arena, memory, random });
  }

  get alive(): boolean {
    return this.#engine !== null;
  }

  /** The engine serves: its start is over. */
  get ready(): boolean {
    return this.#ready;
  }

  get nowMs(): number {
    return this.#nowMs;
  }

  /** Somebody sets the clock that tells the time of day; no time passes. */
  setClock(options: { readonly aheadMs: number }): void {
    this.#clockErrorMs = options.aheadMs;
  }

  advanceClock(milliseconds: number): void {
    this.#nowMs += milliseconds;
  }

  /** Ports of a process that starts now; completions of its disk operations go to `report`. */
  ports(report: (tag: number, result: number) => void): EnginePorts {
    const call = <T>(action: () => T): T => {
      this.portCalls += 1;
      this.#portCallsLeft -= 1;
      // Once dead, dead: whoever catches this error meets it again at its next call.
      if (this.#portCallsLeft <= 0) throw new ProcessKilled('killed inside a port call');
      return action();
    };
    const clock: Clock = { nowMs: () => this.#nowMs + this.#clockErrorMs, elapsedMs: () => this.#nowMs };
    const random: Random = { fill: (target) => this.random.fill(target) };
    const { frontEnd } = this;
    const listener: RequestListener = {
      completed: (request, errno) => call(() => frontEnd.completed(request, errno)),
      parked: (request) => call(() => frontEnd.parked(request)),
    };
    const ports: EnginePorts = {
      data: guardDisk(this.data.open(report), call),
      log: guardDisk(this.log.open(report), call),
      metadata: guardMetadata(this.metadata.open(), call),
      memory: { bytes: this.memory, engineOffset: this.#engineOffset, engineBytes: this.#options.engineMemoryBytes },
      clock,
      random,
      listener,
    };
    return this.#options.wrapPorts ? this.#options.wrapPorts(ports) : ports;
  }

  /** Starts a process on what the last one left. It serves once `ready`. */
  start(): void {
    if (this.#engine) throw new Error('a process runs already');
    if (!this.startsAtOnce) {
      this.data.settleOrphans();
      this.log.settleOrphans();
    }
    this.#startError = null;
    this.#generation += 1;
    const generation = this.#generation;
    this.#run(() => {
      const report = (tag: number, result: number): void => {
        if (generation === this.#generation) this.#run(() => this.#engine?.diskCompleted(tag, result));
      };
      const engine = this.#options.makeEngine(this.ports(report));
      this.#engine = engine;
      engine.start((error) => {
        if (generation !== this.#generation) throw new Violation('a dead engine reported that it is ready');
        if (error instanceof ProcessKilled) throw error;
        this.#startError = error;
        if (error) return;
        this.#ready = true;
        this.#connectTo = engine;
      });
    });
  }

  /** Returns how often the fault has hit, as it goes on. */
  fail(fault: WorldFault): { readonly hits: number } {
    return fault.port === 'metadata' ? this.metadata.inject(fault) : this[fault.port].inject(fault);
  }

  /** The error that the start ended with, if it did. */
  get startError(): Error | null {
    return this.#startError;
  }

  /** SIGKILL: memory and what the disks were told stay. */
  kill(): void {
    this.#end();
    this.data.kill();
    this.log.kill();
    this.metadata.kill();
    if (this.forgetsMemory) this.memory.fill(0, this.#engineOffset);
    this.frontEnd.disconnect();
  }

  /** The process dies at its `calls`-th port call from now, wherever in its code that is. */
  killInsidePortCall(calls: number): void {
    this.#portCallsLeft = calls;
  }

  /** `style` may differ between the disks. */
  powerLoss(style: PowerLossStyle | PowerLossStyles): void {
    const styles = typeof style === 'string' ? { data: style, log: style, metadata: style } : style;
    this.#end();
    this.data.powerLoss(styles.data);
    this.log.powerLoss(styles.log);
    this.metadata.powerLoss(styles.metadata);
    this.frontEnd.powerLoss();
    this.memory.fill(0);
  }

  /** A clean end after a checkpoint: nothing was under way; the memory is gone or not. */
  stop(options: { readonly keepMemory: boolean }): void {
    this.kill();
    this.data.settleOrphans();
    this.log.settleOrphans();
    if (!options.keepMemory) this.memory.fill(0);
  }

  /** Runs `action` as something that happens to the process: a kill inside it is a kill. False if it died. */
  call(action: (engine: EngineUnderTest) => void): boolean {
    const engine = this.#engine;
    if (!engine) throw new Error('no process runs');
    return this.#run(() => action(engine));
  }

  control(request: ControlRequest, done: (error: StoreError | null, answer: unknown) => void): void {
    this.call((engine) => engine.control(request, done));
  }

  /** Picks one pending event and lets it happen. False when there was none but the passing of time. */
  step(): boolean {
    this.steps += 1;
    const { data, log, metadata, random } = this;
    const events = data.pending + log.pending + metadata.pending;
    const dice = random.bits() / 4_294_967_296;
    if (this.#engine && (events === 0 || dice < 0.12)) {
      if (dice < 0.015 || (events === 0 && dice < 0.3)) {
        this.#tick(random.between(1, 400));
        return events > 0;
      }
      return this.#background() || events > 0;
    }
    if (events === 0) return false;
    if (!this.#fireOne(events, false) && this.#engine) this.#tick(random.between(1, 20));
    return true;
  }

  /** Steps until nothing but parked writes is under way. */
  settle(): void {
    let ticks = 0;
    for (let count = 0; count <= settleLimit; count += 1) {
      const events = this.data.pending + this.log.pending + this.metadata.pending;
      if (events > 0) {
        ticks = 0;
        this.#fireOne(events, true);
        if (this.#engine && this.random.chance(0.1)) this.#background();
      } else if (!this.#engine || ticks === quietTicks) {
        return;
      } else if (!this.#background() && this.data.pending + this.log.pending + this.metadata.pending === 0) {
        this.#tick(200);
        ticks += 1;
      }
    }
    throw new Violation(`the engine does not become quiet within ${settleLimit} events`);
  }

  /** Lets time pass and the engine notice. */
  tick(milliseconds: number): void {
    this.#tick(milliseconds);
  }

  /** The process is told to end. */
  quiesce(): void {
    this.#run(() => this.#engine?.quiesce?.());
  }

  /** One slice of background work; true when there is more. */
  background(): boolean {
    return this.#background();
  }

  /** Lets one waiting event of a disk or of the metadata happen, as its `fire` and `finish` do. */
  happen(event: () => void): void {
    this.#run(event);
  }

  #tick(milliseconds: number): void {
    this.#nowMs += milliseconds;
    const engine = this.#engine;
    if (engine && this.#ready) this.#run(() => engine.tick());
  }

  #background(): boolean {
    const engine = this.#engine;
    if (!engine || !this.#ready) return false;
    let more = false;
    this.#run(() => {
      more = engine.background();
    });
    return more;
  }

  /** Slow operations wait while others can go on, stuck ones nearly always, unless everything is to come to rest. */
  #fireOne(events: number, settling: boolean): boolean {
    for (let attempt = 0; attempt < 5; attempt += 1) {
      const [source, at] = this.#source(this.random.below(events));
      const pace = source instanceof SimulatedDisk ? source.paceOf(at) : 'normal';
      if (pace === 'slow' && attempt < 4 && this.random.chance(0.85)) continue;
      if (pace === 'stuck' && !this.random.chance(settling ? 0.3 : 0.01)) continue;
      this.#run(() => source.fire(at));
      return true;
    }
    return false;
  }

  #source(index: number): [SimulatedDisk | SimulatedMetadata, number] {
    const { data, log, metadata } = this;
    if (index < data.pending) return [data, index];
    if (index < data.pending + log.pending) return [log, index - data.pending];
    return [metadata, index - data.pending - log.pending];
  }

  #run(action: () => void): boolean {
    try {
      action();
      if (this.#portCallsLeft <= 0) throw new ProcessKilled('killed inside a port call');
      const engine = this.#connectTo;
      this.#connectTo = null;
      if (engine) this.frontEnd.connect(engine);
      return true;
    } catch (error) {
      if (!(error instanceof ProcessKilled)) throw error;
      this.kill();
      return false;
    }
  }

  #end(): void {
    this.#engine = null;
    this.#connectTo = null;
    this.#ready = false;
    this.#portCallsLeft = Infinity;
    this.#generation += 1;
  }
}

function guardDisk(disk: DataDisk, call: <T>(action: () => T) => T): DataDisk {
  return {
    sizeBytes: disk.sizeBytes,
    read: (offsetBytes, lengthBytes, memoryOffset, tag) => call(() => disk.read(offsetBytes, lengthBytes, memoryOffset, tag)),
    readPieces: (offsetBytes, pieces, tag) => call(() => disk.readPieces(offsetBytes, pieces, tag)),
    write: (offsetBytes, lengthBytes, memoryOffset, tag) => call(() => disk.write(offsetBytes, lengthBytes, memoryOffset, tag)),
    sync: (tag) => call(() => disk.sync(tag)),
  };
}

function guardMetadata(store: MetadataStore, call: <T>(action: () => T) => T): MetadataStore {
  return {
    load: (done) => call(() => store.load(done)),
    readPage: (key, done) => call(() => store.readPage(key, done)),
    readChecksums: (key, done) => call(() => store.readChecksums(key, done)),
    commit: (changes, done) => call(() => store.commit(changes, done)),
  };
}
