/**
 * Little room for dirty pages, and little memory for some processes, for the time of an action. The room for dirty pages is the
 * machine's: whoever uses this must not run beside measurements. Both are put back whatever happens to the process that set
 * them, also when it is killed.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import path from 'node:path';
import type { Capability } from './machine.ts';

const DIRTY_SETTINGS = ['dirty_bytes', 'dirty_background_bytes', 'dirty_ratio', 'dirty_background_ratio'] as const;
const settingPath = (name: string): string => `/proc/sys/vm/${name}`;
/** Waits for the end of its input, then writes what it was given: name, value, name, value. */
const RESTORE = `trap '' INT TERM HUP; cat > /dev/null; while [ $# -gt 0 ]; do echo "$2" > "/proc/sys/vm/$1"; shift 2; done`;

export function canLimitDirtyPages(): Capability {
  try {
    // What is there already changes nothing, and shows whether it can be written.
    for (const [name, value] of presentSettings()) fs.writeFileSync(settingPath(name), value);
    return { lack: undefined };
  } catch (error) {
    return { lack: `vm.dirty_bytes cannot be set: ${(error as NodeJS.ErrnoException).code}` };
  }
}

/** Runs an action while so many bytes may be dirty on the whole machine; half of them before they are written out. */
export async function withDirtyLimit<Result>(bytes: number, action: () => Promise<Result>): Promise<Result> {
  const before = presentSettings().flat();
  const restoring = spawn('sh', ['-c', RESTORE, 'restore', ...before], { stdio: ['pipe', 'ignore', 'ignore'], detached: true });
  const restored = once(restoring, 'exit');
  try {
    fs.writeFileSync(settingPath('dirty_bytes'), String(bytes));
    fs.writeFileSync(settingPath('dirty_background_bytes'), String(bytes / 2));
    return await action();
  } finally {
    restoring.stdin.end();
    await restored;
  }
}

/** Those in force: setting the bytes makes the ratio 0, and the other way round. */
function presentSettings(): [string, string][] {
  return DIRTY_SETTINGS.map((name): [string, string] => [name, fs.readFileSync(settingPath(name), 'utf8').trim()]).filter(
    ([, value]) => value !== '0',
  );
}

/** What the two versions of control groups call the same. */
const VERSIONS = {
  1: { limit: 'memory.limit_in_bytes', most: 'memory.max_usage_in_bytes' },
  2: { limit: 'memory.max', most: 'memory.peak' },
} as const;

/** A control group for memory can be made below the one that this process is in, or below the root. */
export function canLimitMemory(): Capability {
  const parent = parentGroup();
  if (parent === null) return { lack: 'there is no control group for memory that could be divided' };
  const probe = path.join(parent.folder, `chunkstore-probe-${process.pid}`);
  try {
    fs.mkdirSync(probe);
    fs.rmdirSync(probe);
    return { lack: undefined };
  } catch (error) {
    return { lack: `no control group for memory can be made: ${(error as NodeJS.ErrnoException).code}` };
  }
}

/** What is charged to it: memory that its processes take from now on, the page cache of what they read and write included. */
export class MemoryGroup {
  readonly folder: string;
  readonly #parent: { readonly folder: string; readonly version: 1 | 2 };

  constructor(limitBytes: number) {
    const parent = parentGroup();
    if (parent === null) throw new Error('ask canLimitMemory first');
    this.#parent = parent;
    this.folder = path.join(parent.folder, `chunkstore-${process.pid}-${Date.now()}`);
    fs.mkdirSync(this.folder);
    fs.writeFileSync(path.join(this.folder, VERSIONS[parent.version].limit), String(limitBytes));
  }

  /** Moves processes here. What they have already is charged to where they were. */
  add(processes: readonly number[]): void {
    for (const id of processes) fs.writeFileSync(path.join(this.folder, 'cgroup.procs'), String(id));
  }

  /** How much it had at most. */
  mostBytes(): number {
    return Number(fs.readFileSync(path.join(this.folder, VERSIONS[this.#parent.version].most), 'utf8'));
  }

  /** Its processes go where this one could have been. */
  remove(): void {
    const processes = fs.readFileSync(path.join(this.folder, 'cgroup.procs'), 'utf8').split('\n');
    for (const id of processes.filter((line) => line !== '')) fs.writeFileSync(path.join(this.#parent.folder, 'cgroup.procs'), id);
    fs.rmdirSync(this.folder);
  }
}

function parentGroup(): { readonly folder: string; readonly version: 1 | 2 } | null {
  const own = fs
    .readFileSync('/proc/self/cgroup', 'utf8')
    .split('\n')
    .find((line) => line.split(':')[1] === 'memory');
  if (own !== undefined) {
    const below = own.split(':').slice(2).join(':');
    for (const folder of [path.join('/sys/fs/cgroup/memory', below), '/sys/fs/cgroup/memory'])
      if (fs.existsSync(path.join(folder, VERSIONS[1].limit))) return { folder, version: 1 };
    return null;
  }
  // Of version 2 only the root may hold processes beside groups that limit memory.
  const control = '/sys/fs/cgroup/cgroup.subtree_control';
  const divides = fs.existsSync(control) && fs.readFileSync(control, 'utf8').split(/\s/).includes('memory');
  return divides ? { folder: '/sys/fs/cgroup', version: 2 } : null;
}

/** Bytes of physical memory that a process has, alone or with others. */
export function residentBytes(id: number): number {
  return 1024 * Number(/^VmRSS:\s+(\d+) kB/m.exec(fs.readFileSync(`/proc/${id}/status`, 'utf8'))?.[1] ?? NaN);
}
