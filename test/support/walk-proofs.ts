/** What must hold at any time: contents, counts, space, and that what is deleted is gone. */
import type { CheckReport, DamageReport, DefragmentStatus, PoolInfo, ScrubStatus, Usage } from '../../src/engine/control.ts';
import type { ModelObject } from './model-object.ts';
import { granuleBytes } from './stamped-content.ts';
import { Violation } from './violation.ts';
import type { WalkContext } from './walk-context.ts';
import type { WalkRequests } from './walk-requests.ts';
import { windowsOf, type Window } from './walk-windows.ts';

export class WalkProofs {
  readonly #walk: WalkContext;
  readonly #requests: WalkRequests;

  constructor(walk: WalkContext, requests: WalkRequests) {
    this.#walk = walk;
    this.#requests = requests;
  }

  check(): void {
    const report = this.#walk.callNow({ kind: 'check' }) as CheckReport | null;
    if (report && report.problems.length > 0) throw new Violation(`check found: ${report.problems.join('; ')}`);
  }

  /** Reads every window of every object that can be read now. */
  verifyAll(): void {
    const { world } = this.#walk;
    for (const object of this.#walk.model.visible()) {
      if (this.#walk.isBusy(object.name) || this.#walk.model.objects.get(object.id) !== object || object.existence === 'going') continue;
      if (this.#walk.isUncertain(object)) continue;
      const wasAttached = world.frontEnd.isAttached(object.id);
      if (!this.#walk.attach(object)) return;
      for (const window of this.#followed(object)) {
        for (const [start, end] of this.#quietRanges(object.id, window.start, window.end)) {
          for (let at = start; at < end; at += this.#walk.options.maximumGranules) {
            this.#walk.waitUntil(() => world.frontEnd.canSubmit || !world.alive, 'a free request');
            if (!world.alive) return;
            this.#requests.submitRead(object, at, Math.min(this.#walk.options.maximumGranules, end - at));
            if (!world.alive) return;
          }
        }
      }
      this.#walk.waitUntil(
        () => !world.alive || ![...this.#walk.ranges].some((range) => range.id === object.id && range.kind === 'read'),
        `the end of reads of ${object.name}`,
      );
      if (!world.alive) return;
      if (!wasAttached) world.call(() => world.frontEnd.detach(object.id));
      if (!world.alive) return;
    }
    // Reads that failed have shown nothing.
    if (!this.#walk.mayFail && this.#walk.refused === null) this.#walk.model.finishVerification();
  }

  /** The windows of an object, and what was written outside of them when it was smaller. */
  #followed(object: ModelObject): Window[] {
    const windows = windowsOf(object.sizeBytes, this.#walk.options.chunkSizeBytes);
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
    const perChunk = this.#walk.options.chunkSizeBytes / granuleBytes;
    const quiet: [number, number][] = [];
    for (let at = start; at < end;) {
      const chunkEnd = Math.min(end, (Math.floor(at / perChunk) + 1) * perChunk);
      const first = Math.floor(at / perChunk) * perChunk;
      if (!this.#walk.overlaps(id, first, perChunk)) {
        const last = quiet[quiet.length - 1];
        if (last && last[1] === at) last[1] = chunkEnd;
        else quiet.push([at, chunkEnd]);
      }
      at = chunkEnd;
    }
    return quiet;
  }

  compareSpace(options: { readonly atRest: boolean }): void {
    if (!this.#walk.world.alive) return;
    const pool = this.#walk.callNow({ kind: 'pool' }) as PoolInfo | null;
    if (!pool) return;
    const visible = this.#walk.model.visible();
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
    const report = this.#walk.callNow({ kind: 'check' }) as CheckReport;
    if (report.slotsUsed * pool.chunkSizeBytes !== pool.usedBytes)
      throw new Violation(`check counts ${report.slotsUsed} slots, the pool says ${pool.usedBytes} bytes`);
    for (const object of visible) this.#compareUsage(object, pool, options.atRest ? this.#walk.options.layersAtRest : Infinity);
  }

  /** What is mapped can be no less than the chunks that hold something, and no less than what is exclusive. */
  #compareUsage(object: ModelObject, pool: PoolInfo, layers: number): void {
    if (this.#walk.isBusy(object.name)) return;
    const usage = this.#walk.callNow({ kind: 'usage', id: object.id }) as Usage;
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
    const alone = !this.#walk.model.visible().some((other) => other !== object && other.described?.lineage === object.described?.lineage);
    const quiet = certain && this.#walk.world.frontEnd.outstanding === 0;
    if (alone && quiet && object.kind === 'volume' && usage.usedBytes > layers * least) {
      throw new Violation(`${object.kind} ${object.name} holds ${least} bytes in chunks, but uses ${usage.usedBytes}`);
    }
  }

  /** Begins or ends a pass, and looks at what passes found so far: the disk of these walks never changes what it has. */
  scrub(mode: 'verify' | 'seal' | null, bytesPerSecond: number): void {
    const request = mode === null ? ({ kind: 'scrub-stop' } as const) : ({ kind: 'scrub-start', mode, bytesPerSecond } as const);
    if (this.#walk.callNow(request) === null) return;
    this.#damage({ mayBeUnreadable: true });
  }

  /** Three passes: one ends what was begun, one gives a checksum to all that snapshots hold, the last compares all of it. */
  scrubAll(): void {
    for (let pass = 0; pass < 3; pass += 1) {
      this.scrub('verify', 2 ** 40);
      this.#walk.settle();
    }
    this.#damage({ mayBeUnreadable: this.#walk.mayFail });
    const status = this.#walk.callNow({ kind: 'scrub-status' }) as ScrubStatus | null;
    if (status === null) return;
    if (status.running !== null || status.completedAtMs === 0) throw new Violation(`a scrub does not end: ${JSON.stringify(status)}`);
    for (const object of this.#walk.model.visible()) {
      if (object.kind !== 'snapshot' || this.#walk.isBusy(object.name)) continue;
      const usage = this.#walk.callNow({ kind: 'usage', id: object.id }) as Usage;
      if (usage.usedBytes > status.completedBytes)
        throw new Violation(`snapshot ${object.name} uses ${usage.usedBytes} bytes, the scrub compared ${status.completedBytes}`);
    }
  }

  /** What a fault hid is unreadable until a pass looks again. */
  #damage(options: { readonly mayBeUnreadable: boolean }): void {
    const report = this.#walk.callNow({ kind: 'damage' }) as DamageReport | null;
    const wrong = report?.chunks.filter(({ damage }) => damage === 'changed' || !options.mayBeUnreadable) ?? [];
    if (wrong.length > 0) throw new Violation(`scrubbing found damage where there is none: ${JSON.stringify(wrong)}`);
  }

  /** Begins to defragment a volume, or stops that. One at a time: another one is refused, and that is right. */
  defragment(name: string, options: { readonly stop?: true }): boolean {
    const volume = this.#walk.usable(name, 'volume');
    if (volume === null) return false;
    const kind = options.stop === true ? 'defragment-stop' : 'defragment-start';
    this.#walk.call({ kind, id: volume.id }, [], (error) => {
      const isBusy = kind === 'defragment-start' && error?.code === 'failed-precondition';
      if (error !== null && !isBusy && !(error.code === 'data-loss' && this.#walk.mayBreak))
        throw new Violation(`${kind} of ${name} failed: ${error.code}: ${error.message}`);
    });
    return true;
  }

  /** Every volume, until a pass finds nothing that it could better: no volume moves to and fro, and all read as before. */
  defragmentAll(): void {
    for (const volume of this.#walk.model.visible()) {
      if (volume.kind !== 'volume' || this.#walk.isBusy(volume.name) || !this.#walk.world.alive || this.#walk.failure !== null) continue;
      if (!this.#defragmentFully(volume)) return;
    }
    this.check();
    this.verifyAll();
  }

  #defragmentFully(volume: ModelObject): boolean {
    for (let pass = 0; pass < 30; pass += 1) {
      if (this.#walk.callNow({ kind: 'defragment-start', id: volume.id }) === null) return false;
      this.#walk.settle();
      // What it has let go of may be room for the next pass.
      if (this.#walk.world.alive) this.#walk.callNow({ kind: 'checkpoint' });
      if (!this.#walk.world.alive) return false;
      this.#walk.settle();
      const status = this.#walk.callNow({ kind: 'defragment-status', id: volume.id }) as DefragmentStatus | null;
      if (status === null) return false;
      // Slots that wait for something that does not come are waited for, for a while.
      if (status.state === 'running') this.#walk.world.advanceClock(60_000);
      else if (status.state !== 'done' && status.state !== 'out-of-space') throw new Violation(`defragmenting ended: ${status.state}`);
      else if (status.movedBytes === 0) return true;
    }
    throw new Violation(`volume ${volume.name} is never in place`);
  }

  deleteOne(): void {
    const { world } = this.#walk;
    const object = world.random.pick([...this.#walk.model.objects.values()]);
    if (!object.present) {
      this.#walk.callFor([object.name], { kind: 'delete', id: object.id });
      this.#walk.settle();
      return;
    }
    while (!this.#walk.detachObject(object, true)) {
      world.advanceClock(this.#walk.options.parkTimeoutMs);
      this.#walk.settle();
    }
    // What becomes durable by the delete must not let others be merged at the same time.
    this.#walk.callNow({ kind: 'checkpoint' });
    this.#walk.settle();
    const before = this.#walk.callNow({ kind: 'pool' }) as PoolInfo;
    const usage = this.#walk.callNow({ kind: 'usage', id: object.id }) as Usage;
    const parked = before.parkedWrites;
    this.#walk.callFor([object.name], { kind: 'delete', id: object.id });
    this.#walk.settle();
    const after = this.#walk.callNow({ kind: 'pool' }) as PoolInfo;
    // Relatives are merged when one of them goes, so only the last of a descent gives back exactly its own.
    const alone = !this.#walk.model.visible().some((other) => other.described?.lineage === object.described?.lineage);
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
}
