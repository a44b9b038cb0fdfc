/** What a store's state costs: restart, memory and metadata by how much is mapped. */
import type { Measurement, PartContext } from '../measurement.ts';
import { startMapped, type MappedStore } from './mapped-store.ts';
import { measureMemory } from './memory.ts';
import { measureRestarts } from './restart.ts';

const GIB = 2 ** 30;
/** The map of the smaller one just fits into the store's cache of pages. */
const mappedGib = [256, 1024];

export async function measureState(context: PartContext): Promise<Measurement[]> {
  const stores: MappedStore[] = [];
  try {
    for (const gib of mappedGib) stores.push(await startMapped(gib * GIB, context));
    // Nothing but reads so far: the restarts write.
    const memory = await measureMemory(stores, context);
    const restarts: Measurement[] = [];
    for (const mapped of stores) restarts.push(...(await measureRestarts(mapped, context)));
    return [...restarts, ...memory];
  } finally {
    for (const { store } of stores) await store.stop();
  }
}
