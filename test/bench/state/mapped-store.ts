/** Stores with a large map that nobody wrote (test/support/synthetic-pool.ts). */
import { addMappedVolumes } from '../../support/synthetic-pool.ts';
import { MeasuredStore } from '../measured-store.ts';
import type { PartContext } from '../measurement.ts';

const GIB = 2 ** 30;
/** Free beside what is mapped, so that writes take slots as they do in any pool. */
const spareBytes = 64 * GIB;
const volumeName = 'mapped';

export interface MappedStore {
  readonly store: MeasuredStore;
  readonly mappedBytes: number;
  readonly id: string;
}

export async function startMapped(mappedBytes: number, context: PartContext): Promise<MappedStore> {
  const beganMs = performance.now();
  const prepare = (folder: string): Promise<void> => addMappedVolumes(folder, [{ name: volumeName, mappedBytes }]);
  const store = await MeasuredStore.start({ parent: context.folder, poolBytes: mappedBytes + spareBytes, sparse: true, prepare });
  try {
    const volume = await store.bed.client.findVolume(volumeName);
    if (volume === null) throw new Error('the volume that was made is not there');
    context.progress(`${nameOf(mappedBytes)}: made in ${Math.round((performance.now() - beganMs) / 1000)} s`);
    return { store, mappedBytes, id: volume.id };
  } catch (error) {
    await store.stop();
    throw error;
  }
}

/** As conditions of measurements name it. */
export function nameOf(mappedBytes: number): string {
  return mappedBytes < 1024 * GIB ? `${mappedBytes / GIB} GiB mapped` : `${mappedBytes / (1024 * GIB)} TiB mapped`;
}
