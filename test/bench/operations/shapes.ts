/** The volumes whose snapshots, clones, reverts and deletions are measured: by size, and by how fragmented their map is. */
import { setTimeout as delay } from 'node:timers/promises';
import { FioLoad, mapWhole } from '../fio-load.ts';
import type { MeasuredStore } from '../measured-store.ts';
import type { PartContext } from '../measurement.ts';

const GIB = 2 ** 30;
const snapshotsBehind = 100;
const betweenSnapshotsMs = 40;
/** Far from what a disk can do, so that the snapshots differ in about as much on any machine. */
const writesPerSecond = 10_000;
const agingSeconds = 120;

export type Fragmentation = 'written in order' | 'written at random' | `${typeof snapshotsBehind} snapshots behind it`;

export interface Shape {
  readonly sizeBytes: number;
  readonly fragmentation: Fragmentation;
}

const fragmentations: readonly Fragmentation[] = ['written in order', 'written at random', `${snapshotsBehind} snapshots behind it`];

/** The smallest and the largest, and those between unless it is to be quick. */
export function shapesOf({ quick }: Pick<PartContext, 'quick'>): Shape[] {
  if (quick) {
    return [
      { sizeBytes: GIB, fragmentation: fragmentations[0]! },
      { sizeBytes: 16 * GIB, fragmentation: fragmentations[2]! },
    ];
  }
  const small = [1, 4, 16].flatMap((gib) => fragmentations.map((fragmentation) => ({ sizeBytes: gib * GIB, fragmentation })));
  return [...small, { sizeBytes: 64 * GIB, fragmentation: fragmentations[1]! }];
}

/** As conditions of measurements name it. */
export function nameOf({ sizeBytes, fragmentation }: Shape): string {
  return `${sizeBytes / GIB} GiB, ${fragmentation}`;
}

/** A pool with holes needs addresses, not disk: the volume, what snapshots hold beside it, and the writes between them. */
export function poolBytesOf({ sizeBytes }: Shape): number {
  return 3 * sizeBytes + 16 * GIB;
}

/** A new volume of this shape; answers its id. Its device is gone again. */
export async function makeShaped(store: MeasuredStore, shape: Shape, context: PartContext): Promise<string> {
  const { sizeBytes, fragmentation } = shape;
  const { signal } = context;
  const id = await store.makeVolume('shaped', sizeBytes);
  const devicePath = await store.bed.attachAgain(id);
  const common = { folder: store.bed.folder, devicePath, sizeBytes, signal };
  await mapWhole({ ...common, order: fragmentation === 'written in order' ? 'sequential' : 'random' });
  if (fragmentation === `${snapshotsBehind} snapshots behind it`) {
    const flags = ['--rw=randwrite', '--bs=4k', '--iodepth=16', '--norandommap', `--rate_iops=${writesPerSecond}`, '--time_based'];
    const load = new FioLoad({ ...common, flags: [...flags, `--runtime=${agingSeconds}`] });
    try {
      for (let index = 0; index < snapshotsBehind; index += 1) {
        signal.throwIfAborted();
        await delay(betweenSnapshotsMs);
        await store.bed.client.createSnapshot({ name: `behind-${index}`, sourceVolumeId: id, attributes: {} });
      }
      await load.stop();
    } finally {
      await load.endByForce();
    }
  }
  await store.bed.detachAgain(id);
  return id;
}
