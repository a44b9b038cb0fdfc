/**
 * What the way through FUSE and the data loop costs, without the engine: a kernel loop device on a plain file against a
 * loop device on our FUSE file over the same file, in one run. Needs root and fio. The whole path is test/bench/bench.ts.
 *
 *   node test/bench/block-front.ts [--folder DIR] [--size GIB] [--seconds 4] [--only randwrite-4k-qd32,...] [--no-plain]
 */
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { DataThreadHost } from '../support/data-thread-host.ts';
import { fill, measure, type Figures } from './fio.ts';
import { attachFile, detachFile } from './io/subjects/loop-file.ts';
import { workloadOf } from './io/workloads.ts';

const names = ['randwrite-4k-qd32', 'randread-4k-qd32', 'randwrite-4k-qd1', 'randread-4k-qd1', 'write-1m-qd8', 'read-1m-qd8'] as const;
const loads = names.map((name) => workloadOf(name));

const { values } = parseArgs({
  options: {
    folder: { type: 'string', default: os.tmpdir() },
    size: { type: 'string', default: '3' },
    seconds: { type: 'string', default: '4' },
    only: { type: 'string', default: names.join(',') },
    'no-plain': { type: 'boolean', default: false },
    spin: { type: 'string' },
    reads: { type: 'string' },
    flags: { type: 'string', default: '' },
  },
});
const sizeBytes = Number(values.size) * 2 ** 30;
const seconds = Number(values.seconds);
const wanted = loads.filter(({ name }) => values.only.split(',').includes(name));

async function measurePlain(file: string): Promise<Map<string, Figures>> {
  const device = await attachFile(file);
  const results = new Map<string, Figures>();
  try {
    for (const load of wanted) results.set(load.name, await measure(device.devicePath, load, { sizeBytes, seconds }));
  } finally {
    await detachFile(device);
  }
  return results;
}

async function measureOurs(file: string): Promise<Map<string, Figures>> {
  const host = new DataThreadHost({
    file,
    devices: 1,
    deviceBytes: sizeBytes,
    ...(values.spin === undefined ? {} : { spinRounds: Number(values.spin) }),
    ...(values.reads === undefined ? {} : { readsPerTurn: Number(values.reads) }),
    nodeFlags: values.flags === '' ? [] : values.flags.split(' '),
  });
  const results = new Map<string, Figures>();
  try {
    await host.start();
    const device = await host.attach(0);
    for (const load of wanted) {
      results.set(load.name, await measure(device, load, { sizeBytes, seconds }));
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
// Written by real writes, because a first write to an unwritten extent is slower.
if (!fs.existsSync(file) || fs.statSync(file).size !== sizeBytes) await fill(file, { sizeBytes, order: 'sequential' });
const plain = values['no-plain'] ? new Map<string, Figures>() : await measurePlain(file);
const ours = await measureOurs(file);
console.log(['load', 'plain op/s', 'MiB/s', 'us', 'ours op/s', 'MiB/s', 'us', 'ratio'].join('\t'));
for (const { name } of wanted) {
  const a = plain.get(name);
  const b = ours.get(name)!;
  const ratio = a ? (b.operationsPerSecond / a.operationsPerSecond).toFixed(2) : '';
  const columns = (figures: Figures | undefined): (number | undefined)[] => [
    figures?.operationsPerSecond,
    figures?.mebibytesPerSecond,
    figures?.medianMicroseconds,
  ];
  console.log([name, ...columns(a), ...columns(b), ratio].join('\t'));
}
