/** What is done to the devices. */
import type { Load } from '../fio.ts';

export interface Workload extends Load {
  readonly name: WorkloadName;
  /** On so many volumes at the same time, each at that depth; 1 when missing. */
  readonly volumes?: number;
  /** Mebibytes a second say more than operations. */
  readonly sequential?: true;
}

const KIB = 1024;
const MIB = 1024 * KIB;

const table = {
  'randwrite-4k-qd1': { pattern: 'randwrite', blockBytes: 4 * KIB, depth: 1 },
  'randwrite-4k-qd8': { pattern: 'randwrite', blockBytes: 4 * KIB, depth: 8 },
  'randwrite-4k-qd32': { pattern: 'randwrite', blockBytes: 4 * KIB, depth: 32 },
  'randread-4k-qd1': { pattern: 'randread', blockBytes: 4 * KIB, depth: 1 },
  'randread-4k-qd8': { pattern: 'randread', blockBytes: 4 * KIB, depth: 8 },
  'randread-4k-qd32': { pattern: 'randread', blockBytes: 4 * KIB, depth: 32 },
  'write-1m-qd8': { pattern: 'write', blockBytes: MIB, depth: 8, sequential: true },
  'read-1m-qd8': { pattern: 'read', blockBytes: MIB, depth: 8, sequential: true },
  'mixed-4k-qd32': { pattern: 'randrw', blockBytes: 4 * KIB, depth: 32 },
  'randwrite-4k-fdatasync-qd1': { pattern: 'randwrite', blockBytes: 4 * KIB, depth: 1, sync: 'fdatasync' },
  'randwrite-16k-dsync-qd1': { pattern: 'randwrite', blockBytes: 16 * KIB, depth: 1, sync: 'dsync' },
  'four-randwrite-4k-qd32': { pattern: 'randwrite', blockBytes: 4 * KIB, depth: 32, volumes: 4 },
  'four-randread-4k-qd32': { pattern: 'randread', blockBytes: 4 * KIB, depth: 32, volumes: 4 },
} as const satisfies Readonly<Record<string, Omit<Workload, 'name'>>>;

export type WorkloadName = keyof typeof table;

export function workloadOf(name: WorkloadName): Workload {
  return { name, ...table[name] };
}

export function writes(workload: Workload): boolean {
  return workload.pattern !== 'randread' && workload.pattern !== 'read';
}
