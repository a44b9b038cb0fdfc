/** How the store's shared memory is cut: the arena of requests first, then the engine's part. */
import { arenaBytes, type ArenaCounts } from '../../block/arena.ts';
import { engineMemoryLayout, RING_UNITS } from '../../engine/memory-layout.ts';
import type { MemoryLayout } from './messages.ts';

/** 64 requests of 1 MiB under way at a time, room for as many writes that wait in a full pool, and 256 devices. */
export const ARENA_COUNTS: ArenaCounts = { activeSlots: 64, parkingSlots: 64, devices: 256 };

const PAGE_BYTES = 4096;

export function memoryLayout(): MemoryLayout {
  const arena = roundUp(arenaBytes(ARENA_COUNTS));
  const engine = roundUp(engineMemoryLayout({ ringUnits: RING_UNITS }).totalBytes);
  return { arenaOffset: 0, arenaBytes: arena, engineOffset: arena, engineBytes: engine, totalBytes: arena + engine };
}

function roundUp(bytes: number): number {
  return Math.ceil(bytes / PAGE_BYTES) * PAGE_BYTES;
}
