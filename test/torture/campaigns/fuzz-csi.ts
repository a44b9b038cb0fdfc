/** Bad input to the CSI services, over gRPC. */
import { fuzz } from '../../support/fuzz.ts';
import { csiFuzz } from '../../support/fuzz-csi.ts';

export async function run(options: {
  readonly seconds: number;
  readonly seed: number;
  readonly log: (line: string) => void;
}): Promise<{ cases: number }> {
  const tally = new Map<string, number>();
  const { cases } = await fuzz(csiFuzz({ tally }), options);
  const endings = [...tally].toSorted(([left], [right]) => (left < right ? -1 : 1));
  for (const [ending, count] of endings) options.log(`${ending}: ${count}`);
  return { cases };
}
