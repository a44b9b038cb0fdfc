/**
 * The I/O part of the benchmark: chunkstore beside a plain loop device and beside other ways to have snapshots on a local
 * disk. What is measured is the table in plan.ts. In each round the subjects take turns at each load, so that whatever
 * else the machine does hits all of them; another one begins in each round.
 *
 * Figures: `throughput`; `least throughput` of volumes loaded at the same time; `latency p50` and `latency p99`; `cpu`:
 * busy time of all processors for each operation, with what fio itself uses; `amplification`: bytes that the disk was
 * given to write for each byte written to the volume, while the load ran (what is put off until later is not in it). Of
 * `snapshot-while-written`, once for each state that has snapshots behind it: what one of them took, as a program sees it
 * that asks for it (for the file systems that is to run their command).
 *
 * A peer that cannot run here, or fails in a state, is left out of it with a line of progress; ours and the loop device fail
 * the part.
 */
import fs from 'node:fs';
import path from 'node:path';
import { formatBytes } from '../../../src/operator/output.ts';
import type { Guarded } from '../../support/guarded-run.ts';
import type { Measurement, PartContext } from '../measurement.ts';
import { measureGuarded } from '../part.ts';
import { plan, rowsOf, spaceBytesOf, type Extent } from './plan.ts';
import { Samples } from './samples.ts';
import { runStage, type RunningSubject, type StageContext } from './stage.ts';
import { subjectKinds } from './subjects/subject-kinds.ts';
import type { SubjectKind } from './subjects/subject.ts';

export interface IoOptions {
  /** Of the largest volumes; by the extent when missing. */
  readonly sizeBytes?: number;
}

const MIB = 2 ** 20;
const sizeBytes: Readonly<Record<Extent, number>> = { quick: 256 * MIB, normal: 512 * MIB, full: 1024 * MIB };
const agingLimitMs: Readonly<Record<Extent, number>> = { quick: 15_000, normal: 30_000, full: 120_000 };
/** Beyond what volumes and snapshots hold, a subject has its own metadata. */
const spareBytes = 1024 * MIB;
const limitMs = 6 * 60 * 60_000;

/** Promises figures of all that could be measured; nothing of it is left on the machine. Fails with what it had measured. */
export function measureIo(context: PartContext, options: IoOptions = {}): Promise<Measurement[]> {
  return measureGuarded({ name: 'io', limitMs, context }, async (guarded, record) => {
    const samples = new Samples();
    try {
      await measureStages(context, guarded, { ...options, samples });
    } finally {
      record(...samples.measurements());
    }
  });
}

async function measureStages(context: PartContext, guarded: Guarded, options: IoOptions & { readonly samples: Samples }): Promise<void> {
  const { progress } = context;
  const { signal } = guarded;
  const extent = context.quick ? 'quick' : context.full ? 'full' : 'normal';
  const size = options.sizeBytes ?? sizeBytes[extent];
  const stages = plan.filter((stage) => (context.stages?.includes(stage.name) ?? true) && rowsOf(stage, extent).length > 0);
  const absent = context.stages?.filter((name) => !stages.some((stage) => stage.name === name)) ?? [];
  if (absent.length > 0) throw new Error(`a ${extent} run has no stage ${absent.map((name) => JSON.stringify(name)).join(' and no ')}`);
  const spaces = new Map<SubjectKind, number>();
  for (const kind of subjectKinds) {
    const spaceBytes = spaceBytesOf(kind, { extent, sizeBytes: size, stages });
    if (spaceBytes === 0) continue;
    const lack = kind.lack();
    if (lack === undefined) spaces.set(kind, spaceBytes);
    else if (isPeer(kind)) progress(`SKIPPING ${kind.name}: ${lack}`);
    else throw new Error(`${kind.name} cannot run here: ${lack}`);
  }
  demandSpace(context.folder, [...spaces.values()]);
  const subjects: RunningSubject[] = [];
  for (const [kind, poolBytes] of spaces) {
    const running = await start(kind, { poolBytes, folder: path.join(guarded.folder, kind.name), signal, guarded, progress });
    if (running !== null) subjects.push(running);
  }
  let volumes = 0;
  const stageContext: StageContext = {
    newName: () => `volume-${(volumes += 1)}`,
    ...{ folder: guarded.folder, signal, progress, samples: options.samples, subjects, isPeer },
    ...{ rounds: context.rounds, seconds: context.seconds, agingLimitMs: agingLimitMs[extent] },
  };
  for (const stage of stages) {
    await runStage({ ...stageContext, name: stage.name, rows: rowsOf(stage, extent), sizeBytes: stage.sizeFactor * size });
  }
}

/** Null for a peer that does not start, with the reason told. */
async function start(
  kind: SubjectKind,
  options: {
    readonly poolBytes: number;
    readonly folder: string;
    readonly signal: AbortSignal;
    readonly guarded: Guarded;
    readonly progress: (line: string) => void;
  },
): Promise<RunningSubject | null> {
  const { folder, signal, poolBytes, guarded, progress } = options;
  signal.throwIfAborted();
  progress(`I/O: setting up ${kind.name}`);
  fs.mkdirSync(folder);
  try {
    const subject = await kind.make({ folder, poolBytes, signal, atEnd: (action) => guarded.atEnd(action) });
    return { kind, subject };
  } catch (error) {
    if (signal.aborted || !isPeer(kind)) throw error;
    progress(`SKIPPING ${kind.name}: ${(error as Error).message}`);
    return null;
  }
}

function isPeer(kind: Pick<SubjectKind, 'name'>): boolean {
  return kind.name !== 'chunkstore' && kind.name !== 'loop';
}

function demandSpace(folder: string, poolBytes: readonly number[]): void {
  const { bavail, bsize } = fs.statfsSync(folder);
  const neededBytes = poolBytes.reduce((total, bytes) => total + bytes + spareBytes, 0);
  if (bavail * bsize < neededBytes) {
    throw new Error(`${folder} has ${formatBytes(bavail * bsize)} free, and the benchmark of I/O needs ${formatBytes(neededBytes)}`);
  }
}
