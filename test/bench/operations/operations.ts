/**
 * What snapshots, clones, reverts, deletions and restarts cost: by size and fragmentation of the volume, and what they cost a
 * load that goes on meanwhile. The calls go to the store's own gRPC, without CSI and without a file system's sync. Two
 * times are told of each: that of the call for whoever made it, and of that the engine's, until the change was durable.
 */
import type { Measurement, PartContext } from '../measurement.ts';
import { measureByShape } from './by-shape.ts';
import { measureDeletions } from './deletion.ts';
import { measureUnderLoad } from './under-load.ts';

export async function measureOperations(context: PartContext): Promise<Measurement[]> {
  return [...(await measureByShape(context)), ...(await measureUnderLoad(context)), ...(await measureDeletions(context))];
}
