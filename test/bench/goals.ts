/**
 * What the project wants to reach, as data: figures within one run, most of them as ratios between two that took turns.
 * Nothing here fails: a goal is met, met at first (the lower of two marks), not met, or not measured in this run.
 */
import type { Measurement, Unit } from './measurement.ts';
import { formatQuantity, formatRatioSpread, formatSpread } from './report/quantity.ts';
import { ratioOf, spreadOf, type Spread } from './report/spread.ts';
import { BASE_SUBJECT, OWN_SUBJECT } from './report/table.ts';

export interface Goal {
  readonly name: string;
  /** Every measurement that these fit; the worst of them decides. */
  readonly of: Selector;
  /**
   * Over what: the same measurement but for these fields; of several that are there, each is held against it. Null: the
   * figure itself counts.
   */
  readonly over: Partial<Selector> | null;
  readonly bound: Bound;
  /** Of figures that count themselves. */
  readonly unit?: Unit;
  /** Of what lies between the samples, the highest counts, not the median. */
  readonly worstSample?: boolean;
}

/** All that are given must fit. */
export interface Selector {
  readonly part: RegExp;
  readonly workload: RegExp;
  readonly subject: RegExp;
  readonly condition: RegExp;
  readonly figure: RegExp;
}

/** A mark, and where there is one the harder mark that comes later. */
export type Bound = { readonly atLeast: number; readonly later?: number } | { readonly atMost: number; readonly later?: number };

export interface Verdict {
  readonly goal: string;
  /** "≥ 0.85, then ≥ 0.95". */
  readonly bound: string;
  readonly verdict: 'met' | 'met at first' | 'not met' | 'not measured';
  /** The worst of all cases: null where nothing was measured. */
  readonly worst: { readonly figure: string; readonly of: string; readonly spread: Spread } | null;
  /** How many cases there were, and how many of them reach the (last) mark. */
  readonly cases: number;
  readonly reached: number;
}

const io = { part: /^io$/, subject: only(OWN_SUBJECT), condition: /^full$/, figure: /^throughput$/ };
const operations = { part: /^operations$/, workload: /^(snapshot|clone|revert)/, subject: only(OWN_SUBJECT), condition: /./ };
const overLoop = { subject: only(BASE_SUBJECT) };

export const goals: readonly Goal[] = [
  {
    name: '4 KiB random write and read at depth 32 ÷ loop over a plain file',
    of: { ...io, workload: /^rand(write|read)-4k-qd32$/ },
    over: overLoop,
    bound: { atLeast: 0.85, later: 0.95 },
  },
  {
    name: 'latency at depth 1 ÷ loop over a plain file',
    of: { ...io, workload: /^rand(write|read)-4k-qd1$/, figure: /^latency p50$/ },
    over: overLoop,
    bound: { atMost: 1.4, later: 1.2 },
  },
  { name: '1 MiB sequential ÷ loop', of: { ...io, workload: /^(write|read)-1m/ }, over: overLoop, bound: { atLeast: 0.9 } },
  { name: 'write + fdatasync, in place ÷ loop', of: { ...io, workload: /fdatasync/ }, over: overLoop, bound: { atLeast: 0.9 } },
  {
    name: 'write + fdatasync, just after a snapshot ÷ loop',
    of: { ...io, workload: /fdatasync/, condition: /^just after a snapshot$/ },
    over: { ...overLoop, condition: /^(full|just after a snapshot)$/ },
    bound: { atLeast: 0.6 },
  },
  {
    name: 'random write in the first ten seconds after a snapshot ÷ before',
    of: { ...io, workload: /^randwrite-4k-qd32$/, condition: /^just after a snapshot$/ },
    over: { condition: /^before a snapshot$/ },
    bound: { atLeast: 0.8 },
  },
  {
    name: 'after 1,000 snapshots ÷ after one',
    of: { ...io, workload: /^rand/, condition: /^after 1000 snapshots$/ },
    over: { condition: /^after 1 snapshots?$/ },
    bound: { atLeast: 0.95 },
  },
  {
    name: 'snapshot, clone, revert: in the engine, any size, any fragmentation',
    of: { ...operations, figure: /^(worst )?time in the engine$/ },
    over: null,
    bound: { atMost: 5 },
    unit: 'ms',
  },
  {
    name: 'snapshot, clone, revert: p99 under load',
    of: { ...operations, figure: /^time p99 under load$/ },
    over: null,
    bound: { atMost: 10 },
    unit: 'ms',
  },
  {
    name: 'foreground p99 pause by a snapshot, clone or revert',
    of: { ...operations, figure: /^foreground pause p99$/ },
    over: null,
    bound: { atMost: 10 },
    unit: 'ms',
  },
  {
    name: 'foreground while an overwritten snapshot is deleted ÷ before',
    of: { ...io, workload: /./, condition: /^while an overwritten snapshot is deleted$/ },
    over: { condition: /^beside an overwritten snapshot$/ },
    bound: { atLeast: 0.9 },
  },
  {
    name: 'foreground on another volume while a snapshot is deleted ÷ before',
    of: { ...operations, workload: /^delete of a snapshot$/, figure: /^foreground throughput meanwhile ÷ before$/ },
    over: null,
    bound: { atLeast: 0.9 },
    unit: 'ratio',
  },
  {
    name: 'sequential read of a volume fragmented by 1,000 snapshots ÷ fresh',
    of: { ...io, workload: /^read-1m/, condition: /^after 1000 snapshots$/ },
    over: { condition: /^fresh$/ },
    bound: { atLeast: 0.5 },
  },
  {
    name: 'restart with 1 TiB mapped, until I/O is served',
    of: { part: /^state$/, workload: /^restart$/, subject: only(OWN_SUBJECT), condition: /1 TiB/, figure: /^time/ },
    over: null,
    bound: { atMost: 2000 },
    unit: 'ms',
    worstSample: true,
  },
  {
    name: 'memory per TiB mapped, besides the cache',
    of: { part: /^state$/, workload: /^memory/, subject: only(OWN_SUBJECT), condition: /./, figure: /per TiB/ },
    over: null,
    bound: { atMost: 64 * 2 ** 20 },
    unit: 'bytes',
  },
  {
    name: 'four volumes ÷ one, random write, total',
    of: { ...io, workload: /^four-randwrite-4k-qd32$/, condition: /^four volumes$/ },
    over: { workload: /^randwrite-4k-qd32$/ },
    bound: { atLeast: 1.3 },
  },
  {
    name: 'four volumes ÷ one, random read, total',
    of: { ...io, workload: /^four-randread-4k-qd32$/, condition: /^four volumes$/ },
    over: { workload: /^randread-4k-qd32$/ },
    bound: { atLeast: 1.3 },
  },
  {
    name: 'faster than every peer, every workload after a snapshot',
    of: { ...io, workload: /./, condition: /^(?!before).*(snapshot|clone|revert)/ },
    over: { subject: new RegExp(`^(?!${OWN_SUBJECT}$|${BASE_SUBJECT}$)`) },
    bound: { atLeast: 1 },
  },
];

/** The goals, held against one run. */
export function judge(measurements: readonly Measurement[], wanted: readonly Goal[] = goals): Verdict[] {
  return wanted.map((goal) => judgeOne(goal, casesOf(goal, measurements)));
}

interface Case {
  readonly of: string;
  readonly spread: Spread;
}

function casesOf(goal: Goal, measurements: readonly Measurement[]): Case[] {
  const upper = measurements.filter((measurement) => fits(measurement, goal.of));
  const { over } = goal;
  if (over === null) {
    return upper.flatMap((measurement) => {
      const spread = spreadOf(measurement.samples);
      return spread === null ? [] : [{ of: placeOf(measurement), spread }];
    });
  }
  return upper.flatMap((measurement) =>
    measurements.flatMap((other) => {
      if (other === measurement || !isOver(other, measurement, over)) return [];
      const ratio = ratioOf(measurement.samples, other.samples);
      const against = FIELDS.filter((field) => other[field] !== measurement[field])
        .map((field) => other[field])
        .join(', ');
      return ratio === null ? [] : [{ of: `${placeOf(measurement)} ÷ ${against}`, spread: ratio }];
    }),
  );
}

function judgeOne(goal: Goal, cases: readonly Case[]): Verdict {
  const { name, bound } = goal;
  const valueOf = ({ spread }: Case): number => (goal.worstSample === true ? spread.highest : spread.median);
  const atMost = 'atMost' in bound;
  const passes = (value: number, mark: number): boolean => (atMost ? value <= mark : value >= mark);
  const first = 'atMost' in bound ? bound.atMost : bound.atLeast;
  const last = bound.later ?? first;
  const worst = cases.toSorted((a, b) => (atMost ? valueOf(b) - valueOf(a) : valueOf(a) - valueOf(b)))[0];
  const sign = atMost ? '≤' : '≥';
  const mark = (value: number): string => `${sign} ${goal.unit === undefined ? value : formatQuantity(value, goal.unit)}`;
  const common = {
    goal: name,
    bound: bound.later === undefined ? mark(first) : `${mark(first)}, then ${mark(last)}`,
    cases: cases.length,
    reached: cases.filter((one) => passes(valueOf(one), last)).length,
  };
  if (worst === undefined) return { ...common, verdict: 'not measured', worst: null };
  const figure = goal.unit === undefined ? formatRatioSpread(worst.spread) : formatSpread(worst.spread, goal.unit);
  const value = valueOf(worst);
  const verdict = passes(value, last) ? 'met' : passes(value, first) ? 'met at first' : 'not met';
  return { ...common, verdict, worst: { figure, of: worst.of, spread: worst.spread } };
}

const FIELDS = ['part', 'workload', 'subject', 'condition', 'figure'] as const;

function fits(measurement: Measurement, selector: Selector): boolean {
  return FIELDS.every((field) => selector[field].test(measurement[field]));
}

/** Whether `other` is what `measurement` is held against: equal but for the fields that say otherwise. */
function isOver(other: Measurement, measurement: Measurement, over: Partial<Selector>): boolean {
  return FIELDS.every((field) => over[field]?.test(other[field]) ?? other[field] === measurement[field]);
}

function placeOf({ workload, condition }: Measurement): string {
  return `${workload}, ${condition}`;
}

function only(name: string): RegExp {
  return new RegExp(`^${name}$`);
}
