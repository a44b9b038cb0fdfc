/** One figure of the benchmark: what all its parts return, and all that its reports and goals are made of. */

export type Unit = 'op/s' | 'MiB/s' | 'us' | 'ms' | 'bytes' | 'tps' | 'ratio';

export interface Measurement {
  /** Of the benchmark: `io`, `operations`, `databases` and so on. */
  readonly part: string;
  /** What was done: `randwrite-4k-qd32`, `snapshot`. */
  readonly workload: string;
  /** To whom: `chunkstore`, or a peer's name. */
  readonly subject: string;
  /** In what state: `full`, `after 100 snapshots`, `16 GiB`. */
  readonly condition: string;
  /** What of it: `throughput`, `latency p99`. */
  readonly figure: string;
  readonly unit: Unit;
  /** One of each round, in the order of the rounds: subjects of one part and workload were measured in the same rounds, so
   * that ratios are taken round by round. */
  readonly samples: readonly number[];
}

/** What a part is given. */
export interface PartContext {
  /** On the disk that is measured; the part makes folders of its own in it. */
  readonly folder: string;
  readonly rounds: number;
  /** Of each load. */
  readonly seconds: number;
  /** The five-minute benchmark: fewer states, sizes and rounds. */
  readonly quick: boolean;
  /** The benchmark of an hour or more: every state, size and peer. Never with `quick`. */
  readonly full: boolean;
  /** Names of those of its stages that are wanted, of a part that has some; all when missing. */
  readonly stages?: readonly string[];
  readonly signal: AbortSignal;
  /** A line for whoever watches. */
  readonly progress: (line: string) => void;
}
