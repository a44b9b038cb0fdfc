/**
 * What the way through FUSE and the data loop costs: a kernel loop device on a plain file against a loop device on our
 * FUSE file over the same file, in one run. Needs root and fio.
 *
 *   node test/bench/block-front.ts [--folder DIR] [--size 3G] [--seconds 4] [--only randwrite-32,...] [--no-plain]
 */
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { DataThreadHost, run } from '../support/data-thread-host.ts';

interface Load {
  readonly name: string;
  readonly pattern: string;
  readonly blockSize: string;
  readonly depth: number;
}
const loads: readonly Load[] = [
  { name: 'randwrite-32', pattern: 'randwrite', blockSize: '4k', depth: 32 },
  { name: 'randread-32', pattern: 'randread', blockSize: '4k', depth: 32 },
  { name: 'randwrite-1', pattern: 'randwrite', blockSize: '4k', depth: 1 },
  { name: 'randread-1', pattern: 'randread', blockSize: '4k', depth: 1 },
  { name: 'write-1m', pattern: 'write', blockSize: '1M', depth: 8 },
  { name: 'read-1m', pattern: 'read', blockSize: '1M', depth: 8 },
];
interface Figures {
  readonly operations: number;
  readonly megabytes: number;
  readonly medianMicroseconds: number;
}

const { values } = parseArgs({
  options: {
    folder: { type: 'string', default: os.tmpdir() },
    size: { type: 'string', default: '3' },
    seconds: { type: 'string', default: '4' },
    only: { type: 'string', default: loads.map(({ name }) => name).join(',') },
    'no-plain': { type: 'boolean', default: false },
    spin: { type: 'string' },
    reads: { type: 'string' },
    flags: { type: 'string', default: '' },
  },
});
const sizeBytes = Number(values.size) * 2 ** 30;
const wanted = loads.filter(({ name }) => values.only.split(',').includes(name));

async function measure(device: string, load: Load): Promise<Figures> {
  const { stdout } = await run(
    'fio',
    [
      '--name=x',
      `--filename=${device}`,
      '--direct=1',
      '--ioengine=libaio',
      `--iodepth=${load.depth}`,
      `--rw=${load.pattern}`,
      `--bs=${load.blockSize}`,
      `--size=${sizeBytes}`,
      `--runtime=${values.seconds}`,
      '--time_based',
      '--norandommap',
      '--randrepeat=0',
      '--output-format=json',
    ],
    120_000,
  );
  const job = JSON.parse(stdout).jobs[0];
  const side = job.write.io_bytes > 0 ? job.write : job.read;
  return {
    operations: Math.round(side.iops),
    megabytes: Math.round(side.bw / 1024),
    medianMicroseconds: Math.round(side.clat_ns.percentile['50.000000'] / 1000),
  };
}

/** Written by real writes, because a first write to an unwritten extent is slower. */
function prefill(file: string): void {
  if (fs.existsSync(file) && fs.statSync(file).size === sizeBytes) return;
  spawnSync('fio', [
    '--name=fill',
    `--filename=${file}`,
    '--direct=1',
    '--ioengine=libaio',
    '--rw=write',
    '--bs=1M',
    '--iodepth=8',
    `--size=${sizeBytes}`,
  ]);
}

async function measurePlain(file: string): Promise<Map<string, Figures>> {
  const { stdout } = await run('losetup', ['--find', '--show', '--direct-io=on', '--sector-size', '4096', file]);
  const results = new Map<string, Figures>();
  try {
    for (const load of wanted) results.set(load.name, await measure(stdout.trim(), load));
  } finally {
    await run('losetup', ['--detach', stdout.trim()]);
  }
  return results;
}

async function measureOurs(file: string): Promise<Map<string, Figures>> {
  const host = new DataThreadHost({
    file,
    devices: 1,
    deviceBytes: sizeBytes,
    ...(values.spin === undefined ? {} : { spinRounds: Number(values.spin) }),
    ...(values.reads === undefined ? {} : { readsPerRound: Number(values.reads) }),
    nodeFlags: values.flags === '' ? [] : values.flags.split(' '),
  });
  const results = new Map<string, Figures>();
  try {
    await host.start();
    const device = await host.attach(0);
    for (const load of wanted) {
      results.set(load.name, await measure(device, load));
      if (values.flags !== '') console.log(JSON.stringify(await host.ask({ kind: 'report' }, 'report')));
    }
    await host.detach(device);
  } finally {
    await host.close();
    if (host.errors !== '') console.error(host.errors);
  }
  return results;
}

const file = path.join(values.folder, 'chunkstore-bench-file');
prefill(file);
const plain = values['no-plain'] ? new Map<string, Figures>() : await measurePlain(file);
const ours = await measureOurs(file);
console.log(['load', 'plain op/s', 'MB/s', 'us', 'ours op/s', 'MB/s', 'us', 'ratio'].join('\t'));
for (const { name } of wanted) {
  const a = plain.get(name);
  const b = ours.get(name)!;
  const ratio = a ? (b.operations / a.operations).toFixed(2) : '';
  console.log(
    [name, a?.operations, a?.megabytes, a?.medianMicroseconds, b.operations, b.megabytes, b.medianMicroseconds, ratio].join('\t'),
  );
}
