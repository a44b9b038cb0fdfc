/**
 * `make bench`: figures, no verdicts. Random and sequential I/O beside a loop device on a plain file, before and after
 * snapshots; snapshot, clone and revert by size of the volume; creation through CSI. Needs root, fio, and room on disk.
 *
 *   node test/bench/bench.ts [--full] [--output table|json] [--folder DIR] [--only io,create,cuts]
 *     [--io-size GIB] [--seconds S] [--rounds N] [--new-pool] [--cut-sizes GIB,GIB,...] [--samples N]
 *
 * Without --full: cuts of volumes of 1 and 4 GiB, and short runs of fio. With it: also of 16 GiB, which takes some minutes
 * to be written, and longer runs. `make bench` takes the short runs and all three sizes; `make bench BENCH=--full`.
 */
import fs from 'node:fs';
import os from 'node:os';
import { parseArgs } from 'node:util';
import { blockCapability } from '../support/csi-volume.ts';
import { runGuarded, type Guarded } from '../support/guarded-run.ts';
import type { LocalDriver } from '../support/local-driver.ts';
import { canMount, canUseFuse, canUseLoop, hasCommand, hasPrograms } from '../support/machine.ts';
import { formatBytes } from '../../src/operator/output.ts';
import { measureCuts, poolBytesOf as cutPoolBytesOf, type CutResult } from './cuts.ts';
import { measureIo, poolBytesOf as ioPoolBytesOf, type IoResult } from './random-io.ts';
import { describeMachine, reportLines, type CreationResult } from './report.ts';
import { median, timed } from './statistics.ts';

const GIB = 2 ** 30;
const limitMs = 60 * 60_000;
/** Log, metadata, and what others write meanwhile. */
const spareBytes = GIB;

const { values } = parseArgs({
  options: {
    full: { type: 'boolean', default: false },
    output: { type: 'string', default: 'table' },
    folder: { type: 'string', default: os.tmpdir() },
    only: { type: 'string', default: 'io,create,cuts' },
    'io-size': { type: 'string', default: '1' },
    seconds: { type: 'string' },
    rounds: { type: 'string' },
    'new-pool': { type: 'boolean', default: false },
    'cut-sizes': { type: 'string' },
    samples: { type: 'string', default: '20' },
  },
});
const full = values.full;
const parts = values.only.split(',');
const io = {
  sizeBytes: numberOf('io-size', values['io-size']) * GIB,
  seconds: numberOf('seconds', values.seconds ?? (full ? '4' : '2')),
  rounds: numberOf('rounds', values.rounds ?? (full ? '5' : '3')),
  newPool: values['new-pool'],
};
const cutBytes = (values['cut-sizes'] ?? (full ? '1,4,16' : '1,4')).split(',').map((size) => numberOf('cut-sizes', size) * GIB);
const samples = numberOf('samples', values.samples);
const ioPoolBytes = parts.includes('io') ? ioPoolBytesOf(io.sizeBytes) : GIB;
const cutPoolBytes = cutPoolBytesOf(cutBytes);

function numberOf(name: string, text: string): number {
  const value = Number(text);
  if (Number.isFinite(value) && value > 0) return value;
  console.error(`bench: --${name} takes positive numbers, not ${JSON.stringify(text)}`);
  return process.exit(2);
}

/** Progress, so that standard output has the report alone. */
const progress = (line: string): void => console.error(`bench: ${line}`);

function lacks(): string[] {
  const needs = [canMount(), canUseFuse(), canUseLoop(), hasCommand(), hasPrograms('fio', 'losetup', 'umount')];
  const { bavail, bsize } = fs.statfsSync(values.folder);
  const neededBytes = Math.max(ioPoolBytes + io.sizeBytes, parts.includes('cuts') ? cutPoolBytes : 0) + spareBytes;
  const space = `${values.folder} has ${formatBytes(bavail * bsize)} free, and ${formatBytes(neededBytes)} are needed; --folder names another, --io-size and --cut-sizes ask for less`;
  return [...needs.map(({ lack }) => lack), bavail * bsize < neededBytes ? space : undefined].filter((lack) => lack !== undefined);
}

async function measureCreation(driver: LocalDriver): Promise<CreationResult> {
  const before = (await driver.store.getPool()).usedBytes;
  const times: number[] = [];
  const ids: string[] = [];
  for (let index = 0; index < samples; index += 1) {
    const request = { name: `created-${index}`, capacityRange: { requiredBytes: GIB }, volumeCapabilities: [blockCapability] };
    times.push(await timed(async () => ids.push((await driver.csi.controller.createVolume(request)).volume?.volumeId ?? '')));
  }
  const { usedBytes } = await driver.store.getPool();
  for (const volumeId of ids) await driver.csi.controller.deleteVolume({ volumeId });
  return { volumeBytes: GIB, samples, medianMs: median(times), worstMs: Math.max(...times), usedBytes: usedBytes - before };
}

interface Measured {
  io: readonly IoResult[];
  cuts: readonly CutResult[];
  creation: CreationResult | null;
}

async function measureAll(guarded: Guarded, measured: Measured): Promise<void> {
  const mebibytes = (bytes: number): string => `${Math.ceil(bytes / 2 ** 20)}MiB`;
  if (parts.includes('io') || parts.includes('create')) {
    // Volumes without data are many times the pool.
    const flags = ['--overprovisioning', '100'];
    const driver = await guarded.startDriver({ name: 'io', size: mebibytes(ioPoolBytes), flags });
    if (parts.includes('create')) measured.creation = await measureCreation(driver);
    if (parts.includes('io')) measured.io = await measureIo(guarded, driver, io, progress);
    await guarded.stopDriver(driver);
  }
  if (parts.includes('cuts')) {
    const driver = await guarded.startDriver({ name: 'cuts', size: mebibytes(cutPoolBytes) });
    measured.cuts = await measureCuts(driver, { volumeBytes: cutBytes, samples, signal: guarded.signal }, progress);
    await guarded.stopDriver(driver);
  }
}

async function main(): Promise<number> {
  const missing = lacks();
  if (missing.length > 0) {
    console.error(['the benchmark cannot run here:', ...missing.map((lack) => `  ${lack}`)].join('\n'));
    return 1;
  }
  const machine = describeMachine(fs.realpathSync(values.folder));
  const measured: Measured = { io: [], cuts: [], creation: null };
  const problems = await runGuarded({ prefix: 'chunkstore-bench-', parent: values.folder, limitMs }, (guarded) =>
    measureAll(guarded, measured),
  );
  const pool = io.newPool ? 'new; its space was never written' : 'its space was written once before, as in use; --new-pool leaves that out';
  const report = { machine: { ...machine, 'pool for I/O': pool }, ...measured };
  console.log(values.output === 'json' ? JSON.stringify(report, null, 2) : reportLines(report).join('\n'));
  if (problems.length === 0) return 0;
  console.error(['bench: FAILED', ...problems.map((problem) => `  ${problem}`)].join('\n'));
  return 1;
}

process.exit(await main());
