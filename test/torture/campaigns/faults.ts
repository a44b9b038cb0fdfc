/**
 * Disks and metadata that fail (test/support/disk-failures.ts): by each seed one kind of failure at every call of a scenario,
 * and a long sequence with failures all over it. A case is an injected failure.
 */
import { failEverywhere, faultForms, faultMoments, walkWithFaults } from '../../support/disk-failures.ts';
import { engineSubject } from '../../support/engine-subject.ts';
import { replayLine, type CampaignOptions, type CampaignResult } from '../campaign.ts';

const actionsPerWalk = 200;

export async function run(options: CampaignOptions): Promise<CampaignResult> {
  const subject = engineSubject();
  const ahead = engineSubject({ flushesToLearn: 0 });
  const deadline = performance.now() + options.seconds * 1000;
  let cases = 0;
  let stopped = 0;
  for (let seed = options.seed; cases === 0 || performance.now() < deadline; seed += 1) {
    const form = faultForms[seed % faultForms.length]!;
    const moment = faultMoments[Math.floor(seed / faultForms.length) % faultMoments.length]!;
    try {
      const failures = [failEverywhere(subject, { form, moment }), failEverywhere(ahead, { form, moment })];
      for (const tally of [walkWithFaults(subject, seed, actionsPerWalk), ...failures]) {
        cases += tally.cases;
        stopped += tally.stopped;
      }
    } catch (error) {
      throw new Error(`${String(error)}\n${replayLine({ campaign: 'faults', seed })}`, { cause: error });
    }
  }
  options.log(`the engine stopped in ${stopped}`);
  return { cases };
}
