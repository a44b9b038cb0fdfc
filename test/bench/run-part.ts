/**
 * One part of the benchmark by itself, for whoever works on it: what it measured, as a line each. Needs root and fio.
 *
 *   make build; node test/bench/run-part.ts operations|state [--full] [--rounds N] [--seconds S] [--folder DIR] [--json FILE]
 */
import fs from 'node:fs';
import os from 'node:os';
import { parseArgs } from 'node:util';
import { runGuarded } from '../support/guarded-run.ts';
import type { Measurement, PartContext } from './measurement.ts';
import { measureOperations } from './operations/operations.ts';
import { measureState } from './state/state.ts';
import { median } from './statistics.ts';

const parts: Readonly<Record<string, (context: PartContext) => Promise<Measurement[]>>> = {
  operations: measureOperations,
  state: measureState,
};
const limitMs = 3 * 60 * 60_000;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    full: { type: 'boolean', default: false },
    rounds: { type: 'string', default: '2' },
    seconds: { type: 'string', default: '2' },
    folder: { type: 'string', default: os.tmpdir() },
    json: { type: 'string' },
  },
});
const part = parts[positionals[0] ?? ''];
if (part === undefined) throw new Error(`which part? ${Object.keys(parts).join(', ')}`);
const problems = await runGuarded({ prefix: 'chunkstore-part-', parent: values.folder, limitMs }, async ({ folder, signal }) => {
  const measurements = await part({
    folder,
    signal,
    rounds: Number(values.rounds),
    seconds: Number(values.seconds),
    quick: !values.full,
    full: values.full,
    progress: (line) => console.error(`bench: ${line}`),
  });
  for (const { workload, subject, condition, figure, unit, samples } of measurements) {
    const shown = samples.map((sample) => sample.toPrecision(4)).join(' ');
    console.log(`${workload} | ${subject} | ${condition} | ${figure} | ${median(samples).toPrecision(4)} ${unit} (${shown})`);
  }
  if (values.json !== undefined) fs.writeFileSync(values.json, JSON.stringify(measurements, null, 2));
});
for (const problem of problems) console.error(`bench: ${problem}`);
process.exit(problems.length === 0 ? 0 : 1);
