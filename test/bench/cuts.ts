/**
 * What snapshot, clone and revert cost, by the size of the volume: full volumes, written in random blocks of 4 KiB, with
 * some blocks dirty at each cut. The calls go to the store's own gRPC, and the volume is not attached at the time, so
 * that neither CSI nor a file system's sync is in the figures; a call that only looks is measured beside them.
 */
import fs from 'node:fs/promises';
import { blockCapability, publishNewVolume, publishVolume, unpublishVolume } from '../support/csi-volume.ts';
import type { LocalDriver } from '../support/local-driver.ts';
import { fill } from './fio.ts';
import type { Measurement } from './measurement.ts';
import { timed } from './statistics.ts';

const GIB = 2 ** 30;
export const operations = [
  'look',
  'snapshot',
  'clone a snapshot',
  'clone a volume',
  'revert',
  'delete a clone',
  'delete a snapshot',
] as const;
export type Operation = (typeof operations)[number];

export interface CutOptions {
  readonly volumeBytes: readonly number[];
  readonly samples: number;
  readonly signal: AbortSignal;
}

interface Subject {
  readonly volumeBytes: number;
  readonly name: string;
  readonly volumeId: string;
  /** Taken when the volume was full; reverts go back to it. */
  readonly firstId: string;
  readonly times: ReadonlyMap<Operation, number[]>;
}

/** Random blocks that are written before each cut. */
const dirtyBlocks = 64;
const blockBytes = 4096;

/** What a pool must hold for volumes of these sizes, all at once. */
export function poolBytesOf(volumeBytes: readonly number[]): number {
  const sum = volumeBytes.reduce((total, bytes) => total + bytes, 0);
  return sum + Math.ceil(sum / 16) + GIB;
}

/** The sizes take turns, so that whatever else the machine does hits all of them. */
export async function measureCuts(driver: LocalDriver, options: CutOptions, progress: (line: string) => void): Promise<Measurement[]> {
  const { samples, signal } = options;
  const subjects: Subject[] = [];
  for (const volumeBytes of options.volumeBytes) subjects.push(await makeSubject(driver, { volumeBytes, signal }, progress));
  progress(`${samples} snapshots, clones and reverts of each`);
  for (let sample = 0; sample < samples; sample += 1) {
    for (const subject of subjects) {
      signal.throwIfAborted();
      await dirty(driver, subject);
      await cutOnce(driver, subject, sample);
    }
  }
  return subjects.flatMap(({ volumeBytes, times }) =>
    operations.map((operation): Measurement => ({
      part: 'operations',
      workload: operation,
      subject: 'chunkstore',
      condition: `${volumeBytes / GIB} GiB`,
      figure: 'time',
      unit: 'ms',
      samples: times.get(operation)!,
    })),
  );
}

async function makeSubject(
  driver: LocalDriver,
  options: { readonly volumeBytes: number; readonly signal: AbortSignal },
  progress: (line: string) => void,
): Promise<Subject> {
  const { volumeBytes, signal } = options;
  const size = `${volumeBytes / GIB} GiB`;
  const name = `cuts-${volumeBytes / GIB}`;
  progress(`writing a volume of ${size} in random blocks of 4 KiB`);
  const published = await publishNewVolume(driver, { name, sizeBytes: volumeBytes, capability: blockCapability });
  const writtenMs = await timed(() => fill(published.targetPath, { sizeBytes: volumeBytes, order: 'random', signal }));
  progress(`written in ${Math.round(writtenMs / 1000)} s`);
  await unpublishVolume(driver, published);
  const { volumeId } = published;
  const { snapshot } = await driver.store.createSnapshot({ name: `${name}-first`, sourceVolumeId: volumeId, attributes: {} });
  return { volumeBytes, name, volumeId, firstId: snapshot.id, times: new Map(operations.map((operation) => [operation, []])) };
}

/** One of each. What it makes it also deletes, so that each sample finds the same pool. */
async function cutOnce(driver: LocalDriver, subject: Subject, sample: number): Promise<void> {
  const { store } = driver;
  const { volumeId, firstId, times } = subject;
  const name = `${subject.name}-${sample}`;
  const measured = async <Answer>(operation: Operation, call: () => Promise<Answer>): Promise<Answer> => {
    const answers: Answer[] = [];
    times.get(operation)!.push(await timed(async () => answers.push(await call())));
    return answers[0]!;
  };
  const clone = (kind: 'snapshot' | 'volume', id: string, cloneName: string) => () =>
    store.createVolume({ name: cloneName, sizeBytes: 0, source: { kind, id }, attributes: {} });
  await measured('look', () => store.getVolume(volumeId));
  const { snapshot } = await measured('snapshot', () => store.createSnapshot({ name, sourceVolumeId: volumeId, attributes: {} }));
  const a = await measured('clone a snapshot', clone('snapshot', snapshot.id, `${name}-a`));
  const b = await measured('clone a volume', clone('volume', volumeId, `${name}-b`));
  const safety = { name: `${name}-safety`, attributes: {} };
  const reverted = await measured('revert', () => store.revertVolume({ id: volumeId, snapshotId: firstId, safety }));
  for (const { volume } of [a, b]) await measured('delete a clone', () => store.deleteVolume(volume.id));
  for (const { id } of [snapshot, reverted.safety!]) await measured('delete a snapshot', () => store.deleteSnapshot(id));
}

async function dirty(driver: LocalDriver, volume: Subject): Promise<void> {
  const published = await publishVolume(driver, { volumeId: volume.volumeId, name: volume.name, capability: blockCapability });
  const device = await fs.open(published.targetPath, 'r+');
  try {
    const blocks = volume.volumeBytes / blockBytes;
    for (let index = 0; index < dirtyBlocks; index += 1) {
      await device.write(Buffer.alloc(blockBytes, index + 1), 0, blockBytes, Math.floor(Math.random() * blocks) * blockBytes);
    }
    await device.sync();
  } finally {
    await device.close();
  }
  await unpublishVolume(driver, published);
}
