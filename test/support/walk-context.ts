/**
 * What the parts of a walk share: the world, the model beside it, and what is under way. The rules for using an object
 * stand here too: one control call about a name at a time, and no request for what is about to go.
 */
import type { ControlRequest, PoolInfo } from '../../src/engine/control.ts';
import type { StoreError } from '../../src/util/errors.ts';
import type { ModelObject } from './model-object.ts';
import { NaiveModel } from './naive-model.ts';
import type { SimulatedWorld } from './simulated-world.ts';
import { Violation } from './violation.ts';

export interface EngineWalkOptions {
  readonly world: SimulatedWorld;
  readonly chunkSizeBytes: number;
  readonly maximumGranules: number;
  /** Errors that a full pool may rightly give to requests and control calls. */
  readonly mayBeFull: boolean;
  /** A device may be closed while requests are under way. */
  readonly mayAbort: boolean;
  /** After this time a write that waits for space fails. */
  readonly parkTimeoutMs: number;
  /** Pages of deleted objects that a crash may leave in the metadata. */
  readonly pagesMayLeak: number;
  /** Layers a chunk of a volume may have on average once the background is idle. */
  readonly layersAtRest: number;
}

/** A request on a device that is not answered yet; `at` and `count` in granules. */
export interface Range {
  readonly id: string;
  readonly at: number;
  readonly count: number;
  readonly kind: 'write' | 'zero' | 'read' | 'flush';
}

interface Call {
  readonly names: readonly string[];
  readonly request: ControlRequest;
}

const patience = 60_000;

export class WalkContext {
  readonly options: EngineWalkOptions;
  readonly world: SimulatedWorld;
  readonly model = new NaiveModel();
  readonly ranges = new Set<Range>();
  readonly calls = new Set<Call>();
  /** The last call about an object that was not answered, by the object's name. */
  readonly unsure = new Map<string, ControlRequest>();
  /** Errors were injected: requests may end with them. */
  mayFail = false;
  /** Errors were injected after which a pool may only read on. */
  mayBreak = false;
  /** Why the engine has stopped, as it says. */
  failure: Error | null = null;
  /** What it refused as an engine does that has stopped. */
  refused: string | null = null;

  constructor(options: EngineWalkOptions) {
    this.options = options;
    this.world = options.world;
  }

  /** The engine says that it has stopped. */
  stopped(error: Error): void {
    if (!this.mayBreak) throw new Violation(`the engine gave up: ${error.message}`);
    if (error.message === '') throw new Violation('the engine gave up without a word');
    this.failure ??= error;
  }

  settle(): void {
    this.world.settle();
    if (!this.world.alive) return;
    if (this.refused !== null && this.failure === null) throw new Violation(`${this.refused}, but the engine does not say that it stopped`);
    if (this.failure !== null && this.ranges.size > 0) throw new Violation('requests wait, and the engine has stopped');
    if (this.calls.size > 0)
      throw new Violation(`${[...this.calls].map((call) => call.request.kind).join(', ')} not answered, and nothing more happens`);
    const pool = this.ranges.size > 0 ? (this.callNow({ kind: 'pool' }) as PoolInfo | null) : null;
    if (!this.world.alive) return;
    const parked = pool?.parkedWrites ?? 0;
    const waiting = [...this.ranges].filter((range) => range.kind !== 'write' || parked === 0);
    if (waiting.length > 0) throw new Violation(`requests not answered, and nothing more happens: ${JSON.stringify(waiting)}`);
  }

  waitUntil(condition: () => boolean, what: string): void {
    for (let count = 0; !condition(); count += 1) {
      if (count > patience) throw new Violation(`${what} does not come within ${patience} events`);
      this.world.step();
    }
  }

  call(request: ControlRequest, names: readonly string[], done: (error: StoreError | null, answer: unknown) => void): void {
    const call = { names, request };
    this.calls.add(call);
    this.world.control(request, (error, answer) => {
      if (!this.calls.delete(call)) throw new Violation(`${request.kind} was answered twice, or by a dead process`);
      done(error, answer);
    });
  }

  /** A control call whose answer is waited for. Null when the process died meanwhile. */
  callNow(request: ControlRequest): unknown {
    let result: { readonly error: StoreError | null; readonly answer: unknown } | null = null;
    const taken = (): { readonly error: StoreError | null; readonly answer: unknown } | null => result;
    this.call(request, [], (error, answer) => {
      result = { error, answer };
    });
    this.waitUntil(() => taken() !== null || !this.world.alive, `an answer to ${request.kind}`);
    const answered = taken();
    if (answered?.error?.code === 'data-loss' && this.mayBreak) {
      this.refused = `${request.kind} was refused`;
      return null;
    }
    if (answered?.error) throw new Violation(`${request.kind} failed: ${answered.error.code}: ${answered.error.message}`);
    return answered?.answer ?? null;
  }

  /** A control call that the model follows. */
  callFor(names: readonly string[], request: ControlRequest): void {
    const token = this.model.beginControl(request);
    const name = names[0]!;
    this.unsure.set(name, request);
    this.call(request, names, (error, answer) => {
      // What an engine that stops has begun may have happened or not, as when it dies.
      if (error?.code === 'data-loss' && this.mayBreak) {
        this.refused = `${request.kind} of ${name} was refused`;
        return;
      }
      if (this.unsure.get(name) === request) this.unsure.delete(name);
      if (!error) {
        this.model.answerControl(token, answer);
        return;
      }
      const full = error.code === 'no-space' && this.options.mayBeFull;
      if (!full) throw new Violation(`${request.kind} of ${name} was refused: ${error.code}: ${error.message}`);
      this.model.refuseControl(token, error);
    });
  }

  attach(object: ModelObject): boolean {
    const { world } = this;
    if (world.frontEnd.isAttached(object.id)) return true;
    world.call(() => world.frontEnd.attach(object.id));
    return world.alive && world.frontEnd.isAttached(object.id);
  }

  /** True when the object has no device any more. */
  detachObject(object: ModelObject, abort: boolean): boolean {
    const { world } = this;
    if (!world.frontEnd.isAttached(object.id)) return true;
    if (world.frontEnd.outstandingOf(object.id) > 0) {
      if (!abort || !this.options.mayAbort) return false;
      this.model.abandon(object.id);
      for (const range of this.ranges) if (range.id === object.id) this.ranges.delete(range);
    }
    return world.call(() => world.frontEnd.detach(object.id));
  }

  usable(name: string, kind?: 'volume' | 'snapshot'): ModelObject | null {
    if (this.isBusy(name)) return null;
    const object = this.model.visible().find((candidate) => candidate.name === name && candidate.existence !== 'going');
    if (object && this.isUncertain(object)) return null;
    return object && (!kind || object.kind === kind) ? object : null;
  }

  /** A revert that was refused while the engine stopped: the next start shows what it reads as. */
  isUncertain(object: ModelObject): boolean {
    return this.failure !== null && object.revert !== null && object.revert.entries === null;
  }

  /** Nothing has this name, and no call is about to give it. */
  isFree(name: string): boolean {
    return !this.isBusy(name) && !this.model.visible().some((object) => object.name === name);
  }

  isBusy(name: string): boolean {
    return [...this.calls].some((call) => call.names.includes(name));
  }

  enter(id: string, at: number, count: number, kind: Range['kind']): Range {
    const range = { id, at, count, kind };
    this.ranges.add(range);
    return range;
  }

  overlaps(id: string, at: number, count: number): boolean {
    return [...this.ranges].some(
      (range) =>
        range.id === id && (range.kind === 'write' || range.kind === 'zero') && at < range.at + range.count && range.at < at + count,
    );
  }
}
