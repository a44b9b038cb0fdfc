/**
 * The states that volumes are measured in, each a recipe: how a volume gets there, what is done before each load so that
 * the load finds it there, and what goes on beside the load.
 */
import type { Ability, Subject, Volume } from './subjects/subject.ts';
import { fill } from '../fio.ts';
import { age, ageBytes } from './aging.ts';
import { writes, type Workload } from './workloads.ts';

export interface StateContext {
  readonly subject: Subject;
  readonly sizeBytes: number;
  /** Of aging: a subject that needs longer is left out. */
  readonly agingLimitMs: number;
  readonly signal: AbortSignal;
  /** Another one at each call, among all of the subject's volumes. */
  readonly newName: () => string;
}

export interface Prepared {
  /** Those that loads run on; loads on one volume take the first. */
  readonly volumes: readonly Volume[];
  /** Of the snapshots that were taken while the volume was written, as its state says. */
  readonly snapshotMs?: readonly number[];
  /** Answers the volumes that the load runs on, if they are other ones now. */
  beforeLoad?(workload: Workload): Promise<readonly Volume[] | undefined>;
  /** Begins with the load; the load's figures do not wait for its end. */
  besideLoad?(): Promise<void>;
}

export interface State {
  readonly needs: readonly Ability[];
  /** What the volume and all that stands behind it hold at most, with all that loads write, by the volume's size. */
  readonly spaceBytes: (sizeBytes: number) => number;
  prepare(context: StateContext): Promise<Prepared>;
}

const snapshotName = 'newest';
/** Reverts and deletions come after so many snapshots. */
const fewSnapshots = 10;

export const states = {
  full: { needs: [], spaceBytes: times(1), prepare: async (context) => ({ volumes: [await fullVolume(context)] }) },
  /** The same as full, for what is held against it in the rounds of another stage. */
  fresh: { needs: [], spaceBytes: times(1), prepare: async (context) => ({ volumes: [await fullVolume(context)] }) },
  empty: { needs: [], spaceBytes: times(1), prepare: prepareEmpty },
  fragmented: { needs: [], spaceBytes: times(1), prepare: async (context) => ({ volumes: [await fullVolume(context, 'random')] }) },
  'four volumes': { needs: [], spaceBytes: times(4), prepare: prepareFour },
  'before a snapshot': { needs: [], spaceBytes: times(1), prepare: async (context) => ({ volumes: [await fullVolume(context)] }) },
  'just after a snapshot': { needs: ['snapshot'], spaceBytes: times(3), prepare: prepareJustAfter },
  'after 1 snapshot': after(1),
  'after 10 snapshots': after(10),
  'after 100 snapshots': after(100),
  'after 1000 snapshots': after(1000),
  'after 1000 snapshots, defragmented': defragmented(after(1000)),
  clone: { needs: ['clone'], spaceBytes: times(2), prepare: prepareClone },
  'clone of a clone': { needs: ['clone'], spaceBytes: times(3), prepare: prepareSecondClone },
  'every second snapshot deleted': { ...after(fewSnapshots), prepare: prepareThinned },
  'after a revert': { ...after(fewSnapshots), needs: ['snapshot', 'revert'], prepare: prepareReverted },
  'beside an overwritten snapshot': { needs: ['snapshot'], spaceBytes: times(2), prepare: prepareOverwritten },
  'while an overwritten snapshot is deleted': { needs: ['snapshot'], spaceBytes: times(3), prepare: prepareDeletion },
} as const satisfies Readonly<Record<string, State>>;

export type StateName = keyof typeof states;

function times(factor: number): (sizeBytes: number) => number {
  return (sizeBytes) => factor * sizeBytes;
}

/** Snapshots are taken while it is written; then it stays as they have left it, and loads overwrite what the newest holds. */
function after(count: number): State {
  return {
    needs: ['snapshot'],
    spaceBytes: (sizeBytes) => 2 * sizeBytes + ageBytes(count, sizeBytes),
    prepare: async (context) => {
      const volume = await fullVolume(context);
      const snapshotMs = await age(volume, { ...context, count, limitMs: context.agingLimitMs });
      return { volumes: [volume], snapshotMs };
    },
  };
}

/** What it shares with its snapshots it has for itself then. */
function defragmented(state: State): State {
  return {
    needs: [...state.needs, 'defragment'],
    spaceBytes: (sizeBytes) => sizeBytes + state.spaceBytes(sizeBytes),
    prepare: async (context) => {
      const prepared = await state.prepare(context);
      for (const volume of prepared.volumes) await volume.defragment?.();
      return prepared;
    },
  };
}

async function fullVolume(context: StateContext, order: 'sequential' | 'random' = 'sequential'): Promise<Volume> {
  const { subject, sizeBytes, signal } = context;
  const volume = await subject.createVolume({ name: context.newName(), sizeBytes });
  await fill(volume.devicePath, { sizeBytes, order, signal });
  return volume;
}

/** Each load has a volume of its own. */
async function prepareEmpty(context: StateContext): Promise<Prepared> {
  const { subject, sizeBytes } = context;
  const create = (): Promise<Volume> => subject.createVolume({ name: context.newName(), sizeBytes });
  let volume = await create();
  let used = false;
  return {
    get volumes() {
      return [volume];
    },
    beforeLoad: async () => {
      if (used) {
        await volume.remove();
        await subject.settle();
        volume = await create();
      }
      used = true;
      return [volume];
    },
  };
}

async function prepareFour(context: StateContext): Promise<Prepared> {
  const volumes: Volume[] = [];
  for (let index = 0; index < 4; index += 1) volumes.push(await fullVolume(context));
  return { volumes };
}

/** Each load that writes starts under a snapshot of its own, alone; loads that read find what the one before them left. */
async function prepareJustAfter(context: StateContext): Promise<Prepared> {
  const volume = await fullVolume(context);
  let taken = false;
  return {
    volumes: [volume],
    beforeLoad: async (workload) => {
      if (taken && !writes(workload)) return undefined;
      if (taken) {
        await volume.deleteSnapshot(snapshotName);
        await context.subject.settle();
      }
      await volume.snapshot(snapshotName);
      taken = true;
      return undefined;
    },
  };
}

async function prepareClone(context: StateContext): Promise<Prepared> {
  const source = await fullVolume(context);
  await source.snapshot(snapshotName);
  return { volumes: [await source.clone({ snapshotName, name: context.newName() })] };
}

async function prepareSecondClone(context: StateContext): Promise<Prepared> {
  const source = await fullVolume(context);
  await source.snapshot(snapshotName);
  const first = await source.clone({ snapshotName, name: context.newName() });
  // Between the two cuts some of it is written, so that the second clone has data of both.
  await age(first, { ...context, count: fewSnapshots, limitMs: context.agingLimitMs, namePrefix: 'first' });
  const name = `first-${fewSnapshots - 1}`;
  return { volumes: [await first.clone({ snapshotName: name, name: context.newName() })] };
}

async function prepareThinned(context: StateContext): Promise<Prepared> {
  const volume = await fullVolume(context);
  await age(volume, { ...context, count: fewSnapshots, limitMs: context.agingLimitMs, namePrefix: 'thinned' });
  for (let index = 0; index < fewSnapshots; index += 2) await volume.deleteSnapshot(`thinned-${index}`);
  await context.subject.settle();
  return { volumes: [volume] };
}

async function prepareReverted(context: StateContext): Promise<Prepared> {
  const volume = await fullVolume(context);
  await age(volume, { ...context, count: fewSnapshots, limitMs: context.agingLimitMs, namePrefix: 'reverted' });
  await volume.revert(`reverted-${fewSnapshots >> 1}`);
  await context.subject.settle();
  return { volumes: [volume] };
}

/** All that the snapshot holds is its own: what its deletion has to give back. */
async function overwrite(volume: Volume, context: StateContext): Promise<void> {
  const { sizeBytes, signal } = context;
  await volume.snapshot(snapshotName);
  await fill(volume.devicePath, { sizeBytes, order: 'sequential', signal });
}

async function prepareOverwritten(context: StateContext): Promise<Prepared> {
  const volume = await fullVolume(context);
  await overwrite(volume, context);
  return { volumes: [volume] };
}

async function prepareDeletion(context: StateContext): Promise<Prepared> {
  const volume = await fullVolume(context);
  return {
    volumes: [volume],
    beforeLoad: async () => {
      await context.subject.settle();
      await overwrite(volume, context);
      return undefined;
    },
    besideLoad: () => volume.deleteSnapshot(snapshotName),
  };
}
