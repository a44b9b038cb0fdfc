/**
 * Runs a fuzzer: rounds with a seed each, so that any of them can be run again alone. What a round makes is gone with it.
 */
import { SeededRandom } from './seeded-random.ts';

export interface FuzzTarget {
  /** The test file that runs this target; for the replay line. */
  readonly testFile: string;
  /** One round; answers how many cases it ran, and throws at the first that went wrong. */
  readonly round: (random: SeededRandom) => Promise<number>;
}

export interface FuzzLimits {
  readonly seed: number;
  readonly rounds?: number;
  readonly seconds?: number;
}

/** Where a unit test begins: fixed, so that two runs of one commit agree, or as the replay line says. */
export function fuzzSeed(): number {
  return Number(process.env['FUZZ_SEED'] ?? '1');
}

/** Runs rounds with the seeds from `seed` on, until one of the limits is reached. */
export async function fuzz(target: FuzzTarget, limits: FuzzLimits): Promise<{ readonly cases: number }> {
  const { seed, rounds = Number.POSITIVE_INFINITY, seconds = Number.POSITIVE_INFINITY } = limits;
  const deadlineMs = performance.now() + seconds * 1_000;
  let cases = 0;
  for (let round = 0; round < rounds && performance.now() < deadlineMs; round++) {
    try {
      cases += await target.round(new SeededRandom(seed + round));
    } catch (cause) {
      const replay = `FUZZ_SEED=${seed + round} npm run -s jest -- ${target.testFile} --selectProjects=unit`;
      throw new Error(`${cause instanceof Error ? (cause.stack ?? cause.message) : String(cause)}\nreplay: ${replay}`, { cause });
    }
  }
  return { cases };
}
