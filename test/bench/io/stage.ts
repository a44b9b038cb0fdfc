/** One stage of the plan: brings volumes into their states, measures them in rounds, and removes them. */
import { setTimeout as delay } from 'node:timers/promises';
import { measureTogether } from '../fio.ts';
import { readCounters } from './machine-counters.ts';
import { placesOf, turnsOf, volumesAtOnce, type Place, type Row } from './plan.ts';
import type { Outcome, Samples } from './samples.ts';
import { states, type Prepared, type State, type StateName } from './states.ts';
import type { Subject, SubjectKind } from './subjects/subject.ts';
import { workloadOf, type Workload, type WorkloadName } from './workloads.ts';

export interface RunningSubject {
  readonly kind: SubjectKind;
  readonly subject: Subject;
}

export interface StageContext {
  readonly folder: string;
  readonly subjects: readonly RunningSubject[];
  readonly rounds: number;
  readonly seconds: number;
  readonly agingLimitMs: number;
  readonly signal: AbortSignal;
  /** Another one at each call. */
  readonly newName: () => string;
  readonly samples: Samples;
  readonly progress: (line: string) => void;
  /** What may be left out of a state that it does not manage. */
  readonly isPeer: (kind: Pick<SubjectKind, 'name'>) => boolean;
}

export interface StageOptions extends StageContext {
  readonly name: string;
  readonly rows: readonly Row[];
  readonly sizeBytes: number;
}

/** One or more volumes in a state; of a subject without states, one stands for all. */
interface Standing {
  readonly running: RunningSubject;
  readonly states: readonly StateName[];
  readonly prepared: Prepared;
}

/** A device is busy for a moment after fio, with udev's look at it. */
const restMs = 100;

export async function runStage(stage: StageOptions): Promise<void> {
  const { rows, rounds, name } = stage;
  let standings = await prepareAll(stage);
  const turns = turnsOf(rows);
  for (let round = 0; round < rounds; round += 1) {
    stage.progress(`I/O: ${name}, round ${round + 1} of ${rounds}`);
    for (const [workload, places] of turns) {
      const present = standings.filter((standing) => conditionsAt(standing, places).length > 0);
      for (const standing of rotated(present, round)) {
        stage.signal.throwIfAborted();
        const conditions = conditionsAt(standing, places);
        const fine = await orLeaveOut(stage, standing.running, standing.states, () =>
          measureOnce(stage, standing, { workload, conditions }),
        );
        if (fine === null) standings = standings.filter((other) => other !== standing);
        await delay(restMs);
      }
    }
  }
  for (const running of stage.subjects) await tidy(stage, running);
}

/** The states of the plan that a load on these volumes is a sample of. */
function conditionsAt(standing: Standing, places: readonly Place[]): StateName[] {
  const { running, states: own } = standing;
  return places.filter(({ subject, state }) => subject === running.kind.name && own.includes(state)).map(({ state }) => state);
}

/** Another one is first in each round. */
function rotated<Item>(items: readonly Item[], round: number): readonly Item[] {
  const first = items.length === 0 ? 0 : round % items.length;
  return [...items.slice(first), ...items.slice(0, first)];
}

async function prepareAll(stage: StageOptions): Promise<Standing[]> {
  const places = placesOf(stage.rows);
  const standings: Standing[] = [];
  for (const running of stage.subjects) {
    const { kind, subject } = running;
    const wanted = places.filter((place) => place.subject === kind.name).map(({ state }) => state);
    const groups = kind.stateless ? (wanted.length === 0 ? [] : [wanted]) : wanted.map((state) => [state]);
    for (const group of groups) {
      stage.signal.throwIfAborted();
      const state: State = states[kind.stateless ? plainState(stage.rows) : group[0]!];
      const lacking = state.needs.filter((ability) => !kind.abilities.has(ability));
      if (lacking.length > 0) {
        stage.progress(`I/O: ${kind.name} has no ${lacking.join(' and no ')}, so it is left out of "${group[0]}"`);
        continue;
      }
      stage.progress(`I/O: ${stage.name}: bringing ${kind.name} to "${group.join('", "')}"`);
      const prepared = await orLeaveOut(stage, running, group, () => state.prepare({ ...stage, subject }));
      if (prepared === null) continue;
      standings.push({ running, states: group, prepared });
      if (prepared.snapshotMs !== undefined) {
        for (const condition of group) stage.samples.addSnapshots({ subject: kind.name, condition }, prepared.snapshotMs);
      }
    }
  }
  return standings;
}

function plainState(rows: readonly Row[]): StateName {
  return volumesAtOnce(rows) > 1 ? 'four volumes' : 'full';
}

/** What a peer has measured counts, also when its volumes do not go as they should. */
async function tidy({ signal, isPeer, progress }: StageOptions, { kind, subject }: RunningSubject): Promise<void> {
  try {
    await subject.removeVolumes();
    await subject.settle();
  } catch (error) {
    if (signal.aborted || !isPeer(kind)) throw error;
    progress(`I/O: volumes of ${kind.name} were not removed as they should: ${(error as Error).message}`);
  }
}

/** Null when a peer failed: then nothing is said of it in these states at all. */
async function orLeaveOut<Answer>(
  stage: StageOptions,
  running: RunningSubject,
  conditions: readonly StateName[],
  action: () => Promise<Answer>,
): Promise<Answer | null> {
  try {
    return await action();
  } catch (error) {
    if (stage.signal.aborted || !stage.isPeer(running.kind)) throw error;
    for (const condition of conditions) {
      stage.progress(`I/O: LEAVING ${running.kind.name} out of "${condition}": ${(error as Error).message}`);
      stage.samples.drop(running.kind.name, condition);
    }
    return null;
  }
}

async function measureOnce(
  stage: StageOptions,
  standing: Standing,
  options: { readonly workload: WorkloadName; readonly conditions: readonly StateName[] },
): Promise<true> {
  const workload = workloadOf(options.workload);
  const { prepared, running } = standing;
  const volumes = (await prepared.beforeLoad?.(workload)) ?? prepared.volumes;
  const devices = volumes.slice(0, workload.volumes ?? 1).map(({ devicePath }) => devicePath);
  const outcome = await outcomeOf(stage, workload, devices, prepared);
  for (const condition of options.conditions) stage.samples.add({ workload, subject: running.kind.name, condition }, outcome);
  return true;
}

async function outcomeOf(
  stage: StageOptions,
  workload: Workload,
  devices: readonly string[],
  prepared: Pick<Prepared, 'besideLoad'>,
): Promise<Outcome> {
  const { sizeBytes, seconds, signal, folder } = stage;
  const before = readCounters(folder);
  const [measured, beside] = await Promise.allSettled([
    measureTogether(devices, workload, { sizeBytes, seconds, signal }).then((volumes) => ({ volumes, after: readCounters(folder) })),
    prepared.besideLoad?.(),
  ]);
  if (measured.status === 'rejected') throw measured.reason;
  if (beside.status === 'rejected') throw beside.reason;
  const { volumes, after } = measured.value;
  return {
    volumes,
    busyMicroseconds: after.busyMicroseconds - before.busyMicroseconds,
    diskWrittenBytes: after.writtenBytes === null || before.writtenBytes === null ? null : after.writtenBytes - before.writtenBytes,
  };
}
