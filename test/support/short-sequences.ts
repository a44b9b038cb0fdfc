/**
 * All short sequences of operations over two volumes, each ended at every port call of its last operation, in every
 * way a power cut can leave the disks; then opened again, checked and compared with the naive model.
 *
 * What makes the enumeration smaller, and why nothing is missed:
 * - Only calls from the last operation on are cut: what comes before it is the end of the shorter sequence, event by
 *   event, because an action's number alone seeds what happens during it.
 * - The first operation on a volume is on `a`: the volumes were made alike, so that exchanging them changes numbers only.
 *   Where `b` is a clone of `a` this is not so, and nothing is left out.
 * - A sequence with an operation that is not possible (on what is deleted, or busy) is the shorter sequence without it.
 */
import { engineSubject, makeEngine } from './engine-subject.ts';
import type { PowerLossStyle } from './simulated-disk.ts';
import type { PowerLossStyles } from './simulated-world.ts';
import { printTrace, type Action, type ActionBody, type WalkSetup } from './walk-actions.ts';
import { begin, type WalkSubject } from './walk-runner.ts';

export const longestSequence = 4;

/** `settled`: an operation begins when the one before it has come to rest; `overlapping`: two events after it began. */
export type Schedule = 'settled' | 'overlapping';
/** `apart`: two volumes made alike; `related`: `a` with a snapshot, and `b` a clone of that. */
export type Beginning = 'apart' | 'related';

export interface Sequence {
  readonly letters: readonly Letter[];
  readonly schedule: Schedule;
  readonly beginning: Beginning;
}

/** What a cut leaves of what was not synced, or the death of the process alone. */
export type Ending = 'kill' | PowerLossStyle | PowerLossStyles;

type VolumeLetter = 'write' | 'discard' | 'flush' | 'snapshot' | 'clone' | 'revert' | 'revertSafely' | 'delete' | 'resize';
export type Letter = { readonly do: VolumeLetter; readonly on: 'a' | 'b' } | { readonly do: 'checkpoint' | 'deleteSnapshot' };

const volumeLetters: readonly VolumeLetter[] = [
  'write',
  'discard',
  'flush',
  'snapshot',
  'clone',
  'revert',
  'revertSafely',
  'delete',
  'resize',
];
const alphabet: readonly Letter[] = [
  ...volumeLetters.flatMap((letter): Letter[] => [
    { do: letter, on: 'a' },
    { do: letter, on: 'b' },
  ]),
  { do: 'checkpoint' },
  { do: 'deleteSnapshot' },
];
const schedules: readonly Schedule[] = ['settled', 'overlapping'];
const beginnings: readonly Beginning[] = ['apart', 'related'];

export const endings: readonly Ending[] = [
  'kill',
  'lose',
  'keep',
  // The two disks do not know of each other: either one's writes may all be there, and none of the other's.
  { data: 'keep', log: 'lose', metadata: 'lose' },
  { data: 'lose', log: 'keep', metadata: 'keep' },
  'draw',
];

const chunkSizeBytes = 16_384;
const volumeBytes = 65_536;
const maximumGranules = 16;
const setup: WalkSetup = { seed: 18, chunkSizeBytes, slots: 16, logSizeBytes: 131_072 };
const mostCalls = 500;
/** A prime, so that it has no divisor in common with the number of sequences. */
const stride = 7_919;

/** How many sequences of up to `length` operations there are, with those that symmetry leaves out. */
export function sequenceCount(length: number = longestSequence): number {
  let words = 0;
  for (let size = 1; size <= length; size += 1) words += alphabet.length ** size;
  return words * schedules.length * beginnings.length;
}

/** The number of the next sequence to do, far from this one; after `sequenceCount()` of these steps all were done. */
export function sequenceAfter(index: number): number {
  return (index + stride) % sequenceCount();
}

/** The sequence of that number, shorter ones first; null where symmetry makes it another one's twin. */
export function sequenceAt(index: number): Sequence | null {
  const schedule = schedules[index % schedules.length]!;
  const beginning = beginnings[Math.floor(index / schedules.length) % beginnings.length]!;
  let rest = Math.floor(index / schedules.length / beginnings.length);
  let size = 1;
  for (; rest >= alphabet.length ** size; size += 1) rest -= alphabet.length ** size;
  const letters: Letter[] = [];
  for (let place = 0; place < size; place += 1) {
    letters.push(alphabet[rest % alphabet.length]!);
    rest = Math.floor(rest / alphabet.length);
  }
  const first = letters.find((letter) => 'on' in letter);
  if (beginning === 'apart' && first && 'on' in first && first.on === 'b') return null;
  return { letters, schedule, beginning };
}

export function describeSequence({ letters, schedule, beginning }: Sequence): string {
  return `${letters.map((letter) => ('on' in letter ? `${letter.do} ${letter.on}` : letter.do)).join(', ')} (${schedule}, ${beginning})`;
}

/**
 * Cuts the sequence at every port call of its last operation, by default of an engine that begins no sync ahead, and of one
 * that does so after every write. How many cuts that were; throws at the first that lost something.
 */
export function cutEverywhere(sequence: Sequence, ...subjects: readonly WalkSubject[]): number {
  const all = subjects.length > 0 ? subjects : [smallSubject(), smallSubject({ flushesToLearn: 0 })];
  return all.reduce((cuts, subject) => cuts + cutAll(sequence, subject), 0);
}

function cutAll(sequence: Sequence, subject: WalkSubject): number {
  const actions = actionsOf(sequence);
  if (actions === null) return 0;
  let cuts = 0;
  for (const ending of endings) {
    for (let calls = 1; calls < mostCalls; calls += 1) {
      const outcome = cutAt(subject, { actions, beginning: sequence.beginning, calls, ending });
      if (outcome === 'impossible') return cuts;
      cuts += 1;
      if (outcome === 'over') break;
    }
  }
  return cuts;
}

interface Cut {
  readonly actions: SequenceActions;
  readonly beginning: Beginning;
  readonly calls: number;
  readonly ending: Ending;
}

interface SequenceActions {
  readonly before: readonly Action[];
  readonly last: readonly Action[];
}

/** `over`: the sequence came to rest before that call, and was cut then. */
function cutAt(subject: WalkSubject, cut: Cut): 'cut' | 'over' | 'impossible' {
  const done: Action[] = [];
  try {
    const walk = begin(subject, setup);
    const run = (action: Action): boolean => {
      done.push(action);
      return walk.run(action) || !walk.world.alive;
    };
    for (const action of [...beginningOf(cut.beginning), ...cut.actions.before]) if (!run(action)) return 'impossible';
    run({ do: 'doom', calls: cut.calls, n: 300, steps: 0 });
    for (const action of cut.actions.last) if (walk.world.alive && !run(action)) return 'impossible';
    const died = !walk.world.alive;
    if (!died) walk.world.killInsidePortCall(Infinity);
    for (const action of endOf(cut.ending)) run(action);
    for (const action of proof) run(action);
    walk.finish();
    return died ? 'cut' : 'over';
  } catch (error) {
    const ending = JSON.stringify(cut.ending);
    throw new Error(`cut at port call ${cut.calls}, ${ending}: ${String(error)}\n${printTrace({ setup, actions: done })}`, {
      cause: error,
    });
  }
}

/** The engine with requests and a ring as small as the sequences need: most of a run would be clearing memory. */
export function smallSubject(options: { readonly flushesToLearn?: number } = {}): WalkSubject {
  return {
    ...engineSubject(),
    makeEngine: (ports, ofPool) => makeEngine(ports, ofPool, { ...options, maximumRequestBytes: maximumGranules * 4096 }),
    maximumGranules,
  };
}

function numbered(first: number, bodies: readonly (ActionBody & { readonly steps?: number })[]): Action[] {
  return bodies.map((body, index) => ({ steps: 0, ...body, n: first + index }));
}

function beginningOf(beginning: Beginning): Action[] {
  const parts: ActionBody[] = [
    { do: 'create', on: 'a', size: volumeBytes },
    { do: 'settle' },
    { do: 'write', on: 'a', at: 0, count: 7 },
    { do: 'settle' },
  ];
  if (beginning === 'apart') {
    parts.push({ do: 'create', on: 'b', size: volumeBytes }, { do: 'settle' }, { do: 'write', on: 'b', at: 0, count: 7 });
  } else {
    parts.push({ do: 'snapshot', on: 'p', from: 'a' }, { do: 'settle' }, { do: 'clone', on: 'b', from: 'p', grow: 0 });
  }
  return numbered(1, [...parts, { do: 'settle' }, { do: 'checkpoint' }, { do: 'settle' }]);
}

/** The objects' names as the sequence goes: its snapshots by their volume, newest last. */
interface Names {
  made: number;
  readonly snapshots: { readonly name: string; readonly of: string }[];
}

function actionsOf({ letters, schedule, beginning }: Sequence): SequenceActions | null {
  const names: Names = { made: 0, snapshots: beginning === 'related' ? [{ name: 'p', of: 'a' }] : [] };
  const groups: Action[][] = [];
  for (const [index, letter] of letters.entries()) {
    const body = bodyOf(letter, names);
    if (body === null) return null;
    const settles = schedule === 'settled' || index === letters.length - 1;
    groups.push(
      numbered(100 + 10 * index, [{ ...body, steps: schedule === 'settled' ? 0 : 2 }, ...(settles ? [{ do: 'settle' } as const] : [])]),
    );
  }
  return { before: groups.slice(0, -1).flat(), last: groups.at(-1)! };
}

/** Null where there is no snapshot to revert to, or to delete. */
function bodyOf(letter: Letter, names: Names): ActionBody | null {
  const fresh = (prefix: string): string => `${prefix}${'ghijk'[names.made++]!}`;
  if (!('on' in letter)) {
    if (letter.do === 'checkpoint') return { do: 'checkpoint' };
    const snapshot = names.snapshots.pop();
    return snapshot ? { do: 'delete', on: snapshot.name } : null;
  }
  const { on } = letter;
  switch (letter.do) {
    case 'write':
      return { do: 'write', on, at: 2, count: 4 };
    case 'discard':
      return { do: 'zero', on, at: 3, count: 5 };
    case 'flush':
    case 'delete':
      return { do: letter.do, on };
    case 'snapshot': {
      const name = fresh('s');
      names.snapshots.push({ name, of: on });
      return { do: 'snapshot', on: name, from: on };
    }
    case 'clone':
      return { do: 'clone', on: fresh('c'), from: on, grow: 0 };
    case 'resize':
      return { do: 'resize', on, size: 2 * volumeBytes };
    case 'revert':
    case 'revertSafely': {
      const snapshot = names.snapshots.findLast((candidate) => candidate.of === on);
      if (!snapshot) return null;
      const safety = letter.do === 'revertSafely' ? fresh('s') : null;
      return { do: 'revert', on, to: snapshot.name, safety };
    }
  }
}

function endOf(ending: Ending): Action[] {
  return ending === 'kill' ? numbered(400, [{ do: 'kill' }]) : numbered(400, [{ do: 'power', style: ending }]);
}

/** Everything is read and checked; then the pool is used, so that a slot that counts as free and is not does harm, and read again. */
const proof = numbered(500, [
  { do: 'start', dieAfter: null, verify: true },
  { do: 'check' },
  { do: 'write', on: 'a', at: 0, count: 8 },
  { do: 'write', on: 'b', at: 0, count: 8 },
  { do: 'flush', on: 'a' },
  { do: 'settle' },
  { do: 'verify' },
]);
