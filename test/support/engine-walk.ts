/**
 * Runs a trace of actions against an engine in a simulated world and the naive model beside it. Throws a Violation (or
 * whatever the engine throws) at the first thing that must not be.
 *
 * An action that is not possible now is passed over, so that a trace stays meaningful when others are taken out of it.
 */
import type { ObjectInfo, PoolInfo } from '../../src/engine/control.ts';
import type { NaiveModel } from './naive-model.ts';
import type { SimulatedWorld } from './simulated-world.ts';
import { Violation } from './violation.ts';
import type { Action } from './walk-actions.ts';
import { WalkCalls } from './walk-calls.ts';
import { WalkContext, type EngineWalkOptions } from './walk-context.ts';
import type { WalkView } from './walk-generator.ts';
import { WalkProofs } from './walk-proofs.ts';
import { ioErrno, WalkRequests } from './walk-requests.ts';

type Crash = 'kill' | 'power' | 'none';

export class EngineWalk {
  readonly world: SimulatedWorld;
  readonly model: NaiveModel;
  readonly #walk: WalkContext;
  readonly #requests: WalkRequests;
  readonly #calls: WalkCalls;
  readonly #proofs: WalkProofs;
  /** The worst that happened since the model was last compared with what the engine shows. */
  #crash: Crash = 'none';
  #down = true;
  operations = 0;
  /** What the last injected fault has hit. */
  fault: { readonly hits: number } | null = null;

  constructor(options: EngineWalkOptions) {
    this.#walk = new WalkContext(options);
    this.#requests = new WalkRequests(this.#walk);
    this.#calls = new WalkCalls(this.#walk);
    this.#proofs = new WalkProofs(this.#walk, this.#requests);
    this.world = options.world;
    this.model = this.#walk.model;
  }

  /** Why the engine has stopped, as it says. */
  get failure(): Error | null {
    return this.#walk.failure;
  }

  /** The engine says that it has stopped. */
  stopped(error: Error): void {
    this.#walk.stopped(error);
  }

  /** What the generator may know. */
  view(): WalkView {
    const objects = this.model.visible().filter((object) => object.existence !== 'going' && !this.#walk.isBusy(object.name));
    return {
      running: this.#serving,
      objects: objects.map((object) => ({
        name: object.name,
        kind: object.kind,
        sizeBytes: object.sizeBytes,
        sourceName: object.sourceId ? (this.model.objects.get(object.sourceId)?.name ?? null) : null,
      })),
      unsure: [...this.#walk.unsure.keys()],
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
    this.#walk.settle();
    this.#proofs.check();
    this.#proofs.verifyAll();
    // What is owned, and so can be merged, is known once everything is durable.
    this.#walk.callNow({ kind: 'checkpoint' });
    this.#walk.settle();
    this.#proofs.compareSpace({ atRest: true });
    this.#proofs.scrubAll();
    this.#proofs.defragmentAll();
    while (this.model.objects.size > 0) this.#proofs.deleteOne();
    this.#walk.callNow({ kind: 'checkpoint' });
    this.#walk.settle();
    this.#walk.callNow({ kind: 'checkpoint' });
    this.#walk.settle();
    // What a fault kept from being erased is tried again after a while. More faults can be left than there are tries: the disk
    // is well before the last one.
    for (let left = 4; left >= 0; left -= 1) {
      if (left === 0) this.world.data.endFaults();
      this.world.advanceClock(10_000);
      this.#walk.settle();
      this.#walk.callNow({ kind: 'checkpoint' });
      this.#walk.settle();
    }
    const pool = this.#walk.callNow({ kind: 'pool' }) as PoolInfo;
    if (pool.usedBytes !== 0 || pool.freeBytes !== pool.sizeBytes) {
      throw new Violation(
        `everything is deleted, but ${pool.usedBytes} bytes are used and ${pool.freeBytes} of ${pool.sizeBytes} are free`,
      );
    }
    if (this.world.frontEnd.outstanding > 0) throw new Violation(`${this.world.frontEnd.outstanding} requests were never answered`);
    const pages = this.world.metadata.rowCount('pages');
    const objects = this.world.metadata.rowCount('objects');
    const marks = this.world.metadata.rowCount('erasures') + this.world.metadata.rowCount('seals');
    if (marks > 0) throw new Violation(`everything is deleted, but ${marks} rows of seals and erasures are in the metadata`);
    if (objects > 0 || pages > this.#walk.options.pagesMayLeak)
      throw new Violation(`everything is deleted, but ${pages} pages and ${objects} objects are in the metadata`);
    this.#proofs.check();
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
      case 'fail':
        this.fault = world.fail(action.fault);
        if (action.fault.port === 'data' && action.fault.kind !== 'sync') this.#walk.mayFail = true;
        else this.#walk.mayBreak = true;
        if ('how' in action.fault && action.fault.how === 'torn') this.model.tears = true;
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
        return this.#requests.change(action);
      case 'read':
        return this.#requests.read(action.on, action.at, action.count);
      case 'flush':
        return this.#requests.flush(action.on);
      case 'create':
        return this.#calls.create(action);
      case 'snapshot':
      case 'clone':
        return this.#calls.share(action);
      case 'revert':
        return this.#calls.revert(action);
      case 'delete':
        return this.#calls.delete(action);
      case 'resize':
        return this.#calls.resize(action);
      case 'retry':
        return this.#calls.retry(action.on);
      case 'detach':
        return this.#detach(action.on, action.abort === true);
      case 'wrong':
        return this.#calls.wrong(action.on, action.how, action.n);
      case 'check':
        this.#proofs.check();
        return true;
      case 'checkpoint':
        this.#walk.call({ kind: 'checkpoint' }, [], () => undefined);
        return true;
      case 'scrub':
        this.#proofs.scrub(action.mode, action.bytesPerSecond);
        return true;
      case 'defragment':
        return this.#proofs.defragment(action.on, action);
      case 'space':
        this.#walk.settle();
        this.#proofs.compareSpace({ atRest: false });
        return true;
      case 'verify':
        this.#proofs.verifyAll();
        return true;
      case 'settle':
        this.#walk.settle();
        return true;
      case 'fault':
        world.data.inject({ kind: action.kind, skip: action.skip, times: action.times, errno: ioErrno });
        this.#walk.mayFail = true;
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

  #detach(name: string, abort: boolean): boolean {
    const object = this.#walk.usable(name);
    return object !== null && this.#walk.detachObject(object, abort);
  }

  // ---- life and death -----------------------------------------------------------------------------------------

  #start(action: { readonly dieAfter: number | null; readonly verify: boolean }): boolean {
    const { world } = this;
    this.#down = false;
    if (action.dieAfter !== null) world.killInsidePortCall(action.dieAfter);
    world.start();
    this.#walk.waitUntil(() => !world.alive || world.ready || world.startError !== null, 'the start');
    if (world.startError) {
      if (!this.#walk.mayBreak || world.startError.message === '')
        throw new Violation(`the engine does not start: ${world.startError.message}`);
      world.kill();
      this.#noticeDeath();
      return true;
    }
    if (!world.alive) {
      this.#noticeDeath();
      return true;
    }
    const list = this.#walk.callNow({ kind: 'list' }) as ObjectInfo[] | null;
    if (!list || !world.alive) {
      if (world.alive) world.kill(); // it has stopped already
      this.#noticeDeath();
      return true;
    }
    const crash = this.#crash;
    this.#crash = 'none';
    this.model.reconcile(list, crash);
    for (const name of [...this.#walk.unsure.keys()]) this.#calls.dropSettledCall(name);
    if (action.verify || crash === 'power' || this.model.visible().some((object) => object.revert)) this.#proofs.verifyAll();
    if (!world.alive) {
      // What was not read before this death keeps what the crash before it allowed: the model has it already.
      this.#noticeDeath();
    } else if (action.dieAfter !== null) {
      world.killInsidePortCall(Infinity);
    }
    return true;
  }

  #stop(keepMemory: boolean): boolean {
    const { world } = this;
    this.#walk.settle();
    if (world.frontEnd.outstanding > 0 || this.#walk.calls.size > 0 || !world.alive) return false;
    this.#walk.callNow({ kind: 'checkpoint' });
    if (!world.alive) return true;
    this.#walk.settle();
    if (world.alive) world.stop({ keepMemory });
    return true;
  }

  #noticeDeath(): void {
    if (!this.world.alive && !this.#down) this.#died('kill');
  }

  #died(crash: Crash): void {
    if (crash === 'power') {
      this.model.powerLost();
      this.#walk.ranges.clear();
      this.#crash = 'power';
    } else {
      this.model.killed();
      if (this.#crash === 'none') this.#crash = 'kill';
    }
    this.#down = true;
    // The faults end with the process, and so does what it said.
    Object.assign(this.#walk, { mayFail: false, mayBreak: false, failure: null, refused: null });
    this.#walk.calls.clear();
  }
}
