/**
 * I/O on four devices, turn by turn in one run, so that whatever else the machine does hits all of them: a loop device on
 * a plain file; a volume of ours, fully written; one under a fresh snapshot, so that its writes are first overwrites; one
 * with a hundred snapshots behind it.
 */
import fs from 'node:fs';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { blockCapability, publishVolume, unpublishVolume, type PublishedVolume } from '../support/csi-volume.ts';
import type { Guarded } from '../support/guarded-run.ts';
import type { LocalDriver } from '../support/local-driver.ts';
import { fill, measure, randomLoads, sequentialLoads, setUpPlainLoop, takeDownPlainLoop, type Figures, type Load } from './fio.ts';
import type { Measurement } from './measurement.ts';

export type Subject = 'loop' | 'volume' | 'one snapshot' | 'hundred snapshots';

export interface IoOptions {
  readonly sizeBytes: number;
  readonly seconds: number;
  readonly rounds: number;
  /** Leave the pool's space as it was allocated: the host's file system then converts extents at each first write. */
  readonly newPool: boolean;
}

interface Device {
  readonly subject: Subject;
  readonly path: string;
  readonly published: PublishedVolume | null;
}

const snapshotsBehind = 100;
/** Between those snapshots writes go on at this pace. */
const writesPerSecond = 1000;
const betweenSnapshotsMs = 40;
const agingSeconds = 20;
/** The pool keeps some slots in reserve. */
const unusedBytes = 2 ** 28;
const freeLimitMs = 60_000;
/** A device is busy for a moment after fio, with udev's look at it. */
const restMs = 100;

/** What the pool must hold: three volumes, and what two of them leave to snapshots. */
export function poolBytesOf(sizeBytes: number): number {
  return 6 * sizeBytes + 2 ** 30;
}

export async function measureIo(
  guarded: Guarded,
  driver: LocalDriver,
  options: IoOptions,
  progress: (line: string) => void,
): Promise<Measurement[]> {
  if (!options.newPool) await usePool(guarded, driver, options, progress);
  const devices = await makeDevices(guarded, driver, options, progress);
  const samples = new Map<string, Figures[]>();
  const run = async (load: Load, device: Device): Promise<void> => {
    guarded.signal.throwIfAborted();
    const key = `${load.name} ${device.subject}`;
    const figures = await measure(device.path, load, { ...options, signal: guarded.signal });
    samples.set(key, [...(samples.get(key) ?? []), figures]);
    await delay(restMs);
  };
  for (let round = 1; round <= options.rounds; round += 1) {
    progress(`I/O on four devices, round ${round} of ${options.rounds}`);
    for (const load of randomLoads) {
      for (const device of devices) {
        // Each writing starts under a snapshot of its own; the reading after it finds what it left.
        if (device.subject === 'one snapshot' && load.pattern === 'randwrite') await renewSnapshot(driver, device);
        await run(load, device);
      }
    }
    for (const load of sequentialLoads) for (const device of devices.slice(0, 2)) await run(load, device);
  }
  for (const { published } of devices) if (published !== null) await unpublishVolume(driver, published);
  return summarize(samples, devices);
}

/** Writes all of the pool's space once and gives it back: what a pool in use is like, and what the plain file is like too. */
async function usePool(guarded: Guarded, driver: LocalDriver, options: IoOptions, progress: (line: string) => void): Promise<void> {
  const sizeBytes = poolBytesOf(options.sizeBytes) - unusedBytes;
  progress('writing the space of the pool once');
  const published = await publishBlockVolume(driver, { name: 'all', sizeBytes });
  await fill(published.targetPath, { sizeBytes, order: 'sequential', signal: guarded.signal });
  await unpublishVolume(driver, published);
  await driver.csi.controller.deleteVolume({ volumeId: published.volumeId });
  await untilFree(driver, guarded.signal);
}

/** Deleted space comes back in the background; whoever comes next needs it. */
async function untilFree(driver: LocalDriver, signal: AbortSignal): Promise<void> {
  const deadline = performance.now() + freeLimitMs;
  while ((await driver.store.getPool()).usedBytes > 0) {
    signal.throwIfAborted();
    if (performance.now() > deadline) throw new Error(`the space of a deleted volume did not come back within ${freeLimitMs / 1000} s`);
    await delay(100);
  }
}

async function makeDevices(guarded: Guarded, driver: LocalDriver, options: IoOptions, progress: (line: string) => void): Promise<Device[]> {
  const { sizeBytes } = options;
  progress('writing a plain file for the loop device');
  const file = path.join(guarded.folder, 'plain');
  await fill(file, { sizeBytes, order: 'sequential', signal: guarded.signal });
  const loop = await setUpPlainLoop(file);
  guarded.atEnd(async () => {
    await takeDownPlainLoop(loop);
    fs.rmSync(file);
  });
  const devices: Device[] = [{ subject: 'loop', path: loop, published: null }];
  for (const subject of ['volume', 'one snapshot', 'hundred snapshots'] as const) {
    guarded.signal.throwIfAborted();
    progress(`writing the volume for "${subject}"`);
    const published = await publishBlockVolume(driver, { name: subject.replace(' ', '-'), sizeBytes });
    await fill(published.targetPath, { sizeBytes, order: 'sequential', signal: guarded.signal });
    devices.push({ subject, path: published.targetPath, published });
  }
  progress(`taking ${snapshotsBehind} snapshots under writes`);
  await age(devices[3]!, driver, { sizeBytes, signal: guarded.signal });
  return devices;
}

/** A volume as a block device, through CSI. */
export async function publishBlockVolume(
  driver: LocalDriver,
  options: { readonly name: string; readonly sizeBytes: number },
): Promise<PublishedVolume> {
  const { volume } = await driver.csi.controller.createVolume({
    name: options.name,
    capacityRange: { requiredBytes: options.sizeBytes },
    volumeCapabilities: [blockCapability],
  });
  if (volume?.volumeId === undefined) throw new Error('CreateVolume answered no volume');
  return publishVolume(driver, { volumeId: volume.volumeId, name: options.name, capability: blockCapability });
}

async function age(
  device: Device,
  driver: LocalDriver,
  options: { readonly sizeBytes: number; readonly signal: AbortSignal },
): Promise<void> {
  const volumeId = device.published!.volumeId;
  const load: Load = { ...randomLoads[0]!, depth: 4 };
  const more = [`--rate_iops=${writesPerSecond}`];
  const writing = measure(device.path, load, { ...options, seconds: agingSeconds, more });
  const cutting = (async (): Promise<void> => {
    for (let index = 0; index < snapshotsBehind; index += 1) {
      options.signal.throwIfAborted();
      await driver.store.createSnapshot({ name: `behind-${index}`, sourceVolumeId: volumeId, attributes: {} });
      await delay(betweenSnapshotsMs);
    }
  })();
  await Promise.all([writing, cutting]);
}

async function renewSnapshot(driver: LocalDriver, device: Device): Promise<void> {
  const name = 'newest';
  const sourceVolumeId = device.published!.volumeId;
  const earlier = (await driver.store.listSnapshots()).find((snapshot) => snapshot.name === name);
  if (earlier !== undefined) await driver.store.deleteSnapshot(earlier.id);
  await driver.store.createSnapshot({ name, sourceVolumeId, attributes: {} });
}

function summarize(samples: ReadonlyMap<string, readonly Figures[]>, devices: readonly Device[]): Measurement[] {
  return [...randomLoads, ...sequentialLoads].flatMap((load) =>
    devices.flatMap(({ subject }) => {
      const figures = samples.get(`${load.name} ${subject}`) ?? [];
      if (figures.length === 0) return [];
      const of = { part: 'io', workload: names[load.name] ?? load.name, ...places[subject] };
      const throughput: Measurement = load.name.endsWith('1m')
        ? { ...of, figure: 'throughput', unit: 'MiB/s', samples: figures.map(({ mebibytesPerSecond }) => mebibytesPerSecond) }
        : { ...of, figure: 'throughput', unit: 'op/s', samples: figures.map(({ operationsPerSecond }) => operationsPerSecond) };
      return [
        throughput,
        { ...of, figure: 'latency p50', unit: 'us', samples: figures.map(({ medianMicroseconds }) => medianMicroseconds) },
        { ...of, figure: 'latency p99', unit: 'us', samples: figures.map(({ worst1PercentMicroseconds }) => worst1PercentMicroseconds) },
      ] satisfies Measurement[];
    }),
  );
}

const places: Readonly<Record<Subject, { readonly subject: string; readonly condition: string }>> = {
  loop: { subject: 'loop', condition: 'full' },
  volume: { subject: 'chunkstore', condition: 'full' },
  'one snapshot': { subject: 'chunkstore', condition: 'just after a snapshot' },
  'hundred snapshots': { subject: 'chunkstore', condition: 'after 100 snapshots' },
};

const names: Readonly<Record<string, string>> = {
  'randwrite-32': 'randwrite-4k-qd32',
  'randread-32': 'randread-4k-qd32',
  'randwrite-1': 'randwrite-4k-qd1',
  'randread-1': 'randread-4k-qd1',
};
