/** Power cuts in the middle of sync cycles (test/support/cycle-cuts.ts); a case is a cut. */
import { cutCycles } from '../../support/cycle-cuts.ts';
import { replayLine, type CampaignOptions, type CampaignResult } from '../campaign.ts';

const steps = 200;

export async function run(options: CampaignOptions): Promise<CampaignResult> {
  const deadline = performance.now() + options.seconds * 1000;
  let cases = 0;
  let losses = 0;
  for (let seed = options.seed; cases === 0 || performance.now() < deadline; seed += 1) {
    try {
      const tally = cutCycles(seed, steps);
      cases += tally.cuts;
      losses += tally.losses;
    } catch (error) {
      throw new Error(`${String(error)}\n${replayLine({ campaign: 'cycle-cuts', seed })}`, { cause: error });
    }
  }
  options.log(`${losses} of the cuts lost something that was not flushed`);
  return { cases };
}
