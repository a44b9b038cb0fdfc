/** The benchmark's one table, and the facts of the machine that its figures belong to. */
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import { formatBytes, formatTable } from '../../src/operator/output.ts';
import type { CutResult } from './cuts.ts';
import type { IoResult } from './random-io.ts';

export interface CreationResult {
  readonly volumeBytes: number;
  readonly samples: number;
  readonly medianMs: number;
  readonly worstMs: number;
  /** Of the pool, by all of them together. */
  readonly usedBytes: number;
}

export interface Report {
  readonly machine: Readonly<Record<string, string>>;
  readonly io: readonly IoResult[];
  readonly cuts: readonly CutResult[];
  readonly creation: CreationResult | null;
}

/** `folder` is where the pools are. */
export function describeMachine(folder: string): Record<string, string> {
  const processors = os.cpus();
  const [oneMinute = 0] = os.loadavg();
  return {
    processor: `${processors[0]?.model.trim() ?? 'unknown'}, ${processors.length} of them`,
    memory: formatBytes(os.totalmem()),
    kernel: `${os.type()} ${os.release()}`,
    disk: `${folder} on ${fileSystemOf(folder)}`,
    node: process.version,
    fio: execFileSync('fio', ['--version'], { encoding: 'utf8', timeout: 10_000 }).trim(),
    'load before': `${oneMinute.toFixed(1)} (what else runs here makes figures worse, and ratios less sure)`,
  };
}

export function reportLines(report: Report): string[] {
  const facts = Object.entries(report.machine).map(([name, value]) => `${name}: ${value}`);
  const rows = [...report.io.map(ioRow), ...creationRows(report.creation), ...cutRows(report.cuts)];
  const table = formatTable(rows, [
    { title: 'MEASURED', text: (row) => row.measured },
    { title: 'ON', text: (row) => row.on },
    { title: 'MEDIAN', text: (row) => row.median, right: true },
    { title: 'LATENCY, WORST 1 %', text: (row) => row.latency, right: true },
    { title: 'TO LOOP', text: (row) => row.toLoop, right: true },
    { title: 'TO NO SNAPSHOT', text: (row) => row.toVolume, right: true },
    { title: 'TO SMALLEST', text: (row) => row.toSmallest, right: true },
  ]);
  return [...facts, '', ...table];
}

interface Row {
  readonly measured: string;
  readonly on: string;
  readonly median: string;
  readonly latency: string;
  readonly toLoop: string;
  readonly toVolume: string;
  readonly toSmallest: string;
}

const subjects: Readonly<Record<IoResult['subject'], string>> = {
  loop: 'loop device on a plain file',
  volume: 'volume, fully written',
  'one snapshot': 'volume, first overwrite after a snapshot',
  'hundred snapshots': 'volume, after 100 snapshots',
};

function ioRow(result: IoResult): Row {
  const { figures } = result;
  const sequential = result.load.endsWith('1m');
  return {
    measured: result.load,
    on: subjects[result.subject],
    median: sequential ? `${figures.mebibytesPerSecond} MiB/s` : `${figures.operationsPerSecond} op/s`,
    latency: `${figures.medianMicroseconds} us, ${figures.worst1PercentMicroseconds} us`,
    toLoop: result.toLoop.toFixed(2),
    toVolume: result.toVolume?.toFixed(2) ?? '',
    toSmallest: '',
  };
}

function creationRows(creation: CreationResult | null): Row[] {
  if (creation === null) return [];
  return [
    {
      measured: 'create, through CSI',
      on: `empty volume, ${formatBytes(creation.volumeBytes)}`,
      median: formatMs(creation.medianMs),
      latency: `worst ${formatMs(creation.worstMs)}`,
      toLoop: '',
      toVolume: '',
      toSmallest: '',
    },
    {
      measured: 'space of those',
      on: `${creation.samples} volumes`,
      median: formatBytes(creation.usedBytes),
      latency: '',
      toLoop: '',
      toVolume: '',
      toSmallest: '',
    },
  ];
}

function cutRows(cuts: readonly CutResult[]): Row[] {
  const smallest = Math.min(...cuts.map(({ volumeBytes }) => volumeBytes));
  const inOrder = cuts.toSorted(
    (a, b) => cuts.findIndex((cut) => cut.operation === a.operation) - cuts.findIndex((cut) => cut.operation === b.operation),
  );
  return inOrder.map((cut) => {
    const base = cuts.find(({ operation, volumeBytes }) => operation === cut.operation && volumeBytes === smallest);
    return {
      measured: cut.operation,
      on: `volume of ${formatBytes(cut.volumeBytes)}, full`,
      median: formatMs(cut.medianMs),
      latency: `worst ${formatMs(cut.worstMs)}`,
      toLoop: '',
      toVolume: '',
      toSmallest: base === undefined || base === cut ? '' : (cut.medianMs / base.medianMs).toFixed(2),
    };
  });
}

function formatMs(timeMs: number): string {
  return `${timeMs.toFixed(timeMs < 100 ? 2 : 0)} ms`;
}

/** The file system and the device that a folder is on. */
function fileSystemOf(folder: string): string {
  const mounts = fs
    .readFileSync('/proc/self/mounts', 'utf8')
    .split('\n')
    .map((line) => line.split(' '))
    .filter(([, target = '/']) => folder === target || folder.startsWith(target.endsWith('/') ? target : `${target}/`));
  const [source = '?', , type = '?'] = mounts.toSorted((a, b) => (a[1]?.length ?? 0) - (b[1]?.length ?? 0)).at(-1) ?? [];
  return `${type} (${source})`;
}
