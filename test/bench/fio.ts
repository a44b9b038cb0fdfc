/** Loads of fio on block devices. */
import { execFile } from 'node:child_process';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';

export interface Load {
  /** `randrw`: of ten, seven read. */
  readonly pattern: 'randread' | 'randwrite' | 'randrw' | 'read' | 'write';
  readonly blockBytes: number;
  readonly depth: number;
  /** An fdatasync after each write, or each write with O_DSYNC. */
  readonly sync?: 'fdatasync' | 'dsync';
}

const MIB = 2 ** 20;

export interface Figures {
  readonly operationsPerSecond: number;
  readonly mebibytesPerSecond: number;
  /** How many there were, in the whole run. */
  readonly operations: number;
  readonly writtenBytes: number;
  /** Of the time from submission to completion; with fdatasync of that call, which waits for the write before it. Of a
   * mixed load those of the slower side. */
  readonly medianMicroseconds: number;
  readonly worst1PercentMicroseconds: number;
}

export interface MeasureOptions {
  readonly sizeBytes: number;
  readonly seconds: number;
  readonly signal?: AbortSignal;
  /** Parameters of fio for all devices. */
  readonly more?: readonly string[];
}

/** What is beyond the run time of a load: fio starts, stops and sums up. */
const marginMs = 60_000;
/** How long a killed fio may take to end. */
const endLimitMs = 10_000;
const fillLimitMs = 30 * 60_000;

/** Runs a load on a device for that time; direct I/O. */
export async function measure(devicePath: string, load: Load, options: MeasureOptions): Promise<Figures> {
  const [figures] = await measureTogether([devicePath], load, options);
  return figures!;
}

/** Runs a load on several devices at the same time, each with the load's depth; figures in the order of the devices. */
export async function measureTogether(devicePaths: readonly string[], load: Load, options: MeasureOptions): Promise<Figures[]> {
  const output = await fio(
    [
      ...commonParameters(options.sizeBytes),
      ...loadParameters(load),
      `--runtime=${options.seconds}`,
      '--time_based',
      '--norandommap',
      '--randrepeat=0',
      '--output-format=json',
      ...(options.more ?? []),
      ...devicePaths.flatMap((path, index) => [`--name=device-${index}`, `--filename=${path}`]),
    ],
    { timeoutMs: options.seconds * 1000 + marginMs, signal: options.signal },
  );
  const figures = figuresOf(output, load);
  if (figures.length !== devicePaths.length) throw new Error(`fio reported ${figures.length} jobs, not ${devicePaths.length}`);
  return figures;
}

/** Writes every byte of a device or file once: in random blocks of 4 KiB, or in order. */
export async function fill(
  target: string,
  options: { readonly sizeBytes: number; readonly order: 'random' | 'sequential'; readonly signal?: AbortSignal },
): Promise<void> {
  const random = options.order === 'random';
  const how = random ? ['--rw=randwrite', '--bs=4k', '--iodepth=64'] : ['--rw=write', '--bs=1M', '--iodepth=8'];
  const parameters = [...commonParameters(options.sizeBytes), ...how, '--end_fsync=1', '--name=fill', `--filename=${target}`];
  await fio(parameters, { timeoutMs: fillLimitMs, signal: options.signal });
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

/** They hold for all jobs, because they come before the first name. */
function commonParameters(sizeBytes: number): string[] {
  return ['--direct=1', '--ioengine=libaio', '--thread', `--size=${sizeBytes}`];
}

function loadParameters(load: Load): string[] {
  return [
    `--rw=${load.pattern}`,
    `--bs=${load.blockBytes}`,
    `--iodepth=${load.depth}`,
    ...(load.pattern === 'randrw' ? ['--rwmixread=70'] : []),
    ...(load.sync === 'fdatasync' ? ['--fdatasync=1'] : []),
    ...(load.sync === 'dsync' ? ['--sync=dsync'] : []),
  ];
}

interface Latency {
  readonly percentile?: Readonly<Record<string, number>>;
}

interface Side {
  readonly io_bytes: number;
  readonly total_ios: number;
  readonly iops: number;
  readonly bw_bytes: number;
  readonly clat_ns: Latency;
}

interface Job {
  readonly read: Side;
  readonly write: Side;
  readonly sync?: { readonly lat_ns: Latency };
}

/** The figures of each job in what fio printed as JSON. */
export function figuresOf(output: string, load: Pick<Load, 'sync'>): Figures[] {
  // Warnings may stand before the document.
  const document = JSON.parse(output.slice(output.indexOf('{'))) as { readonly jobs: readonly Job[] };
  return document.jobs.map((job) => {
    const sides = [job.read, job.write];
    const latencies = load.sync === 'fdatasync' ? [job.sync?.lat_ns] : sides.map((side) => side.clat_ns);
    const sum = (figure: 'iops' | 'bw_bytes' | 'total_ios'): number => sides.reduce((total, side) => total + side[figure], 0);
    const percentile = (name: string): number => Math.max(...latencies.map((latency) => latency?.percentile?.[name] ?? 0)) / 1000;
    return {
      operationsPerSecond: Math.round(sum('iops')),
      mebibytesPerSecond: Math.round(sum('bw_bytes') / MIB),
      operations: sum('total_ios'),
      writtenBytes: job.write.io_bytes,
      medianMicroseconds: Math.round(percentile('50.000000')),
      worst1PercentMicroseconds: Math.round(percentile('99.000000')),
    };
  });
}
