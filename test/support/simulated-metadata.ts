/**
 * A metadata store whose commits pass through three states: in commit, readable, durable. Every call waits until a
 * scheduler picks it; commits keep their order.
 *
 * - A kill may leave the commit under way readable, but not durable; the ones behind it are gone.
 * - A power loss keeps what is durable, perhaps also what was readable, perhaps also the one in commit.
 * - `load` makes durable what is readable before it answers.
 * - A call may be made to fail. A commit that fails changes nothing, or is there all the same, readable or durable.
 */
import type { MetadataChange, MetadataImage, MetadataStore, MetadataTable } from '../../src/engine/ports.ts';
import { takeFault, type InjectedFault } from './injected-faults.ts';
import type { SeededRandom } from './seeded-random.ts';
import { Violation } from './violation.ts';

export type MetadataCallKind = 'load' | 'page' | 'commit';

/** The next calls of this kind fail: the first `skip` pass, then `times` of them end with an error. */
export interface MetadataFault {
  readonly kind: MetadataCallKind;
  readonly skip: number;
  readonly times: number;
  /** `done`: a commit that failed may have happened. */
  readonly how: 'error' | 'done';
}

/** A fault that was injected. */
export type MetadataFaultState = InjectedFault<MetadataFault>;

type Tables = Record<MetadataTable, Map<number, Uint8Array>>;
type Call = { readonly fault: MetadataFault | null } & (
  | { readonly kind: 'load'; readonly done: (error: Error | null, image: MetadataImage | null) => void }
  | {
      readonly kind: 'page';
      readonly table: 'pages' | 'checksums';
      readonly key: number;
      readonly done: (error: Error | null, value: Uint8Array | null) => void;
    }
);

interface Commit {
  readonly changes: readonly MetadataChange[];
  /** The values as they were at the call, to see whether the caller changes them. */
  readonly values: readonly (Uint8Array | null)[];
  readonly done: (error: Error | null) => void;
  readonly error: Error | null;
  /** It fails, and may have happened all the same. */
  readonly happens: boolean;
  readable: boolean;
}

export class SimulatedMetadata {
  readonly counts = { commits: 0, pages: 0, loads: 0 };
  /** A planted bug: a commit is answered when it can be read. */
  answersReadable = false;
  /** A planted bug: a load does not make durable what it shows. */
  loadsWithoutSync = false;
  readonly #random: SeededRandom;
  #durable: Tables = emptyTables();
  #readable: Tables = emptyTables();
  /** Changes that can be read and are not durable yet, oldest first. */
  #between: MetadataChange[] = [];
  #commits: Commit[] = [];
  #calls: Call[] = [];
  #faults: MetadataFaultState[] = [];

  constructor(options: { readonly random: SeededRandom }) {
    this.#random = options.random;
  }

  /** The store as one process sees it. */
  open(): MetadataStore {
    return {
      load: (done) => {
        this.counts.loads += 1;
        this.#calls.push({ kind: 'load', done, fault: takeFault(this.#faults, 'load') });
      },
      readPage: (key, done) => {
        this.counts.pages += 1;
        this.#calls.push({ kind: 'page', table: 'pages', key, done, fault: takeFault(this.#faults, 'page') });
      },
      readChecksums: (key, done) => {
        this.counts.pages += 1;
        this.#calls.push({ kind: 'page', table: 'checksums', key, done, fault: takeFault(this.#faults, 'page') });
      },
      commit: (changes, done) => {
        this.counts.commits += 1;
        const fault = takeFault(this.#faults, 'commit');
        const error = fault ? new Error('simulated: no space for the commit') : null;
        const values = changes.map((change) => (change.value ? new Uint8Array(change.value) : null));
        this.#commits.push({ changes: [...changes], values, done, error, happens: fault?.how === 'done', readable: false });
      },
    };
  }

  get pending(): number {
    return this.#calls.length + (this.#commits.length > 0 ? 1 : 0);
  }

  describe(index: number): { readonly kind: 'load' | 'page' | 'commit'; readonly readable: boolean } {
    const call = this.#calls[index];
    return call ? { kind: call.kind, readable: true } : { kind: 'commit', readable: this.#commits[0]?.readable ?? false };
  }

  /** Moves the waiting call at `index` on; the last index is the oldest commit: first it becomes readable, then durable. */
  fire(index: number): void {
    const call = this.#calls[index];
    if (!call) {
      this.#advanceCommit();
      return;
    }
    this.#calls.splice(index, 1);
    if (call.fault) {
      const error = new Error(`simulated: the ${call.kind} cannot be read`);
      if (call.kind === 'page') call.done(error, null);
      else call.done(error, null);
      return;
    }
    if (call.kind === 'page') {
      const value = copyOf(this.#readable[call.table].get(call.key));
      call.done(null, value);
      // Whoever keeps it keeps nothing: it is the caller's until `done` returns.
      value?.fill(0xa5);
      return;
    }
    if (!this.loadsWithoutSync) this.#makeReadableDurable();
    const all = (table: MetadataTable): MetadataImage['objects'] =>
      [...this.#readable[table]].sort(([left], [right]) => left - right).map(([key, value]) => ({ key, value: new Uint8Array(value) }));
    call.done(null, { pool: copyOf(this.#readable.pool.get(0)), objects: all('objects'), seals: all('seals'), erasures: all('erasures') });
  }

  kill(): void {
    this.#calls = [];
    const head = this.#commits[0];
    this.#commits = [];
    this.#faults = [];
    if (head && !head.readable && !head.error && this.#random.chance(0.5)) this.#makeReadable(head);
  }

  powerLoss(style: 'lose' | 'keep' | 'draw'): void {
    const head = this.#commits[0];
    const survives = style === 'keep' || (style === 'draw' && this.#random.chance(0.5));
    if (survives) {
      const alsoHead = head && !head.readable && !head.error && (style === 'keep' || this.#random.chance(0.5));
      if (alsoHead) this.#makeReadable(head);
      this.#makeReadableDurable();
    }
    this.#commits = [];
    this.#calls = [];
    this.#between = [];
    this.#faults = [];
    this.#readable = copyTables(this.#durable);
  }

  /** The next `count` commits fail and change nothing. */
  failCommits(count: number): void {
    this.inject({ kind: 'commit', skip: 0, times: count, how: 'error' });
  }

  inject(fault: MetadataFault): MetadataFaultState {
    const state = { fault, skip: fault.skip, times: fault.times, hits: 0 };
    this.#faults.push(state);
    return state;
  }

  /** Rows that can be read now. */
  rowCount(table: MetadataTable): number {
    return this.#readable[table].size;
  }

  row(table: MetadataTable, key: number): Uint8Array | null {
    return copyOf(this.#readable[table].get(key));
  }

  /** The disk has lost a row. */
  forget(table: MetadataTable, key: number): void {
    this.#readable[table].delete(key);
    this.#durable[table].delete(key);
  }

  durableRow(table: MetadataTable, key: number): Uint8Array | null {
    return copyOf(this.#durable[table].get(key));
  }

  /** A bit of a row is lost. */
  damageRow(table: MetadataTable, key: number): void {
    for (const tables of [this.#durable, this.#readable]) {
      const value = new Uint8Array(tables[table].get(key)!);
      value[value.length - 1]! ^= 1;
      tables[table].set(key, value);
    }
  }

  #advanceCommit(): void {
    const commit = this.#commits[0];
    if (!commit) throw new Error('metadata: nothing waits');
    if (!commit.readable && (!commit.error || (commit.happens && this.#random.chance(0.7)))) {
      this.#makeReadable(commit);
      if (!commit.error && this.#random.chance(0.5)) return;
    }
    this.#commits.shift();
    this.#refuseChange(commit);
    if (!this.answersReadable && (!commit.error || (commit.happens && this.#random.chance(0.5)))) this.#makeReadableDurable();
    commit.done(commit.error);
  }

  #makeReadable(commit: Commit): void {
    commit.readable = true;
    const changes = commit.changes.map((change, index) => ({ ...change, value: commit.values[index] ?? null }));
    apply(this.#readable, changes);
    this.#between.push(...changes);
  }

  #makeReadableDurable(): void {
    apply(this.#durable, this.#between);
    this.#between = [];
  }

  #refuseChange(commit: Commit): void {
    commit.changes.forEach((change, index) => {
      const before = commit.values[index];
      if (before && change.value && Buffer.compare(before, change.value) !== 0) {
        throw new Violation(`metadata: the value of ${change.table} ${change.key} was changed while its commit was under way`);
      }
    });
  }
}

/** A copy that shares nothing (slicing a Buffer would). */
function copyOf(value: Uint8Array | undefined): Uint8Array | null {
  return value ? new Uint8Array(value) : null;
}

function emptyTables(): Tables {
  return { pool: new Map(), objects: new Map(), pages: new Map(), seals: new Map(), checksums: new Map(), erasures: new Map() };
}

function copyTables(tables: Tables): Tables {
  const copied = emptyTables();
  for (const table of Object.keys(copied) as MetadataTable[]) copied[table] = new Map(tables[table]);
  return copied;
}

function apply(tables: Tables, changes: readonly MetadataChange[]): void {
  for (const change of changes) {
    if (change.value) tables[change.table].set(change.key, change.value);
    else tables[change.table].delete(change.key);
  }
}
