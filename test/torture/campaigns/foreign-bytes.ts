/** Pools whose slots are used again and again, as test/engine/foreign-bytes.test.ts has them; a case is a pool. */
import { emptyTally, lookForForeignBytes } from '../../support/foreign-bytes.ts';
import { replayLine, type CampaignOptions, type CampaignResult } from '../campaign.ts';

export async function run(options: CampaignOptions): Promise<CampaignResult> {
  const deadline = performance.now() + options.seconds * 1000;
  const tally = emptyTally();
  let cases = 0;
  do {
    const seed = options.seed + cases;
    try {
      lookForForeignBytes(seed, tally);
    } catch (error) {
      throw new Error(`${(error as Error).message}\n${replayLine({ campaign: 'foreign-bytes', seed })}`, { cause: error });
    }
    cases += 1;
  } while (performance.now() < deadline);
  options.log(`${tally.granulesRead} granules read in ${tally.volumes} objects, ${tally.powerCuts} power cuts`);
  return { cases };
}
