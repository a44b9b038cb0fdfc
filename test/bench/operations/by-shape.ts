/**
 * What a snapshot, a clone, a revert, a deletion and a restart cost, by size and fragmentation of the volume. Each shape has
 * a pool and a store of its own, and they take turns. Of each chunk one granule is written, into a pool with holes: the map
 * is that of a full volume. Before each cut 64 blocks are written that are not flushed yet.
 *
 * A restart is a death (SIGKILL) with the volume's device set up: the time until a read of it is answered again.
 */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { runFio } from '../fio-load.ts';
import { MeasuredStore, type CallTime, type TimedCall } from '../measured-store.ts';
import type { Measurement, PartContext } from '../measurement.ts';
import { median, timed } from '../statistics.ts';
import { makeShaped, nameOf, poolBytesOf, shapesOf, type Shape } from './shapes.ts';

const dirtyBlocks = 64;
const cyclesPerRound = { quick: 2, normal: 5, full: 10 };
const fioLimitMs = 60_000;
const restartLimitMs = 120_000;

/** A call that is measured, as `workload` names it; `look` changes nothing and shows what any call costs. */
const workloads = {
  look: null,
  snapshot: 'snapshot',
  'clone of a snapshot': 'clone',
  'clone of a volume': 'clone',
  revert: 'revert',
  'delete of a clone': 'delete',
  'delete of a snapshot': 'delete',
} as const satisfies Readonly<Record<string, TimedCall | null>>;
type Workload = keyof typeof workloads;

interface Subject {
  readonly shape: Shape;
  readonly store: MeasuredStore;
  readonly id: string;
  /** Taken when the map was made; reverts go back to it. */
  readonly firstId: string;
  /** Of each round a list. */
  readonly times: Map<Workload, CallTime[][]>;
  readonly restartsMs: number[];
}

export async function measureByShape(context: PartContext): Promise<Measurement[]> {
  const subjects: Subject[] = [];
  try {
    for (const shape of shapesOf(context)) subjects.push(await makeSubject(shape, context));
    for (let round = 1; round <= context.rounds; round += 1) {
      context.progress(`snapshots, clones, reverts, deletions and restarts, round ${round} of ${context.rounds}`);
      for (const subject of subjects) for (const workload of Object.keys(workloads) as Workload[]) subject.times.get(workload)!.push([]);
      const cycles = cyclesPerRound[context.quick ? 'quick' : context.full ? 'full' : 'normal'];
      for (let cycle = 0; cycle < cycles; cycle += 1) {
        for (const subject of subjects) await measureCycle(subject, { ...context, name: `cut-${round}-${cycle}` });
      }
      for (const subject of subjects) subject.restartsMs.push(await restart(subject, context));
    }
    return subjects.flatMap(measurementsOf);
  } finally {
    for (const { store } of subjects) await store.stop();
  }
}

async function makeSubject(shape: Shape, context: PartContext): Promise<Subject> {
  const store = await MeasuredStore.start({ parent: context.folder, poolBytes: poolBytesOf(shape), sparse: true });
  try {
    const beganMs = performance.now();
    const id = await makeShaped(store, shape, context);
    const { snapshot } = await store.bed.client.createSnapshot({ name: 'first', sourceVolumeId: id, attributes: {} });
    context.progress(`a volume of ${nameOf(shape)}: made in ${Math.round((performance.now() - beganMs) / 1000)} s`);
    const times = new Map((Object.keys(workloads) as Workload[]).map((workload) => [workload, [] as CallTime[][]]));
    return { shape, store, id, firstId: snapshot.id, times, restartsMs: [] };
  } catch (error) {
    await store.stop();
    throw error;
  }
}

/** One of each. What it makes it also deletes, so that each finds the same pool. */
async function measureCycle(subject: Subject, context: PartContext & { readonly name: string }): Promise<void> {
  const { store, id, firstId } = subject;
  const { client } = store.bed;
  const { name } = context;
  context.signal.throwIfAborted();
  const measured = async <Answer>(workload: Workload, action: () => Promise<Answer>): Promise<Answer> => {
    const call = workloads[workload];
    const { answer, ...time } = call === null ? await look(action) : await store.timed(call, action);
    subject.times.get(workload)!.at(-1)!.push(time);
    return answer;
  };
  const clone = (kind: 'snapshot' | 'volume', sourceId: string, cloneName: string) => () =>
    client.createVolume({ name: cloneName, sizeBytes: 0, source: { kind, id: sourceId }, attributes: {} });
  await measured('look', () => client.getVolume(id));
  const devicePath = await store.bed.attachAgain(id);
  await dirty(subject, { devicePath, signal: context.signal });
  const { snapshot } = await measured('snapshot', () => client.createSnapshot({ name, sourceVolumeId: id, attributes: {} }));
  const a = await measured('clone of a snapshot', clone('snapshot', snapshot.id, `${name}-a`));
  await dirty(subject, { devicePath, signal: context.signal });
  const b = await measured('clone of a volume', clone('volume', id, `${name}-b`));
  await dirty(subject, { devicePath, signal: context.signal });
  await store.bed.detachAgain(id);
  const safety = { name: `${name}-safety`, attributes: {} };
  const reverted = await measured('revert', () => client.revertVolume({ id, snapshotId: firstId, safety }));
  for (const { volume } of [a, b]) await measured('delete of a clone', () => client.deleteVolume(volume.id));
  for (const { id: snapshotId } of [snapshot, reverted.safety!])
    await measured('delete of a snapshot', () => client.deleteSnapshot(snapshotId));
}

async function look<Answer>(action: () => Promise<Answer>): Promise<CallTime & { readonly answer: Answer }> {
  const answers: Answer[] = [];
  const callMs = await timed(async () => answers.push(await action()));
  return { callMs, engineMs: 0, answer: answers[0]! };
}

/** Written, and not flushed: the cut that follows has to. */
async function dirty({ store, shape }: Subject, options: { readonly devicePath: string; readonly signal: AbortSignal }): Promise<void> {
  const flags = ['--rw=randwrite', '--bs=4k', '--iodepth=16', '--norandommap', `--number_ios=${dirtyBlocks}`];
  await runFio({ ...options, folder: store.bed.folder, sizeBytes: shape.sizeBytes, flags, limitMs: fioLimitMs });
}

/** Milliseconds from the death of the store until a read of the volume is answered. */
async function restart({ store, id }: Subject, { signal }: PartContext): Promise<number> {
  const devicePath = await store.bed.attachAgain(id);
  const beganMs = performance.now();
  await store.process.kill();
  const next = store.spawnAgain();
  await promisify(execFile)('dd', [`if=${devicePath}`, 'of=/dev/null', 'bs=4096', 'count=1', 'iflag=direct'], {
    timeout: restartLimitMs,
    signal,
  });
  const tookMs = performance.now() - beganMs;
  await next.says('"ready"', { limitMs: restartLimitMs });
  await store.untilUsed(Number.MAX_SAFE_INTEGER, { limitMs: restartLimitMs, signal });
  // The first cut after a start waits for a node role to come back; here there is none.
  const { snapshot } = await store.bed.client.createSnapshot({ name: 'after a restart', sourceVolumeId: id, attributes: {} });
  await store.bed.client.deleteSnapshot(snapshot.id);
  await store.bed.detachAgain(id);
  return tookMs;
}

function measurementsOf({ shape, times, restartsMs }: Subject): Measurement[] {
  const common = { part: 'operations', subject: 'chunkstore', condition: nameOf(shape), unit: 'ms' } as const;
  const calls = [...times].flatMap(([workload, rounds]) => {
    const figure = (name: string, of: (samples: readonly number[]) => number, take: (time: CallTime) => number): Measurement => ({
      ...common,
      workload,
      figure: name,
      samples: rounds.map((round) => of(round.map(take))),
    });
    const call = [
      figure('time of the call', median, ({ callMs }) => callMs),
      figure('worst time of the call', worst, ({ callMs }) => callMs),
    ];
    if (workloads[workload] === null) return call;
    return [
      ...call,
      figure('time in the engine', median, ({ engineMs }) => engineMs),
      figure('worst time in the engine', worst, ({ engineMs }) => engineMs),
    ];
  });
  return [...calls, { ...common, workload: 'restart', figure: 'time until a read is answered', samples: restartsMs }];
}

function worst(samples: readonly number[]): number {
  return Math.max(...samples);
}
