/** The flags of the benchmark, read and checked: a wrong one is told in words before anything is measured. */
import { parseArgs } from 'node:util';

export type Extent = 'quick' | 'normal' | 'full';

export interface BenchOptions {
  readonly extent: Extent;
  /** Names of parts, in the order in which they are run. */
  readonly parts: readonly string[];
  /** Names of stages, of the parts that have some; null: all of them. */
  readonly stages: readonly string[] | null;
  readonly output: 'table' | 'json';
  /** Where the document is written, too; null: nowhere. */
  readonly jsonFile: string | null;
  /** Whether docs/performance.md and its plots are made from this run. */
  readonly docs: boolean;
  readonly folder: string;
  readonly rounds: number;
  /** Whether a flag says how many rounds. */
  readonly roundsChosen: boolean;
  readonly seconds: number;
}

export type Parsed = { readonly options: BenchOptions } | { readonly complaints: readonly string[] };

/** Rounds, and seconds of each load, where no flag says otherwise. */
const EXTENTS: Readonly<Record<Extent, { readonly rounds: number; readonly seconds: number }>> = {
  quick: { rounds: 2, seconds: 1 },
  normal: { rounds: 3, seconds: 2 },
  full: { rounds: 5, seconds: 4 },
};

export const USAGE = `node test/bench/bench.ts [--quick | --full] [--only PART,...] [--stages STAGE,...] [--folder DIR]
    [--rounds N] [--seconds S] [--output table|json] [--json FILE] [--docs]`;

export function parseOptions(
  words: readonly string[],
  known: { readonly parts: readonly string[]; readonly stages: readonly string[]; readonly defaultFolder: string },
): Parsed {
  try {
    const { values } = parseArgs({
      args: [...words],
      options: {
        quick: { type: 'boolean', default: false },
        full: { type: 'boolean', default: false },
        only: { type: 'string', default: known.parts.join(',') },
        stages: { type: 'string' },
        output: { type: 'string', default: 'table' },
        json: { type: 'string' },
        docs: { type: 'boolean', default: false },
        folder: { type: 'string', default: known.defaultFolder },
        rounds: { type: 'string' },
        seconds: { type: 'string' },
      },
    });
    const extent = values.quick ? 'quick' : values.full ? 'full' : 'normal';
    const wanted = values.only.split(',');
    const stages = values.stages?.split(',') ?? null;
    const rounds = Number(values.rounds ?? EXTENTS[extent].rounds);
    const seconds = Number(values.seconds ?? EXTENTS[extent].seconds);
    const { output } = values;
    const complaints = [
      ...(values.quick && values.full ? ['--quick and --full exclude each other'] : []),
      ...wanted
        .filter((name) => !known.parts.includes(name))
        .map((name) => `--only takes ${known.parts.join(', ')}, not ${JSON.stringify(name)}`),
      ...(stages ?? [])
        .filter((name) => !known.stages.includes(name))
        .map((name) => `--stages takes ${known.stages.join(', ')}, not ${JSON.stringify(name)}`),
      ...(Number.isInteger(rounds) && rounds > 0 ? [] : [`--rounds takes a whole number from 1 on, not ${JSON.stringify(values.rounds)}`]),
      ...(Number.isInteger(seconds) && seconds > 0
        ? []
        : [`--seconds takes a whole number from 1 on, not ${JSON.stringify(values.seconds)}`]),
      ...(values.json === '' ? ['--json takes the name of a file'] : []),
    ];
    if (output !== 'table' && output !== 'json') complaints.push(`--output takes table or json, not ${JSON.stringify(output)}`);
    else if (complaints.length === 0) {
      const parts = known.parts.filter((name) => wanted.includes(name));
      const { folder, docs } = values;
      return {
        options: {
          extent,
          parts,
          stages,
          output,
          jsonFile: values.json ?? null,
          docs,
          folder,
          rounds,
          roundsChosen: values.rounds !== undefined,
          seconds,
        },
      };
    }
    return { complaints };
  } catch (error) {
    // parseArgs says itself which word it does not know.
    return { complaints: [(error as Error).message] };
  }
}
