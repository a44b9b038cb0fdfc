/** What a store's state costs: restart, memory and metadata by how much is mapped, and what is written for the map's sake. */
import type { Measurement, PartContext } from '../measurement.ts';

export async function measureState(_context: PartContext): Promise<Measurement[]> {
  return [];
}
