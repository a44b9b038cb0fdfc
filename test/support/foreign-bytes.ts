/**
 * A pool so small that every slot is used again and again, in a simulated world; all that is written carries a mark of its
 * volume. Volumes come from what others left, are written in part, cut, cloned, reverted, discarded, grown and deleted; the
 * process dies and the power goes at any event. Each object may show zeros and the marks of its own descent, everywhere, and
 * nothing else: not those of others, and not what the disk held before.
 */
import { Operation } from '../../src/block/ports.ts';
import type { ControlRequest, ObjectInfo } from '../../src/engine/control.ts';
import { assert } from '../../src/util/assert.ts';
import { engineSubject, makeEngine, parkTimeoutMs } from './engine-subject.ts';
import { SeededRandom } from './seeded-random.ts';
import { SimulatedWorld } from './simulated-world.ts';
import { Violation } from './violation.ts';
import { makeId } from './walk-actions.ts';

const granuleBytes = 4096;
const leastGranules = 48;
const mostGranules = 64;
const readGranules = 8;
const mostObjects = 6;
const actionsARound = 60;
const actionsAVerification = 10;
/** What a simulated disk holds where nothing was written. */
const blankByte = 0xdb;
const setup = { chunkSizeBytes: 16_384, slots: 24, logSizeBytes: 262_144 };

export interface ForeignBytesTally {
  granulesRead: number;
  volumes: number;
  reverts: number;
  powerCuts: number;
}

export function emptyTally(): ForeignBytesTally {
  return { granulesRead: 0, volumes: 0, reverts: 0, powerCuts: 0 };
}

/** One pool's life; throws at the first byte that is another's. */
export function lookForForeignBytes(seed: number, tally: ForeignBytesTally, plant?: (world: SimulatedWorld) => void): void {
  const pool = new MarkedPool(seed, tally, plant);
  for (let action = 1; action <= actionsARound; action++) {
    pool.act();
    if (action % actionsAVerification === 0) pool.verify();
  }
}

interface MarkedObject {
  readonly kind: 'volume' | 'snapshot';
  /** What is written to it from now on. */
  readonly mark: number;
  /** What it may show beside zeros. */
  readonly shown: ReadonlySet<number>;
  /** At least; an answer that was lost may have made it larger. */
  readonly granules: number;
}

class MarkedPool {
  readonly #world: SimulatedWorld;
  readonly #random: SeededRandom;
  readonly #objects = new Map<string, MarkedObject>();
  /** Those whose deletion was asked for and not answered. */
  readonly #going = new Map<string, MarkedObject>();
  readonly #tally: ForeignBytesTally;
  #made = 0;
  #marks = 0;

  constructor(seed: number, tally: ForeignBytesTally, plant?: (world: SimulatedWorld) => void) {
    const subject = engineSubject();
    const walkSetup = { ...setup, seed };
    this.#random = new SeededRandom(seed);
    this.#tally = tally;
    this.#world = new SimulatedWorld({
      seed,
      dataSizeBytes: setup.slots * setup.chunkSizeBytes,
      logSizeBytes: setup.logSizeBytes,
      engineMemoryBytes: subject.engineMemoryBytes,
      makeEngine: (ports) => makeEngine(ports, walkSetup),
    });
    subject.format(this.#world, walkSetup);
    plant?.(this.#world);
    this.#start();
  }

  /** One random thing, at most half of which has happened when the next begins. */
  act(): void {
    const random = this.#random;
    const ids = [...this.#objects.keys()];
    const volumes = ids.filter((id) => this.#objects.get(id)!.kind === 'volume');
    const dice = random.below(100);
    if (volumes.length === 0 || (dice < 12 && ids.length < mostObjects)) this.#create();
    else if (dice < 50) this.#write(random.pick(volumes));
    else if (dice < 60) this.#submit(random.pick(volumes), Operation.zero, random.below(leastGranules - 8), 1 + random.below(8));
    else if (dice < 70) this.#submit(random.pick(volumes), Operation.flush, 0, 0);
    else if (dice < 76 && ids.length < mostObjects) this.#clone(random.pick(ids));
    else if (dice < 81 && ids.length < mostObjects) this.#snapshot(random.pick(volumes));
    else if (dice < 84) this.#revert(random.pick(volumes));
    else if (dice < 86) this.#grow(random.pick(volumes));
    else if (dice < 93) this.#delete(random.pick(ids));
    else if (dice < 96) this.#die('kill');
    else this.#die('power');
    for (let steps = random.below(12); steps > 0; steps--) this.#world.step();
  }

  /** Reads every object from its first to its last byte. */
  verify(): void {
    this.#world.settle();
    for (const [id, object] of this.#objects)
      for (let granule = 0; granule < object.granules; granule += readGranules) this.#verifyRange(id, object, granule);
  }

  #verifyRange(id: string, object: MarkedObject, from: number): void {
    const world = this.#world;
    world.call(() => world.frontEnd.attach(id));
    if (!world.frontEnd.canSubmit) return;
    const request = {
      operation: Operation.read,
      deviceId: id,
      offsetBytes: from * granuleBytes,
      lengthBytes: readGranules * granuleBytes,
    };
    world.call(() =>
      world.frontEnd.submit(request, (errno, bytes) => {
        if (errno !== 0) throw new Violation(`${id} cannot be read at ${request.offsetBytes}: errno ${errno}`);
        for (let at = 0; at < bytes.length; at += 512) {
          const mark = bytes[at]!;
          const isPure = bytes.subarray(at, at + 512).every((byte) => byte === mark);
          if (isPure && (mark === 0 || object.shown.has(mark))) continue;
          throw new Violation(`${id} may show ${[...object.shown].join(', ')}, and shows ${mark} at ${from * granuleBytes + at}`);
        }
        this.#tally.granulesRead += bytes.length / granuleBytes;
      }),
    );
    world.settle();
  }

  #create(): void {
    const mark = this.#newMark();
    const object: MarkedObject = { kind: 'volume', mark, shown: new Set([mark]), granules: leastGranules };
    this.#make((id, name) => ({ kind: 'create', id, name, sizeBytes: leastGranules * granuleBytes, attributes: {} }), object);
  }

  #clone(sourceId: string): void {
    const source = this.#objects.get(sourceId)!;
    const mark = this.#newMark();
    const object: MarkedObject = { ...source, kind: 'volume', mark, shown: new Set([...source.shown, mark]) };
    this.#make((id, name) => ({ kind: 'clone', id, name, sourceId, sizeBytes: 0, attributes: {} }), object);
    this.#changeMark(sourceId);
  }

  #snapshot(sourceId: string): void {
    const object: MarkedObject = { ...this.#objects.get(sourceId)!, kind: 'snapshot' };
    this.#make((id, name) => ({ kind: 'snapshot', id, name, sourceId, attributes: {} }), object);
    this.#changeMark(sourceId);
  }

  /** What a source writes after a cut is foreign to what was cut. */
  #changeMark(id: string): void {
    const object = this.#objects.get(id)!;
    if (object.kind === 'snapshot') return;
    const mark = this.#newMark();
    this.#objects.set(id, { ...object, mark, shown: new Set([...object.shown, mark]) });
  }

  #make(request: (id: string, name: string) => ControlRequest, object: MarkedObject): void {
    const id = makeId('v', ++this.#made);
    this.#tally.volumes++;
    this.#world.control(request(id, `object-${this.#made}`), () => {});
    this.#world.settle();
    if (this.#list().has(id)) this.#objects.set(id, object);
  }

  #revert(id: string): void {
    const object = this.#objects.get(id)!;
    const snapshots = [...this.#list().values()].filter(
      (info) => info.kind === 'snapshot' && info.sourceId === id && this.#objects.has(info.id),
    );
    if (snapshots.length === 0) return;
    const snapshotId = this.#random.pick(snapshots).id;
    this.#endRequests();
    this.#world.call(() => this.#world.frontEnd.detach(id));
    let reverted = false;
    this.#world.control({ kind: 'revert', id, snapshotId, safety: null }, (error) => (reverted = error === null));
    this.#world.settle();
    if (!reverted) return;
    this.#tally.reverts++;
    // What it has written since the cut is as foreign to it from now on as another's; so it writes with a new mark.
    const { shown, granules } = this.#objects.get(snapshotId)!;
    const mark = this.#newMark();
    this.#objects.set(id, { ...object, mark, shown: new Set([...shown, mark]), granules });
  }

  #grow(id: string): void {
    const object = this.#objects.get(id)!;
    this.#world.control({ kind: 'resize', id, sizeBytes: mostGranules * granuleBytes }, (error) => {
      if (error === null && this.#objects.has(id)) this.#objects.set(id, { ...object, granules: mostGranules });
    });
    this.#world.settle();
  }

  #delete(id: string): void {
    const world = this.#world;
    this.#endRequests();
    world.call(() => world.frontEnd.detach(id));
    this.#going.set(id, this.#objects.get(id)!);
    this.#objects.delete(id);
    world.control({ kind: 'delete', id }, (error) => {
      if (error === null) this.#going.delete(id);
    });
  }

  /** Also writes that wait for room end. */
  #endRequests(): void {
    this.#world.settle();
    if (this.#world.frontEnd.outstanding > 0) this.#world.tick(parkTimeoutMs);
    this.#world.settle();
  }

  #write(id: string): void {
    const count = 1 + this.#random.below(8);
    this.#submit(id, Operation.write, this.#random.below(leastGranules - count), count, this.#objects.get(id)!.mark);
  }

  #submit(id: string, operation: (typeof Operation)[keyof typeof Operation], granule: number, count: number, mark?: number): void {
    const world = this.#world;
    world.call(() => world.frontEnd.attach(id));
    if (!world.frontEnd.canSubmit) return;
    const payload = mark === undefined ? {} : { payload: new Uint8Array(count * granuleBytes).fill(mark) };
    const request = { operation, deviceId: id, offsetBytes: granule * granuleBytes, lengthBytes: count * granuleBytes, ...payload };
    world.call(() => world.frontEnd.submit(request, () => {}));
  }

  #die(how: 'kill' | 'power'): void {
    if (how === 'kill') this.#world.kill();
    else {
      this.#tally.powerCuts++;
      this.#world.powerLoss(this.#random.pick(['lose', 'keep', 'draw'] as const));
    }
    this.#start();
    // A call that was under way may or may not have been done.
    const there = this.#list();
    for (const [id, object] of this.#going) this.#objects.set(id, object);
    this.#going.clear();
    for (const id of [...this.#objects.keys()]) if (!there.has(id)) this.#objects.delete(id);
  }

  #start(): void {
    this.#world.start();
    this.#world.settle();
    if (this.#world.startError !== null) throw this.#world.startError;
  }

  #list(): Map<string, ObjectInfo> {
    let objects = new Map<string, ObjectInfo>();
    this.#world.control({ kind: 'list' }, (_, answer) => {
      objects = new Map((answer as ObjectInfo[]).map((info) => [info.id, info]));
    });
    this.#world.settle();
    return objects;
  }

  /** Neither 0 nor what the disk holds at first, and no other's. */
  #newMark(): number {
    this.#marks++;
    assert(this.#marks < blankByte, 'a pool has fewer marks than there are bytes');
    return this.#marks;
  }
}
