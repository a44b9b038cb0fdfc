/**
 * Long sequences by seed, each cut at port calls all over it (test/support/long-sequences.ts). A case is a cut; the seed
 * names the first sequence, all of whose cuts are done.
 */
import { cutLongSequence, drawLongSequence } from '../../support/long-sequences.ts';
import { SeededRandom } from '../../support/seeded-random.ts';
import { engineSubject } from '../../support/engine-subject.ts';
import { endings } from '../../support/short-sequences.ts';
import { replayLine, type CampaignOptions, type CampaignResult } from '../campaign.ts';

const operations = 60;
const cutsPerSequence = 24;

export async function run(options: CampaignOptions): Promise<CampaignResult> {
  const subject = engineSubject();
  const deadline = performance.now() + options.seconds * 1000;
  let cases = 0;
  let sequences = 0;
  do {
    const seed = options.seed + sequences;
    const random = new SeededRandom(seed);
    try {
      const sequence = drawLongSequence(subject, seed, operations);
      for (let count = 0; count < cutsPerSequence; count += 1) {
        cutLongSequence(subject, sequence, { calls: random.between(1, sequence.portCalls), ending: random.pick(endings) });
        cases += 1;
      }
    } catch (error) {
      throw new Error(`${String(error)}\n${replayLine({ campaign: 'long-sequences', seed })}`, { cause: error });
    }
    sequences += 1;
  } while (performance.now() < deadline);
  options.log(`${sequences} sequences of ${operations} operations`);
  return { cases };
}
