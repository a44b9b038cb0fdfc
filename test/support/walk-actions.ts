/**
 * The actions of a random walk over the engine, as plain data: a trace can be printed, shortened and run again. Every
 * action carries a number of its own, which seeds what happens during it, so that the rest of a trace stays the same
 * when one action is taken out.
 */
import type { PowerLossStyle } from './simulated-disk.ts';
import type { PowerLossStyles, WorldFault } from './simulated-world.ts';

export interface WalkSetup {
  readonly seed: number;
  readonly chunkSizeBytes: number;
  readonly slots: number;
  readonly logSizeBytes: number;
}

export type ActionBody =
  | { readonly do: 'write'; readonly on: string; readonly at: number; readonly count: number; readonly overlap?: true }
  | { readonly do: 'zero'; readonly on: string; readonly at: number; readonly count: number; readonly overlap?: true }
  | { readonly do: 'read'; readonly on: string; readonly at: number; readonly count: number }
  | { readonly do: 'flush'; readonly on: string }
  | { readonly do: 'create'; readonly on: string; readonly size: number }
  | { readonly do: 'snapshot'; readonly on: string; readonly from: string }
  | { readonly do: 'clone'; readonly on: string; readonly from: string; readonly grow: number }
  | { readonly do: 'revert'; readonly on: string; readonly to: string; readonly safety: string | null; readonly abort?: true }
  | { readonly do: 'delete'; readonly on: string; readonly abort?: true }
  | { readonly do: 'resize'; readonly on: string; readonly size: number }
  | { readonly do: 'retry'; readonly on: string }
  | { readonly do: 'detach'; readonly on: string; readonly abort?: true }
  | { readonly do: 'wrong'; readonly on: string; readonly how: WrongCall }
  | { readonly do: 'check' }
  | { readonly do: 'checkpoint' }
  /** A pass over what snapshots hold; null stops the one under way. */
  | { readonly do: 'scrub'; readonly mode: 'verify' | 'seal' | null; readonly bytesPerSecond: number }
  /** Moves a volume's chunks next to each other; `stop` ends what is under way. */
  | { readonly do: 'defragment'; readonly on: string; readonly stop?: true }
  | { readonly do: 'space' }
  | { readonly do: 'verify' }
  | { readonly do: 'settle' }
  | { readonly do: 'wait'; readonly ms: number }
  /** Some of the next reads or writes of the pool's data end with EIO. */
  | { readonly do: 'fault'; readonly kind: 'read' | 'write'; readonly skip: number; readonly times: number }
  /** The same of any call to disks and metadata, in any way, until the process ends. */
  | { readonly do: 'fail'; readonly fault: WorldFault }
  | { readonly do: 'stop'; readonly keepMemory: boolean }
  | { readonly do: 'kill' }
  | { readonly do: 'killInside'; readonly calls: number }
  /** The process will die at that many port calls from now, wherever it is then. */
  | { readonly do: 'doom'; readonly calls: number }
  | { readonly do: 'power'; readonly style: PowerLossStyle | PowerLossStyles }
  | { readonly do: 'start'; readonly dieAfter: number | null; readonly verify: boolean };

export type WrongCall = 'sameName' | 'unknownSource' | 'shrink' | 'attached' | 'unknownDelete' | 'smallClone';

/** `n` is the action's own number, `steps` how many events happen after it before the next one. */
export type Action = ActionBody & { readonly n: number; readonly steps: number };

export interface Trace {
  readonly setup: WalkSetup;
  readonly actions: readonly Action[];
}

/** One line for a person, which `parseTrace` reads back. */
export function printTrace(trace: Trace): string {
  return [JSON.stringify(trace.setup), ...trace.actions.map((action) => `  ${JSON.stringify(action)}`)].join('\n');
}

export function parseTrace(text: string): Trace {
  const [setup, ...actions] = text
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as unknown);
  return { setup: setup as WalkSetup, actions: actions as Action[] };
}

/** An id that says which action made the object: 26 characters of base32. */
export function makeId(name: string, n: number): string {
  return `${name}${String(n).replace(/\d/g, (digit) => 'cdefghijkl'[Number(digit)]!)}`.padEnd(26, '2');
}
