/**
 * All sequences of up to four operations, cut at every port call (test/support/short-sequences.ts), from the one that the
 * seed names on; ends when all are done. A case is a cut.
 */
import { cutEverywhere, describeSequence, sequenceAfter, sequenceAt, sequenceCount } from '../../support/short-sequences.ts';
import { replayLine, type CampaignOptions, type CampaignResult } from '../campaign.ts';

export async function run({ seconds, seed, log }: CampaignOptions): Promise<CampaignResult> {
  const deadline = performance.now() + seconds * 1000;
  const total = sequenceCount();
  let cases = 0;
  let tried = 0;
  let index = seed % total;
  do {
    const sequence = sequenceAt(index);
    try {
      if (sequence !== null) cases += cutEverywhere(sequence);
    } catch (error) {
      const replay = replayLine({ campaign: 'short-sequences', seed: index });
      throw new Error(`${describeSequence(sequence!)}, ${String(error)}\n${replay}`, { cause: error });
    }
    tried += 1;
    index = sequenceAfter(index);
  } while (tried < total && (cases === 0 || performance.now() < deadline));
  log(`${tried} of ${total} sequences from ${seed % total} on`);
  return { cases };
}
