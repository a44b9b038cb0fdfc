/** How the store's shared memory is cut: the arena of requests first, then the engine's part. */
import { arenaBytes, type ArenaCounts, arenaCountsIn } from '../../block/arena.ts';
import { engineMemoryLayout, RING_UNITS } from '../../engine/memory-layout.ts';

/** 128 requests of 1 MiB under way at a time, room for 64 writes that wait in a full pool, and 256 devices. */
export const ARENA_COUNTS: ArenaCounts = { activeSlots: 128, parkingSlots: 64, devices: 256 };

/** What a predecessor may have left: its memory is served as it is, until nobody holds it any more. */
const EARLIER_ARENA_COUNTS: readonly ArenaCounts[] = [{ activeSlots: 64, parkingSlots: 64, devices: 256 }];

const PAGE_BYTES = 4096;

/** In bytes from the start of the memory. */
export interface MemoryLayout {
  readonly arena: ArenaCounts;
  readonly arenaOffset: number;
  readonly arenaBytes: number;
  readonly engineOffset: number;
  readonly engineBytes: number;
  readonly totalBytes: number;
}

export function memoryLayout(arena: ArenaCounts = ARENA_COUNTS): MemoryLayout {
  const arenaLength = roundUp(arenaBytes(arena));
  const engineLength = roundUp(engineMemoryLayout({ ringUnits: RING_UNITS }).totalBytes);
  return {
    arena,
    arenaOffset: 0,
    arenaBytes: arenaLength,
    engineOffset: arenaLength,
    engineBytes: engineLength,
    totalBytes: arenaLength + engineLength,
  };
}

/** How memory is cut that may be a predecessor's. What is cut in no way known here is taken for new: whoever opens its parts
 * refuses them. */
export function memoryLayoutOf(bytes: Uint8Array): MemoryLayout {
  const newest = memoryLayout();
  const layouts = [newest, ...EARLIER_ARENA_COUNTS.map((counts) => memoryLayout(counts))];
  const found = arenaCountsIn(bytes);
  const isOfIt = ({ arena, totalBytes }: MemoryLayout): boolean =>
    found === null
      ? bytes.length >= totalBytes
      : arena.activeSlots === found.activeSlots && arena.parkingSlots === found.parkingSlots && arena.devices === found.devices;
  return layouts.find(isOfIt) ?? newest;
}

function roundUp(bytes: number): number {
  return Math.ceil(bytes / PAGE_BYTES) * PAGE_BYTES;
}
