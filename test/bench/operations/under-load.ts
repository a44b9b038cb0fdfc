/**
 * Snapshots, clones and reverts while a load goes on: random writes of 4 KiB on the volume that is cut, and beside the one
 * that is reverted (it must not be attached). Told are how long the calls take, and what they do to the load: of each call
 * the longest that a write took which was under way meanwhile. The same is told of a load without calls, at the same
 * moments; the store's figures are read in both. The pool's space was written before, as that of a pool in use.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { loggedRequests, quantile, runFio, type LoggedRequest } from '../fio-load.ts';
import { withStore, type CallTime, type MeasuredStore } from '../measured-store.ts';
import type { Measurement, PartContext } from '../measurement.ts';

const MIB = 2 ** 20;
const betweenMs = 250;
const beforeFirstMs = 500;
const fillLimitMs = 600_000;
const freeLimitMs = 60_000;

type Call = 'snapshot' | 'clone of a volume' | 'revert';
const calls: readonly Call[] = ['snapshot', 'clone of a volume', 'revert'];
/** Of a load without any call. */
const alone = 'no call';

interface Extent {
  readonly volumeBytes: number;
  readonly depths: readonly number[];
  /** In one run of the load; each kind of call in turn. */
  readonly callsPerRun: number;
}

interface Subject {
  readonly store: MeasuredStore;
  readonly devicePath: string;
  readonly id: string;
  /** A second volume, not attached, and a snapshot of it. */
  readonly reverted: { readonly id: string; readonly snapshotId: string };
}

/** One run of the load. */
interface Run {
  readonly pausesMs: ReadonlyMap<string, readonly number[]>;
  readonly times: ReadonlyMap<string, readonly CallTime[]>;
  readonly writesPerSecond: number;
  readonly latenciesMs: readonly number[];
}

export async function measureUnderLoad(context: PartContext): Promise<Measurement[]> {
  const extent = context.quick
    ? { volumeBytes: 256 * MIB, depths: [8], callsPerRun: 9 }
    : { volumeBytes: 512 * MIB, depths: [8, 32], callsPerRun: 12 };
  // Between two cuts a load can reach every chunk, and each then has another version.
  const poolBytes = extent.volumeBytes * (extent.callsPerRun + 4);
  return withStore({ parent: context.folder, poolBytes, sparse: false }, async (store) => {
    context.progress(`writing ${poolBytes / MIB} MiB of the pool once, for calls under load`);
    const subject = await prepare(store, { poolBytes, extent, context });
    const runs = new Map<string, Run[]>();
    for (let round = 1; round <= context.rounds; round += 1) {
      for (const depth of extent.depths) {
        context.progress(`calls under load at depth ${depth}, round ${round} of ${context.rounds}`);
        for (const withCalls of [false, true]) {
          const key = keyOf(depth, withCalls);
          runs.set(key, [...(runs.get(key) ?? []), await runOnce(subject, { depth, withCalls, extent, context, round })]);
        }
      }
    }
    await store.bed.detachAgain(subject.id);
    return extent.depths.flatMap((depth) => measurementsOf(depth, runs.get(keyOf(depth, false))!, runs.get(keyOf(depth, true))!));
  });
}

function keyOf(depth: number, withCalls: boolean): string {
  return `${depth} ${withCalls}`;
}

async function prepare(
  store: MeasuredStore,
  options: { readonly poolBytes: number; readonly extent: Extent; readonly context: PartContext },
): Promise<Subject> {
  const { extent, context } = options;
  const { bed } = store;
  const { volumeBytes } = extent;
  const fill = async (id: string, sizeBytes: number): Promise<string> => {
    const devicePath = await bed.attachAgain(id);
    const flags = ['--rw=write', '--bs=1M', '--iodepth=8', '--end_fsync=1'];
    await runFio({ folder: bed.folder, devicePath, sizeBytes, flags, signal: context.signal, limitMs: fillLimitMs });
    return devicePath;
  };
  const fillerBytes = options.poolBytes - 128 * MIB;
  const filler = await store.makeVolume('filler', fillerBytes);
  await fill(filler, fillerBytes);
  await bed.detachAgain(filler);
  await bed.client.deleteVolume(filler);
  await store.untilUsed(volumeBytes, { limitMs: freeLimitMs, signal: context.signal });
  const revertedId = await store.makeVolume('reverted', volumeBytes / 4);
  await fill(revertedId, volumeBytes / 4);
  await bed.detachAgain(revertedId);
  const { snapshot } = await bed.client.createSnapshot({ name: 'to revert to', sourceVolumeId: revertedId, attributes: {} });
  const id = await store.makeVolume('loaded', volumeBytes);
  const devicePath = await fill(id, volumeBytes);
  return { store, devicePath, id, reverted: { id: revertedId, snapshotId: snapshot.id } };
}

interface RunOptions {
  readonly depth: number;
  readonly withCalls: boolean;
  readonly extent: Extent;
  readonly context: PartContext;
  readonly round: number;
}

async function runOnce(subject: Subject, options: RunOptions): Promise<Run> {
  const { store, devicePath } = subject;
  const { depth, withCalls, extent, context } = options;
  const { usedBytes } = await store.bed.client.getPool();
  const seconds = Math.ceil((beforeFirstMs + extent.callsPerRun * betweenMs) / 1000) + 1;
  const flags = ['--rw=randwrite', '--bs=4k', `--iodepth=${depth}`, '--norandommap', '--time_based', `--runtime=${seconds}`];
  const moments: { readonly call: string; readonly fromMs: number; readonly toMs: number }[] = [];
  const times = new Map<string, CallTime[]>(calls.map((call) => [call, []]));
  const made: (() => Promise<unknown>)[] = [];
  const load = { folder: store.bed.folder, devicePath, sizeBytes: extent.volumeBytes, flags, signal: context.signal };
  const requests = await loggedRequests(load, async () => {
    await delay(beforeFirstMs);
    for (let index = 0; index < extent.callsPerRun; index += 1) {
      const dueMs = performance.now() + betweenMs;
      const call = withCalls ? calls[index % calls.length]! : null;
      const { fromMs, time } = await once(subject, { call, name: `${depth}-${options.round}-${index}`, made });
      if (call !== null) times.get(call)!.push(time);
      moments.push({ call: call ?? alone, fromMs, toMs: fromMs + (call === null ? betweenMs / 25 : time.callMs) });
      await delay(Math.max(0, dueMs - performance.now()), undefined, { signal: context.signal });
    }
  });
  for (const undo of made) await undo();
  // What was written meanwhile has merged with what was there before; what the deletions free is on its way.
  await store.untilUsed(usedBytes + extent.volumeBytes, { limitMs: freeLimitMs, signal: context.signal });
  const pausesMs = new Map<string, number[]>();
  for (const { call, fromMs, toMs } of moments) pausesMs.set(call, [...(pausesMs.get(call) ?? []), longestBetween(requests, fromMs, toMs)]);
  return { pausesMs, times, writesPerSecond: requests.length / seconds, latenciesMs: requests.map(({ tookMs }) => tookMs) };
}

/** One call, or none and what a call's measuring does besides. */
async function once(
  { store, id, reverted }: Subject,
  options: { readonly call: Call | null; readonly name: string; readonly made: (() => Promise<unknown>)[] },
): Promise<{ readonly fromMs: number; readonly time: CallTime }> {
  const { client } = store.bed;
  const { call, name, made } = options;
  let fromMs = 0;
  const begun =
    <Answer>(action: () => Promise<Answer>) =>
    () => {
      fromMs = performance.timeOrigin + performance.now();
      return action();
    };
  if (call === 'snapshot') {
    const taken = await store.timed(
      'snapshot',
      begun(() => client.createSnapshot({ name, sourceVolumeId: id, attributes: {} })),
    );
    made.push(() => client.deleteSnapshot(taken.answer.snapshot.id));
    return { fromMs, time: taken };
  }
  if (call === 'clone of a volume') {
    const cloned = await store.timed(
      'clone',
      begun(() => client.createVolume({ name, sizeBytes: 0, source: { kind: 'volume', id }, attributes: {} })),
    );
    made.push(() => client.deleteVolume(cloned.answer.volume.id));
    return { fromMs, time: cloned };
  }
  if (call === 'revert') {
    const safety = { name, attributes: {} };
    const back = await store.timed(
      'revert',
      begun(() => client.revertVolume({ id: reverted.id, snapshotId: reverted.snapshotId, safety })),
    );
    made.push(() => client.deleteSnapshot(back.answer.safety!.id));
    return { fromMs, time: back };
  }
  const nothing = await store.timed(
    'snapshot',
    begun(() => client.getVolume(id)),
  );
  return { fromMs, time: nothing };
}

/** Of the requests that were under way in this time the one that took longest. fio's log counts whole milliseconds. */
function longestBetween(requests: readonly LoggedRequest[], fromMs: number, toMs: number): number {
  let longest = 0;
  for (const { endedMs, tookMs } of requests) if (endedMs + 1 >= fromMs && endedMs - tookMs <= toMs) longest = Math.max(longest, tookMs);
  return longest;
}

function measurementsOf(depth: number, quiet: readonly Run[], disturbed: readonly Run[]): Measurement[] {
  const common = { part: 'operations', subject: 'chunkstore', condition: `under load at depth ${depth}`, unit: 'ms' } as const;
  const of = (workload: string, figure: string, samples: readonly number[], unit: 'ms' | 'op/s' = 'ms'): Measurement => ({
    ...common,
    workload,
    figure,
    unit,
    samples,
  });
  const pauses = (workload: string, runs: readonly Run[]): Measurement[] => [
    of(
      workload,
      'foreground pause p99',
      runs.map(({ pausesMs }) => quantile(pausesMs.get(workload)!, 0.99)),
    ),
    of(
      workload,
      'foreground pause p50',
      runs.map(({ pausesMs }) => quantile(pausesMs.get(workload)!, 0.5)),
    ),
  ];
  const loads = (workload: string, runs: readonly Run[]): Measurement[] => [
    of(
      workload,
      'foreground throughput',
      runs.map(({ writesPerSecond }) => writesPerSecond),
      'op/s',
    ),
    of(
      workload,
      'foreground latency p99',
      runs.map(({ latenciesMs }) => quantile(latenciesMs, 0.99)),
    ),
    of(
      workload,
      'foreground latency at worst',
      runs.map(({ latenciesMs }) => quantile(latenciesMs, 1)),
    ),
  ];
  const times = calls.flatMap((call) => {
    const p99 = (take: (time: CallTime) => number): number[] => disturbed.map((run) => quantile(run.times.get(call)!.map(take), 0.99));
    return [
      of(
        call,
        'time p99 under load',
        p99(({ engineMs }) => engineMs),
      ),
      of(
        call,
        'time of the call p99',
        p99(({ callMs }) => callMs),
      ),
    ];
  });
  return [
    ...times,
    ...calls.flatMap((call) => pauses(call, disturbed)),
    ...pauses(alone, quiet),
    ...loads(alone, quiet),
    ...loads(`${1000 / betweenMs} calls a second`, disturbed),
  ];
}
