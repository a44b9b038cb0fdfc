/**
 * What is measured, as data: stages, one after another; in each the states that are measured in the same rounds, so that
 * ratios between them are ratios within a round; and for each state which loads are run on which subjects. A load on a
 * state of a subject belongs to one stage alone, or its samples would be of the rounds of two.
 */
import type { SubjectName } from './subjects/subject.ts';
import { states, type StateName } from './states.ts';
import { workloadOf, type WorkloadName } from './workloads.ts';

/** How much is measured: in some five minutes with all other parts of the benchmark, in some fifteen, in hours. */
export type Extent = 'quick' | 'normal' | 'full';

export interface Row {
  readonly extents: readonly Extent[];
  readonly states: readonly StateName[];
  readonly subjects: readonly SubjectName[];
  readonly workloads: readonly WorkloadName[];
}

export interface Stage {
  readonly name: string;
  /** The size of its volumes, as a part of the size that the benchmark is run with. */
  readonly sizeFactor: number;
  readonly rows: readonly Row[];
}

/** One state of one subject. */
export interface Place {
  readonly subject: SubjectName;
  readonly state: StateName;
}

const ours = ['loop', 'chunkstore'] as const;
const peers = ['qcow2', 'xfs-reflink', 'btrfs', 'dm-thin'] as const;
const all = [...ours, ...peers] as const;

/** What matters most comes first. */
const oneVolume = [
  'randwrite-4k-qd32',
  'randread-4k-qd32',
  'randwrite-4k-qd1',
  'randread-4k-qd1',
  'randwrite-4k-fdatasync-qd1',
  'write-1m-qd8',
  'read-1m-qd8',
  'mixed-4k-qd32',
  'randwrite-16k-dsync-qd1',
  'randwrite-4k-qd8',
  'randread-4k-qd8',
] as const satisfies readonly WorkloadName[];
const random32 = ['randwrite-4k-qd32', 'randread-4k-qd32'] as const;
const fourVolumes = [...random32, 'four-randwrite-4k-qd32', 'four-randread-4k-qd32'] as const;

const aroundSnapshot = ['before a snapshot', 'just after a snapshot'] as const;
const justAfter = ['just after a snapshot'] as const;
const manySnapshots = ['after 1 snapshot', 'after 1000 snapshots'] as const;
const healed = ['after 1000 snapshots, defragmented'] as const;
const clones = ['clone', 'clone of a clone'] as const;
const tidied = ['every second snapshot deleted', 'after a revert'] as const;
const deletion = ['beside an overwritten snapshot', 'while an overwritten snapshot is deleted'] as const;

export const plan: readonly Stage[] = [
  {
    name: 'a full volume',
    sizeFactor: 1,
    rows: [
      { extents: ['quick'], states: ['full'], subjects: ours, workloads: oneVolume.slice(0, 7) },
      { extents: ['normal'], states: ['full'], subjects: ours, workloads: oneVolume.slice(0, 9) },
      { extents: ['normal', 'full'], states: ['full'], subjects: ['pass-through'], workloads: oneVolume.slice(0, 4) },
      { extents: ['normal'], states: ['full'], subjects: peers, workloads: ['randwrite-4k-qd32'] },
      { extents: ['full'], states: ['full'], subjects: all, workloads: oneVolume },
    ],
  },
  {
    name: 'before and just after a snapshot',
    sizeFactor: 1,
    rows: [
      { extents: ['quick'], states: aroundSnapshot, subjects: ours, workloads: ['randwrite-4k-qd32', 'randwrite-4k-fdatasync-qd1'] },
      { extents: ['quick'], states: justAfter, subjects: peers, workloads: ['randwrite-4k-qd32'] },
      {
        extents: ['normal'],
        states: aroundSnapshot,
        subjects: ours,
        workloads: ['randwrite-4k-qd32', 'randwrite-4k-qd1', 'randwrite-4k-fdatasync-qd1'],
      },
      { extents: ['normal'], states: justAfter, subjects: peers, workloads: ['randwrite-4k-qd32', 'randwrite-4k-fdatasync-qd1'] },
      { extents: ['full'], states: aroundSnapshot, subjects: ours, workloads: oneVolume },
      { extents: ['full'], states: justAfter, subjects: peers, workloads: oneVolume },
      { extents: ['full'], states: ['before a snapshot'], subjects: peers, workloads: random32 },
    ],
  },
  {
    name: 'many snapshots',
    sizeFactor: 1 / 2,
    rows: [
      {
        extents: ['quick'],
        states: ['after 1 snapshot', 'after 100 snapshots'],
        subjects: ours,
        workloads: ['randwrite-4k-qd32', 'read-1m-qd8'],
      },
      // It is written at random too: some disks themselves read slower in order what was written out of it.
      { extents: ['normal'], states: ['fresh'], subjects: ours, workloads: ['randwrite-4k-qd32', 'read-1m-qd8'] },
      { extents: ['full'], states: ['fresh'], subjects: all, workloads: ['randwrite-4k-qd32', 'read-1m-qd8'] },
      { extents: ['normal'], states: manySnapshots, subjects: ours, workloads: [...random32, 'read-1m-qd8'] },
      {
        extents: ['full'],
        states: manySnapshots,
        subjects: ours,
        workloads: [...random32, 'randwrite-4k-qd1', 'randread-4k-qd1', 'randwrite-4k-fdatasync-qd1', 'read-1m-qd8'],
      },
      { extents: ['normal'], states: healed, subjects: ours, workloads: ['read-1m-qd8'] },
      { extents: ['full'], states: healed, subjects: all, workloads: ['read-1m-qd8'] },
      { extents: ['full'], states: manySnapshots, subjects: peers, workloads: [...random32, 'randwrite-4k-fdatasync-qd1', 'read-1m-qd8'] },
    ],
  },
  {
    name: 'some snapshots',
    sizeFactor: 1 / 2,
    rows: [
      {
        extents: ['full'],
        states: ['after 10 snapshots', 'after 100 snapshots'],
        subjects: all,
        workloads: [...random32, 'read-1m-qd8'],
      },
    ],
  },
  {
    name: 'clones',
    sizeFactor: 1 / 2,
    rows: [
      { extents: ['normal'], states: clones, subjects: ours, workloads: ['randwrite-4k-qd32'] },
      { extents: ['full'], states: clones, subjects: all, workloads: [...random32, 'read-1m-qd8'] },
    ],
  },
  {
    name: 'deleted snapshots and a revert',
    sizeFactor: 1 / 2,
    rows: [
      { extents: ['normal'], states: tidied, subjects: ours, workloads: ['randwrite-4k-qd32'] },
      { extents: ['full'], states: tidied, subjects: all, workloads: [...random32, 'read-1m-qd8'] },
    ],
  },
  {
    name: 'the deletion of a snapshot',
    sizeFactor: 1 / 2,
    rows: [
      { extents: ['normal'], states: deletion, subjects: ours, workloads: ['randwrite-4k-qd32'] },
      { extents: ['full'], states: deletion, subjects: all, workloads: [...random32, 'randwrite-4k-fdatasync-qd1'] },
    ],
  },
  {
    name: 'four volumes',
    sizeFactor: 1 / 2,
    rows: [
      { extents: ['quick', 'normal'], states: ['four volumes'], subjects: ours, workloads: fourVolumes },
      { extents: ['full'], states: ['four volumes'], subjects: all, workloads: fourVolumes },
    ],
  },
  {
    name: 'empty and fragmented volumes',
    sizeFactor: 1 / 2,
    rows: [
      { extents: ['normal'], states: ['empty'], subjects: ours, workloads: ['randwrite-4k-qd32'] },
      { extents: ['normal'], states: ['fragmented'], subjects: ours, workloads: ['randwrite-4k-qd32', 'read-1m-qd8'] },
      { extents: ['full'], states: ['empty', 'fragmented'], subjects: ours, workloads: oneVolume },
      { extents: ['full'], states: ['empty'], subjects: peers, workloads: ['randwrite-4k-qd32', 'write-1m-qd8'] },
      { extents: ['full'], states: ['fragmented'], subjects: peers, workloads: [...random32, 'read-1m-qd8'] },
    ],
  },
];

/** The rows of a stage that this extent has; none: the stage is left out. */
export function rowsOf(stage: Stage, extent: Extent): readonly Row[] {
  return stage.rows.filter((row) => row.extents.includes(extent));
}

/** Which states of which subjects these rows need, each once, in the order of the table. */
export function placesOf(rows: readonly Row[]): readonly Place[] {
  const places = new Map<string, Place>();
  for (const row of rows) {
    for (const subject of row.subjects) for (const state of row.states) places.set(`${subject} ${state}`, { subject, state });
  }
  return [...places.values()];
}

/** The workloads of these rows, each once, and the places that each is run at. */
export function turnsOf(rows: readonly Row[]): ReadonlyMap<WorkloadName, readonly Place[]> {
  const names = new Set(rows.flatMap((row) => row.workloads));
  return new Map([...names].map((name) => [name, placesOf(rows.filter((row) => row.workloads.includes(name)))]));
}

/** What the volumes and snapshots of a subject hold at most at the same time. One without states has its plain volumes. */
export function spaceBytesOf(
  subject: { readonly name: SubjectName; readonly stateless: boolean },
  options: { readonly extent: Extent; readonly sizeBytes: number; readonly stages?: readonly Stage[] },
): number {
  const needed = (options.stages ?? plan).map((stage) => {
    const sizeBytes = stage.sizeFactor * options.sizeBytes;
    const rows = rowsOf(stage, options.extent);
    const places = placesOf(rows).filter((place) => place.subject === subject.name);
    if (subject.stateless) return places.length === 0 ? 0 : volumesAtOnce(rows) * sizeBytes;
    return places.reduce((total, { state }) => total + states[state].spaceBytes(sizeBytes), 0);
  });
  return Math.max(0, ...needed);
}

/** How many volumes the load with the most of them runs on. */
export function volumesAtOnce(rows: readonly Row[]): number {
  return Math.max(1, ...rows.flatMap((row) => row.workloads.map((name) => workloadOf(name).volumes ?? 1)));
}
