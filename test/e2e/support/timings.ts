/** How long things took, over all tests of a run: kept in a file of the run's artifacts, shown as a table at its end. */
import { appendFileSync, existsSync, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

interface Entry {
  readonly what: string;
  readonly ms: number;
}

export class Timings {
  readonly #file: string;

  constructor(artifacts: string) {
    mkdirSync(artifacts, { recursive: true });
    this.#file = join(artifacts, 'times.jsonl');
  }

  /** `what` groups: "PVC to bound". */
  record(what: string, ms: number): void {
    appendFileSync(this.#file, `${JSON.stringify({ what, ms: Math.round(ms) } satisfies Entry)}\n`);
  }

  /** Records how long `action` took, when it succeeds. */
  async time<Result>(what: string, action: () => Promise<Result>): Promise<Result> {
    const start = performance.now();
    const result = await action();
    this.record(what, performance.now() - start);
    return result;
  }

  table(): string[] {
    if (!existsSync(this.#file)) return [];
    const entries = readFileSync(this.#file, 'utf8')
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as Entry);
    const groups = Map.groupBy(entries, ({ what }) => what);
    return [...groups]
      .sort(([one], [other]) => one.localeCompare(other))
      .map(([what, group]) => {
        const times = group.map(({ ms }) => ms).sort((one, other) => one - other);
        const median = times[Math.floor(times.length / 2)];
        return `${what.padEnd(40)} ${String(times.length).padStart(4)} times, median ${String(median).padStart(6)} ms, longest ${String(times.at(-1)).padStart(6)} ms`;
      });
  }
}
