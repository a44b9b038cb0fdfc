/**
 * Databases on an ext4 on a volume of ours and on one on a plain loop device, in turns within each round: for some seconds
 * as it is, then with a snapshot of the volume each second, then without again. The plain loop device has no snapshots;
 * its same seconds say what the machine did meanwhile.
 */
import fs from 'node:fs';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { runCommand } from '../../../src/util/exec.ts';
import type { Measurement, PartContext } from '../measurement.ts';
import { measureGuarded } from '../part.ts';
import type { Guarded } from '../../support/guarded-run.ts';
import type { Database, DatabaseKind } from './database.ts';
import { makeOwn, makePlain, type FileSystem } from './file-systems.ts';
import { postgresKind } from './postgres.ts';
import { sqliteKinds } from './sqlite.ts';
import { SERIES_FACTOR, snapshotMeasurements, transactionMeasurements, type Phases, type Run } from './transactions.ts';

const GIB = 2 ** 30;
const LIMIT_MS = 2 * 60 * 60_000;
/** Connections are made and caches filled; not counted. */
const warmUpMs = 1000;
/** The load goes on a little longer than is counted. */
const marginMs = 1000;
const betweenSnapshotsMs = 1000;
const settleMs = 3000;
const syncLimitMs = 120_000;

const databaseKinds: readonly DatabaseKind[] = [...sqliteKinds, postgresKind];
const sizesInUse = { volumeBytes: 2 * GIB, poolBytes: 6 * GIB };
const quickSizes = { volumeBytes: GIB, poolBytes: 3 * GIB };
/** What five minutes have room for. */
const quickKinds = databaseKinds.filter(({ name }) => name === 'sqlite-wal');

export async function measureDatabases(context: PartContext): Promise<Measurement[]> {
  return measureGuarded({ name: 'databases', limitMs: LIMIT_MS, context }, async (guarded, record) => {
    // Databases run as users that must come through to their files.
    fs.chmodSync(guarded.folder, 0o711);
    context.progress('making an ext4 on a volume and one on a plain loop device');
    const sizes = context.quick ? quickSizes : sizesInUse;
    const fileSystems = [await makePlain(guarded, sizes), await makeOwn(guarded, sizes)];
    // A new ext4 writes its tables in the background, and the disk what filled it.
    await runCommand('sync', [], { timeoutMs: syncLimitMs });
    await delay(settleMs, undefined, { signal: guarded.signal });
    for (const kind of context.quick ? quickKinds : databaseKinds) {
      const lack = kind.lack();
      if (lack === undefined) record(...(await measureKind(kind, { context, guarded, fileSystems })));
      else context.progress(`${kind.name}: SKIPPED: ${lack}`);
    }
  });
}

interface Turns {
  readonly context: PartContext;
  readonly guarded: Guarded;
  readonly fileSystems: readonly FileSystem[];
}

/** A database on one of the file systems, and what was measured of it so far: of each round one. */
interface Subject {
  readonly fileSystem: FileSystem;
  readonly database: Database;
  readonly runs: Run[];
  readonly snapshotTimes: number[][];
}

async function measureKind(kind: DatabaseKind, { context, guarded, fileSystems }: Turns): Promise<Measurement[]> {
  const { signal } = guarded;
  const subjects: Subject[] = [];
  for (const fileSystem of fileSystems) {
    const folder = path.join(fileSystem.folder, kind.name);
    fs.mkdirSync(folder);
    const database = await kind.make({ folder, signal, atEnd: (action) => guarded.atEnd(action) });
    subjects.push({ fileSystem, database, runs: [], snapshotTimes: [] });
  }
  for (let round = 1; round <= context.rounds; round += 1) {
    context.progress(`${kind.name}, round ${round} of ${context.rounds}`);
    // Each of them is the first one every other time.
    for (const subject of round % 2 === 1 ? subjects : subjects.toReversed()) {
      await measureOnce(subject, { seconds: context.seconds, signal });
      await subject.fileSystem.snapshots?.deleteAll();
    }
  }
  return subjects.flatMap(({ fileSystem: { subject, snapshots }, runs, snapshotTimes }) => [
    ...transactionMeasurements({ workload: kind.name, subject }, runs),
    ...(snapshots === null ? [] : snapshotMeasurements(kind.name, snapshotTimes)),
  ]);
}

async function measureOnce(subject: Subject, options: { readonly seconds: number; readonly signal: AbortSignal }): Promise<void> {
  const quietMs = options.seconds * 1000;
  const seriesMs = SERIES_FACTOR * quietMs;
  const { promise: begun, resolve: begins } = Promise.withResolvers<Phases>();
  const failed = new AbortController();
  const loading = subject.database
    .load({
      seconds: Math.ceil((warmUpMs + quietMs + seriesMs + quietMs + marginMs) / 1000),
      begins: () => {
        const beforeMs = Date.now() + warmUpMs;
        const duringMs = beforeMs + quietMs;
        const afterMs = duringMs + seriesMs;
        begins({ beforeMs, duringMs, afterMs, endMs: afterMs + quietMs });
      },
    })
    .catch((error: unknown) => {
      failed.abort(error);
      throw error;
    });
  const signal = AbortSignal.any([options.signal, failed.signal]);
  const cutting = untilBegun(begun, signal).then((phases) => takeSeries(subject.fileSystem, { phases, signal }));
  // Both, because neither may go on when this is over.
  await Promise.allSettled([loading, cutting]);
  subject.snapshotTimes.push(await cutting);
  subject.runs.push({ transactions: await loading, phases: await begun });
}

async function untilBegun(begun: Promise<Phases>, signal: AbortSignal): Promise<Phases> {
  const { promise: aborted, reject } = Promise.withResolvers<never>();
  signal.addEventListener('abort', () => reject(signal.reason), { once: true });
  return Promise.race([begun, aborted]);
}

/** Answers the milliseconds that each took. */
async function takeSeries(
  { snapshots }: FileSystem,
  { phases, signal }: { readonly phases: Phases; readonly signal: AbortSignal },
): Promise<number[]> {
  const times: number[] = [];
  if (snapshots === null) return times;
  for (let dueMs = phases.duringMs; dueMs < phases.afterMs; dueMs += betweenSnapshotsMs) {
    await delay(Math.max(0, dueMs - Date.now()), undefined, { signal });
    times.push(await snapshots.take());
  }
  return times;
}
