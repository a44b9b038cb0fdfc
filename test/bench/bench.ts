/**
 * `make bench`: measures this project beside its peers on this machine, part by part, and tells the figures, and which goals
 * they meet. Needs root and the programs of test/setup; a part whose programs are missing is skipped, loudly. A part that
 * fails or is interrupted loses no figure of the others: the status is then 1, and the last lines say what went wrong.
 *
 *   node test/bench/bench.ts [--quick | --full] [--only PART,...] [--stages STAGE,...] [--folder DIR]
 *     [--rounds N] [--seconds S] [--output table|json] [--json FILE] [--docs]
 *
 * --stages: of the part io, those of test/bench/io/plan.ts that are wanted, so that a long run that broke off can be gone on
 * with. --folder is on the disk that is measured, the machine's folder for temporary files otherwise. --docs makes
 * docs/performance.md from the run; test/bench/report/write.ts makes it from a FILE of an earlier one.
 */
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { judge } from './goals.ts';
import { plan } from './io/plan.ts';
import type { Measurement } from './measurement.ts';
import { parseOptions, USAGE, type BenchOptions } from './options.ts';
import { parts } from './parts.ts';
import { encodeDocument, makeDocument, type BenchDocument, type PartOutcome } from './report/document.ts';
import { machineFacts, sourceRevision } from './report/machine-facts.ts';
import { reportLines } from './report/report-lines.ts';
import { runPart } from './run-part.ts';

const WRONG_USE = 2;

/** Progress, so that standard output has the report alone. */
const progress = (line: string): void => console.error(`bench: ${line}`);

async function main(): Promise<number> {
  const known = { parts: parts.map(({ name }) => name), stages: plan.map(({ name }) => name), defaultFolder: os.tmpdir() };
  const parsed = parseOptions(process.argv.slice(2), known);
  const complaints = 'complaints' in parsed ? parsed.complaints : placeComplaints(parsed.options);
  if ('complaints' in parsed || complaints.length > 0) {
    console.error([...complaints.map((complaint) => `bench: ${complaint}`), USAGE].join('\n'));
    return WRONG_USE;
  }
  const { options } = parsed;
  if (!build()) return 1;
  const document = await run(options, interruption());
  console.log(options.output === 'json' ? encodeDocument(document).trimEnd() : reportLines(document).join('\n'));
  const bad = document.parts.filter(({ outcome }) => outcome === 'failed' || outcome === 'not run');
  for (const { name, outcome, problems } of bad) {
    console.error([`bench: ${name}: ${outcome.toUpperCase()}`, ...problems.map((problem) => `  ${problem}`)].join('\n'));
  }
  if (bad.length > 0) {
    if (options.docs) console.error('bench: docs/performance.md is left as it was');
    return 1;
  }
  if (options.docs) await writeDocs(document);
  return 0;
}

/** What runs is dist/: an older one would be measured under the name of this revision. */
function build(): boolean {
  const root = path.resolve(import.meta.dirname, '../..');
  return spawnSync('make', ['--silent', 'build'], { cwd: root, stdio: ['ignore', 2, 2] }).status === 0;
}

/** What would fail only after minutes of measuring is looked at before. */
function placeComplaints({ folder, jsonFile }: BenchOptions): string[] {
  const places = [
    { flag: '--folder', place: folder },
    ...(jsonFile === null ? [] : [{ flag: '--json', place: path.dirname(path.resolve(jsonFile)) }]),
  ];
  return places.flatMap(({ flag, place }) => {
    try {
      fs.accessSync(place, fs.constants.W_OK);
      return fs.statSync(place).isDirectory() ? [] : [`${flag}: ${place} is no folder`];
    } catch (error) {
      return [`${flag} needs a folder that can be written: ${(error as Error).message}`];
    }
  });
}

/** Aborted by the first Ctrl-C, SIGTERM or SIGHUP. What a part has set up it takes down itself. */
function interruption(): AbortSignal {
  const interrupt = new AbortController();
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(name, () => interrupt.abort(`interrupted by ${name}`));
  return interrupt.signal;
}

/** All wanted parts, one after another. The file has what is known after each of them. */
async function run(options: BenchOptions, signal: AbortSignal): Promise<BenchDocument> {
  const { extent, rounds, seconds } = options;
  const folder = fs.realpathSync(options.folder);
  const facts = {
    command: commandOf(options),
    startedAt: new Date().toISOString(),
    revision: sourceRevision(),
    ...{ extent, rounds, seconds },
    machine: machineFacts(folder),
  };
  const outcomes: PartOutcome[] = [];
  const measurements: Measurement[] = [];
  const documentNow = (): BenchDocument =>
    makeDocument({ ...facts, endedAt: new Date().toISOString(), parts: outcomes, goals: judge(measurements), measurements });
  const stages = options.stages === null ? {} : { stages: options.stages };
  const context = { folder, seconds, ...stages, quick: extent === 'quick', full: extent === 'full', signal };
  for (const part of parts.filter(({ name }) => options.parts.includes(name))) {
    const ownRounds = extent === 'quick' && !options.roundsChosen ? (part.quickRounds ?? rounds) : rounds;
    const ended = await runPart(part, { ...context, rounds: ownRounds, progress });
    outcomes.push(ended.outcome);
    measurements.push(...ended.measurements);
    if (options.jsonFile !== null) fs.writeFileSync(options.jsonFile, encodeDocument(documentNow()));
  }
  return documentNow();
}

/** As somebody types it to measure the same again; where the report went is left out. */
function commandOf({ extent, parts: names, stages, rounds, roundsChosen, seconds }: BenchOptions): string {
  const some = names.length < parts.length ? ['--only', names.join(',')] : [];
  const these = stages === null ? [] : ['--stages', `'${stages.join(',')}'`];
  const flags = extent === 'normal' ? [] : [`--${extent}`];
  return [
    'node test/bench/bench.ts',
    ...flags,
    ...some,
    ...these,
    ...(roundsChosen ? ['--rounds', rounds] : []),
    '--seconds',
    seconds,
  ].join(' ');
}

async function writeDocs(document: BenchDocument): Promise<void> {
  const { writePerformanceDocs } = await import('./report/performance-docs.ts');
  for (const file of await writePerformanceDocs(document)) progress(`wrote ${file}`);
}

process.exit(await main());
