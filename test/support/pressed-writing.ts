/**
 * A writer through the page cache of an ext4 on a volume, with next to no room for dirty pages, and with little memory for
 * writer and driver together. The kernel writes the pages out through the store, whose own files lie on the same disk: if the
 * store needed memory that only this writing out can give, nothing would ever end. So it is watched, and a device that
 * completes nothing for long ends it, with what every thread of the driver waits for.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import path from 'node:path';
import { runCommand } from '../../src/util/exec.ts';
import { completedRequests } from './block-statistics.ts';
import { ext4Capability, publishNewVolume, unpublishVolume } from './csi-volume.ts';
import type { LocalDriver } from './local-driver.ts';
import { MemoryGroup, withDirtyLimit } from './memory-pressure.ts';

const MIB = 2 ** 20;
const dirtyBytes = 16 * MIB;
/** Beside what the driver had before. */
const groupBytes = 128 * MIB;
/** No multiple of anything, so that a piece in the place of another would show. */
const sourceBytes = 61 * MIB + 4096;
const watchMs = 500;
const stallMs = 30_000;
const programLimit = { timeoutMs: 600_000 };

export interface PressedWriting {
  readonly seconds: number;
  /** The longest time in which the device completed nothing. */
  readonly longestPauseMs: number;
}

/** Writes, reads back and compares. The driver's pool must have room for it. */
export async function writeUnderPressure(driver: LocalDriver, options: { readonly mebibytes: number }): Promise<PressedWriting> {
  const { mebibytes } = options;
  const sizeBytes = (mebibytes + Math.ceil(mebibytes / 8) + 32) * MIB;
  const volume = await publishNewVolume(driver, { name: `pressed-${mebibytes}`, sizeBytes, capability: ext4Capability });
  const source = path.join(driver.folder, 'source');
  const file = path.join(volume.targetPath, 'file');
  await runCommand('dd', ['if=/dev/urandom', `of=${source}`, `bs=${sourceBytes}`, 'count=1', 'iflag=fullblock'], programLimit);
  const device = (await driver.devices())[0]!.path;
  const group = new MemoryGroup(groupBytes);
  try {
    group.add(driver.processes());
    const result = await withDirtyLimit(dirtyBytes, () => watchedWrite({ driver, group, source, file, device, mebibytes }));
    // The limit was met, or this tested nothing.
    if (group.mostBytes() < 0.9 * groupBytes) throw new Error(`the group had ${group.mostBytes()} bytes at most`);
    await compare({ source, file, mebibytes });
    await unpublishVolume(driver, volume);
    return result;
  } finally {
    group.remove();
    fs.rmSync(source);
  }
}

interface Write {
  readonly driver: LocalDriver;
  readonly group: MemoryGroup;
  readonly source: string;
  readonly file: string;
  readonly device: string;
  readonly mebibytes: number;
}

async function watchedWrite({ driver, group, source, file, device, mebibytes }: Write): Promise<PressedWriting> {
  const began = performance.now();
  const script = 'echo $$ > "$1/cgroup.procs"; while cat "$2"; do :; done 2>&- | dd of="$3" bs=1M count="$4" iflag=fullblock conv=fsync';
  const writer = spawn('sh', ['-c', script, 'write', group.folder, source, file, String(mebibytes)], {
    stdio: ['ignore', 'ignore', 'pipe'],
    env: { ...process.env, LC_ALL: 'C' },
  });
  let words = '';
  writer.stderr.on('data', (data: Buffer) => (words += data.toString()));
  const ended = once(writer, 'exit');
  let longestPauseMs = 0;
  let completed = completedRequests(device);
  let changedMs = performance.now();
  let stall: string | null = null;
  const watch = setInterval(() => {
    const now = completedRequests(device);
    longestPauseMs = Math.max(longestPauseMs, performance.now() - changedMs);
    if (now !== completed) [completed, changedMs] = [now, performance.now()];
    else if (performance.now() - changedMs > stallMs && stall === null) {
      stall = waitsOf([...driver.processes(), writer.pid!]);
      // What nobody serves any more ends with an error.
      for (const id of driver.processes()) process.kill(id, 'SIGKILL');
    }
  }, watchMs);
  const [status] = (await ended.finally(() => clearInterval(watch))) as [number | null];
  if (stall !== null) throw new Error(`${device} completed nothing for ${stallMs / 1000} s:\n${stall as string}`);
  if (status !== 0) throw new Error(`the writer ended with ${status}: ${words}`);
  return { seconds: (performance.now() - began) / 1000, longestPauseMs };
}

/** What is in the file, on the volume and not in the page cache. */
async function compare({ source, file, mebibytes }: Pick<Write, 'source' | 'file' | 'mebibytes'>): Promise<void> {
  await runCommand('dd', [`if=${file}`, 'iflag=nocache', 'count=0'], programLimit);
  const script = 'while cat "$1"; do :; done 2>&- | cmp --bytes="$3" - "$2"';
  await runCommand('sh', ['-c', script, 'compare', source, file, String(mebibytes * MIB)], programLimit);
}

/** What each thread of the processes waits for in the kernel, as far as this may be seen. */
function waitsOf(processes: readonly number[]): string {
  const lines: string[] = [];
  for (const id of processes) {
    try {
      for (const thread of fs.readdirSync(`/proc/${id}/task`)) {
        const folder = `/proc/${id}/task/${thread}`;
        const state = fs.readFileSync(`${folder}/stat`, 'utf8').split(') ').at(-1)!.slice(0, 1);
        const name = fs.readFileSync(`${folder}/comm`, 'utf8').trim();
        lines.push(`${id}/${thread} ${name} ${state}: ${fs.readFileSync(`${folder}/stack`, 'utf8').trim().replaceAll('\n', ' < ')}`);
      }
    } catch (error) {
      lines.push(`${id}: ${(error as Error).message}`);
    }
  }
  return lines.join('\n');
}
