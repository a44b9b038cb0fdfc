/** Draws the next action of a walk from what the walk has so far. */
import type { SeededRandom } from './seeded-random.ts';
import type { ActionBody, Action, WrongCall } from './walk-actions.ts';
import { interestingSizes, windowsOf } from './walk-windows.ts';

export const volumeNames = ['a', 'b', 'c', 'd'] as const;
export const snapshotNames = ['p', 'q', 'r', 's', 't'] as const;

/** What the generator must know; the walk tells it. */
export interface WalkView {
  readonly running: boolean;
  /** Objects that can be used now, by name. */
  readonly objects: readonly {
    readonly name: string;
    readonly kind: 'volume' | 'snapshot';
    readonly sizeBytes: number;
    readonly sourceName: string | null;
  }[];
  /** Names whose last control call was not answered. */
  readonly unsure: readonly string[];
}

export interface WalkTemper {
  readonly chunkSizeBytes: number;
  /** A calm walk crashes seldom, so that much can grow. */
  readonly calm: boolean;
  /** The longest request in granules. */
  readonly maximumGranules: number;
}

const requestWeights = { write: 34, zero: 9, read: 6, flush: 10 };
const controlWeights = { create: 5, snapshot: 8, clone: 5, revert: 6, delete: 6, resize: 2, retry: 3, detach: 2, wrong: 1.5 };
const otherWeights = { check: 1.5, checkpoint: 3, scrub: 3, defragment: 4, space: 1, verify: 1, settle: 4, wait: 1, fault: 0.7 };

export function drawAction(random: SeededRandom, view: WalkView, temper: WalkTemper, n: number): Action {
  const steps = random.pick([0, 0, 0, 1, 1, 2, 3, 5, 8, 13, 30]);
  return { ...drawBody(random, view, temper), n, steps };
}

function drawBody(random: SeededRandom, view: WalkView, temper: WalkTemper): ActionBody {
  if (!view.running) {
    if (random.chance(0.08)) return { do: 'power', style: random.pick(['lose', 'keep', 'draw'] as const) };
    return { do: 'start', dieAfter: random.chance(0.12) ? random.between(1, 40) : null, verify: random.chance(0.4) };
  }
  const often = temper.calm ? 0.25 : 1;
  const crashWeights = { kill: 1.5 * often, killInside: 2 * often, power: 2.5 * often, stop: 0.5 * often };
  const volumes = view.objects.filter((object) => object.kind === 'volume');
  const kind =
    volumes.length === 0
      ? random.pick(['create', 'settle'] as const)
      : random.weighted({ ...requestWeights, ...controlWeights, ...otherWeights, ...crashWeights });
  const snapshots = view.objects.filter((object) => object.kind === 'snapshot');
  switch (kind) {
    case 'write':
    case 'zero':
    case 'read':
      return drawRange(random, kind, random.pick(kind === 'read' ? view.objects : volumes), temper);
    case 'flush':
      return { do: 'flush', on: random.pick(volumes).name };
    case 'create':
      return { do: 'create', on: freeName(random, view, volumeNames), size: drawSize(random, temper) };
    case 'snapshot':
      return { do: 'snapshot', on: freeName(random, view, snapshotNames), from: random.pick(volumes).name };
    case 'clone':
      return {
        do: 'clone',
        on: freeName(random, view, volumeNames),
        from: random.pick(view.objects).name,
        grow: random.chance(0.2) ? random.pick([65_536, 1_048_576]) : 0,
      };
    case 'revert': {
      const possible = snapshots.filter((snapshot) => volumes.some((volume) => volume.name === snapshot.sourceName));
      if (possible.length === 0) return { do: 'snapshot', on: random.pick(snapshotNames), from: random.pick(volumes).name };
      const snapshot = random.pick(possible);
      const abort = random.chance(0.3) ? { abort: true as const } : {};
      return {
        do: 'revert',
        on: snapshot.sourceName!,
        to: snapshot.name,
        safety: random.chance(0.5) ? random.pick(snapshotNames) : null,
        ...abort,
      };
    }
    case 'delete':
      return { do: 'delete', on: random.pick(view.objects).name, ...(random.chance(0.3) ? { abort: true as const } : {}) };
    case 'resize': {
      const volume = random.pick(volumes);
      return { do: 'resize', on: volume.name, size: volume.sizeBytes + random.pick([0, 65_536, 1_048_576]) };
    }
    case 'retry':
      return view.unsure.length > 0 ? { do: 'retry', on: random.pick(view.unsure) } : { do: 'flush', on: random.pick(volumes).name };
    case 'detach':
      return { do: 'detach', on: random.pick(view.objects).name, ...(random.chance(0.5) ? { abort: true as const } : {}) };
    case 'wrong':
      return {
        do: 'wrong',
        on: random.pick(view.objects).name,
        how: random.pick<WrongCall>(['sameName', 'unknownSource', 'shrink', 'attached', 'unknownDelete', 'smallClone']),
      };
    case 'fault':
      return { do: 'fault', kind: random.pick(['read', 'write', 'write'] as const), skip: random.below(6), times: random.between(1, 3) };
    case 'wait':
      return { do: 'wait', ms: random.pick([10, 1_000, 70_000]) };
    case 'power':
      return { do: 'power', style: random.pick(['lose', 'keep', 'draw', 'draw', 'draw'] as const) };
    case 'killInside':
      return { do: 'killInside', calls: random.between(1, 30) };
    case 'stop':
      return { do: 'stop', keepMemory: random.chance(0.5) };
    case 'kill':
      return { do: 'kill' };
    case 'check':
      return { do: 'check' };
    case 'checkpoint':
      return { do: 'checkpoint' };
    case 'scrub':
      return {
        do: 'scrub',
        mode: random.pick(['verify', 'verify', 'seal', null] as const),
        bytesPerSecond: random.pick([2 ** 40, 2 ** 40, 50_000]),
      };
    case 'defragment':
      return { do: 'defragment', on: random.pick(volumes).name, ...(random.chance(0.15) ? { stop: true as const } : {}) };
    case 'space':
      return { do: 'space' };
    case 'verify':
      return { do: 'verify' };
    case 'settle':
      return { do: 'settle' };
  }
}

/** A name that no object has, if there is one. */
function freeName(random: SeededRandom, view: WalkView, names: readonly string[]): string {
  const free = names.filter((name) => !view.objects.some((object) => object.name === name));
  return random.pick(free.length > 0 ? free : names);
}

function drawSize(random: SeededRandom, temper: WalkTemper): number {
  const sizes = interestingSizes(temper.chunkSizeBytes);
  return random.chance(0.7) ? random.pick(sizes.slice(0, 4)) : random.pick(sizes);
}

function drawRange(
  random: SeededRandom,
  kind: 'write' | 'zero' | 'read',
  object: { readonly name: string; readonly sizeBytes: number },
  temper: WalkTemper,
): ActionBody {
  const total = object.sizeBytes / 4096;
  if (kind === 'zero' && random.chance(0.06)) return { do: 'zero', on: object.name, at: 0, count: total };
  const window = random.pick(windowsOf(object.sizeBytes, temper.chunkSizeBytes));
  // Half of all requests crowd into the first few granules of a window, so that they meet each other.
  const crowded = random.chance(0.5) ? Math.min(window.end, window.start + 2 * (temper.chunkSizeBytes / 4096)) : window.end;
  const at = random.between(window.start, crowded - 1);
  const perChunk = temper.chunkSizeBytes / 4096;
  const wanted = random.pick([
    1,
    1,
    1,
    random.between(1, 4),
    random.between(1, perChunk),
    perChunk,
    random.between(1, temper.maximumGranules),
  ]);
  const count = Math.min(wanted, window.end - at, temper.maximumGranules);
  const overlap = random.chance(0.15) ? { overlap: true as const } : {};
  return kind === 'read' ? { do: 'read', on: object.name, at, count } : { do: kind, on: object.name, at, count, ...overlap };
}
