/**
 * Create, snapshot, clone, stage and delete in flight on a node, with volumes and snapshots that live on from round to
 * round: what one round makes, a later one stages and deletes. Beside them a pod does verified I/O all the time, on the
 * volume that snapshots and clones are taken of.
 */
import { setTimeout as delay } from 'node:timers/promises';
import type { SeededRandom } from '../../support/seeded-random.ts';
import type { ClaimOptions } from './manifests.ts';
import { snapshot } from './manifests.ts';
import type { Bed, Space } from './space.ts';
import { verifiedLoad, type KnownData } from './volumes.ts';

const mebibyte = 1024 * 1024;
const size = '64Mi';
/** A round of the load: its volume's data is written and read back for so long, again and again. */
const loadSeconds = 4;
const longestGapMs = 600;
const convergenceLimitMs = 180_000;

export interface IoWait {
  readonly rounds: number;
  readonly longestMs: number;
}

export interface RoundOptions {
  /** How long each operation may take to come about. */
  readonly limitMs?: number;
  /** The disturbance begins so soon after the first operation; within the first few of them, if not given. */
  readonly withinMs?: number;
}

export class Turmoil {
  readonly node: string;
  readonly #bed: Bed;
  readonly #space: Space;
  readonly #random: SeededRandom;
  readonly #base: KnownData;
  #round = 0;

  constructor(options: { readonly bed: Bed; readonly space: Space; readonly node: string; readonly random: SeededRandom }) {
    this.#bed = options.bed;
    this.#space = options.space;
    this.node = options.node;
    this.#random = options.random;
    this.#base = { path: '/data/known', seed: `base of ${this.node}`, sizeBytes: 4 * mebibyte };
  }

  /** The claim under load, and one round without any disturbance: the stock of the next one. */
  async start(): Promise<void> {
    const claim = this.#name('base');
    await this.#space.claim({ name: claim, size });
    await this.#space.pod({ name: claim, node: this.node, mounts: { '/data': claim }, command: loadCommand() });
    await this.#space.write(claim, this.#base);
    await this.round('nothing', async () => {});
  }

  /** Waits for both claims of the present round. */
  async claimsBound(): Promise<void> {
    const names = ['made', 'clone'].map((what) => this.#name(`${what}-${this.#round}`));
    await Promise.all(names.map((name) => this.#space.claimBound(name, { timeoutMs: convergenceLimitMs })));
  }

  /** Waits for the snapshot of the present round. */
  async snapshotReady(): Promise<void> {
    await this.#space.snapshotReady(this.#name(`cut-${this.#round}`), { timeoutMs: convergenceLimitMs });
  }

  /** The handle of the volume under load. */
  async baseHandle(): Promise<string> {
    return (await this.#space.volume(this.#name('base'))).handle;
  }

  /**
   * All five operations and a disturbance at once, in random order and distance; then waits until everything came about,
   * and looks at the data.
   */
  async round(what: string, disturb: () => Promise<void>, options: RoundOptions = {}): Promise<void> {
    const number = ++this.#round;
    const start = performance.now();
    const [operations, results] = [this.#operations(number), this.#results(number, { timeoutMs: options.limitMs ?? convergenceLimitMs })];
    const disturbance = async () => {
      await delay(this.#random.below(options.withinMs ?? 2 * longestGapMs));
      await disturb();
    };
    const order = operations.map((operation) => ({ operation, at: this.#random.bits() })).toSorted((one, other) => one.at - other.at);
    const issue = async () => {
      for (const { operation } of order) {
        await operation();
        await delay(this.#random.below(longestGapMs));
      }
    };
    await Promise.all([disturbance(), issue().then(() => Promise.all(results.map((result) => result())))]);
    process.stderr.write(`failures: ${what} on ${this.node}: all is well after ${Math.round(performance.now() - start)} ms\n`);
    // What the next round stages is not in use by then.
    await this.#space.remove('Pod', this.#name(`made-${number}`), { timeoutMs: convergenceLimitMs });
  }

  /** Lets the load end; fails if it met an error or a wrong byte. */
  async stop(): Promise<IoWait> {
    const name = this.#name('base');
    await this.#space.verify(name, this.#base);
    await this.#space.exec(name, ['touch', '/tmp/stop']);
    await this.#space.podSucceeded(name, { timeoutMs: 60_000 });
    const log = await this.#bed.kube.api.logs({ namespace: this.#space.name, pod: name, lines: 10_000 });
    return readIoWait(log);
  }

  /** Requests only: none of them waits for what it asks for. */
  #operations(number: number): (() => Promise<void>)[] {
    const [space, base] = [this.#space, this.#name('base')];
    const made = this.#name(`made-${number}`);
    const clone = this.#name(`clone-${number}`);
    const remove = (kind: string, name: string) => this.#bed.kube.api.remove({ kind, name, namespace: space.name });
    const make = async (claim: Pick<ClaimOptions, 'name' | 'source'>) => {
      await space.claim({ size, ...claim });
      await space.startPod({ name: claim.name, node: this.node, mounts: { '/data': claim.name } });
    };
    const always = [
      () => make({ name: made }),
      () => make({ name: clone, source: { kind: 'PersistentVolumeClaim', name: base } }),
      () => space.apply(snapshot({ name: this.#name(`cut-${number}`), claim: base })),
    ];
    if (number === 1) return always;
    const former = this.#name(`made-${number - 1}`);
    const deletions = [
      ['Pod', this.#name(`clone-${number - 1}`)],
      ['PersistentVolumeClaim', this.#name(`clone-${number - 1}`)],
      ['VolumeSnapshot', this.#name(`cut-${number - 1}`)],
      ...(number === 2
        ? []
        : [
            ['Pod', this.#name(`stage-${number - 1}`)],
            ['PersistentVolumeClaim', this.#name(`made-${number - 2}`)],
          ]),
    ] as const;
    return [
      ...always,
      () => space.startPod({ name: this.#name(`stage-${number}`), node: this.node, mounts: { '/data': former } }),
      ...deletions.map(([kind = '', name = '']) => async () => {
        await remove(kind, name);
      }),
    ];
  }

  /** Each waits for one of the operations, and looks at what it made. */
  #results(number: number, limit: { readonly timeoutMs: number }): (() => Promise<unknown>)[] {
    const space = this.#space;
    const time = (operation: string, action: () => Promise<unknown>) => this.#bed.timings.time(`${operation}, under failures`, action);
    const gone = (kind: string, name: string) => this.#bed.kube.waitUntilGone({ kind, name, namespace: space.name }, limit);
    const data = (round: number): KnownData => ({ path: '/data/made', seed: `${this.node} ${round}`, sizeBytes: 2 * mebibyte });
    const made = this.#name(`made-${number}`);
    const clone = this.#name(`clone-${number}`);
    const always: (() => Promise<unknown>)[] = [
      async () => {
        await time('claim to running pod', () => space.podReady(made, limit));
        await space.write(made, data(number));
        await space.verify(made, data(number));
      },
      async () => {
        await time('clone to running pod', () => space.podReady(clone, limit));
        await space.verify(clone, this.#base);
      },
      () => time('snapshot to ready', () => space.snapshotReady(this.#name(`cut-${number}`), limit)),
    ];
    if (number === 1) return always;
    const goners = [
      ['PersistentVolumeClaim', this.#name(`clone-${number - 1}`)],
      ['VolumeSnapshot', this.#name(`cut-${number - 1}`)],
      ...(number === 2 ? [] : [['PersistentVolumeClaim', this.#name(`made-${number - 2}`)]]),
    ];
    return [
      ...always,
      async () => {
        await time('stage to running pod', () => space.podReady(this.#name(`stage-${number}`), limit));
        await space.verify(this.#name(`stage-${number}`), data(number - 1));
      },
      ...goners.map(
        ([kind = '', name = '']) =>
          () =>
            time('delete to gone', () => gone(kind, name)),
      ),
    ];
  }

  #name(what: string): string {
    return `${what}-${this.node}`;
  }
}

/** Ends with success when /tmp/stop is there, and with fio's failure at once. */
function loadCommand(): readonly string[] {
  const load = verifiedLoad({ path: '/data/load', size: '24M', seconds: loadSeconds });
  const script = 'until [ -e /tmp/stop ]; do "$@" --output-format=terse --terse-version=3 || exit 1; done';
  return ['sh', '-c', script, 'sh', ...load];
}

/** Fields of fio's terse output, version 3: the longest times of completion of reads and writes, in microseconds. */
const [readMaximum, writeMaximum] = [14, 55];

function readIoWait(log: string): IoWait {
  const rounds = log
    .split('\n')
    .filter((line) => line.startsWith('3;fio-'))
    .map((line) => line.split(';'));
  const longest = rounds.map((fields) => Math.max(Number(fields[readMaximum]), Number(fields[writeMaximum])) / 1000);
  return { rounds: rounds.length, longestMs: Math.round(Math.max(0, ...longest)) };
}
