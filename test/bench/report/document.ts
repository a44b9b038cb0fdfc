/** What a run of the benchmark leaves behind: all figures with all samples, and what they belong to. */
import fs from 'node:fs';
import type { Verdict } from '../goals.ts';
import type { Measurement } from '../measurement.ts';
import { LOAD_BEFORE } from './machine-facts.ts';

/** Raised when a reader of an older document would misread a newer one. */
const VERSION = 1;

export interface PartOutcome {
  readonly name: string;
  readonly outcome: 'measured' | 'failed' | 'skipped' | 'not run';
  /** What went wrong or lacks; empty where it was measured. */
  readonly problems: readonly string[];
  readonly rounds: number;
  /** That it took. */
  readonly seconds: number;
}

export interface BenchDocument {
  readonly version: typeof VERSION;
  /** As it was typed: a run can be done again by it. */
  readonly command: string;
  /** Times of the machine, ISO 8601. */
  readonly startedAt: string;
  readonly endedAt: string;
  /** Of git; null outside a clone. Ends in "+" where files were changed since. */
  readonly revision: string | null;
  readonly extent: string;
  readonly rounds: number;
  readonly seconds: number;
  /** Name of the fact to its words: processor, kernel, disk, and versions of programs. */
  readonly machine: Readonly<Record<string, string>>;
  readonly parts: readonly PartOutcome[];
  readonly goals: readonly Verdict[];
  readonly measurements: readonly Measurement[];
}

export function makeDocument(fields: Omit<BenchDocument, 'version'>): BenchDocument {
  return { version: VERSION, ...fields };
}

/** JSON with one measurement a line, so that two runs can be compared line by line. */
export function encodeDocument(document: BenchDocument): string {
  const { goals, measurements, ...facts } = document;
  const head = JSON.stringify(facts, null, 2).slice(0, -2);
  const lines = (list: readonly unknown[]): string =>
    list.length === 0 ? '[]' : `[\n    ${list.map((item) => JSON.stringify(item)).join(',\n    ')}\n  ]`;
  return `${head},\n  "goals": ${lines(goals)},\n  "measurements": ${lines(measurements)}\n}\n`;
}

/** Fails in words where the file is no document of this version. */
export function readDocument(file: string): BenchDocument {
  const document = JSON.parse(fs.readFileSync(file, 'utf8')) as Partial<BenchDocument>;
  if (document.version !== VERSION || !Array.isArray(document.measurements)) {
    throw new Error(`${file} is no document of the benchmark, or one of another version than ${VERSION}`);
  }
  return document as BenchDocument;
}

/**
 * Runs on one machine, in the order in which they were made, as if they had been one: a later one has what an earlier one did
 * not come to. Of a figure that two have, the later counts. Fails in words where they cannot stand beside each other.
 */
export function joinDocuments(documents: readonly [BenchDocument, ...BenchDocument[]]): BenchDocument {
  const [first, ...others] = documents;
  for (const other of others) {
    for (const name of ['extent', 'rounds', 'seconds'] as const) demandSame(name, first[name], other[name]);
    for (const name of Object.keys({ ...first.machine, ...other.machine })) {
      if (name !== LOAD_BEFORE) demandSame(name, first.machine[name], other.machine[name]);
    }
  }
  const all = (field: 'command' | 'revision'): string => [...new Set(documents.map((document) => document[field] ?? 'unknown'))].join('; ');
  const measurements = new Map(documents.flatMap((document) => document.measurements.map((one) => [nameOf(one), one])));
  return {
    ...first,
    command: all('command'),
    revision: all('revision'),
    endedAt: documents.at(-1)!.endedAt,
    parts: documents.flatMap(({ parts }) => parts),
    measurements: [...measurements.values()],
  };
}

function demandSame(name: string, one: unknown, other: unknown): void {
  if (one !== other) throw new Error(`runs of different ${name} are not to be joined: ${String(one)} and ${String(other)}`);
}

function nameOf({ part, workload, subject, condition, figure }: Measurement): string {
  return JSON.stringify([part, workload, subject, condition, figure]);
}
