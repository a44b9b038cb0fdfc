/**
 * Runs a trace of actions against an engine in a simulated world and the naive model beside it. Throws a Violation (or
 * whatever the engine throws) at the first thing that must not be.
 *
 * An action that is not possible now is passed over, so that a trace stays meaningful when others are taken out of it.
 */
import { Operation } from '../../src/block/ports.ts';
import type { CheckReport, ControlRequest, ObjectAnswer, ObjectInfo, PoolInfo, Usage } from '../../src/engine/control.ts';
import type { StoreError } from '../../src/util/errors.ts';
import { NaiveModel, type ModelObject } from './naive-model.ts';
import type { SimulatedWorld } from './simulated-world.ts';
import { granuleBytes } from './stamped-content.ts';
import { Violation } from './violation.ts';
import type { Action, WrongCall } from './walk-actions.ts';
import type { WalkView } from './walk-generator.ts';
import { windowsOf, type Window } from './walk-windows.ts';

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

interface Range {
  readonly id: string;
  readonly at: number;
  readonly count: number;
  readonly kind: 'write' | 'zero' | 'read' | 'flush';
}

interface Call {
  readonly names: readonly string[];
  readonly request: ControlRequest;
}

type Crash = 'kill' | 'power' | 'none';

const patience = 60_000;
const ioErrno = 5;
const noSpaceErrno = 28;

export class EngineWalk {
  readonly world: SimulatedWorld;
  readonly model = new NaiveModel();
  readonly #options: EngineWalkOptions;
  readonly #ranges = new Set<Range>();
  readonly #calls = new Set<Call>();
  /** The last call about an object that was not answered, by the object's name. */
  readonly #unsure = new Map<string, ControlRequest>();
  #crash: Crash = 'none';
  #down = true;
  /** Errors were injected: requests may end with them. */
  #mayFail = false;
  operations = 0;

  constructor(options: EngineWalkOptions) {
    this.#options = options;
    this.world = options.world;
  }

  /** What the generator may know. */
  view(): WalkView {
    const objects = this.model.visible().filter((object) => object.existence !== 'going' && !this.#isBusy(object.name));
    return {
      running: this.#serving,
      objects: objects.map((object) => ({
        name: object.name,
        kind: object.kind,
        sizeBytes: object.sizeBytes,
        sourceName: object.sourceId ? (this.model.objects.get(object.sourceId)?.name ?? null) : null,
      })),
      unsure: [...this.#unsure.keys()],
    };
  }

  /** Does one action and lets its events happen. False when it was not possible. */
  run(action: Action): boolean {
    this.world.random.reseed(action.n * 7919 + 17);
    const done = this.#do(action);
    this.#noticeDeath();
    if (!done) return false;
    this.operations += 1;
    for (let count = 0; count < action.steps; count += 1) {
      this.world.step();
      this.#noticeDeath();
    }
    return true;
  }

  /** Brings the engine up and to rest, and proves that everything is as it must be and that nothing leaks. */
  finish(): void {
    this.world.random.reseed(4711);
    if (!this.#serving) this.#start({ dieAfter: null, verify: true });
    this.#settle();
    this.#check();
    this.#verifyAll();
    // What is owned, and so can be merged, is known once everything is durable.
    this.#callNow({ kind: 'checkpoint' });
    this.#settle();
    this.#compareSpace({ atRest: true });
    while (this.model.objects.size > 0) this.#deleteOne();
    this.#callNow({ kind: 'checkpoint' });
    this.#settle();
    this.#callNow({ kind: 'checkpoint' });
    this.#settle();
    const pool = this.#callNow({ kind: 'pool' }) as PoolInfo;
    if (pool.usedBytes !== 0 || pool.freeBytes !== pool.sizeBytes) {
      throw new Violation(
        `everything is deleted, but ${pool.usedBytes} bytes are used and ${pool.freeBytes} of ${pool.sizeBytes} are free`,
      );
    }
    if (this.world.frontEnd.outstanding > 0) throw new Violation(`${this.world.frontEnd.outstanding} requests were never answered`);
    const pages = this.world.metadata.rowCount('pages');
    const objects = this.world.metadata.rowCount('objects');
    if (objects > 0 || pages > this.#options.pagesMayLeak)
      throw new Violation(`everything is deleted, but ${pages} pages and ${objects} objects are in the metadata`);
    this.#check();
  }

  get #serving(): boolean {
    return !this.#down && this.world.ready && this.#crash === 'none';
  }

  #do(action: Action): boolean {
    const { world } = this;
    switch (action.do) {
      case 'power':
        world.powerLoss(action.style);
        this.#died('power');
        return true;
      case 'start':
        if (this.#serving || world.alive) return false;
        return this.#start(action);
      default:
        return this.#serving && this.#doServing(action);
    }
  }

  #doServing(action: Action): boolean {
    const { world } = this;
    switch (action.do) {
      case 'write':
      case 'zero':
        return this.#change(action);
      case 'read':
        return this.#read(action.on, action.at, action.count);
      case 'flush':
        return this.#flush(action.on);
      case 'create':
        return this.#create(action);
      case 'snapshot':
      case 'clone':
        return this.#share(action);
      case 'revert':
        return this.#revert(action);
      case 'delete':
        return this.#delete(action);
      case 'resize':
        return this.#resize(action);
      case 'retry':
        return this.#retry(action.on);
      case 'detach':
        return this.#detach(action.on, action.abort === true);
      case 'wrong':
        return this.#wrong(action.on, action.how, action.n);
      case 'check':
        this.#check();
        return true;
      case 'checkpoint':
        this.#call({ kind: 'checkpoint' }, [], () => undefined);
        return true;
      case 'space':
        this.#settle();
        this.#compareSpace({ atRest: false });
        return true;
      case 'verify':
        this.#verifyAll();
        return true;
      case 'settle':
        this.#settle();
        return true;
      case 'fault':
        world.data.inject({ kind: action.kind, skip: action.skip, times: action.times, errno: ioErrno });
        this.#mayFail = true;
        return true;
      case 'wait':
        world.advanceClock(action.ms);
        return true;
      case 'stop':
        return this.#stop(action.keepMemory);
      case 'kill':
        world.kill();
        return true;
      case 'doom':
        world.killInsidePortCall(action.calls);
        return true;
      case 'killInside':
        world.killInsidePortCall(action.calls);
        for (let count = 0; count < 400 && world.alive; count += 1) world.step();
        if (world.alive) world.kill();
        return true;
      default:
        return false;
    }
  }

  // ---- requests -----------------------------------------------------------------------------------------------

  #change(action: Action & { readonly do: 'write' | 'zero' }): boolean {
    const object = this.#usable(action.on, 'volume');
    if (!object || !this.#attach(object)) return false;
    const { at, count } = action;
    if (at + count > object.sizeBytes / granuleBytes || !this.world.frontEnd.canSubmit) return false;
    if (!action.overlap && this.#overlaps(object.id, at, count)) return false;
    const range = this.#enter(object.id, at, count, action.do);
    const windows = windowsOf(object.sizeBytes, this.#options.chunkSizeBytes);
    const { payload, token } =
      action.do === 'write'
        ? this.model.beginWrite(object.id, at, count)
        : { payload: undefined, token: this.model.beginZero(object.id, at, count, windows) };
    this.world.call(() =>
      this.world.frontEnd.submit(
        {
          operation: action.do === 'write' ? Operation.write : Operation.zero,
          deviceId: object.id,
          offsetBytes: at * granuleBytes,
          lengthBytes: count * granuleBytes,
          ...(payload ? { payload } : {}),
        },
        (errno) => {
          this.#ranges.delete(range);
          if (errno !== 0 && !(errno === noSpaceErrno && this.#options.mayBeFull) && !(errno === ioErrno && this.#mayFail))
            throw new Violation(`a ${action.do} of ${action.on} at ${at} failed with error ${errno}`);
          this.model.answerChange(token, errno);
        },
      ),
    );
    return true;
  }

  #read(name: string, at: number, count: number): boolean {
    const object = this.#usable(name);
    if (!object || !this.#attach(object) || !this.world.frontEnd.canSubmit) return false;
    if (at + count > object.sizeBytes / granuleBytes) return false;
    this.#submitRead(object, at, count);
    return true;
  }

  #submitRead(object: ModelObject, at: number, count: number): void {
    const range = this.#enter(object.id, at, count, 'read');
    const token = this.model.beginRead(object.id, at, count);
    const request = { operation: Operation.read, deviceId: object.id, offsetBytes: at * granuleBytes, lengthBytes: count * granuleBytes };
    this.world.call(() =>
      this.world.frontEnd.submit(request, (errno, bytes) => {
        this.#ranges.delete(range);
        if (errno === ioErrno && this.#mayFail) this.model.failRead(token);
        else this.model.answerRead(token, errno, bytes);
      }),
    );
  }

  #flush(name: string): boolean {
    const object = this.#usable(name, 'volume');
    if (!object || !this.#attach(object) || !this.world.frontEnd.canSubmit) return false;
    const range = this.#enter(object.id, 0, 0, 'flush');
    const token = this.model.beginFlush(object.id);
    this.world.call(() =>
      this.world.frontEnd.submit({ operation: Operation.flush, deviceId: object.id, offsetBytes: 0, lengthBytes: 0 }, (errno) => {
        this.#ranges.delete(range);
        if (errno !== 0) throw new Violation(`a flush of ${name} failed with error ${errno}`);
        this.model.answerFlush(token, errno);
      }),
    );
    return true;
  }

  #enter(id: string, at: number, count: number, kind: Range['kind']): Range {
    const range = { id, at, count, kind };
    this.#ranges.add(range);
    return range;
  }

  #overlaps(id: string, at: number, count: number): boolean {
    return [...this.#ranges].some(
      (range) =>
        range.id === id && (range.kind === 'write' || range.kind === 'zero') && at < range.at + range.count && range.at < at + count,
    );
  }

  #attach(object: ModelObject): boolean {
    const { world } = this;
    if (world.frontEnd.isAttached(object.id)) return true;
    world.call(() => world.frontEnd.attach(object.id));
    return world.alive && world.frontEnd.isAttached(object.id);
  }

  #detach(name: string, abort: boolean): boolean {
    const object = this.#usable(name);
    return object !== null && this.#detachObject(object, abort);
  }

  /** True when the object has no device any more. */
  #detachObject(object: ModelObject, abort: boolean): boolean {
    const { world } = this;
    if (!world.frontEnd.isAttached(object.id)) return true;
    if (world.frontEnd.outstandingOf(object.id) > 0) {
      if (!abort || !this.#options.mayAbort) return false;
      this.model.abandon(object.id);
      for (const range of this.#ranges) if (range.id === object.id) this.#ranges.delete(range);
    }
    return world.call(() => world.frontEnd.detach(object.id));
  }

  // ---- control calls ------------------------------------------------------------------------------------------

  #create(action: Action & { readonly do: 'create' }): boolean {
    if (!this.#isFree(action.on)) return false;
    this.#callFor([action.on], {
      kind: 'create',
      id: makeId(action.on, action.n),
      name: action.on,
      sizeBytes: action.size,
      attributes: { made: String(action.n) },
    });
    return true;
  }

  #share(action: Action & { readonly do: 'snapshot' | 'clone' }): boolean {
    const source = this.#usable(action.from);
    if (!source || !this.#isFree(action.on) || (action.do === 'snapshot' && source.kind !== 'volume')) return false;
    const common = { id: makeId(action.on, action.n), name: action.on, sourceId: source.id, attributes: { made: String(action.n) } };
    if (action.do === 'snapshot') this.#callFor([action.on, action.from], { kind: 'snapshot', ...common });
    else
      this.#callFor([action.on, action.from], {
        kind: 'clone',
        sizeBytes: action.grow > 0 ? source.sizeBytes + action.grow : 0,
        ...common,
      });
    return true;
  }

  #revert(action: Action & { readonly do: 'revert' }): boolean {
    const volume = this.#usable(action.on, 'volume');
    const snapshot = this.#usable(action.to, 'snapshot');
    if (!volume || !snapshot || snapshot.sourceId !== volume.id || volume.revert) return false;
    if (action.safety && !this.#isFree(action.safety)) return false;
    if (!this.#detachObject(volume, action.abort === true)) return false;
    if (!this.world.alive) return true;
    const safety = action.safety
      ? { id: makeId(action.safety, action.n), name: action.safety, attributes: { made: String(action.n) } }
      : null;
    this.#callFor([action.on, action.to, ...(action.safety ? [action.safety] : [])], {
      kind: 'revert',
      id: volume.id,
      snapshotId: snapshot.id,
      safety,
    });
    return true;
  }

  #delete(action: Action & { readonly do: 'delete' }): boolean {
    const object = this.#usable(action.on);
    if (!object || !this.#detachObject(object, action.abort === true)) return false;
    if (!this.world.alive) return true;
    this.#callFor([action.on], { kind: 'delete', id: object.id });
    return true;
  }

  #resize(action: Action & { readonly do: 'resize' }): boolean {
    const object = this.#usable(action.on, 'volume');
    if (!object || action.size < object.sizeBytes) return false;
    this.#callFor([action.on], { kind: 'resize', id: object.id, sizeBytes: action.size });
    return true;
  }

  #retry(name: string): boolean {
    const request = this.#unsure.get(name);
    if (!request || this.#isBusy(name)) return false;
    if (request.kind === 'snapshot' || request.kind === 'clone') {
      const source = this.model.objects.get(request.sourceId);
      if (!source?.present || source.existence === 'going' || this.#isBusy(source.name)) return false;
      if (request.kind === 'clone' && request.sizeBytes > 0 && request.sizeBytes < source.sizeBytes) return false;
    }
    const names = [name];
    if (request.kind === 'revert') {
      const snapshot = this.model.objects.get(request.snapshotId);
      const volume = this.model.objects.get(request.id);
      if (!volume?.present || volume.revert || !snapshot?.present || snapshot.existence === 'going' || this.#isBusy(snapshot.name))
        return false;
      const { safety } = request;
      if (
        safety &&
        (this.#isBusy(safety.name) || this.model.visible().some((object) => object.name === safety.name && object.id !== safety.id))
      )
        return false;
      if (!this.#detachObject(volume, true)) return false;
      if (!this.world.alive) return true;
      names.push(snapshot.name, ...(request.safety ? [request.safety.name] : []));
    }
    if (request.kind === 'create' || request.kind === 'snapshot' || request.kind === 'clone') {
      const taken = this.model.visible().some((object) => object.name === name && object.id !== request.id);
      if (taken) return false;
    }
    const target = 'id' in request ? this.model.objects.get(request.id) : undefined;
    if (request.kind === 'resize' && (!target?.present || target.sizeBytes > request.sizeBytes)) return false;
    if (request.kind === 'delete' && target?.present && !this.#detachObject(target, true)) return false;
    if (!this.world.alive) return true;
    this.#callFor(names, request);
    return true;
  }

  #wrong(name: string, how: WrongCall, n: number): boolean {
    const object = this.#usable(name);
    if (!object) return false;
    const id = makeId('z', n);
    const refused = (request: ControlRequest, codes: readonly string[]): void => {
      this.#call(request, [name], (error) => {
        if (!error || !codes.includes(error.code))
          throw new Violation(
            `${request.kind} (${how}) was answered with ${error ? error.code : 'success'}, expected ${codes.join(' or ')}`,
          );
      });
    };
    if (how === 'sameName') {
      if (object.kind !== 'volume') return false;
      this.#call({ kind: 'create', id, name, sizeBytes: 262_144, attributes: {} }, [name], (error, answer) => {
        const existing = answer as ObjectAnswer;
        if (error || !existing.existed || existing.object.id !== object.id)
          throw new Violation(`creating ${name} again: ${error?.message ?? 'not told that it exists'}`);
      });
    } else if (how === 'unknownSource')
      refused({ kind: 'snapshot', id, name: 'z', sourceId: makeId('y', n), attributes: {} }, ['not-found']);
    else if (how === 'shrink' && object.kind === 'volume' && object.sizeBytes > 65_536)
      refused({ kind: 'resize', id: object.id, sizeBytes: object.sizeBytes - 65_536 }, ['out-of-range']);
    else if (how === 'smallClone' && object.sizeBytes > 65_536)
      refused({ kind: 'clone', id, name: 'z', sourceId: object.id, sizeBytes: object.sizeBytes - 65_536, attributes: {} }, [
        'out-of-range',
      ]);
    else if (how === 'attached' && this.world.frontEnd.isAttached(object.id))
      refused({ kind: 'delete', id: object.id }, ['failed-precondition', 'in-use']);
    else if (how === 'unknownDelete') {
      this.#call({ kind: 'delete', id }, [], (error) => {
        if (error) throw new Violation(`deleting what never was: ${error.message}`);
      });
    } else return false;
    return true;
  }

  /** A control call that the model follows. */
  #callFor(names: readonly string[], request: ControlRequest): void {
    const token = this.model.beginControl(request);
    const name = names[0]!;
    this.#unsure.set(name, request);
    this.#call(request, names, (error, answer) => {
      if (this.#unsure.get(name) === request) this.#unsure.delete(name);
      if (!error) {
        this.model.answerControl(token, answer);
        return;
      }
      const full = error.code === 'no-space' && this.#options.mayBeFull;
      if (!full) throw new Violation(`${request.kind} of ${name} was refused: ${error.code}: ${error.message}`);
      this.model.refuseControl(token, error);
    });
  }

  #call(request: ControlRequest, names: readonly string[], done: (error: StoreError | null, answer: unknown) => void): void {
    const call = { names, request };
    this.#calls.add(call);
    this.world.control(request, (error, answer) => {
      if (!this.#calls.delete(call)) throw new Violation(`${request.kind} was answered twice, or by a dead process`);
      done(error, answer);
    });
  }

  /** A control call whose answer is waited for. Null when the process died meanwhile. */
  #callNow(request: ControlRequest): unknown {
    let result: { readonly error: StoreError | null; readonly answer: unknown } | null = null;
    const taken = (): { readonly error: StoreError | null; readonly answer: unknown } | null => result;
    this.#call(request, [], (error, answer) => {
      result = { error, answer };
    });
    this.#waitUntil(() => taken() !== null || !this.world.alive, `an answer to ${request.kind}`);
    const answered = taken();
    if (answered?.error) throw new Violation(`${request.kind} failed: ${answered.error.code}: ${answered.error.message}`);
    return answered?.answer ?? null;
  }

  // ---- life and death -----------------------------------------------------------------------------------------

  #start(action: { readonly dieAfter: number | null; readonly verify: boolean }): boolean {
    const { world } = this;
    this.#down = false;
    if (action.dieAfter !== null) world.killInsidePortCall(action.dieAfter);
    world.start();
    this.#waitUntil(() => !world.alive || world.ready || world.startError !== null, 'the start');
    if (world.startError) throw new Violation(`the engine does not start: ${world.startError.message}`);
    if (!world.alive) {
      this.#noticeDeath();
      return true;
    }
    const list = this.#callNow({ kind: 'list' }) as ObjectInfo[] | null;
    if (!list || !world.alive) {
      this.#noticeDeath();
      return true;
    }
    const crash = this.#crash;
    this.#crash = 'none';
    this.model.reconcile(list, crash);
    for (const name of [...this.#unsure.keys()]) this.#dropSettledCall(name);
    if (action.verify || crash === 'power' || this.model.visible().some((object) => object.revert)) this.#verifyAll();
    if (!world.alive) {
      // What was not read before this death keeps what the crash before it allowed: the model has it already.
      this.#noticeDeath();
    } else if (action.dieAfter !== null) {
      world.killInsidePortCall(Infinity);
    }
    return true;
  }

  /** A call whose object vanished need not be repeated under the same id; one that is still in doubt may be. */
  #dropSettledCall(name: string): void {
    const request = this.#unsure.get(name)!;
    if (request.kind === 'delete' && !this.model.objects.has(request.id)) this.#unsure.delete(name);
    if ((request.kind === 'resize' || request.kind === 'revert') && !this.model.objects.has(request.id)) this.#unsure.delete(name);
    if (request.kind === 'snapshot' || request.kind === 'clone') {
      if (!this.model.objects.has(request.sourceId) && !this.model.objects.has(request.id)) this.#unsure.delete(name);
    }
  }

  #stop(keepMemory: boolean): boolean {
    const { world } = this;
    this.#settle();
    if (world.frontEnd.outstanding > 0 || this.#calls.size > 0 || !world.alive) return false;
    this.#callNow({ kind: 'checkpoint' });
    if (!world.alive) return true;
    this.#settle();
    if (world.alive) world.stop({ keepMemory });
    return true;
  }

  #noticeDeath(): void {
    if (!this.world.alive && !this.#down) this.#died('kill');
  }

  #died(crash: Crash): void {
    if (crash === 'power') {
      this.model.powerLost();
      this.#ranges.clear();
      this.#crash = 'power';
    } else {
      this.model.killed();
      if (this.#crash === 'none') this.#crash = 'kill';
    }
    this.#down = true;
    this.#calls.clear();
  }

  #settle(): void {
    this.world.settle();
    if (!this.world.alive) return;
    if (this.#calls.size > 0)
      throw new Violation(`${[...this.#calls].map((call) => call.request.kind).join(', ')} not answered, and nothing more happens`);
    const parked = this.#ranges.size > 0 ? (this.#callNow({ kind: 'pool' }) as PoolInfo).parkedWrites : 0;
    const waiting = [...this.#ranges].filter((range) => range.kind !== 'write' || parked === 0);
    if (waiting.length > 0) throw new Violation(`requests not answered, and nothing more happens: ${JSON.stringify(waiting)}`);
  }

  #waitUntil(condition: () => boolean, what: string): void {
    for (let count = 0; !condition(); count += 1) {
      if (count > patience) throw new Violation(`${what} does not come within ${patience} events`);
      this.world.step();
    }
  }

  // ---- proofs -------------------------------------------------------------------------------------------------

  #check(): void {
    const report = this.#callNow({ kind: 'check' }) as CheckReport | null;
    if (report && report.problems.length > 0) throw new Violation(`check found: ${report.problems.join('; ')}`);
  }

  /** Reads every window of every object that can be read now. */
  #verifyAll(): void {
    const { world } = this;
    for (const object of this.model.visible()) {
      if (this.#isBusy(object.name) || this.model.objects.get(object.id) !== object || object.existence === 'going') continue;
      const wasAttached = world.frontEnd.isAttached(object.id);
      if (!this.#attach(object)) return;
      for (const window of this.#followed(object)) {
        for (const [start, end] of this.#quietRanges(object.id, window.start, window.end)) {
          for (let at = start; at < end; at += this.#options.maximumGranules) {
            this.#waitUntil(() => world.frontEnd.canSubmit || !world.alive, 'a free request');
            if (!world.alive) return;
            this.#submitRead(object, at, Math.min(this.#options.maximumGranules, end - at));
            if (!world.alive) return;
          }
        }
      }
      this.#waitUntil(
        () => !world.alive || ![...this.#ranges].some((range) => range.id === object.id && range.kind === 'read'),
        `the end of reads of ${object.name}`,
      );
      if (!world.alive) return;
      if (!wasAttached) world.call(() => world.frontEnd.detach(object.id));
      if (!world.alive) return;
    }
    this.model.finishVerification();
  }

  /** The windows of an object, and what was written outside of them when it was smaller. */
  #followed(object: ModelObject): Window[] {
    const windows = windowsOf(object.sizeBytes, this.#options.chunkSizeBytes);
    const outside: Window[] = [];
    for (const granule of [...object.granules.keys()].sort((left, right) => left - right)) {
      if (windows.some((window) => granule >= window.start && granule < window.end) || granule >= object.sizeBytes / granuleBytes) continue;
      const last = outside[outside.length - 1];
      if (last && last.end === granule) outside[outside.length - 1] = { start: last.start, end: granule + 1 };
      else outside.push({ start: granule, end: granule + 1 });
    }
    return [...windows, ...outside];
  }

  /** Parts of a range without a change under way: reads wait for those, and a parked write may wait for ever. */
  #quietRanges(id: string, start: number, end: number): [number, number][] {
    const perChunk = this.#options.chunkSizeBytes / granuleBytes;
    const quiet: [number, number][] = [];
    for (let at = start; at < end;) {
      const chunkEnd = Math.min(end, (Math.floor(at / perChunk) + 1) * perChunk);
      const first = Math.floor(at / perChunk) * perChunk;
      if (!this.#overlaps(id, first, perChunk)) {
        const last = quiet[quiet.length - 1];
        if (last && last[1] === at) last[1] = chunkEnd;
        else quiet.push([at, chunkEnd]);
      }
      at = chunkEnd;
    }
    return quiet;
  }

  #compareSpace(options: { readonly atRest: boolean }): void {
    if (!this.world.alive) return;
    const pool = this.#callNow({ kind: 'pool' }) as PoolInfo | null;
    if (!pool) return;
    const visible = this.model.visible();
    const volumes = visible.filter((object) => object.kind === 'volume');
    const provisioned = volumes.reduce((sum, volume) => sum + volume.sizeBytes, 0);
    const found = { volumes: pool.volumes, snapshots: pool.snapshots, provisioned: pool.provisionedBytes };
    const wanted = { volumes: volumes.length, snapshots: visible.length - volumes.length, provisioned };
    if (JSON.stringify(found) !== JSON.stringify(wanted))
      throw new Violation(`the pool says ${JSON.stringify(found)}, expected ${JSON.stringify(wanted)}`);
    if (!pool.counted) throw new Violation('the count is not over although the engine is quiet');
    if (pool.usedBytes + pool.freeBytes !== pool.sizeBytes && pool.parkedWrites === 0) {
      throw new Violation(`${pool.usedBytes} bytes used and ${pool.freeBytes} free do not make ${pool.sizeBytes}: slots leaked`);
    }
    const report = this.#callNow({ kind: 'check' }) as CheckReport;
    if (report.slotsUsed * pool.chunkSizeBytes !== pool.usedBytes)
      throw new Violation(`check counts ${report.slotsUsed} slots, the pool says ${pool.usedBytes} bytes`);
    for (const object of visible) this.#compareUsage(object, pool, options.atRest ? this.#options.layersAtRest : Infinity);
  }

  /** What is mapped can be no less than the chunks that hold something, and no less than what is exclusive. */
  #compareUsage(object: ModelObject, pool: PoolInfo, layers: number): void {
    if (this.#isBusy(object.name)) return;
    const usage = this.#callNow({ kind: 'usage', id: object.id }) as Usage;
    const perChunk = pool.chunkSizeBytes / granuleBytes;
    const chunks = new Set<number>();
    let certain = true;
    for (const [granule, history] of object.granules) {
      const values = history.current().map((entry) => entry.value);
      if (values.length === 1 && values[0] !== 0) chunks.add(Math.floor(granule / perChunk));
      if (values.length !== 1) certain = false;
    }
    const least = chunks.size * pool.chunkSizeBytes;
    if (usage.usedBytes < least || usage.exclusiveBytes > usage.usedBytes || usage.usedBytes > pool.usedBytes) {
      throw new Violation(
        `${object.kind} ${object.name} uses ${usage.usedBytes} bytes, ${usage.exclusiveBytes} of them alone; it holds ${least}, the pool ${pool.usedBytes}`,
      );
    }
    // What a volume shares with nobody the background keeps short.
    const alone = !this.model.visible().some((other) => other !== object && other.described?.lineage === object.described?.lineage);
    const quiet = certain && this.world.frontEnd.outstanding === 0;
    if (alone && quiet && object.kind === 'volume' && usage.usedBytes > layers * least) {
      throw new Violation(`${object.kind} ${object.name} holds ${least} bytes in chunks, but uses ${usage.usedBytes}`);
    }
  }

  #deleteOne(): void {
    const { world } = this;
    const object = world.random.pick([...this.model.objects.values()]);
    if (!object.present) {
      this.#callFor([object.name], { kind: 'delete', id: object.id });
      this.#settle();
      return;
    }
    while (!this.#detachObject(object, true)) {
      world.advanceClock(this.#options.parkTimeoutMs);
      this.#settle();
    }
    // What becomes durable by the delete must not let others be merged at the same time.
    this.#callNow({ kind: 'checkpoint' });
    this.#settle();
    const before = this.#callNow({ kind: 'pool' }) as PoolInfo;
    const usage = this.#callNow({ kind: 'usage', id: object.id }) as Usage;
    const parked = before.parkedWrites;
    this.#callFor([object.name], { kind: 'delete', id: object.id });
    this.#settle();
    const after = this.#callNow({ kind: 'pool' }) as PoolInfo;
    // Relatives are merged when one of them goes, so only the last of a descent gives back exactly its own.
    const alone = !this.model.visible().some((other) => other.described?.lineage === object.described?.lineage);
    if (
      parked === 0 &&
      alone &&
      (before.usedBytes - after.usedBytes !== usage.exclusiveBytes || usage.exclusiveBytes !== usage.usedBytes)
    ) {
      throw new Violation(
        `deleting ${object.name}, the last of its descent, freed ${before.usedBytes - after.usedBytes} bytes of ${usage.usedBytes}, ${usage.exclusiveBytes} were its own`,
      );
    }
  }

  #usable(name: string, kind?: 'volume' | 'snapshot'): ModelObject | null {
    if (this.#isBusy(name)) return null;
    const object = this.model.visible().find((candidate) => candidate.name === name && candidate.existence !== 'going');
    return object && (!kind || object.kind === kind) ? object : null;
  }

  /** Nothing has this name, and no call is about to give it. */
  #isFree(name: string): boolean {
    return !this.#isBusy(name) && !this.model.visible().some((object) => object.name === name);
  }

  #isBusy(name: string): boolean {
    return [...this.#calls].some((call) => call.names.includes(name));
  }
}

/** An id that says which action made the object: 26 characters of base32. */
export function makeId(name: string, n: number): string {
  return `${name}${String(n).replace(/\d/g, (digit) => 'cdefghijkl'[Number(digit)]!)}`.padEnd(26, '2');
}
