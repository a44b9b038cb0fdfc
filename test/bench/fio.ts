/** Loads of fio on block devices, and the device that ours are held against: a kernel loop device over a plain file. */
import { execFile } from 'node:child_process';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';
import { runCommand } from '../../src/util/exec.ts';

export interface Load {
  readonly name: string;
  readonly pattern: 'randread' | 'randwrite' | 'read' | 'write';
  readonly blockBytes: number;
  readonly depth: number;
}

const KIB = 1024;
const MIB = 1024 * KIB;

export const randomLoads: readonly Load[] = [
  { name: 'randwrite-32', pattern: 'randwrite', blockBytes: 4 * KIB, depth: 32 },
  { name: 'randread-32', pattern: 'randread', blockBytes: 4 * KIB, depth: 32 },
  { name: 'randwrite-1', pattern: 'randwrite', blockBytes: 4 * KIB, depth: 1 },
  { name: 'randread-1', pattern: 'randread', blockBytes: 4 * KIB, depth: 1 },
];
export const sequentialLoads: readonly Load[] = [
  { name: 'write-1m', pattern: 'write', blockBytes: MIB, depth: 8 },
  { name: 'read-1m', pattern: 'read', blockBytes: MIB, depth: 8 },
];

export interface Figures {
  readonly operationsPerSecond: number;
  readonly mebibytesPerSecond: number;
  /** Of the time from submission to completion. */
  readonly medianMicroseconds: number;
  readonly worst1PercentMicroseconds: number;
}

/** What is beyond the run time of a load: fio starts, stops and sums up. */
const marginMs = 60_000;
/** How long a killed fio may take to end. */
const endLimitMs = 10_000;
const fillLimitMs = 30 * 60_000;

/** Runs a load on a device for that time; direct I/O. */
export async function measure(
  devicePath: string,
  load: Load,
  options: { readonly sizeBytes: number; readonly seconds: number; readonly signal?: AbortSignal; readonly more?: readonly string[] },
): Promise<Figures> {
  const output = await fio(
    [
      ...commonParameters(devicePath, options.sizeBytes),
      `--rw=${load.pattern}`,
      `--bs=${load.blockBytes}`,
      `--iodepth=${load.depth}`,
      `--runtime=${options.seconds}`,
      '--time_based',
      '--norandommap',
      '--randrepeat=0',
      '--output-format=json',
      ...(options.more ?? []),
    ],
    { timeoutMs: options.seconds * 1000 + marginMs, signal: options.signal },
  );
  return figuresOf(output);
}

/** Writes every byte of a device or file once: in random blocks of 4 KiB, or in order. */
export async function fill(
  target: string,
  options: { readonly sizeBytes: number; readonly order: 'random' | 'sequential'; readonly signal?: AbortSignal },
): Promise<void> {
  const random = options.order === 'random';
  const how = random ? ['--rw=randwrite', '--bs=4k', '--iodepth=64'] : ['--rw=write', '--bs=1M', '--iodepth=8'];
  await fio([...commonParameters(target, options.sizeBytes), ...how, '--end_fsync=1'], { timeoutMs: fillLimitMs, signal: options.signal });
}

/** Sets up a loop device over a file as ours are: direct I/O and 4 KiB sectors. Answers its path. */
export async function setUpPlainLoop(file: string): Promise<string> {
  const { output } = await runCommand('losetup', ['--find', '--show', '--direct-io=on', '--sector-size', '4096', file], {
    timeoutMs: marginMs,
  });
  return output.trim();
}

export async function takeDownPlainLoop(devicePath: string): Promise<void> {
  await runCommand('losetup', ['--detach', devicePath], { timeoutMs: marginMs });
}

/** Runs fio and answers what it printed. An interruption ends it at once; it has no other processes, with `--thread`. */
async function fio(
  parameters: readonly string[],
  options: { readonly timeoutMs: number; readonly signal: AbortSignal | undefined },
): Promise<string> {
  const { timeoutMs, signal } = options;
  const limits = { timeout: timeoutMs, killSignal: 'SIGKILL', maxBuffer: 16 * MIB, ...(signal === undefined ? {} : { signal }) } as const;
  const running = promisify(execFile)('fio', parameters, limits);
  const closed = new Promise((resolve) => running.child.once('close', resolve));
  try {
    return (await running).stdout;
  } catch (error) {
    // What it had open is free once it has ended.
    await Promise.race([closed, delay(endLimitMs)]);
    throw error;
  }
}

function commonParameters(target: string, sizeBytes: number): string[] {
  return ['--name=bench', `--filename=${target}`, '--direct=1', '--ioengine=libaio', '--thread', `--size=${sizeBytes}`];
}

interface Side {
  readonly io_bytes: number;
  readonly iops: number;
  readonly bw_bytes: number;
  readonly clat_ns: { readonly percentile?: Readonly<Record<string, number>> };
}

function figuresOf(output: string): Figures {
  // Warnings may stand before the document.
  const document = JSON.parse(output.slice(output.indexOf('{'))) as {
    readonly jobs: readonly { readonly read: Side; readonly write: Side }[];
  };
  const job = document.jobs[0];
  if (job === undefined) throw new Error('fio reported no job');
  const side = job.write.io_bytes > 0 ? job.write : job.read;
  const percentile = (name: string): number => Math.round((side.clat_ns.percentile?.[name] ?? 0) / 1000);
  return {
    operationsPerSecond: Math.round(side.iops),
    mebibytesPerSecond: Math.round(side.bw_bytes / MIB),
    medianMicroseconds: percentile('50.000000'),
    worst1PercentMicroseconds: percentile('99.000000'),
  };
}
